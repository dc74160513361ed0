"""Damage every kind of file that the package reads, and look what becomes of it.

    python tests/fuzz.py                                   # 10,000 cases over all kinds
    python tests/fuzz.py --kinds jpeg cache --cases 500 --seed 3
    python tests/fuzz.py --kinds jpeg --seed 3 --case 217  # one case again, with its stack

The same result or a `UserError` of one line may come of it: never another result in silence, a
stack, more than `SECONDS`, or more than `GIGABYTES`. What is damaged, and how, depends on the kind,
the seed and the number of the case alone. Processes of their own read the files, many each, so that
one that crashes or hangs costs only itself.
"""

import argparse
import fnmatch
import json
import os
import queue
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import traceback
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
SECONDS = 30  # for one case: most take milliseconds, on a machine that does nothing else
GIGABYTES = 2
STARTING_SECONDS = 240  # until a process has read the first sample
PART = 100  # cases that a process is given at once

# What may come of a case.
SAME = "same"
OTHER = "other"  # where the file has no checksum, and says something else now
REFUSED = "refused"
FAULTS = ("silent", "stack", "hang", "flood")
OUTCOMES = (SAME, OTHER, REFUSED, *FAULTS)


# ---------------------------------------------------------------------------------------------
# Damage

WORDS = b"""0 1 -1 2 NaN -Infinity 1e999 1e-999 0.5 null true "" " [] {} [[1]] {"a":1} x
99999999999999999999 10000000 4294967296 -5 \xff\xfe \xc3\xa4 \x1b[31m \x00 , # - ../../x""".split()
VALUES = (
    None, True, 0, -1, 1, 2.5, 10**7, 10**30, 1e999, "", "x", "../x", "\x1b[31m\n", [], [1], ["a"],
    {}, {"a": 1}, [[]],
)  # fmt: skip
TEXTS = (".json", ".csv", ".txt", ".idx", ".toml")


def place_in(data: bytes, chance: random.Random) -> int:
    """Choose a byte: half of the time near the ends, where files keep what they are."""
    if chance.random() < 0.5:
        return chance.randrange(len(data))
    at = min(int(chance.expovariate(1 / 60)), len(data) - 1)
    return at if chance.random() < 0.5 else len(data) - 1 - at


def flipped(data: bytes, chance: random.Random) -> tuple[bytes, str]:
    at, bit = place_in(data, chance), chance.randrange(8)
    changed = bytearray(data)
    changed[at] ^= 1 << bit
    return bytes(changed), f"bit {bit} of byte {at:,} flipped"


def cut(data: bytes, chance: random.Random) -> tuple[bytes, str]:
    at = place_in(data, chance)
    return data[:at], f"cut after {at:,} of {len(data):,} bytes"


def several(data: bytes, chance: random.Random) -> tuple[bytes, str]:
    told = []
    for _ in range(chance.randint(2, 8)):
        data, what = flipped(data, chance)
        told.append(what)
    return data, ", ".join(told)


def overwritten(data: bytes, chance: random.Random) -> tuple[bytes, str]:
    at, length = place_in(data, chance), chance.choice((1, 2, 4, 8, 512))
    value = chance.choice((b"\0", b"\xff", b"\x7f", b"\x80"))
    filled = value * min(length, len(data) - at)
    what = f"{len(filled)} bytes from {at:,} are {value.hex()}"
    return data[:at] + filled + data[at + len(filled) :], what


def gap(data: bytes, chance: random.Random) -> tuple[bytes, str]:
    at, length = place_in(data, chance), chance.choice((1, 2, 4, 64))
    return data[:at] + data[at + length :], f"{length} bytes from {at:,} are gone"


def twice(data: bytes, chance: random.Random) -> tuple[bytes, str]:
    at, length = place_in(data, chance), chance.choice((1, 4, 64))
    return data[: at + length] + data[at:], f"{length} bytes from {at:,} are there twice"


def word(data: bytes, chance: random.Random) -> tuple[bytes, str]:
    """Put something else in the place of a word of a text."""
    found = list(re.finditer(rb'[^\s,:{}\[\]"]+|"[^"\n]*"', data))
    if not found:
        return flipped(data, chance)
    match, new = chance.choice(found), chance.choice(WORDS)
    what = f"{match[0][:40]!r} at {match.start():,} is {new!r}"
    return data[: match.start()] + new + data[match.end() :], what


def lines(data: bytes, chance: random.Random) -> tuple[bytes, str]:
    """Lose a line of a text, or have it twice."""
    rows = data.splitlines(keepends=True)
    at, times = chance.randrange(len(rows)), chance.choice((0, 2))
    rows[at : at + 1] = rows[at : at + 1] * times
    return b"".join(rows), f"line {at + 1} is there {times} times"


def value(data: bytes, chance: random.Random) -> tuple[bytes, str]:
    """Put something else in the place of a value of a JSON text, or leave it out."""
    whole = json.loads(data)
    places: list[tuple] = []

    def walk(node, path):
        places.append(path)
        if isinstance(node, dict | list):
            steps = node.items() if isinstance(node, dict) else enumerate(node)
            for step, below in steps:
                walk(below, (*path, step))

    walk(whole, ())
    path = chance.choice(places)
    new = chance.choice(VALUES)
    if not path:
        return json.dumps(new).encode(), f"all is {new!r}"
    above = whole
    for step in path[:-1]:
        above = above[step]
    if chance.random() < 0.25:
        del above[path[-1]]
        what = "is gone"
    else:
        above[path[-1]] = new
        what = f"is {new!r}"
    return json.dumps(whole).encode(), f"{'/'.join(map(str, path))} {what}"


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except ValueError:  # some have a checksum behind it
        return False
    return True


def any_damage(name: str, data: bytes, chance: random.Random) -> tuple[bytes, str]:
    ways = {flipped: 50, cut: 15, several: 8, overwritten: 10, gap: 6, twice: 6}
    if name.endswith(TEXTS) or (name.endswith(".bin") and data[:1] in b"[{"):
        ways |= {word: 20, lines: 5}
    if name.endswith(".json") and _is_json(data):
        ways |= {value: 30}
    [way] = chance.choices(list(ways), list(ways.values()))
    return way(data, chance)


def members(name: str, data: bytes, chance: random.Random) -> tuple[bytes, str]:
    """Damage one member of a zip file, whose checksum fits afterwards."""
    import fuzz_kinds

    return fuzz_kinds.members(
        data, lambda member, content: any_damage(member, content, chance), chance.choice
    )


def crafted(name: str, data: bytes, chance: random.Random) -> tuple[bytes, str]:
    """Put something else into a JSON file, whose checksum fits afterwards."""
    from keras_faces.schema import CHECKSUM, as_json

    changed, what = value(data, chance)
    content = json.loads(changed)
    if isinstance(content, dict):
        content.pop(CHECKSUM, None)
        changed = as_json(content).encode()
    return changed, what


DAMAGES = {
    "any": any_damage,
    "cut": lambda name, data, chance: cut(data, chance),
    "members": members,
    "crafted": crafted,
}


# ---------------------------------------------------------------------------------------------
# One process, which reads


class Sample:
    """A kind's sample in a folder of its own, which is as it was again after every case."""

    def __init__(self, name: str):
        import fuzz_kinds

        self.name, self.kind = name, fuzz_kinds.KINDS[name]
        self.folder = Path(tempfile.mkdtemp(prefix="keras_faces_fuzz_"))
        os.environ["KERAS_FACES_CACHE"] = str(self.folder / "cache")
        self.kind.make(self.folder)
        self.kept = {
            path: (path.read_bytes(), path.stat().st_mtime_ns)
            for path in self.folder.rglob("*")
            if path.is_file() and path.suffix != ".lock"
        }
        self.files = sorted(
            str(path.relative_to(self.folder))
            for path, (data, _) in self.kept.items()
            if data and self._is_damaged(path.relative_to(self.folder))
        )
        if not self.files:
            raise SystemExit(f"Nothing of {name!r} matches {self.kind.files}.")
        self.good = self.kind.read(self.folder)
        self._restore()

    def _is_damaged(self, path: Path) -> bool:
        # "**/" may also stand for no folder.
        patterns = {p for given in self.kind.files for p in (given, given.replace("**/", ""))}
        return any(fnmatch.fnmatchcase(str(path), pattern) for pattern in patterns)

    def case(self, seed: int, number: int, stacks: bool = False) -> tuple[str, str]:
        """Return the outcome of a case, and what to say of it."""
        import fuzz_kinds

        import keras_faces as kf
        from keras_faces.data.decode import BadPicture

        chance = random.Random(f"{self.name}/{seed}/{number}")
        path = self.folder / chance.choice(self.files)
        before = self.kept[path][0]
        after, what = DAMAGES[self.kind.damage](path.name, before, chance)
        what = f"{path.relative_to(self.folder)}: {what}"
        path.unlink()  # and no writing into what a mapping of the last case may still show
        path.write_bytes(after)
        os.environ["KERAS_FACES_CACHE"] = str(self.folder / "cache")
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                found = self.kind.read(self.folder)
        except (kf.UserError, BadPicture) as error:
            if stacks:
                traceback.print_exc()
            told = _without_instructions(str(error))
            if "\n" in told or "\x1b" in told or len(told) > 2000:
                return "stack", f"{what}. No error of one line: {told[:500]!r}"
            return REFUSED, f"{what}. {told}"
        except Exception as error:
            if stacks:
                traceback.print_exc()
            place = traceback.extract_tb(error.__traceback__)[-1]
            return "stack", (
                f"{what}. {type(error).__name__}: {str(error)[:200]} "
                f"({Path(place.filename).name}:{place.lineno})"
            )
        finally:
            self._restore(path)
        if found == self.good:
            return SAME, what
        told = "\n".join(str(warning.message) for warning in caught)
        seen = fuzz_kinds.Seen(self.good, found, before, after, told)
        return OTHER if self.kind.agrees(seen) else "silent", f"{what}. {told[:300]}"

    def _restore(self, damaged: Path | None = None) -> None:
        for path in self.folder.rglob("*"):
            if path not in self.kept and path.is_file() and path.suffix != ".lock":
                path.unlink()
        for path, (data, time) in self.kept.items():
            try:
                status = path.stat()
                same = path != damaged and (status.st_mtime_ns, status.st_size) == (time, len(data))
            except OSError:
                same = False
            if not same:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.unlink(missing_ok=True)
                path.write_bytes(data)
                os.utime(path, ns=(time, time))

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def _without_instructions(message: str) -> str:
    """Leave out how a data set is got by hand, which takes lines of its own."""
    from keras_faces.data.sources import SCHEMES

    for source in SCHEMES.values():
        message = message.replace(f"\n\n{getattr(source, 'by_hand', '')}", "")
    return message


def peak_kilobytes() -> int:
    """Return the most memory that this process has had.

    `getrusage` knows it too, but counts the peak of the process that started this one.
    """
    status = Path("/proc/self/status")
    if not status.is_file():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text(encoding="utf-8"))[1])


def work() -> None:
    """Answer with an outcome a line: the parent gives kinds and numbers of cases."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the package prints is no answer
    # What a picture claims to need is not to be had: the machine must not suffer.
    resource.setrlimit(resource.RLIMIT_DATA, (8 * GIGABYTES << 29, resource.RLIM_INFINITY))
    import fuzz_kinds

    fuzz_kinds.silence()
    samples: dict[str, Sample] = {}
    try:
        for line in sys.stdin:
            name, seed, numbers = json.loads(line)
            if name not in samples:
                samples[name] = Sample(name)
            for number in numbers:
                print(json.dumps(["begun", number]), file=out, flush=True)
                outcome, what = samples[name].case(seed, number)
                if peak_kilobytes() > GIGABYTES << 20:
                    outcome, what = "flood", f"{what} ({outcome})"
                print(json.dumps([outcome, number, what]), file=out, flush=True)
                if outcome == "flood":
                    return  # the peak stays: another process takes the rest
            print(json.dumps(["done", 0]), file=out, flush=True)
    finally:
        for sample in samples.values():
            sample.remove()


# ---------------------------------------------------------------------------------------------
# The parent, which counts


class Case(NamedTuple):
    """What became of one case."""

    kind: str
    number: int
    outcome: str
    what: str


class Reader:
    """A process that reads damaged files, and is started anew where it has ended."""

    def __init__(self, seed: int):
        self.seed = seed
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        home = os.fspath(HERE.parent)
        path = os.pathsep.join([home, *filter(None, [os.environ.get("PYTHONPATH")])])
        self.temporary = tempfile.mkdtemp(prefix="keras_faces_fuzz_")
        self.errors = open(Path(self.temporary, "stderr"), "w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env={**os.environ, "PYTHONPATH": path, "TMPDIR": self.temporary},
        )
        self.answers: queue.Queue[str] = queue.Queue()
        threading.Thread(
            target=self._listen, args=(self.process, self.answers), daemon=True
        ).start()

    @staticmethod
    def _listen(process: subprocess.Popen, answers: queue.Queue) -> None:
        for line in process.stdout:
            answers.put(line)
        answers.put("")

    def end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
            self.errors.close()
            shutil.rmtree(self.temporary, ignore_errors=True)

    def read(self, kind: str, numbers: Sequence[int]) -> list[Case]:
        """Return what became of cases; a process that ends or hangs costs the case it was at."""
        found: list[Case] = []
        left = list(numbers)
        while left:
            if self.process is None:
                self.start()
            begun = None
            try:
                self.process.stdin.write(json.dumps([kind, self.seed, left]) + "\n")
                self.process.stdin.flush()
            except OSError:
                pass  # it has ended, which its answers tell
            while True:
                try:
                    line = self.answers.get(timeout=STARTING_SECONDS if begun is None else SECONDS)
                except queue.Empty:
                    if begun is None:
                        self.end()
                        raise RuntimeError(f"The sample of {kind!r} is not ready.") from None
                    answer = ["hang", begun, f"no end within {SECONDS} s"]
                else:
                    answer = json.loads(line) if line else self._ended(kind, begun)
                if answer[0] == "begun":
                    begun = answer[1]
                    continue
                if answer[0] == "done":
                    break
                left.remove(answer[1])
                found.append(Case(kind, answer[1], answer[0], answer[2]))
                if answer[0] in ("hang", "flood") or not line:
                    self.end()
                    break
        return found

    def _ended(self, kind: str, begun: int | None) -> list:
        status = self.process.wait()
        self.errors.seek(0)
        said = self.errors.read()[-2000:]
        if begun is None:
            self.end()
            raise RuntimeError(f"The sample of {kind!r} cannot be made or read:\n{said}")
        return ["stack", begun, f"the process ended with status {status}: {said[-300:]}"]


def shares(kinds: Sequence[str], cases: int) -> dict[str, int]:
    """Return how many cases each kind has, at least one."""
    from fuzz_kinds import KINDS

    total = sum(KINDS[name].share for name in kinds)
    return {name: max(1, round(cases * KINDS[name].share / total)) for name in kinds}


def fuzz(kinds: Sequence[str], cases: int, seed: int, jobs: int = 1) -> list[Case]:
    """Return what became of cases, shared out among kinds."""
    parts: queue.SimpleQueue = queue.SimpleQueue()
    from fuzz_kinds import KINDS

    # Those that need Keras come together, so that a process without it need not import it.
    for name, count in sorted(shares(kinds, cases).items(), key=lambda item: KINDS[item[0]].keras):
        for start in range(0, count, PART):
            parts.put((name, range(start, min(count, start + PART))))
    found: list[Case] = []
    problems: list[BaseException] = []

    def take():
        reader = Reader(seed)
        try:
            while not problems:
                name, numbers = parts.get_nowait()
                for case in reader.read(name, numbers):
                    if case.outcome in ("hang", "flood"):  # of the file, or of a busy machine?
                        [case] = Reader(seed).read(name, [case.number])
                    found.append(case)
        except queue.Empty:
            pass
        except BaseException as error:
            problems.append(error)
        finally:
            reader.end()

    threads = [threading.Thread(target=take) for _ in range(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]
    return found


def table(found: Sequence[Case]) -> str:
    """Return the outcomes by kind as text."""
    counts = Counter((case.kind, case.outcome) for case in found)
    kinds = sorted({case.kind for case in found})
    width = max(len(kind) for kind in [*kinds, "all"])
    rows = [" ".join([" " * width, "  cases", *(f"{outcome:>8}" for outcome in OUTCOMES)])]
    for kind in [*kinds, "all"]:
        of = [
            sum(n for (k, o), n in counts.items() if o == outcome and kind in (k, "all"))
            for outcome in OUTCOMES
        ]
        rows.append(" ".join([f"{kind:{width}}", f"{sum(of):7,}", *(f"{n:8,}" for n in of)]))
    return "\n".join(rows)


def again(case: Case, seed: int) -> str:
    """Return the command that repeats a case."""
    return f'python tests/fuzz.py --kinds "{case.kind}" --seed {seed} --case {case.number}'


def told_faults(found: Sequence[Case], seed: int) -> str:
    """Return the faults, each with what repeats it."""
    faults = sorted(case for case in found if case.outcome in FAULTS)
    return "\n".join(
        f"{case.outcome.upper()} {case.what}\n    {again(case, seed)}" for case in faults
    )


def main() -> int:
    from fuzz_kinds import KINDS, silence

    silence()
    parser = argparse.ArgumentParser(description="Damage every kind of file, and read it.")
    parser.add_argument("--cases", type=int, default=10_000, help="over all kinds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", metavar="KIND", default=list(KINDS))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--case", type=int, help="only this one, here, and with its stack")
    parser.add_argument("--list", action="store_true", help="name all kinds")
    options = parser.parse_args()
    unknown = set(options.kinds) - set(KINDS)
    if options.list or unknown:
        print(*(f"There is no kind {name!r}." for name in unknown), *KINDS, sep="\n")
        return 2 if unknown else 0
    if options.case is not None:
        [name] = options.kinds
        sample = Sample(name)
        try:
            outcome, what = sample.case(options.seed, options.case, stacks=True)
        finally:
            sample.remove()
        print(outcome.upper(), what)
        return outcome in FAULTS
    found = fuzz(options.kinds, options.cases, options.seed, options.jobs)
    faults = told_faults(found, options.seed)
    print(table(found), *filter(None, [faults]), sep="\n\n")
    return bool(faults)


if __name__ == "__main__":
    sys.path.insert(0, os.fspath(HERE))
    if sys.argv[1:] == ["--worker"]:
        work()
    else:
        sys.exit(main())
