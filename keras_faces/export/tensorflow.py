"""SavedModels, which TensorFlow serves alone."""

import errno
import os
import re
from pathlib import Path

import keras

from keras_faces.export.signatures import Signature, largest_difference

FROM_SEEDS = "generate_from_seeds"


def saved_model(
    model, signatures: dict[str, Signature], folder: Path, weights: str
) -> dict[str, float]:
    """Write a SavedModel with a named signature for each thing the model does.

    A model with latents also serves `generate_from_seeds`: an int32
    seed for each face instead of its noise. The same seed gives the same face, whatever others are
    asked for beside it; not the one that `model.generate` makes of it, which draws by NumPy.

    Returns:
        The largest difference from the model by signature.

    """
    import tensorflow as tf

    archive = keras.export.ExportArchive()
    archive.track(model)
    served = dict(signatures)
    if "noise" in (default := _default(served)).inputs:
        served[FROM_SEEDS] = _from_seeds(default)
    for name, signature in {**served, "serving_default": _default(served)}.items():
        specs = [
            keras.InputSpec(shape=(None, *shape), dtype=dtype, name=argument)
            for argument, (shape, dtype) in signature.inputs.items()
        ]
        archive.add_endpoint(name, signature.function, specs)
    write_archive(archive, folder)
    loaded = tf.saved_model.load(str(folder))
    return {
        name: largest_difference(
            signature,
            lambda given, name=name: loaded.signatures[name](
                **{argument: tf.constant(value) for argument, value in given.items()}
            )["output_0"].numpy(),
        )
        for name, signature in signatures.items()
    }


def write_archive(archive: keras.export.ExportArchive, folder: str | os.PathLike) -> None:
    """Write a SavedModel.

    Raises:
        OSError: If it cannot be written, for which TensorFlow has errors of its own.
    """
    import tensorflow as tf

    try:
        archive.write_out(os.fspath(folder), verbose=False)
    except tf.errors.OpError as error:
        told = re.search(r"; ([^;\[\n]+)", error.message)  # behind the file's name
        full = isinstance(error, tf.errors.ResourceExhaustedError)
        raise OSError(
            errno.ENOSPC if full else errno.EIO,
            told[1].strip() if told else error.message.splitlines()[0],
            os.fspath(folder),
        ) from error


def _default(signatures: dict[str, Signature]) -> Signature:
    return next(iter(signatures.values()))


def _from_seeds(generate: Signature) -> Signature:
    """Return a signature that draws the noise itself, from a seed for each face."""
    import tensorflow as tf

    shape, dtype = generate.inputs["noise"]

    def function(seeds, *others):
        # Row by row, so that a face depends on no other's seed.
        noise = tf.map_fn(
            lambda seed: tf.random.stateless_normal(shape, tf.stack([seed, 0])),
            seeds,
            fn_output_signature=dtype,
        )
        return generate.function(tf.ensure_shape(noise, (None, *shape)), *others)

    others = {name: spec for name, spec in generate.inputs.items() if name != "noise"}
    return Signature({"seeds": ((), "int32"), **others}, function)
