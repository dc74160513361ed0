"""Model files from strangers, and damaged ones: refused in a line before anything is built."""

import io
import json
import zipfile

import h5py
import keras
import numpy as np
import pytest

import keras_faces as kf
from keras_faces.cli import main
from keras_faces.files import write_whole
from keras_faces.runs import Run
from keras_faces.saving import build_model, describe

TINY = {"image_size": 32, "channels": 1, "latent_dim": 4, "hidden_units": 8}
WEIGHTS = "model.weights.h5"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model's file, and the model."""
    model = kf.create_model("dense_vae", **TINY)
    model.compile()
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    model.save(path)
    return path, model


def members_of(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items() if isinstance(members, dict) else members:
            archive.writestr(name, data)
    return path


def refusal(path, load=kf.load_model):
    """Return the line with which a file is refused."""
    with pytest.raises(kf.UserError) as raised:
        load(path)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.fixture
def changed(saved, tmp_path):
    """Write the model's file with another config or other weights."""

    def write_changed(config=None, weights=None):
        members = members_of(saved[0])
        if config is not None:
            given = json.loads(members["config.json"])
            members["config.json"] = json.dumps(config(given) or given)
        if weights is not None:
            data = io.BytesIO(members[WEIGHTS])
            with h5py.File(data, "r+") as file:
                weights(file)
            members[WEIGHTS] = data.getvalue()
        return write(tmp_path / "changed.keras", members)

    return write_changed


# ---------------------------------------------------------------------------------------------
# Classes


def entry(class_name, module="keras.layers", registered=None, config=None):
    return {
        "module": module,
        "class_name": class_name,
        "config": config or {},
        "registered_name": registered,
    }


@keras.saving.register_keras_serializable(package="hostile")
class Canary(keras.layers.Layer):
    """Registered, as classes of many libraries are, and not a model of ours."""

    @classmethod
    def from_config(cls, config):
        raise AssertionError("it was built")


@keras.saving.register_keras_serializable(package="hostile")
def canary(*arguments):
    raise AssertionError("it was called")


HOSTILE = {
    "TFSMLayer": entry("TFSMLayer", config={"filepath": "/tmp/x", "call_endpoint": "serve"}),
    "Lambda": entry("Lambda", config={"function": entry("__lambda__", "builtins")}),
    "__lambda__": entry("__lambda__", "builtins", config={"value": ["4wE=", None, None]}),
    "TorchModuleWrapper": entry("TorchModuleWrapper", config={"module": "gASVAA=="}),
    "JaxLayer": entry("JaxLayer"),
    "FlaxLayer": entry("FlaxLayer"),
    "StringLookup": entry("StringLookup", config={"vocabulary": "/etc/passwd"}),
    "Dense": entry("Dense", config={"units": 1}),
    "Sequential": entry("Sequential", "keras", config={"layers": []}),
    "Functional": entry("Functional", "keras.src.models.functional"),
    "system": entry("system", "os"),
    "Popen": entry("Popen", "subprocess", config={"args": ["touch", "x"]}),
    "function": entry("function", "builtins", "system", "system"),
    "get_file": entry("function", "keras.utils", "get_file", "get_file"),
    "__typespec__": {**entry("__typespec__", "tensorflow", config=[1]), "spec_name": "x"},
    "__numpy__": entry("__numpy__", None, config={"value": [1], "dtype": "O"}),
    "__bytes__": entry("__bytes__", None, config={"value": "x"}),
    "__keras_tensor__": entry("__keras_tensor__", None),
    "Canary": entry("Canary", "keras.optimizers", "hostile>Canary"),
    "canary": entry("function", "keras.optimizers", "hostile>canary", "hostile>canary"),
    # Names that Keras takes for another class than one reading the text does.
    "hostile>Canary": entry("Adam", "keras.optimizers", "hostile>Canary"),
    "hostile>canary": entry("Adam", "keras.optimizers", "hostile>canary"),
    "__lambda__ as Adam": entry("__lambda__", "keras.optimizers", "keras_faces>VAE"),
    "Decay as a function": entry("function", "keras.optimizers", "keras_faces>Decay", "os"),
    "schedules": entry("schedules", "keras.optimizers"),
    "deserialize": entry("deserialize", "keras.optimizers"),
    "__class__": entry("__class__", "keras.optimizers"),
    "Adam of a list": {**entry("Adam", "keras.optimizers"), "module": ["keras.optimizers"]},
    "shared": {**entry("Dense", config={"units": 1}), "shared_object_id": 1},
    "null": {"class_name": None, "config": {}},
    "a number": {"class_name": 1, "config": {}, "registered_name": ["keras_faces>VAE"]},
    "no config": {"class_name": "TFSMLayer", "module": "keras.layers"},
    "escape": entry("\x1b[2J\nTFSMLayer"),
}

PLACES = {
    "the model": lambda given, put: put,
    "an argument": lambda given, put: given["config"].update(latent_dim=put),
    "deep in a list": lambda given, put: given["config"].update(name=[[{"a": [put]}]]),
    "dtype": lambda given, put: given["config"].update(dtype=put),
    "build_config": lambda given, put: given.update(build_config={"input_shape": put}),
    "optimizer": lambda given, put: given["compile_config"].update(optimizer=put),
    "loss": lambda given, put: given["compile_config"].update(loss=put),
    "metrics": lambda given, put: given["compile_config"].update(metrics=[{"a": put}]),
    "weighted_metrics": lambda given, put: given["compile_config"].update(weighted_metrics=[put]),
    "beside": lambda given, put: given["compile_config"].update(anything={"x": put}),
    "learning_rate": lambda given, put: first_optimizer(given)["config"].update(learning_rate=put),
}


def first_optimizer(given):
    return next(iter(given["compile_config"]["optimizer"]["config"]["optimizers"].values()))


@pytest.mark.parametrize("place", PLACES)
def test_no_class_but_our_models_and_keras_optimizers_is_built_from_a_file(
    changed, place, monkeypatch
):
    def build(*arguments, **named):
        raise AssertionError("something was built")

    monkeypatch.setattr(keras.saving, "deserialize_keras_object", build)
    for name, hostile in HOSTILE.items():
        if name in ("Sequential", "Functional") and place == "an argument":
            continue  # networks are a model's arguments; see test_own_networks.py
        line = refusal(changed(lambda given, put=hostile: PLACES[place](given, put)))
        told = hostile["class_name"] and ascii(hostile["class_name"])
        assert "names" in line and (told or "no class") in line, (name, line)


@pytest.mark.parametrize("name", HOSTILE)
def test_an_optimizer_in_a_config_json_is_no_other_way_in(saved, name, tmp_path):
    config = describe(saved[1])
    config["optimizer"]["config"]["optimizers"]["dense_vae"] = HOSTILE[name]
    assert "names" in refusal(config, build_model)
    Run(tmp_path).write_config({**config, "optimizer": HOSTILE[name], "steps_per_epoch": None})
    assert "names" in refusal(Run(tmp_path).config(), build_model)


def test_all_optimizers_and_schedules_of_keras_come_back(tmp_path):
    schedules = keras.optimizers.schedules
    for number, optimizer in enumerate(
        (
            keras.optimizers.Adam(schedules.CosineDecay(0.01, 100)),
            keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1, momentum=0.9)),
            keras.optimizers.Lion(kf.training.schedules.Decay(0.01, "linear", 5, 0.1, 0)),
            keras.optimizers.RMSprop(0.01, use_ema=True),
        )
    ):
        model = kf.create_model("dense_vae", **TINY)
        model.compile(optimizer)
        model.save(tmp_path / f"{number}.keras")
        loaded = kf.load_model(tmp_path / f"{number}.keras")
        assert describe(loaded)["optimizer"] == describe(model)["optimizer"]
        rebuilt = build_model(json.loads(json.dumps({**describe(model)})))
        assert describe(rebuilt)["optimizer"] == describe(model)["optimizer"]


def test_a_model_of_ones_own_is_loaded_where_it_is_registered(tmp_path):
    @keras.saving.register_keras_serializable(package="own")
    class Own(kf.models.DenseVAE):
        pass

    model = Own(**TINY)
    model.save(tmp_path / "own.keras")
    assert type(kf.load_model(tmp_path / "own.keras")) is Own


# ---------------------------------------------------------------------------------------------
# The archive


@pytest.mark.parametrize(
    ("edit", "word"),
    [
        (lambda m: {**m, "assets/x": b"x"}, "assets/x"),
        (lambda m: {**m, "../x": b"x"}, "../x"),
        (lambda m: {**m, "\x1b[2J\nx": b"x"}, r"\x1b"),
        (lambda m: {"model.weights.npz" if k == WEIGHTS else k: v for k, v in m.items()}, "npz"),
        (lambda m: {k: v for k, v in m.items() if k != "metadata.json"}, "metadata.json"),
        (lambda m: {}, "nothing"),
        (lambda m: [*m.items(), ("config.json", b"{}")], "config.json"),
        (lambda m: {**m, "config.json": b" " * (1 << 20) + m["config.json"]}, "at most"),
        (lambda m: {**m, WEIGHTS: m[WEIGHTS] + bytes(1 << 25)}, "at most"),
        (lambda m: {**m, "config.json": b"[" * 200_000}, "recursion"),
        (lambda m: {**m, "config.json": b"null"}, "NoneType"),
        (lambda m: {**m, "config.json": b"[1, 2]"}, "list"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_with_other_members_than_a_models_is_refused(saved, tmp_path, edit, word):
    path = write(tmp_path / "edited.keras", edit(members_of(saved[0])))
    assert word in refusal(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_unpacks_to_more_than_is_there_is_refused_unread(saved, tmp_path, method, monkeypatch):
    members = {**members_of(saved[0]), "config.json": bytes(1 << 24)}
    path = write(tmp_path / "bomb.keras", members, method)
    monkeypatch.setattr(zipfile.ZipFile, "open", None)
    assert "compressed" in refusal(path)


def variables(model):
    return [v.numpy() for v in (*model.variables, *model.optimizer.variables)]


def flipped(data, position, bit):
    data = bytearray(data)
    data[position] ^= 1 << bit
    return bytes(data)


def assert_same_or_refused(data, model, path):
    """Load a damaged file; return whether it was refused."""
    path.write_bytes(data)
    try:
        loaded = kf.load_model(path)
    except kf.UserError as error:
        assert "\n" not in str(error)
        return True
    for ours, theirs in zip(variables(model), variables(loaded), strict=True):
        assert np.array_equal(ours, theirs)
    assert {**loaded.get_config(), "name": None} == {**model.get_config(), "name": None}
    return False


def test_a_flipped_bit_gives_the_same_model_or_is_refused(saved, tmp_path):
    path, model = saved
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: info for info in archive.infolist()}
    directory = data.index(b"PK\1\2")
    random = np.random.default_rng(0)
    for name, info in members.items():  # what a member holds has a checksum
        first = info.header_offset + 30 + len(name)
        for position in random.integers(first, first + info.file_size, 10):
            damaged = flipped(data, position, random.integers(8))
            assert assert_same_or_refused(damaged, model, tmp_path / "flipped.keras")
    heads = [info.header_offset + i for info in members.values() for i in range(30)]
    for position in random.choice([*heads, *range(directory, len(data))], 30):
        damaged = flipped(data, position, random.integers(8))
        assert_same_or_refused(damaged, model, tmp_path / "flipped.keras")
    for size in random.integers(0, len(data), 20):
        assert assert_same_or_refused(data[:size], model, tmp_path / "flipped.keras")


@pytest.mark.slow
def test_every_flipped_bit_outside_of_the_weights_gives_the_same_model_or_is_refused(
    saved, tmp_path
):
    path, model = saved
    data = path.read_bytes()
    weights = data.index(b"\x89HDF")
    for position in [*range(weights), *range(data.index(b"PK\1\2"), len(data))]:
        for bit in range(8):
            assert_same_or_refused(flipped(data, position, bit), model, tmp_path / "flipped.keras")


# ---------------------------------------------------------------------------------------------
# The weights


def first_dataset(file):
    names = []
    file.visititems(lambda name, item: names.append(name) if hasattr(item, "shape") else None)
    name = max(names, key=lambda name: file[name].size)
    return name, file[name].shape


def external(file, secret):
    name, shape = first_dataset(file)
    del file[name]
    file.create_dataset(name, shape, "float32", external=[(secret, 0, h5py.h5f.UNLIMITED)])


def virtual(file, secret):
    name, shape = first_dataset(file)
    del file[name]
    layout = h5py.VirtualLayout(shape, "float32")
    layout[...] = h5py.VirtualSource(secret, "x", shape)
    file.create_virtual_dataset(name, layout)


def bomb(file, secret):
    name, _ = first_dataset(file)
    del file[name]
    file.create_dataset(name, (1 << 29,), "float32", chunks=(1 << 20,), compression="gzip")


def never_written(file, secret):
    name, _ = first_dataset(file)
    del file[name]
    file.create_dataset(name, (1 << 29,), "float32", fillvalue=1)


def compressed(file, secret):
    name, shape = first_dataset(file)
    del file[name]
    file.create_dataset(name, shape, "float32", data=np.ones(shape), compression="gzip")


def linked(link):
    def put(file, secret):
        name, _ = first_dataset(file)
        del file[name]
        file[name] = link(secret)

    return put


def linked_group(file, secret):
    file["layers"] = h5py.ExternalLink(secret, "/")


def objects(file, secret):
    file.create_dataset("text", data=["x" * 9], dtype=h5py.string_dtype())


WEIGHT_TRICKS = {
    "external": external,
    "virtual": virtual,
    "bomb": bomb,
    "never written": never_written,
    "compressed": compressed,
    "external link": linked(lambda secret: h5py.ExternalLink(secret, "x")),
    "soft link": linked(lambda secret: h5py.SoftLink("/elsewhere")),
    "group": linked_group,
    "objects": objects,
}


@pytest.mark.parametrize("trick", WEIGHT_TRICKS)
def test_weights_that_lie_elsewhere_are_refused_unread(changed, saved, trick, tmp_path):
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["x"] = np.full((1024, 8), 42, np.float32)
    path = changed(weights=lambda file: WEIGHT_TRICKS[trick](file, str(secret)))
    assert "within the file" in refusal(path)
    # The other doors to weights.
    model = kf.create_model("dense_vae", **TINY)
    assert "within the file" in refusal(path, model.load_weights)
    alone = write_whole(tmp_path / "alone.weights.h5", members_of(path)[WEIGHTS])
    assert "within the file" in refusal(alone, model.load_weights)


def test_hard_links_in_a_circle_end(changed):
    def circle(file):
        file["layers_again"] = file["/"]

    assert kf.load_model(changed(weights=circle)).generate(1).shape == (1, 32, 32, 1)


def test_weights_are_loaded_from_whole_files_alone(saved, tmp_path):
    path, model = saved
    other = kf.create_model("dense_vae", seed=7, **TINY)
    other.load_weights(path)
    assert np.array_equal(other.generate(2), model.generate(2))
    data = path.read_bytes()
    damaged = write_whole(tmp_path / "a.keras", flipped(data, len(data) // 2, 0))
    assert "CRC" in refusal(damaged, other.load_weights)
    (tmp_path / "a.weights.json").write_text('{"weight_map": {"/vars": "../../x"}}')
    assert "neither in" in refusal(tmp_path / "a.weights.json", other.load_weights)
    (tmp_path / "a.weights.h5").write_bytes(b"no HDF5")
    assert "does not hold the weights" in refusal(tmp_path / "a.weights.h5", other.load_weights)
    assert refusal(tmp_path / "b.weights.h5", other.load_weights)


# ---------------------------------------------------------------------------------------------
# Numbers that are not finite


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_a_model_that_cannot_make_finite_pictures_is_refused(tmp_path, value):
    model = kf.create_model("dense_vae", **TINY)
    model.compile()
    weights = max(model.variables, key=lambda variable: np.prod(variable.shape))
    weights.assign(np.full(weights.shape, value))
    model.save(tmp_path / "model.keras")
    assert "not finite" in refusal(tmp_path / "model.keras")
    other = kf.create_model("dense_vae", **TINY)
    assert "not finite" in refusal(tmp_path / "model.keras", other.load_weights)


def test_no_command_makes_pictures_with_weights_that_are_not_finite(tmp_path, orl_path, capsys):
    model = kf.create_model("cyclegan", image_size=32, channels=1, filters=2, residual_blocks=1)
    model.variables[-1].assign(np.full(model.variables[-1].shape, np.nan))
    model.save(tmp_path / "cyclegan.keras")
    picture = str(orl_path / "s1" / "1.pgm")
    vae = kf.create_model("dense_vae", **TINY)
    vae.variables[-1].assign(np.full(vae.variables[-1].shape, np.nan))
    vae.save(tmp_path / "vae.keras")
    cyclegan, vae = str(tmp_path / "cyclegan.keras"), str(tmp_path / "vae.keras")
    for arguments in (
        ["generate", vae],
        ["reconstruct", vae, picture],
        ["blend", vae, picture, picture],
        ["translate", cyclegan, picture],
        ["export", vae],
        ["evaluate", vae, "--data", "orl"],
    ):
        assert main(arguments) == 2, arguments
        told = capsys.readouterr().err
        assert "not finite" in told and told.count("\n") == 1, (arguments, told)
