"""Faces and their eyes by MTCNN (Zhang et al. 2016, arXiv:1604.02878), whose wheel has its weights.

Its three networks are Keras models of the wheel's, which raise where Keras runs on JAX and are
traced anew for every size of picture. So they are functions of TensorFlow here, of the wheel's
weights: the same boxes and eyes in two thirds of the time.
"""

import functools
import threading

import numpy as np
from PIL import Image

from keras_faces.optional import load, require
from keras_faces.process import quiet

# Pixels of the longer side to which a picture is brought: faces of a 64th of it are found, 20
# pixels wide. The wheel's `min_face_size` stays as it is: above 20 its pyramid ends below what the
# first network takes, and the error that TensorFlow raises is taken for a picture without faces.
LONGER_SIDE = 1280
CLOSE_SIDE = 320  # where none is found: a face that fills its picture to the edge is missed
SMALL = 480  # pixels, below which a picture is enlarged to twice its size

# Of each network: windows and padding of its pooling layers, number of outputs, side of its input.
NETWORKS = (
    (((2, "SAME"),), 2, None),
    (((3, "SAME"), (3, "VALID")), 2, 24),
    (((3, "SAME"), (3, "VALID"), (2, "SAME")), 3, 48),
)
EYES = (6, 11, 7, 12)  # columns of a result: x and y of the eye left in the picture, of the other

_making = threading.Lock()


def detect(pixels: np.ndarray) -> list[tuple[tuple[float, ...], tuple[float, ...]]]:
    """Return the faces in a picture: for each its box and its eyes.

    Args:
        pixels: uint8 of shape `(height, width, 1 or 3)`.

    Returns:
        Left, top, right and bottom edges; and x and y of the eye left in the picture, then of the
        other. All in pixels of the picture; edges may lie outside.

    Raises:
        UserError: If the detector is not installed.
    """
    longer = max(pixels.shape[:2])
    side = 2 * longer if longer < SMALL else min(longer, LONGER_SIDE)
    return search(pixels, side) or search(pixels, CLOSE_SIDE, room=0.25)


def search(
    pixels: np.ndarray, longer_side: int, room: float = 0.0
) -> list[tuple[tuple[float, ...], tuple[float, ...]]]:
    """Return what `detect` returns, of a picture as it is.

    Args:
        pixels: As in `detect`.
        longer_side: Pixels to which its longer side is brought.
        room: What is added on each side, as a share of the longer one: its edge repeated.
    """
    height, width = pixels.shape[:2]
    scale = longer_side / max(height, width)
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).convert("RGB")
    if scale != 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = image.resize(size, Image.Resampling.BILINEAR)
    edge = round(room * max(image.size))
    given = np.pad(np.asarray(image), ((edge, edge), (edge, edge), (0, 0)), mode="edge")
    with _making:
        detector = _detector()
    rows = detector.detect_faces(given, fit_to_image=False, box_format="xyxy", output_type="numpy")
    scales = np.array([width / image.width, height / image.height] * 2)
    return [
        (
            tuple(((row[1:5] - edge) * scales).tolist()),
            tuple(((row[list(EYES)] - edge) * scales).tolist()),
        )
        for row in rows
    ]


def require_detector() -> None:
    """Refuse to begin where the detector is missing.

    Raises:
        UserError: If it is.
    """
    require(["mtcnn", "tensorflow"], "Finding faces in photographs")


@functools.cache
def _detector():
    with quiet():  # it imports TensorFlow
        detector = load("mtcnn", "Finding faces in photographs").MTCNN(device="CPU:0")
    for stage, network in zip(detector.stages, NETWORKS, strict=True):
        stage._model = _function(stage.model.get_weights(), *network)
    return detector


def _function(weights: list, pools, outputs: int, side: int | None):
    """Return one of the networks as a function of TensorFlow."""
    import tensorflow as tf

    with tf.device("CPU:0"):
        values = [tf.constant(np.asarray(value)) for value in weights]
    body, heads = values[: -2 * outputs], values[-2 * outputs :]
    layers = list(zip(body[::3], body[1::3], body[2::3], strict=True))

    def linear(x, kernel, bias):
        convolves = len(kernel.shape) == 4
        return (tf.nn.conv2d(x, kernel, 1, "VALID") if convolves else x @ kernel) + bias

    @tf.function(input_signature=[tf.TensorSpec([None, side, side, 3], tf.float32)])
    def network(x):
        for number, (kernel, bias, slope) in enumerate(layers):
            if len(kernel.shape) == 2:
                x = tf.reshape(tf.transpose(x, (0, 2, 1, 3)), (tf.shape(x)[0], kernel.shape[0]))
            x = linear(x, kernel, bias)
            x = tf.maximum(x, 0) + slope * tf.minimum(x, 0)
            if number < len(pools):
                window, padding = pools[number]
                x = tf.nn.max_pool2d(x, window, 2, padding)
        results = [linear(x, *head) for head in zip(heads[::2], heads[1::2], strict=True)]
        return [*results[:-1], tf.nn.softmax(results[-1])]

    # Traced once: threads that call it side by side would each trace it.
    traced = network.get_concrete_function()

    def run(x):
        if not x.shape[0]:  # the wheel waits for this error, which TensorFlow would log as well
            raise tf.errors.InvalidArgumentError(None, None, "no candidate is left")
        return traced(x)

    return run
