"""A chunk of pictures: records go to their shard, and what the index keeps of each comes back.

Processes that decode import this module and little else, since they are started for every cache.
"""

import hashlib
import os
import pickle
import signal
import sys
import zlib
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from keras_faces.data import decode
from keras_faces.process import prepare_process

Picture = bytes | np.ndarray | decode.BadPicture


class Found(NamedTuple):
    """What the index keeps of pictures beside what their source says of them, in columns.

    Attributes:
        reasons: Why each cannot be used; empty where it can.
        contents: SHA-256 of each raw picture; empty where it could not even be read.
        sizes: Width and height of each raw picture.
        checksums: CRC-32 of each record, or 0.
    """

    reasons: list[str]
    contents: list[bytes]
    sizes: list[tuple[int, int]]
    checksums: list[int]


class Place(NamedTuple):
    """Where the records of a chunk go, and of what kind they are.

    Attributes:
        path: The shard's file.
        start: The first one's place in it, counted in records as if all before it were good.
        facts: Crop, size, channels.
    """

    path: str
    start: int
    facts: dict


def decode_chunk(pictures: Iterable[Picture | str], place: Place) -> Found:
    """Decode some pictures, and write the good ones' records to their places.

    Args:
        pictures: Each as its source returns it, or as the path of its file.
        place: Where to.

    Raises:
        OSError: If the records cannot be written.
    """
    found, records = Found([], [], [], []), []
    facts = place.facts
    blank = bytes(facts["image_size"] ** 2 * facts["channels"])
    for picture in pictures:
        reason, content, size, record, checksum = "", b"", (0, 0), blank, 0
        try:
            data = decode.read_file(picture) if isinstance(picture, str) else picture
            if isinstance(data, decode.BadPicture):
                raise data
            content = hashlib.sha256(data).digest()
            record, size = decode.decode_with_size(
                data, facts["crop"], facts["image_size"], facts["channels"]
            )
            checksum = zlib.crc32(record)
        except decode.BadPicture as error:
            reason = str(error)
        found.reasons.append(reason)
        found.contents.append(content)
        found.sizes.append(size)
        found.checksums.append(checksum)
        records.append(record)
    file = os.open(place.path, os.O_WRONLY | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
    with open(file, "wb", buffering=0) as shard:
        shard.seek(place.start * len(blank))
        data = memoryview(b"".join(records))
        while data:
            data = data[shard.write(data) :]
    return found


def serve() -> None:
    """Decode what `_Process` hands to this process: from stdin, to stdout."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who started it
    prepare_process()  # memory of pictures is not returned, to be fetched again for the next ones
    with open(os.dup(1), "wb") as answers, decode.silent_pillow():
        os.dup2(2, 1)  # whatever a library prints
        answers.write(b"\0")
        answers.flush()
        while True:
            try:
                pictures, place = pickle.load(sys.stdin.buffer)
            except EOFError:
                return
            try:
                answer = tuple(decode_chunk(pictures, Place(*place)))
            except OSError as error:
                answer = error
            pickle.dump(answer, answers, pickle.HIGHEST_PROTOCOL)
            answers.flush()
