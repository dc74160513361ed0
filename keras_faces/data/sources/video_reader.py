"""Videos, frame by frame, through PyAV."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from keras_faces.errors import UserError
from keras_faces.files import open_regular
from keras_faces.optional import import_av

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,m4v,mpeg,mpegts"  # FFmpeg's names of them


class Video:
    """A video that is open. Frames come in order; what cannot be decoded is passed over."""

    def __init__(self, file: Path):
        av = import_av()
        self.file = file
        self.problem: str | None = None
        # One converter for all frames: a frame's own is set up anew for each of them.
        self._converter = av.video.reformatter.VideoReformatter()
        self._shrinker = av.video.reformatter.VideoReformatter()

    def __enter__(self):
        av = import_av()
        try:
            os.close(open_regular(self.file))
            # FFmpeg looks at the content alone, and a list of videos would make it open others.
            options = {"format_whitelist": FORMATS}
            self._container = av.open(
                str(self.file.absolute()), options=options, metadata_errors="replace"
            )
        except av.error.FFmpegError as error:
            raise UserError(
                f"Cannot read {str(self.file)!r} as a video: {error.strerror}. An mp4 or mov file "
                "that was cut has lost the table at its end, without which no frame is found: "
                "download or copy it again."
            ) from error
        except OSError as error:
            raise UserError(f"Cannot read {str(self.file)!r}: {error.strerror}.") from error
        if not self._container.streams.video:
            self._container.close()
            raise UserError(f"{str(self.file)!r} has no video in it, only sound or subtitles.")
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "AUTO"
        self.expected = self._stream.frames
        return self

    def __exit__(self, *_):
        self._container.close()

    def frames(self) -> Iterator:
        av = import_av()
        damaged = count = 0
        seconds = None
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                break
            except av.error.FFmpegError:
                damaged += 1
                break
            try:
                decoded = packet.decode()
            except av.error.FFmpegError:
                damaged += 1
                continue
            for frame in decoded:
                count += 1
                seconds = frame.time if frame.time is not None else seconds
                yield frame
        self.problem = self._what_is_wrong(count, seconds, damaged)

    def _what_is_wrong(self, count: int, seconds: float | None, damaged: int) -> str | None:
        length = self._container.duration and self._container.duration / 1_000_000
        problems = []
        if self.expected and count < 0.98 * self.expected - 1:
            problems.append(f"{count} of its {self.expected} frames can be decoded")
        elif length and seconds is not None and seconds < 0.95 * length - 1:
            problems.append(f"it ends after {seconds:.0f} of its {length:.0f} seconds")
        if damaged:
            problems.append(f"{damaged} parts of it are damaged")
        if not problems:
            return None
        return f"{str(self.file)!r} is not whole: {', '.join(problems)}. The good frames are used."

    def pixels(self, frame) -> np.ndarray:
        """Return a frame upright and with square pixels, uint8 of shape `(h, w, 1 or 3)`."""
        grey = frame.format.name.startswith("gray")
        width = frame.width
        if self._stream.sample_aspect_ratio:
            width = max(1, round(width * self._stream.sample_aspect_ratio))
        turns = round(frame.rotation / 90) % 4
        kind = "gray" if grey else "rgb24"
        pixels = self._converter.reformat(frame, width=width, format=kind).to_ndarray()
        return np.rot90(pixels[..., None] if grey else pixels, turns)

    def thumbnail(self, frame) -> np.ndarray:
        """Return the 16x16 grey thumbnail of a frame, each pixel the mean of its part."""
        small = self._shrinker.reformat(frame, 64, 64, "gray", interpolation="AREA")
        return small.to_ndarray().reshape(16, 4, 16, 4).mean((1, 3), dtype=np.float32)
