"""What runs ONNX graphs in a browser: Microsoft's onnxruntime-web, of one version, checked."""

import base64
import gzip
import hashlib
import http.client
import io
import json
import tarfile
import urllib.request
from pathlib import Path

from tqdm import tqdm

from keras_faces.errors import UserError
from keras_faces.files import cache_folder, write_whole

NAME = "onnxruntime-web"
VERSION = "1.30.0"
# SHA-512 in base64, as the npm registry gives it for this version.
INTEGRITY = (
    "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
)
ADDRESS = f"https://registry.npmjs.org/{NAME}/-/{NAME}-{VERSION}.tgz"
MODULE = "package/dist/ort.wasm.bundle.min.mjs"
WASM = "package/dist/ort-wasm-simd-threaded.wasm"
SCRIPT = """/*! {name} {version}, https://github.com/microsoft/onnxruntime
 * Copyright (c) Microsoft Corporation. MIT licence: see LICENSE-onnxruntime.txt.
 */
const KERAS_FACES_RUNTIME = {runtime};
"""


def runtime_script() -> str:
    """Return `runtime.js`: the package's module as text, and its WebAssembly, gzipped, in base64.

    A page that was opened from a disk may fetch nothing, not even its own files; it may load
    classic scripts.

    Raises:
        UserError: If the package is neither in the cache nor to be had from the npm registry, or
            is not the one that was published.
    """
    with tarfile.open(fileobj=io.BytesIO(_package())) as files:
        module, wasm = (files.extractfile(name).read() for name in (MODULE, WASM))
    runtime = {"module": module.decode(), "wasm": packed(wasm)}
    return SCRIPT.format(name=NAME, version=VERSION, runtime=json.dumps(runtime))


def packed(data: bytes) -> str:
    """Return bytes as text, as a script can hold them: gzipped, in base64."""
    return base64.b64encode(gzip.compress(data, mtime=0)).decode()


def package_place() -> Path:
    """Return where in the cache the package lies."""
    return cache_folder() / "web" / f"{NAME}-{VERSION}.tgz"


def _package() -> bytes:
    place = package_place()
    if place.is_file():
        data = place.read_bytes()
        if not _is_the_published(data):
            raise UserError(
                f"{str(place)!r} is not {NAME} {VERSION} as it was published. Remove it; it is "
                f"downloaded again, or put the file of {ADDRESS} there."
            )
        return data
    try:
        data = _downloaded()
    except (OSError, http.client.HTTPException) as error:
        raise UserError(
            f"A web page needs {NAME} {VERSION}, and it could not be downloaded "
            f"({getattr(error, 'reason', None) or error}). Get {ADDRESS} elsewhere and put it "
            f"there: {place}"
        ) from error
    if not _is_the_published(data):
        raise UserError(
            f"What came from {ADDRESS} is not {NAME} {VERSION} as it was published, so it was not "
            f"kept. Try another network, or put the right file there: {place}"
        )
    write_whole(place, data)
    return data


def _downloaded() -> bytes:
    data = io.BytesIO()
    with urllib.request.urlopen(ADDRESS, timeout=30) as answer:
        total = int(answer.headers.get("Content-Length", 0)) or None
        with tqdm(
            total=total, desc=f"Downloading {NAME}", unit="B", unit_scale=True, disable=None
        ) as bar:
            while part := answer.read(1 << 18):
                data.write(part)
                bar.update(len(part))
    return data.getvalue()


def _is_the_published(data: bytes) -> bool:
    return base64.b64encode(hashlib.sha512(data).digest()).decode() == INTEGRITY
