"""What tests/test_devices.py runs in processes of its own, as JAX counts its devices once.

    python tests/training_together.py ROLE FOLDER [MODEL ...]

Roles: `alone` trains on one device and on two, begins a run on one and ends it on two; between,
two processes of role `together` go on with it, on two devices each. Of two processes of role
`dying` the one that VICTIM names kills itself.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
from PIL import Image

import keras_faces as kf
from keras_faces import session
from keras_faces.callbacks import Budget
from keras_faces.checkpoints import variables_of
from keras_faces.process import python
from keras_faces.training import devices

ROLE, FOLDER, MODELS = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
NUMBER = int(os.environ.get("KERAS_DISTRIBUTION_PROCESS_ID", 0))
SMALL = {
    "filters": 4,
    "hidden_units": 8,
    "latent_dim": 8,
    "residual_blocks": 1,
    "critic_steps": 2,
    "pool_size": 20,  # full, and exchanging, after two steps
    "image_size": 32,
    "channels": 1,
}
# By plain gradients: first steps of Adam and RMSprop make a whole step of what is nothing but
# rounding, of which these two have most.
RATES = {"cyclegan": 1e-4, "vaegan": 1e-5}
RUN = {"data": "orl", "image_size": 32, "hidden_units": 8, "latent_dim": 4, "mirror": True}
RUN |= {"batch_size": 60, "steps": 12, "steps_per_execution": 2, "count": 0}  # two epochs
RUN |= {"schedule": "cosine", "grid_every": 1, "score_every": 1}
RUN |= {"scores": ["laplacian_variance"], "best": "laplacian_variance"}


def main() -> None:
    devices.HEARTBEAT, session.LATE = 5, 1
    {"alone": alone, "together": together, "dying": dying}[ROLE]()


def alone() -> None:
    learn("one")
    with kf.distribute():
        assert devices.device_count() == 2
        learn("two")
    with stopped_after(4):
        kf.train("dense_vae", run=FOLDER / "relay", **RUN)
    for number in range(2):
        draw_pictures(FOLDER / f"faces {number}", seed=number)
    pair("together")
    kf.resume(FOLDER / "relay", all_devices=True)
    session._export = lambda run, model: []  # takes seconds
    kf.train("dense_vae", run=FOLDER / "unbroken", **RUN)


def together() -> None:
    with refused("a batch that devices do not divide"), kf.distribute():
        assert devices.device_count() == 4 and devices.part() == (NUMBER, 2)
        learn(f"process {NUMBER}")
        model("dense_vae").fit(faces(batch_size=6), epochs=1, verbose=0)
    mistakes(run=FOLDER / "mistakes", all_devices=True, **RUN)
    assert not (FOLDER / "mistakes").exists()
    with stopped_after(8, asks=NUMBER == 1):
        kf.resume(FOLDER / "relay", all_devices=True)


def mistakes(**usual) -> None:
    with refused("another plan"):
        kf.train("dense_vae", **{**usual, "steps": 12 + 6 * NUMBER})
    one = {"batch_size": 4, "steps_per_execution": 1}
    with refused("other pictures"):
        kf.train("dense_vae", **{**usual, "data": FOLDER / f"faces {NUMBER}", **one})
    with refused("a folder that one does not see"):
        kf.train("dense_vae", **{**usual, "run": FOLDER / f"mistakes {NUMBER}"})
    versions, devices.versions = devices.versions, lambda: {"keras": f"3.{NUMBER}"}
    with refused("other versions"):
        kf.train("dense_vae", **usual)
    devices.versions = versions
    with refused("faces that are no stream"), kf.distribute():
        model("dense_vae").fit(np.zeros((8, 32, 32, 1), "float32"), verbose=0)


def dying() -> None:
    with stopped_after(4, asks=str(NUMBER) == os.environ["VICTIM"], by=signal.SIGKILL):
        kf.train("dense_vae", run=FOLDER / "run", all_devices=True, checkpoint_seconds=0.01, **RUN)


def faces(batch_size: int = 8, **options):
    return kf.data.open_faces("orl", image_size=32, channels=1, batch_size=batch_size, **options)


def model(name: str) -> keras.Model:
    known = kf.models.hyperparameters(name)
    given = {key: SMALL[key] for key in SMALL if key in known}
    if "conditions" in known:
        given["conditions"] = ",".join(faces(labels="identity").label_names)
    made = kf.create_model(name, seed=3, ema=0.9, **given)
    plain = {
        player.name: keras.optimizers.SGD(RATES[name]) for player in made.players if name in RATES
    }
    made.compile(plain or None)
    return made


def draw_pictures(folder: Path, seed: int) -> None:
    folder.mkdir()
    for number, pixels in enumerate(np.random.default_rng(seed).integers(0, 256, (8, 40, 40))):
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")


def learn(what: str) -> None:
    """Train every model for five steps and keep all its variables, before and after."""
    for name in MODELS:
        made = model(name)
        labels = "identity" if made.conditional else None
        begun = {key: variable.numpy() for key, variable in variables_of(made).items()}
        made.fit(faces(labels=labels), epochs=1, steps_per_epoch=5, verbose=0)
        learnt = {f"learnt/{key}": v.numpy() for key, v in variables_of(made).items()}
        np.savez(FOLDER / f"{name} {what}.npz", **begun, **learnt)


@contextlib.contextmanager
def refused(what: str):
    """Keep the error that is raised within."""
    try:
        yield
    except kf.UserError as error:
        with open(FOLDER / f"refused {NUMBER}.json", "a", encoding="utf-8") as file:
            file.write(json.dumps([what, str(error)]) + "\n")
    else:
        raise AssertionError(f"{what} went through")


@contextlib.contextmanager
def stopped_after(step: int, asks: bool = True, by: int = signal.SIGTERM):
    """Send this process a signal after a step, where `asks`; expect that it is stopped then."""
    usual = Budget.on_train_batch_end

    def counted(budget, batch, logs=None):
        usual(budget, batch, logs)
        if asks and budget.step == step:
            os.kill(os.getpid(), by)

    Budget.on_train_batch_end = counted
    try:
        yield
    except session.Interrupted as stop:
        assert f"at step {step};" in str(stop), stop
    else:
        raise AssertionError("nothing has stopped it")
    finally:
        Budget.on_train_batch_end = usual


def pair(role: str) -> None:
    """Run two processes that find each other, in a role."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    given = python(__file__, role, str(FOLDER), *MODELS)
    names = devices.NAMES
    started = [
        subprocess.Popen(given["args"], env=given["env"] | dict(zip(names, (address, "2", number))))
        for number in "01"
    ]
    assert [process.wait() for process in started] == [0, 0]


if __name__ == "__main__":
    main()
