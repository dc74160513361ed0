"""Work in processes, and on clusters of Dask and Ray: the same results, whatever goes wrong."""

import contextlib
import importlib
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import zipfile
from pathlib import Path

import joblib
import numpy as np
import psutil
import pytest
from test_cache import Numbered, levels, prepared

import keras_faces as kf
from keras_faces.data import decode, decoding
from keras_faces.data.cache import FaceCache, prepare
from keras_faces.metrics.detection import detected
from keras_faces.parallel import in_parallel, over_pictures


@pytest.fixture(autouse=True)
def _own_cache(own_cache):
    """Nothing is decoded already."""


@pytest.fixture
def in_processes(monkeypatch):
    """Let two processes beside this one decode everything."""

    def refuse(*_):
        raise AssertionError("decoded by this process")

    monkeypatch.setattr(decoding, "FOR_PROCESSES", 1)
    monkeypatch.setattr(decoding, "CHUNK", 4)
    monkeypatch.setattr(decode, "decode_with_size", refuse)
    with joblib.parallel_config(n_jobs=2):
        yield
    assert not workers_after(20)


def workers(process=None) -> list[psutil.Process]:
    found = []
    for child in psutil.Process(process).children():
        with contextlib.suppress(psutil.NoSuchProcess):  # or one that has just ended
            found += [child] if "popen_loky" in " ".join(child.cmdline()) else []
    return found


def workers_after(seconds: float) -> list[psutil.Process]:
    end = time.monotonic() + seconds
    while (there := workers()) and time.monotonic() < end:
        time.sleep(0.02)
    return there


def contents(cache: FaceCache) -> dict:
    """All that a cache holds."""
    arrays = ("people_numbers", "split_hashes", "sides", "contents", "raw_sizes")
    return {
        "rows": cache.read(range(cache.count)).tolist(),
        "meta": {key: value for key, value in cache.meta.items() if key != "source"},
        "bad": cache.bad,
        "names": cache.names,
        **{name: getattr(cache, name).tolist() for name in arrays},
    }


class Mixed:
    """40 pictures, of which some cannot be used, in sources of several kinds."""

    def __init__(self, picture_folder):
        rng = np.random.default_rng(0)
        kinds = rng.choice(["good", "bad", "empty"], 40, p=[0.6, 0.3, 0.1])
        given = {"bad": b"no picture", "empty": b""}
        self.folder = picture_folder(
            {
                f"p{number % 3}/{number}.png": given.get(
                    what, rng.integers(0, 256, (9 + number, 12, 3), np.uint8)
                )
                for number, what in enumerate(kinds)
            }
        )
        self.bad, self.missing = (np.flatnonzero(kinds == kind).tolist() for kind in given)
        self.skipped = len(self.bad + self.missing)

    def source(self, kind: str):
        if kind == "folder":
            return kf.data.open_source(self.folder)
        if kind == "zip":
            path = self.folder.with_suffix(".zip")
            with zipfile.ZipFile(path, "w") as archive:
                for file in sorted(self.folder.rglob("*.png")):
                    archive.write(file, file.relative_to(self.folder))
            return kf.data.open_source(path)
        return Numbered(40, self.bad, self.missing, sequential=kind != "arrays")

    def contents(self, kind: str) -> dict:
        with pytest.warns(kf.data.SkippedPictures, match=f"Skipped {self.skipped} of 40"):
            return contents(prepare(self.source(kind), "center", 8, 3, progress=False))


@pytest.fixture
def mixed(picture_folder):
    return Mixed(picture_folder)


KINDS = ["folder", "zip", "arrays", "one after the other"]


# ---------------------------------------------------------------------------------------------
# Processes


@pytest.mark.parametrize("kind", KINDS)
def test_processes_make_what_threads_and_one_after_the_other_make(
    kind, mixed, own_cache, in_processes, monkeypatch
):
    made = [mixed.contents(kind)]
    monkeypatch.undo()
    for jobs in (1, 2):
        monkeypatch.setenv("KERAS_FACES_CACHE", f"{own_cache}-{jobs}")
        with joblib.parallel_config(n_jobs=jobs):
            made.append(mixed.contents(kind))
    assert made == [made[0]] * 3
    assert len(made[0]["names"]) == 40 - mixed.skipped == len(made[0]["rows"])


def test_few_pictures_start_no_process():
    assert levels(prepared(Numbered(60))) == list(range(60))
    assert detected(np.zeros((3, 32, 32, 1), np.float32)).tolist() == [False] * 3
    assert not workers()


def test_ctrl_c_leaves_no_process_behind_and_the_next_run_goes_on(in_processes, monkeypatch):
    monkeypatch.setattr(decoding, "NOTE_BYTES", 10 * 64)
    with pytest.raises(KeyboardInterrupt):
        prepared(Numbered(400, stop=393))
    assert not workers_after(20)
    again = Numbered(400)
    assert levels(prepared(again)) == [n % 256 for n in range(400)]
    assert min(again.reads) >= 10


def test_a_process_that_is_killed_is_told_of_and_the_next_run_goes_on(in_processes):
    class Killing(Numbered):
        def read(self, name):
            if name == "93.png":
                for process in workers():
                    process.kill()
            return super().read(name)

    with pytest.raises(kf.UserError, match=r"was killed.*run the same again") as told:
        prepared(Killing(400))
    assert "\n" not in str(told.value)
    assert levels(prepared(Numbered(400))) == [n % 256 for n in range(400)]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no /dev/full")
@pytest.mark.parametrize("where", ["in threads", "in_processes"])
def test_a_full_disk_is_explained(where, own_cache, request, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        prepared(Numbered(8, stop=1))
    [part] = (own_cache / "images").glob("*.part")
    for note in part.glob("*.note"):
        note.unlink()
    (part / "images.npy").unlink()
    (part / "images.npy").symlink_to("/dev/full")
    monkeypatch.setattr(decoding.Making, "_has_rows", lambda self: True)
    if where == "in_processes":
        request.getfixturevalue(where)
    with pytest.raises(kf.UserError, match=r"No space left.*KERAS_FACES_CACHE"):
        prepared(Numbered(8))


def test_a_source_that_vanishes_is_told_from_bad_pictures(orl_folder, in_processes, monkeypatch):
    source = kf.data.open_source(orl_folder)
    entries = source.entries()

    def vanished():
        shutil.rmtree(orl_folder)
        return entries

    monkeypatch.setattr(source, "entries", vanished)
    with pytest.raises(kf.UserError, match="vanished while it was read"):
        prepare(source, image_size=16, channels=1, progress=False)


def test_the_first_bad_picture_is_the_one_that_strict_names(in_processes):
    with pytest.raises(kf.UserError, match=r"'31\.png'"):
        prepared(Numbered(100, bad=[31, 32, 60], missing=[70]), strict=True)


@pytest.mark.parametrize("what", ["a picture", "the folder of the cache", "another such folder"])
def test_a_worker_that_sees_other_files_is_told_of(what, orl_folder, own_cache, monkeypatch):
    # As on another machine without the same file system.
    def elsewhere(rows, chunk):
        first, pictures = chunk
        if what == "a picture":
            pictures = [path.replace("s2/3", "gone/3") for path in pictures]
        else:
            other = own_cache / "other"
            if what == "another such folder":
                other.write_bytes(b"")
            rows = rows._replace(path=str(other))
        try:
            return decode.decode_rows(rows, (first, pictures))
        except FileNotFoundError as error:
            error.filename = str(next((own_cache / "images").glob("*.part/images.npy")))
            raise

    monkeypatch.setattr(decoding, "decode_rows", elsewhere)
    with pytest.raises(kf.UserError, match="must see the pictures and the folder") as told:
        prepare(kf.data.open_source(orl_folder), image_size=16, channels=1, progress=False)
    assert "\n" not in str(told.value)


# A script that decodes in two processes, whoever starts it and from where.
SCRIPT = """
import sys
import joblib
import keras_faces as kf
from keras_faces.data import decoding
decoding.FOR_PROCESSES = 1
decoding.CHUNK = 4
print("begun", flush=True)
with joblib.parallel_config(n_jobs=2):
    print(kf.data.open_faces(sys.argv[1], 16, split="all", progress=False).count)
print("keras" in sys.modules)
"""


def started(folder: Path, *words, script: str = SCRIPT, **given) -> subprocess.Popen:
    path = folder / "scripts" / "run.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(textwrap.dedent(script))
    home = str(Path(kf.__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, path, *map(str, words)],
        env={**os.environ, "PYTHONPATH": home},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **given,
    )


def test_a_script_without_a_main_guard_may_decode_in_any_folder(orl_folder, tmp_path):
    # multiprocessing would run it once more in each process; and none may take the user's files
    # for the libraries that it needs.
    folder = tmp_path / "work"
    folder.mkdir()
    for name in ("PIL", "tqdm", "numpy", "pickle", "queue", "joblib", "signal"):
        (folder / f"{name}.py").write_text("raise SystemExit('a file of the user')")
    process = started(tmp_path, orl_folder, cwd=folder)
    output, errors = process.communicate(timeout=120)
    assert (process.returncode, output) == (0, "begun\n12\nFalse\n"), errors
    assert not errors


SLOWLY = SCRIPT.replace(
    "decoding.CHUNK = 4",
    """decoding.CHUNK = 1
def slowly(making, folder, name):
    time.sleep(0.3)
    return b"no picture"
decoding.Making._picture = slowly
""",
).replace("import sys\n", "import sys, time\n")


def wait_for_workers(process: subprocess.Popen) -> list[psutil.Process]:
    while len(found := workers(process.pid)) < 2:
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    return found


@pytest.mark.parametrize("after", [0, 0.05, 0.1, 0.2, 0.4])
def test_ctrl_c_at_any_time_ends_all_at_once_and_workers_print_nothing(after, orl_folder, tmp_path):
    process = started(tmp_path, orl_folder, script=SLOWLY, start_new_session=True)
    found = wait_for_workers(process)
    time.sleep(after)
    os.killpg(process.pid, signal.SIGINT)
    begin = time.monotonic()
    output, errors = process.communicate(timeout=60)
    assert time.monotonic() - begin < 10
    assert process.returncode in (-signal.SIGINT, 1) and output == "begun\n"
    assert errors.rstrip().endswith("KeyboardInterrupt"), errors
    assert "_run_module_as_main" not in errors and "resource_tracker" not in errors
    assert not psutil.wait_procs(found, timeout=10)[1]


def test_workers_of_a_killed_process_end(orl_folder, tmp_path):
    process = started(tmp_path, orl_folder, script=SLOWLY)
    found = wait_for_workers(process)
    time.sleep(0.5)
    process.kill()
    assert process.communicate(timeout=60) == ("begun\n", "")
    assert not psutil.wait_procs(found, timeout=30)[1]


WORK = """
import sys, time
import numpy as np

def modules(number):
    print("printed")
    return sorted(sys.modules), number

def slowly(part):
    open(f"begun-{part[0, 0, 0, 0]}", "w").close()
    time.sleep(30)
    open("done", "w").close()
    return part

def noted(number):
    open(f"done-{number}", "w").close()
    return number

def doubled(part):
    return 2 * part[:, 0, 0]
"""


@pytest.fixture
def work(tmp_path, monkeypatch):
    (tmp_path / "some_work.py").write_text(WORK)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "some_work", raising=False)
    return importlib.import_module("some_work")


def test_workers_load_no_keras_and_print_nothing(work, capfd):
    with joblib.parallel_config(n_jobs=2):
        found = list(in_parallel(work.modules, range(7)))
    assert [number for _, number in found] == list(range(7))
    for name in ("keras", "tensorflow", "jax", "matplotlib", "pyarrow"):
        assert all(name not in modules for modules, _ in found)
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("count", [1, 31, 32, 33, 150])
@pytest.mark.parametrize("jobs", [None, 1, 2])
def test_results_come_in_the_order_of_the_pictures(work, count, jobs):
    images = np.random.default_rng(0).integers(0, 99, (count, 4, 4, 1), np.uint8)
    found = over_pictures(work.doubled, images, jobs)
    np.testing.assert_array_equal(found, 2 * images[:, 0, 0])


@pytest.mark.parametrize("jobs", [0, -1, 1.5, "all"])
def test_processes_must_be_a_number_of_them(jobs):
    with pytest.raises(kf.UserError, match="processes must be a whole number of 1 or more"):
        detected(np.zeros((3, 32, 32, 1), np.float32), jobs)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("taken", [1, 2, 6])
def test_results_that_nobody_takes_any_more_leave_no_process(work, tmp_path, taken):
    with contextlib.closing(in_parallel(work.noted, range(6), 2)) as results:
        assert next(results) == 0
        end = time.monotonic() + 20
        while len(list(tmp_path.glob("done-*"))) < 6 and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(0.3)  # until all results are here, of which some are taken
        assert [next(results) for _ in range(1, taken)] == list(range(1, taken))
    assert not workers_after(20)


def test_work_that_is_stopped_ends_its_processes(work, tmp_path):
    def stop(*_):
        if len(list(tmp_path.glob("begun-*"))) < 2:
            signal.setitimer(signal.ITIMER_REAL, 0.1)
        else:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, stop)
    images = np.arange(64, dtype=np.uint8)[:, None, None, None]
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(KeyboardInterrupt):
            over_pictures(work.slowly, images, 2)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert not workers_after(20)
    assert not (tmp_path / "done").exists()


# ---------------------------------------------------------------------------------------------
# Clusters


@pytest.fixture(scope="module")
def dask_cluster():
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as at,
        distributed.Client(at),
    ):
        yield "dask"


@pytest.fixture(scope="module")
def ray_cluster():
    ray = pytest.importorskip("ray")
    from ray.util.joblib import register_ray

    path = [str(Path(kf.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    runtime = {"env_vars": {"PYTHONPATH": os.pathsep.join(path)}}
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env=runtime)
    register_ray()
    yield "ray"
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.parametrize("cluster", ["dask_cluster", "ray_cluster"])
def test_a_cluster_decodes_and_scores_as_this_machine_does(
    cluster, request, mixed, own_cache, monkeypatch
):
    def refuse(*_):
        raise AssertionError("done by this process")

    kinds = ["folder", "zip", "one after the other"]
    faces = kf.data.open_faces("orl", 64, 1, "all", progress=False).sample(150, 0)
    here = [mixed.contents(kind) for kind in kinds], detected(faces).tolist()
    assert any(here[1]) and not all(here[1])
    monkeypatch.setenv("KERAS_FACES_CACHE", f"{own_cache}-cluster")
    monkeypatch.setattr(decode, "decode_with_size", refuse)
    with joblib.parallel_config(backend=request.getfixturevalue(cluster)):
        there = [mixed.contents(kind) for kind in kinds], detected(faces).tolist()
    assert there == here
