"""What TensorFlow Serving's REST API answers, without the server.

Written from the server's page on its API, with nothing of keras_faces: imported in a folder that
holds a SavedModel and `requests.json`, it writes `answers.json`.
"""

import json
from pathlib import Path

import tensorflow as tf


def answer(model, request: dict) -> dict:
    """Answer a request of `:predict`, whose rows are instances or whose inputs are columns."""
    signature = model.signatures[request["signature_name"]]
    specs = signature.structured_input_signature[1]
    if "inputs" in request:
        columns = request["inputs"]
    elif isinstance(request["instances"][0], dict):
        columns = {name: [row[name] for row in request["instances"]] for name in specs}
    else:
        [only] = specs
        columns = {only: request["instances"]}
    given = {name: tf.constant(columns[name], specs[name].dtype) for name in specs}
    [made] = signature(**given).values()
    return {"outputs" if "inputs" in request else "predictions": made.numpy().tolist()}


served = tf.saved_model.load(".")
answers = [answer(served, request) for request in json.loads(Path("requests.json").read_text())]
Path("answers.json").write_text(json.dumps(answers))
