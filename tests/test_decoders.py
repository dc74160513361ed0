"""Decoding in processes: the same records as in threads, whatever goes wrong."""

import os
import queue
import shutil
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from test_cache import Numbered, levels, prepared

import keras_faces as kf
from keras_faces.data import decoders, shards
from keras_faces.data.cache import FaceCache, prepare


@pytest.fixture(autouse=True)
def _own_cache(own_cache):
    """Nothing is decoded already."""


@pytest.fixture
def in_processes(monkeypatch) -> list[subprocess.Popen]:
    """Let processes decode everything; returns those that were started."""

    class Waiting(queue.SimpleQueue):
        def get_nowait(self):
            return self.get(timeout=120)

    started = []

    class Remembered(subprocess.Popen):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            started.append(self)

    def refuse(*_):
        raise AssertionError("decoded by this process")

    monkeypatch.setattr(decoders, "FOR_EACH", 1)
    monkeypatch.setattr(decoders, "CHUNK", 4)
    monkeypatch.setattr(decoders.os, "cpu_count", lambda: 2)
    waiting = SimpleNamespace(SimpleQueue=Waiting, Empty=queue.Empty)
    monkeypatch.setattr(decoders, "queue", waiting)  # and not for the threads
    monkeypatch.setattr(decoders.subprocess, "Popen", Remembered)
    monkeypatch.setattr(decoders.chunks, "decode_chunk", refuse)
    return started


def contents(cache: FaceCache) -> dict:
    """All that a cache holds."""
    return {
        "records": cache.read(range(cache.count)).tolist(),
        "meta": {key: value for key, value in cache.meta.items() if key != "source"},
        "bad": cache.bad,
        **{
            name: getattr(cache, name).tolist()
            for name in ("people_numbers", "ranks", "sides", "contents", "raw_sizes")
        },
        "names": cache.names,
    }


def made_by_both(make, monkeypatch, own_cache, in_processes) -> list[dict]:
    """Return what processes and then threads make of a source, each in a cache of its own."""
    found = [contents(make())]
    assert len(in_processes) == 2
    assert all(process.returncode is not None for process in in_processes)
    monkeypatch.undo()
    for number in ("", "again"):
        monkeypatch.setenv("KERAS_FACES_CACHE", str(own_cache) + "-threads" + number)
        found.append(contents(make()))
    assert len(in_processes) == 2
    return found


@pytest.mark.parametrize("kind", ["folder", "zip", "arrays", "one after the other"])
def test_processes_make_what_threads_make(
    kind, picture_folder, tmp_path, own_cache, in_processes, monkeypatch
):
    rng = np.random.default_rng(0)
    kinds = rng.choice(["good", "bad", "empty"], 40, p=[0.6, 0.3, 0.1])
    pictures = {"good": None, "bad": b"no picture", "empty": b""}
    folder = picture_folder(
        {
            f"p{number % 3}/{number}.png": rng.integers(0, 256, (9 + number, 12, 3), np.uint8)
            if pictures[what] is None
            else pictures[what]
            for number, what in enumerate(kinds)
        }
    )
    missing = np.flatnonzero(kinds == "empty").tolist()
    bad = np.flatnonzero(kinds == "bad").tolist()

    def make():
        monkeypatch.setattr(shards, "SHARD_BYTES", 7 * 192)
        if kind == "folder":
            source = kf.data.open_source(folder)
        elif kind == "zip":
            path = tmp_path / "faces.zip"
            with zipfile.ZipFile(path, "w") as archive:
                for file in sorted(folder.rglob("*.png")):
                    archive.write(file, file.relative_to(folder))
            source = kf.data.open_source(path)
        else:
            source = Numbered(40, bad, missing, sequential=kind != "arrays")
        with pytest.warns(kf.data.SkippedPictures, match=f"Skipped {len(missing + bad)} of 40"):
            return prepare(source, "center", 8, 3, progress=False)

    by_processes, *by_threads = made_by_both(make, monkeypatch, own_cache, in_processes)
    assert by_threads == [by_processes] * 2
    assert len(by_processes["names"]) == sum(kinds == "good") == len(by_processes["records"])
    assert sum(by_processes["meta"]["shards"]) == len(by_processes["names"])


def test_few_pictures_start_no_process(monkeypatch):
    def refuse(*_):
        raise AssertionError("a process was started")

    monkeypatch.setattr(decoders, "_Process", refuse)
    assert levels(prepared(Numbered(60))) == list(range(60))


def test_ctrl_c_leaves_no_process_behind_and_the_next_run_goes_on(in_processes, monkeypatch):
    monkeypatch.setattr(shards, "SHARD_BYTES", 10 * 64)
    with pytest.raises(KeyboardInterrupt):
        prepared(Numbered(100, stop=93))
    assert len(in_processes) == 2
    assert all(process.returncode is not None for process in in_processes)
    again = Numbered(100)
    assert levels(prepared(again)) == list(range(100))
    assert min(again.reads) >= 10  # a shard at least was whole


def test_a_process_that_is_killed_is_told_of_and_the_next_run_goes_on(in_processes, monkeypatch):
    class Killing(Numbered):
        def read(self, name):
            if name == "93.png":
                for process in in_processes:
                    process.kill()
            return super().read(name)

    with pytest.raises(RuntimeError, match="decodes pictures ended with status -9"):
        prepared(Killing(100))
    assert all(process.returncode is not None for process in in_processes)
    assert levels(prepared(Numbered(100))) == list(range(100))


def test_a_process_that_cannot_start_is_told_of(in_processes, monkeypatch):
    monkeypatch.setattr(
        decoders, "python", lambda *_: {"args": [sys.executable, "-c", "raise SystemExit(3)"]}
    )
    with pytest.raises(RuntimeError, match="ended with status 3"):
        prepared(Numbered(10))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no /dev/full")
@pytest.mark.parametrize("where", ["threads", "processes"])
def test_a_full_disk_is_explained(where, own_cache, request):
    with pytest.raises(KeyboardInterrupt):
        prepared(Numbered(8, stop=1))
    [part] = (own_cache / "images").glob("*.part")
    (part / "shard-00000.bin").unlink(missing_ok=True)
    (part / "shard-00000.bin").symlink_to("/dev/full")
    if where == "processes":
        request.getfixturevalue("in_processes")
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


def test_a_script_without_a_main_guard_may_decode_in_any_folder(orl_folder, tmp_path):
    # multiprocessing would run it once more in each process; and none may take the user's files
    # for the libraries that it needs.
    script = tmp_path / "scripts" / "run.py"
    script.parent.mkdir()
    script.write_text(
        textwrap.dedent("""
        import sys
        from types import SimpleNamespace
        import keras_faces as kf
        from keras_faces.data import decoders
        decoders.FOR_EACH = 1
        decoders.os.cpu_count = lambda: 2
        class Waiting(decoders.queue.SimpleQueue):
            def get_nowait(self):
                return self.get()
        decoders.queue = SimpleNamespace(SimpleQueue=Waiting)
        del decoders.chunks.decode_chunk
        print("begun")
        print(kf.data.open_faces(sys.argv[1], 16, split="all", progress=False).count)
        """)
    )
    folder = tmp_path / "work"
    folder.mkdir()
    for name in ("PIL", "tqdm", "numpy", "pickle", "queue"):
        (folder / f"{name}.py").write_text("raise SystemExit('a file of the user')")
    home = str(Path(kf.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, script, orl_folder],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": home},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "begun\n12\n"), done.stderr
