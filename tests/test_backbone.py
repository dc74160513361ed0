"""Scores on the features of an image encoder that the user has: here small ones, made in ONNX."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

import keras_faces as kf
from keras_faces.cli import main
from keras_faces.metrics import BackboneFeatures, frechet_distance
from keras_faces.metrics.scores import SCORES

SIZE = 16
NAMES = [name for name, score in SCORES.items() if score.features == "backbone"]


def encoder(path, nodes, outputs, inputs=None):
    """Write an ONNX file of `pixel_values` or other inputs, and outputs by name and shape."""
    inputs = inputs or {"pixel_values": ["count", 3, SIZE, SIZE]}
    graph = helper.make_graph(
        [helper.make_node(kind, given, made, **more) for kind, given, made, more in nodes],
        "encoder",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path)
    return path


ROWS = [
    ("AveragePool", ["pixel_values"], ["pooled"], {"kernel_shape": [8, 8], "strides": [8, 8]}),
    ("Flatten", ["pooled"], ["image_embeds"], {}),
]


@pytest.fixture
def rows(tmp_path):
    return encoder(tmp_path / "rows.onnx", ROWS, {"image_embeds": ["count", 12]})


def faces(count=10, channels=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 24, 24, channels), np.uint8)


def expected(pictures, mean, deviation):
    resized = [
        np.asarray(Image.fromarray(np.repeat(p, 3 // p.shape[-1], -1)).resize((SIZE, SIZE), 3))
        for p in pictures
    ]
    normal = (np.stack(resized) / 255.0 - mean) / deviation
    pooled = normal.reshape(len(pictures), 2, 8, 2, 8, 3).mean((2, 4))
    return pooled.transpose(0, 3, 1, 2).reshape(len(pictures), -1)


@pytest.mark.parametrize(
    ("kind", "mean", "deviation"),
    [
        ("clip", [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]),
        ("dinov2", [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_features_are_those_of_pictures_prepared_as_the_authors_do(
    rows, kind, mean, deviation, channels
):
    given = faces(channels=channels)
    [made] = BackboneFeatures(f"{kind}:{rows}", batch_size=4)(given)
    np.testing.assert_allclose(made, expected(given, mean, deviation), atol=1e-5)
    [floats] = BackboneFeatures(f"{kind}:{rows}")(given / np.float32(127.5) - 1)
    np.testing.assert_array_equal(floats, made)


def test_of_tokens_the_first_is_taken_and_of_several_outputs_the_row(tmp_path):
    nodes = [
        ("AveragePool", ["pixel_values"], ["p"], {"kernel_shape": [8, 8], "strides": [8, 8]}),
        ("Flatten", ["p"], ["rows"], {}),
        ("AveragePool", ["pixel_values"], ["q"], {"kernel_shape": [8, 16]}),
        ("Squeeze", ["q", "last"], ["tokens"], {}),
    ]
    last = helper.make_node("Constant", [], ["last"], value=helper.make_tensor("v", 7, [1], [3]))
    path = encoder(tmp_path / "tokens.onnx", nodes, {"tokens": ["count", 3, 9]})
    model = onnx.load(path)
    model.graph.node.insert(0, last)
    onnx.save(model, path)
    features = BackboneFeatures(f"dinov2:{path}")
    assert features(faces(2))[0].shape == (2, 9)
    assert features.protocol["output"] == "tokens, first token"
    model.graph.output.append(helper.make_tensor_value_info("rows", 1, ["count", 12]))
    onnx.save(model, path)
    features = BackboneFeatures(f"dinov2:{path}")
    assert features(faces(2))[0].shape == (2, 12)
    assert features.protocol["output"] == "rows"


def test_scores_name_the_network_and_equal_the_distance_of_its_features(rows, tmp_path, capsys):
    model = kf.create_model("dense_vae", image_size=32, channels=1, hidden_units=4, latent_dim=2)
    stream = kf.data.open_faces("orl", image_size=32, channels=1, batch_size=8, split="all")
    result = kf.metrics.score(
        model, stream, 40, scores=["frechet_backbone_distance"], backbone=f"clip:{rows}"
    )
    features = BackboneFeatures(f"clip:{rows}")
    both = features(stream.sample(40, 0)), features(model.generate(40, 0, "prior"))
    value = result["rows"]["prior"]["frechet_backbone_distance"]["value"]
    with pytest.warns(UserWarning):
        assert value == pytest.approx(frechet_distance(both[0][0], both[1][0]), rel=1e-6)
    needs = result["needs"]["backbone"]
    assert needs["backbone"] == "clip" and len(needs["backbone_sha256"]) == 64

    model.save(tmp_path / "model.keras")
    words = ["evaluate", str(tmp_path / "model.keras"), "--data", "orl", "--count", "20"]
    out = tmp_path / "scores.json"
    assert main([*words, "--backbone", f"clip:{rows}", "--out", str(out)]) == 0
    rows_of = json.loads(out.read_text())["rows"]
    assert set(NAMES) <= rows_of["prior"].keys()
    assert rows_of["real"]["frechet_backbone_distance"]["value"] >= 0
    assert "backbone clip" in capsys.readouterr().out


def test_without_a_backbone_its_scores_are_left_out_or_say_what_is_missing(tmp_path):
    assert not set(NAMES) & set(kf.metrics.scores.resolve_scores(None))
    model = kf.create_model("dense_vae", image_size=32, channels=1, hidden_units=4, latent_dim=2)
    stream = kf.data.open_faces("orl", image_size=32, channels=1, batch_size=8, split="all")
    result = kf.metrics.score(model, stream, 10, scores=NAMES)
    assert all("clip:FILE.onnx" in result["not_computed"][name] for name in NAMES)


def test_a_place_or_file_that_is_no_encoder_is_refused_in_a_line(tmp_path, rows):
    (tmp_path / "damaged.onnx").write_bytes(rows.read_bytes()[:60])
    text = {"pixel_values": ["count", 3, SIZE, SIZE], "input_ids": ["count", 7]}
    two = encoder(tmp_path / "two.onnx", ROWS, {"image_embeds": ["count", 12]}, text)
    grey = {"pixel_values": ["count", 1, SIZE, SIZE]}
    one = encoder(tmp_path / "grey.onnx", ROWS, {"image_embeds": ["count", 4]}, grey)
    maps = encoder(tmp_path / "maps.onnx", ROWS[:1], {"pooled": ["count", 3, 2, 2]})
    for place, words in {
        str(rows): "of which kind",
        f"resnet:{rows}": "no kind of backbone",
        f"clip:{tmp_path / 'none.onnx'}": "no file",
        f"clip:{tmp_path / 'damaged.onnx'}": "no ONNX file that runs",
        f"clip:{two}": "Export the image encoder alone",
        f"clip:{one}": "does not take pictures",
        f"clip:{maps}": "neither one row a picture nor rows of tokens",
    }.items():
        with pytest.raises(kf.UserError, match=words) as raised:
            BackboneFeatures(place)
        assert "\n" not in str(raised.value)


def test_a_flag_that_no_score_needs_is_refused(rows, capsys):
    words = [
        "evaluate",
        "vae-orl-64",
        "--backbone",
        f"clip:{rows}",
        "--scores",
        "laplacian_variance",
    ]
    assert main(words) == 2
    assert "--backbone is given" in capsys.readouterr().err
