"""Frames of a video, such as a time-lapse of a skyline.

A pass over the video finds the frames to keep: every Nth, less those that look like the one kept
before. It is remembered, so that opening the same video again decodes nothing. Frames beside each
other look alike, so training and test sides are stretches of time with a gap between them.
"""

import contextlib
import hashlib
import json
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from keras_faces.data.decode import BadPicture
from keras_faces.data.names import hidden, natural
from keras_faces.data.sources.base import LEFT_OUT, Entry, Source
from keras_faces.data.sources.video_reader import Video
from keras_faces.errors import UserError
from keras_faces.files import cache_folder, remembered, write_checked
from keras_faces.optional import import_av
from keras_faces.screen import visible

SUFFIXES = (".mp4", ".mov", ".webm", ".m4v", ".mkv", ".avi")

# Part of every remembered pass: raise it when the same video would give other frames.
VERSION = 3

STRETCHES = 4
FRAMES_A_STRETCH = 10  # fewer stretches where they would be shorter


class VideoSource(Source):
    """Frames of a video, or of all videos in a folder: mp4, mov, webm through PyAV.

    Frames are turned upright as the video says and come as pixels, one after the other.

    Args:
        path: The video, or a folder of videos.
        every: Look at every Nth frame.
        similar: Drop a frame whose 16x16 grey thumbnail differs from that of the frame kept before
            by less than this, in grey levels of 0 to 255 on average; 0 keeps all. Noise and
            compression alone make 0.1 to 0.8 of it where nothing moves (H.264 and VP9, measured).
        test: Share of the frames on the test side, or from 1 on their number: four stretches of
            time, spread over the video.
        gap: Frames between the sides that belong to neither.
        train: Number of frames on the training side, evenly spread over all that are there; 0 takes
            all.

    Attributes:
        counts: Dict of the numbers of frames: all, `"similar"` and `"kept"`.

    Raises:
        UserError: If there is no video, an option makes no sense, or PyAV is not installed.
    """

    sequential = True
    examined = True

    def __init__(
        self,
        path: str | os.PathLike,
        every: str | int = 1,
        similar: str | float = 1.0,
        test: str | float = 0.1,
        gap: str | int = 3,
        train: str | int = 0,
    ):
        self.path = Path(path).expanduser()
        if not self.path.exists():
            raise UserError(f"There is no file or folder {os.fspath(path)!r}. Check the path.")
        self.title = os.fspath(path)
        options = {
            "every": _number("every", every, 1, whole=True),
            "similar": _number("similar", similar, 0),
            "test": _number("test", test, 0),
            "gap": _number("gap", gap, 0, whole=True),
            "train": _number("train", train, 0, whole=True),
        }
        if options["test"] > 1 and options["test"] % 1:
            raise UserError(f"test must be a share below 1 or a whole number. Received: {test}.")
        self._every, self._similar = options["every"], options["similar"]
        self._test, self._gap, self._train = options["test"], options["gap"], options["train"]
        defaults = {"every": 1, "similar": 1, "test": 0.1, "gap": 3, "train": 0}
        query = "&".join(
            f"{name}={format(value, '.12g')}"
            for name, value in options.items()
            if value != defaults[name]
        )
        self.address = f"video:{os.path.abspath(self.path)}" + (f"?{query}" if query else "")
        self._query = query
        import_av()
        self._files = self._videos()
        self._scanned: tuple[list[Entry], list[tuple[Path, VideoScan]]] | None = None

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return path.is_file() and path.suffix.lower() in SUFFIXES

    def _videos(self) -> list[Path]:
        if not self.path.is_dir():
            return [self.path]
        names = sorted((file.name for file in self.path.iterdir()), key=natural)
        files = [
            self.path / name
            for name in names
            if name.lower().endswith(SUFFIXES) and not hidden(name)
        ]
        if not files:
            raise UserError(
                f"No video in {self.title!r}: expected files ending in {', '.join(SUFFIXES)}."
            )
        return files

    def entries(self) -> list[Entry]:
        return self._scan_all()[0]

    def remarks(self) -> list[str]:
        counts = self.counts
        kept = f"frames: {counts['kept']:,} kept of {counts['frames']:,}"
        return [f"{kept}; left out as similar to the one before: {counts['similar']:,}"]

    @property
    def counts(self) -> dict[str, int]:
        scans = [scan for _, scan in self._scan_all()[1]]
        return {
            "frames": sum(scan.frames for scan in scans),
            "similar": sum(scan.similar for scan in scans),
            "kept": sum(len(scan.kept) for scan in scans),
        }

    def _scan_all(self):
        if self._scanned is None:
            scans, problems = [], []
            for file in self._files:
                try:
                    scan = self._remembered(file)
                except UserError as error:
                    if self.path.is_file():
                        raise
                    problems.append(str(error))
                    continue
                scans.append((file, scan))
                if scan.problem:
                    problems.append(scan.problem)
            if not scans:
                raise UserError(f"No video in {self.title!r} can be used. {' '.join(problems[:5])}")
            for problem in problems:
                warnings.warn(problem, stacklevel=4)
            self._scanned = self._entries(scans), scans
        return self._scanned

    def _entries(self, scans: Sequence[tuple[Path, "VideoScan"]]) -> list[Entry]:
        names, splits = [], []
        total = sum(len(scan.kept) for _, scan in scans)
        for file, scan in scans:
            count, before = len(scan.kept), len(names)
            test = max(1, round(self._test * count)) if self._test else 0
            if self._test >= 1:  # of all videos together
                share = self._test / total
                test = round(share * (before + count)) - round(share * before)
            splits += split_by_time(count, test, self._gap)
            folder = "" if self.path.is_file() else f"{visible(file.name)}/"
            names += [f"{folder}{number:06d}" for number in scan.kept]
        if self._train:
            self._thin(splits, [scan for _, scan in scans])
        return [Entry(name, None, split) for name, split in zip(names, splits, strict=True)]

    def _thin(self, splits: list[str], scans: Sequence["VideoScan"]) -> None:
        """Leave out all training frames but as many as were asked for, evenly spread."""
        found = [number for number, split in enumerate(splits) if split == "train"]
        if len(found) < self._train:
            similar = sum(scan.similar for scan in scans)
            raise UserError(
                f"{self.title!r} has {len(found):,} frames to train on, and {self._train:,} were "
                f"asked for. {splits.count('test'):,} more are to test; {similar:,} are left out "
                f"as similar to the one before, {splits.count(LEFT_OUT):,} as gaps between the "
                "sides. Take a longer video, ask for fewer (train=), or leave out fewer: every=1, "
                "similar=0, gap=0."
            )
        chosen = np.linspace(0, len(found) - 1, self._train).round().astype(int)
        for number in set(found) - {found[index] for index in chosen}:
            splits[number] = LEFT_OUT

    def _remembered(self, file: Path) -> "VideoScan":
        note = cache_folder() / "videos" / f"{self._digest(file)}.json"
        if (known := remembered(note)) is not None:
            return VideoScan(**json.loads(known))
        scan = self._scan(file)
        with contextlib.suppress(OSError):  # then the next start decodes again
            write_checked(note, json.dumps(scan._asdict()).encode())
        return scan

    def _digest(self, file: Path) -> str:
        status = file.stat()
        options = (self._every, self._similar)
        stamp = (VERSION, str(file.resolve()), status.st_size, status.st_mtime_ns, *options)
        return hashlib.sha256(json.dumps(stamp).encode()).hexdigest()

    def _scan(self, file: Path) -> "VideoScan":
        kept = []
        frames = similar = 0
        last = None
        with Video(file) as video:
            bar = tqdm(
                video.frames(),
                total=video.expected or None,
                desc=f"Looking through {file.name}",
                unit=" frames",
                disable=None,
            )
            for number, frame in enumerate(bar):
                frames += 1
                if number % self._every:
                    continue
                thumbnail = video.thumbnail(frame)
                if last is not None and np.abs(thumbnail - last).mean() < self._similar:
                    similar += 1
                    continue
                last = thumbnail
                kept.append(number)
            problem = video.problem
        if not frames:
            raise UserError(
                f"{str(file)!r} holds no frame that can be decoded. {problem or ''} Look whether "
                "a player shows it; if it was downloaded, whether it is whole."
            )
        return VideoScan(frames, similar, kept, problem)

    def pictures(self, start: int = 0) -> Iterator[tuple[Entry, np.ndarray | Exception]]:
        entries, scans = self._scan_all()
        first = 0
        for file, scan in scans:
            own = entries[first : first + len(scan.kept)]
            skipped = max(0, start - first)
            first += len(own)
            if skipped < len(own):
                yield from self._pictures(file, scan, own, skipped)

    def _pictures(self, file: Path, scan: "VideoScan", entries: list[Entry], index: int):
        with Video(file) as video:
            for number, frame in enumerate(video.frames()):
                if number != scan.kept[index]:
                    continue
                yield entries[index], np.ascontiguousarray(video.pixels(frame))
                index += 1
                if index == len(entries):
                    return
        for entry in entries[index:]:
            yield entry, BadPicture("the video ended before this frame, which was there once")

    def make_listing(self) -> str:
        digest = hashlib.sha256(self._query.encode())
        for file in self._files:
            digest.update(self._digest(file).encode())
        return digest.hexdigest()


class VideoScan(NamedTuple):
    """What a pass over a video found.

    Attributes:
        frames: Number of frames that could be decoded.
        similar: Number of those dropped because they look like the frame kept before.
        kept: Numbers of the frames to use, counted from 0.
        problem: What is wrong with the video, or None.
    """

    frames: int
    similar: int
    kept: list[int]
    problem: str | None


def split_by_time(count: int, test: int, gap: int) -> list[str]:
    """Return the split of each of `count` frames in their order.

    Args:
        count: Number of frames.
        test: Number of those on the test side, at most half of them: stretches of about equal
            length, each at the end of an equal part of the video.
        gap: Frames left out at every border between the sides; fewer where a video is so short
            that they would outnumber a third of it.
    """
    splits = ["train"] * count
    if test < 1 or count < 3:
        return splits
    test = min(test, count // 2)
    stretches = max(1, min(STRETCHES, test // FRAMES_A_STRETCH))
    gap = min(gap, max(1, count // (3 * (2 * stretches - 1))))
    for stretch in range(stretches):
        end = count * (stretch + 1) // stretches
        length = test * (stretch + 1) // stretches - test * stretch // stretches
        splits[end - length : end] = ["test"] * length
    tested = [split == "test" for split in splits]
    for index in range(count):
        near = tested[max(0, index - gap) : index + gap + 1]
        if not tested[index] and any(near):
            splits[index] = LEFT_OUT
    return splits


def _number(name: str, given, minimum: float, whole: bool = False) -> float:
    kind = int if whole else float
    try:
        number = kind(given)
        if not minimum <= number < 10**9:
            raise ValueError
    except ValueError as error:
        raise UserError(
            f"{name} must be a {'whole ' if whole else ''}number of {minimum} or more. "
            f"Received: {given!r}."
        ) from error
    return number
