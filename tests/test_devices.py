"""Several devices and several processes learn what one does, stop together, and end together."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import keras_faces as kf
from keras_faces.checkpoints import list_checkpoints, read_latest
from keras_faces.runs import Run
from keras_faces.training.devices import GONE, NAMES, largest

pytest.importorskip("jax")

SCRIPT = str(Path(__file__).with_name("training_together.py"))
QUICK = ["dense_vae", "dcgan"]


def environment(devices: int, **more) -> dict:
    flags = f"--xla_force_host_platform_device_count={devices} --xla_cpu_multi_thread_eigen=false"
    usual = {name: value for name, value in os.environ.items() if name not in NAMES}
    home = str(Path(kf.__file__).parents[1])
    own = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags, "PYTHONPATH": home}
    own["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # they take longer than the few steps
    return {**usual, **own, **more}


def run_alone(folder, models):
    done = subprocess.run(
        [sys.executable, SCRIPT, "alone", str(folder), *models],
        env=environment(2),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def require_learnt_the_same(folder, name):
    one = np.load(folder / f"{name} one.npz")
    learnt = [key for key in one.files if key.startswith("learnt/")]
    assert any(np.abs(one[key] - one[key[7:]]).max() > 1e-4 for key in learnt if one[key].size)
    for place in ("two", "process 0", "process 1"):
        other = np.load(folder / f"{name} {place}.npz")
        assert other.files == one.files
        for key in one.files:
            # Of optimizers and means, some are large.
            allowed = 0 if key.startswith("learnt/model") else 1e-4
            message = f"{name} on {place}: {key}"
            np.testing.assert_allclose(other[key], one[key], allowed, 1e-5, err_msg=message)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder in which one device, two, and two processes of two have trained."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # whichever worker comes first makes it for all
        folder = folder.parent
    folder, done = folder / "together", folder / "together.done"
    try:
        folder.mkdir()
    except FileExistsError:
        while not done.exists():
            time.sleep(0.5)
        return folder
    try:
        run_alone(folder, QUICK)
    finally:
        done.touch()
    return folder


@pytest.mark.parametrize("name", QUICK)
def test_two_devices_and_two_processes_learn_what_one_device_does(name, trained):
    require_learnt_the_same(trained, name)


@pytest.mark.slow
def test_every_model_learns_the_same_on_two_devices_and_in_two_processes(tmp_path):
    models = [name for name in kf.list_models() if name not in QUICK]
    run_alone(tmp_path, models)
    for name in models:
        require_learnt_the_same(tmp_path, name)


def test_a_run_goes_on_on_more_and_on_fewer_devices_as_if_it_had_not_stopped(trained):
    # One device to step 4, four of two processes to step 8, then two of one process.
    relay, unbroken = Run(trained / "relay"), Run(trained / "unbroken")
    found, expected = (read_latest(run.checkpoints)[1] for run in (relay, unbroken))
    assert found.keys() == expected.keys()
    for key in expected:
        np.testing.assert_allclose(found[key], expected[key], 1e-5, 1e-5, err_msg=key)
    rows = relay.rows(), unbroken.rows(), relay.score_rows.rows(), unbroken.score_rows.rows()
    for row, other in zip(rows[0] + rows[2], rows[1] + rows[3], strict=True):
        assert row == pytest.approx(other, rel=1e-4)
    assert len(rows[0]) == len(rows[2]) == 2
    assert [path.name for path in sorted(relay.grids.iterdir())] == [
        path.name for path in sorted(unbroken.grids.iterdir())
    ]


def test_what_a_run_on_several_devices_leaves_is_a_model_like_any_other(trained):
    relay = Run(trained / "relay")
    assert relay.best_path.is_file() and relay.saved_model.is_dir()
    found, expected = (
        kf.load_model(trained / name).generate(4, seed=0, sampler="fitted")
        for name in ("relay", "unbroken")
    )
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize(
    "mistake, message",
    [
        ("a batch that devices do not divide", "4 devices cannot share a batch of 6.*4 or 8"),
        ("another plan", "Process 1 differs from process 0 in plan.steps: 18, not 12"),
        ("other pictures", "Process 1 differs from process 0 in faces.fingerprint"),
        ("a folder that one does not see", "Process 1 does not see the run folder.*share"),
        ("other versions", "Process 1 differs from process 0 in versions.keras: '3.1', not '3.0'"),
        ("faces that are no stream", "kf.data.load"),
    ],
)
def test_what_processes_cannot_share_is_refused_in_each_of_them(mistake, message, trained):
    for number in range(2):
        lines = (trained / f"refused {number}.json").read_text().splitlines()
        with pytest.raises(kf.UserError, match=message):
            raise kf.UserError(dict(map(json.loads, lines))[mistake])


@pytest.mark.parametrize("victim", [1, pytest.param(0, marks=pytest.mark.slow)])
def test_a_killed_process_ends_the_others_with_a_line_and_leaves_a_whole_checkpoint(
    victim, tmp_path
):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        cluster = {NAMES[0]: f"127.0.0.1:{free.getsockname()[1]}", NAMES[1]: "2"}
    processes = []
    for number in range(2):
        given = environment(1, VICTIM=str(victim), **cluster, **{NAMES[2]: str(number)})
        command = [sys.executable, SCRIPT, "dying", str(tmp_path)]
        pipe = subprocess.PIPE
        processes.append(subprocess.Popen(command, env=given, stderr=pipe, text=True))
    assert processes[victim].wait() == -signal.SIGKILL
    begun = time.monotonic()
    said = processes[1 - victim].communicate(timeout=60)[1]
    processes[victim].stderr.close()
    assert time.monotonic() - begun < 60 and processes[1 - victim].returncode != 0
    assert GONE in said.splitlines() and "@ 0x" not in said and "Traceback" not in said
    run = Run(tmp_path / "run")
    assert list_checkpoints(run.checkpoints)
    assert read_latest(run.checkpoints)[0]["step"] == 2


def test_on_tensorflow_several_devices_are_refused():
    if kf.training.backend.keras.backend.backend() != "tensorflow":
        pytest.skip("of TensorFlow")
    with pytest.raises(kf.UserError, match="needs JAX: set KERAS_BACKEND=jax"):
        kf.distribute()
    with pytest.raises(kf.UserError, match="needs JAX"):
        kf.train("dense_vae", all_devices=True)


def test_a_process_alone_agrees_with_itself():
    assert largest(3, 0) == [3, 0]


MISTAKEN = """
import json, os, sys
import keras_faces as kf

for given in json.loads(sys.argv[1]):
    os.environ.update(given)
    try:
        kf.distribute()
    except kf.UserError as error:
        print(error)
os.environ.update(dict.fromkeys(given, ""))
with kf.distribute():
    try:
        kf.train("dense_vae", data="orl")
    except kf.UserError as error:
        print(error)
"""


def test_what_describes_no_cluster_is_refused_and_does_no_harm():
    mistakes = [("", "2", ""), ("127.0.0.1:1", "two", "0"), ("127.0.0.1:1", "2", "2")]
    given = json.dumps([dict(zip(NAMES, values, strict=True)) for values in mistakes])
    command = [sys.executable, "-c", MISTAKEN, given]
    done = subprocess.run(command, env=environment(2), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    expected = ("coordinator_address should be", "invalid literal for int", "process_id")
    for line, words in zip(said[:3], expected, strict=True):
        assert "Cannot join the processes" in line and words in line and NAMES[1] in line
    assert said[3:] == ["kf.train and kf.resume take all_devices=True instead of kf.distribute()."]
