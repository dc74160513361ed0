"""What the page takes of uploaded pictures, and what browsers show of them."""

import threading

from keras_faces.errors import UserError

MAX_BYTES = 25_000_000
MAX_PIXELS = 50_000_000

# What browsers show; other pictures are shown as PNG once they are uploaded.
SHOWN_SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".avif")

# A picture of 50 megapixels takes 600 MB on its way, so only one is decoded at a time.
decoding = threading.Lock()


def check_bytes(count: int) -> None:
    """Check the size of an uploaded file.

    Raises:
        UserError: If it is empty or too large.
    """
    if not count:
        raise UserError("This file is empty (0 bytes). Upload a picture.")
    if count > MAX_BYTES:
        raise UserError(
            f"This file has {count / 1e6:.1f} MB, more than the limit of {MAX_BYTES // 10**6} MB. "
            "Upload a smaller picture."
        )
