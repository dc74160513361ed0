"""Inception's features: the network's own numbers, from the right weights or none at all."""

import hashlib
import itertools
import random
import shutil

import cv2
import h5py
import keras
import numpy as np
import pytest

from keras_faces.errors import NotComputed, UserError
from keras_faces.metrics import SCORES, inception
from keras_faces.metrics.inception import FILE, VARIABLE, InceptionFeatures, find_weights


@pytest.fixture(scope="module")
def network():
    """InceptionV3 with random weights, of which features differ from picture to picture."""
    whole = keras.applications.InceptionV3(weights=None)
    rng = np.random.default_rng(0)
    whole.set_weights(
        [w * 1.4 if w.ndim == 4 else w + rng.uniform(0, 0.1, w.shape) for w in whole.get_weights()]
    )
    return whole


@pytest.fixture(scope="module")
def weights(network, tmp_path_factory):
    """Its weights in the layout in which Keras publishes its own: layers at the file's root."""
    folder = tmp_path_factory.mktemp("inception")
    network.save(folder / "model.h5")
    with h5py.File(folder / "model.h5") as model, h5py.File(folder / FILE, "w") as file:
        for name, value in model["model_weights"].attrs.items():
            file.attrs[name] = value
        for name in model["model_weights"]:
            model.copy(f"model_weights/{name}", file)
    return folder / FILE


@pytest.fixture(scope="module")
def images():
    # Blocks of colour: noise would look all the same once it is pooled.
    rng = np.random.default_rng(1)
    blocks = rng.integers(0, 256, (5, 6, 8, 3))
    return blocks.repeat(8, axis=1).repeat(8, axis=2).astype(np.uint8)


def state_of_the_process():
    return random.getstate(), np.random.get_state()[1].tolist(), keras.config.dtype_policy().name


@pytest.fixture(scope="module")
def built(weights, images):
    """Features made amid somebody else's work in another precision; its state before and after."""
    keras.config.set_dtype_policy("mixed_float16")
    keras.utils.set_random_seed(3)
    try:
        numbers = [int(keras.layers.Conv2D(1, 1).name.split("_")[-1])]
        before = state_of_the_process()
        features = InceptionFeatures(weights, batch_size=2)
        outputs = features(images)
        after = state_of_the_process()
        numbers.append(int(keras.layers.Conv2D(1, 1).name.split("_")[-1]))
        draw = np.asarray(keras.random.uniform((4,)))  # from Keras's own global seed
    finally:
        keras.config.set_dtype_policy("float32")
    return features, outputs, before, after, numbers, draw


@pytest.fixture
def no_network(tmp_path, monkeypatch):
    """Neither weights nor a network to fetch them by; the home of Keras."""

    def fail(name, origin, **arguments):
        raise Exception(
            f"URL fetch failure on {origin}: None -- [Errno -3] "
            "Temporary failure in name resolution"
        )

    monkeypatch.setattr(keras.utils, "get_file", fail)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.delenv(VARIABLE, raising=False)
    return tmp_path / "keras"


# ---------------------------------------------------------------------------------------------
# The numbers


def test_features_and_probabilities_are_the_networks(built, network, images):
    _, (features, probabilities), *_ = built
    # Resized by OpenCV, whose linear interpolation has half-pixel centres too.
    resized = [cv2.resize(image.astype(np.float32), (299, 299)) for image in images]
    inputs = keras.applications.inception_v3.preprocess_input(np.stack(resized))
    direct = keras.Model(network.input, [network.get_layer("avg_pool").output, *network.outputs])
    expected = [np.asarray(output) for output in direct(inputs, training=False)]
    for array, reference in zip((features, probabilities), expected):
        assert (array.dtype, array.shape) == (np.float32, reference.shape)
        np.testing.assert_allclose(array, reference, rtol=1e-3, atol=1e-5 * reference.max())
    # The test tells one picture from another.
    assert np.abs(features[0] - features[1]).max() > 0.01 * features.max()


def test_a_training_in_progress_is_left_as_it_is(built):
    *_, before, after, numbers, draw = built
    assert before == after
    assert numbers[1] == numbers[0] + 1  # names of layers go on where they were
    keras.utils.set_random_seed(3)
    for _ in numbers:
        keras.layers.Conv2D(1, 1)  # as above, because each draws a seed for its weights
    np.testing.assert_array_equal(np.asarray(keras.random.uniform((4,))), draw)


def test_float_faces_are_those_that_are_saved_and_grey_ones_have_three_channels(built, images):
    features, (expected, _), *_ = built
    floats = (images[:2] / 127.5 - 1).astype(np.float32)
    np.testing.assert_array_equal(features(floats)[0], expected[:2])
    np.testing.assert_array_equal(features(floats + 1e-4)[0], expected[:2])
    grey = images[:1, ..., :1]
    np.testing.assert_array_equal(features(grey)[0], features(grey.repeat(3, axis=-1))[0])


def test_faces_come_in_batches_and_leave_in_batches(built, images):
    features, (expected, _), *_ = built
    # The last is filled up, which nothing shows.
    np.testing.assert_allclose(features([images[:3], images[3:]])[0], expected, rtol=1e-4)
    forever = (images[:2] for _ in itertools.count())
    first, second = itertools.islice(features.batches(forever), 2)
    np.testing.assert_array_equal(first[0], second[0])


@pytest.mark.parametrize(
    "faces, message",
    [
        (np.full((3, 8, 8, 3), np.nan, np.float32), "not finite"),
        (np.full((3, 8, 8, 3), 7.0, np.float32), r"values in \[-1, 1\]"),
        (np.zeros((3, 8, 8, 2), np.uint8), "1 or 3"),
        (np.zeros((8, 8, 3), np.uint8), "shape"),
        (np.zeros((0, 8, 8, 3), np.uint8), "shape"),
        (np.zeros((3, 8, 8, 3), np.int64), "int64"),
        ([], "none"),
        ([3], "shape"),
    ],
)
def test_what_are_no_faces_is_refused(built, faces, message):
    with pytest.raises(UserError, match=message):
        built[0](faces)


def test_bfloat16_is_near_and_its_results_are_float32(built, weights, images):
    _, (expected, _), *_ = built
    features, probabilities = InceptionFeatures(weights, dtype="bfloat16", batch_size=2)(images[:2])
    assert (features.dtype, probabilities.dtype) == (np.float32, np.float32)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    error = np.abs(features - expected[:2]).mean() / expected[:2].mean()
    assert 0 < error < 0.05


# ---------------------------------------------------------------------------------------------
# Which weights


def test_the_file_is_recorded_and_no_score_goes_without_its_mark(built, weights):
    features = built[0]
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert features.weights_path == weights
    assert features.weights_sha256 == features.protocol["weights_sha256"] == digest
    assert features.published is features.protocol["weights_published_by_keras"] is False
    titles = [score.title for score in SCORES.values() if score.features == "inception"]
    assert len(titles) == 7
    assert all(title.endswith(" (keras)") for title in titles)


def test_the_argument_goes_before_the_environment_before_the_cache(
    no_network, tmp_path, monkeypatch, weights
):
    cached = no_network / "models" / FILE
    cached.parent.mkdir(parents=True)
    shutil.copy(weights, cached)
    monkeypatch.setattr(inception, "MD5", hashlib.md5(weights.read_bytes()).hexdigest())
    assert find_weights() == cached
    named = tmp_path / "named.h5"
    named.touch()
    monkeypatch.setenv(VARIABLE, str(named))
    assert find_weights() == named
    assert find_weights(str(weights)) == weights


def test_without_weights_and_network_it_is_not_computed_and_what_to_do_is_said(no_network):
    with pytest.raises(NotComputed) as caught:
        InceptionFeatures()
    message = str(caught.value)
    for part in ("Temporary failure in name resolution", VARIABLE, inception.URL, str(no_network)):
        assert part in message
    assert isinstance(caught.value, UserError)


def test_kerass_own_download_is_used_where_there_is_nothing(no_network, monkeypatch):
    asked = {}

    def get_file(name, origin, **arguments):
        asked.update(arguments, name=name, origin=origin)
        return str(no_network / "models" / name)

    monkeypatch.setattr(keras.utils, "get_file", get_file)
    assert find_weights() == no_network / "models" / FILE
    assert asked["origin"].endswith(FILE) and asked["file_hash"] == inception.MD5
    assert asked["cache_dir"] == str(no_network)


def test_another_file_in_kerass_cache_is_refused_and_not_deleted(no_network):
    cached = no_network / "models" / FILE
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"half of it")
    with pytest.raises(UserError, match="cut short"):
        InceptionFeatures()
    assert cached.read_bytes() == b"half of it"


@pytest.mark.parametrize("variable", [True, False])
def test_a_path_without_a_file_is_refused(no_network, monkeypatch, variable):
    path = no_network / "none.h5"
    if variable:
        monkeypatch.setenv(VARIABLE, str(path))
    with pytest.raises(UserError, match=rf"{VARIABLE if variable else 'weights'} names .*no file"):
        InceptionFeatures(None if variable else path)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "is empty"),
        (b"\n<!DOCTYPE html><html><body>404</body></html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "pointer of Git LFS"),
        (b"PK\x03\x04 and so on", "ZIP archive or a .keras model"),
        (b"\x00" * 100, "is not a HDF5 file"),
        (b"\x89HDF\r\n\x1a\n" + b"\x00" * 100, "is damaged"),
    ],
)
def test_what_are_no_weights_is_refused(tmp_path, content, message):
    path = tmp_path / "weights.h5"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        InceptionFeatures(path)
    assert inception.URL in str(caught.value)


def test_a_file_cut_short_is_refused(tmp_path, weights):
    path = tmp_path / "short.h5"
    path.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(UserError, match="damaged"):
        InceptionFeatures(path)


def test_hdf5_without_weights_is_refused(tmp_path):
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["faces"] = np.zeros(3)
    with pytest.raises(UserError, match="without the weights of a network"):
        InceptionFeatures(tmp_path / "data.h5")


def test_other_layouts_are_read_by_their_names_and_else_to_be_renamed(tmp_path, network, weights):
    network.save_weights(tmp_path / "own.weights.h5")
    shutil.copy(tmp_path / "own.weights.h5", tmp_path / "own.h5")
    shutil.copy(weights, tmp_path / "theirs.weights.h5")
    expected = network.get_weights()
    network.set_weights([np.zeros_like(weight) for weight in expected])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.applications, "InceptionV3", lambda **arguments: network)
        InceptionFeatures(tmp_path / "own.weights.h5")
    for weight, reference in zip(network.get_weights(), expected):
        np.testing.assert_array_equal(weight, reference)
    with pytest.raises(UserError, match=r"Rename it to own\.weights\.h5"):
        InceptionFeatures(tmp_path / "own.h5")
    with pytest.raises(UserError, match=r"Rename it to theirs\.h5"):
        InceptionFeatures(tmp_path / "theirs.weights.h5")


def without_the_top(file):
    names = [name for name in file.attrs["layer_names"] if name not in (b"predictions",)]
    file.attrs["layer_names"] = [name for name in names if name != "predictions"]


def of_another_shape(file):
    group = file["predictions"]
    name = group.attrs["weight_names"][0]
    del group[name]
    group[name] = np.zeros((2048, 10), np.float32)


def without_a_layer(file):
    del file["predictions"]


def with_a_nan(file):
    group = file["predictions"]
    group[group.attrs["weight_names"][0]][5, 5] = np.nan


@pytest.mark.parametrize(
    "change, message",
    [
        (without_the_top, "another network, or is damaged. It looks like the file without the top"),
        (of_another_shape, r"another network, or is damaged.*\(2048, 1000\)"),
        (without_a_layer, "another network, or is damaged"),
        (with_a_nan, "not finite: it is damaged"),
    ],
)
def test_weights_of_another_network_are_refused(
    tmp_path, monkeypatch, network, weights, change, message
):
    own = network.get_weights()
    # Building it takes seconds and is not what is tested.
    monkeypatch.setattr(keras.applications, "InceptionV3", lambda **arguments: network)
    path = tmp_path / ("notop.h5" if change is without_the_top else "weights.h5")
    shutil.copy(weights, path)
    with h5py.File(path, "r+") as file:
        change(file)
    try:
        with pytest.raises(UserError, match=message):
            InceptionFeatures(path)
    finally:
        network.set_weights(own)


def test_a_small_network_is_refused(tmp_path, monkeypatch, network):
    monkeypatch.setattr(keras.applications, "InceptionV3", lambda **arguments: network)
    small = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3)])
    small.save_weights(tmp_path / "small.weights.h5")
    small.save(tmp_path / "small.h5")
    own = network.get_weights()
    for name in ("small.weights.h5", "small.h5"):
        try:
            with pytest.raises(UserError, match="another network"):
                InceptionFeatures(tmp_path / name)
        finally:
            network.set_weights(own)


@pytest.mark.parametrize(
    "arguments, message",
    [({"dtype": "float16"}, "'float32' or 'bfloat16'"), ({"batch_size": 0}, "batch_size must be")],
)
def test_other_arguments_are_refused(weights, arguments, message):
    with pytest.raises(UserError, match=message):
        InceptionFeatures(weights, **arguments)
