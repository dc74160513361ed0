"""The tf.data pipeline over a stream of faces."""

import itertools

import numpy as np
import tensorflow as tf

from keras_faces.data.stream import FaceStream
from keras_faces.pixels import to_float


def as_dataset(stream: FaceStream, start: int | None = None) -> tf.data.Dataset:
    """Return the stream as a tf.data pipeline of float32 NHWC images in [-1, 1].

    Args:
        stream: The batches.
        start: None for a dataset of one epoch that is permuted anew each time it is iterated; or a
            step from which it goes on without end.

    Returns:
        A `tf.data.Dataset` whose attribute `stream` is `stream`: our models' `fit` finds the
        stream there, and so can go on from any step.
    """
    steps = stream.steps_per_epoch
    if start is None:
        epochs = itertools.count()

        def next_epoch(_):
            first = tf.numpy_function(lambda: np.int64(next(epochs) * steps), [], tf.int64)
            return tf.data.Dataset.range(first, first + steps)

        numbers = tf.data.Dataset.range(1).flat_map(next_epoch)
    else:
        numbers = tf.data.Dataset.range(start, np.iinfo(np.int64).max)

    # TensorFlow 2.21 idles at the end of an epoch for as long as the epoch took when any stage is
    # tuned automatically, so parallelism is fixed here and the tuner is off.
    dataset = numbers.map(_reader(stream), num_parallel_calls=2, deterministic=True).prefetch(4)
    options = tf.data.Options()
    options.autotune.enabled = False
    options.deterministic = True
    dataset = dataset.with_options(options)
    if start is None:
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(steps))
    dataset.stream = stream
    return dataset


def _reader(stream: FaceStream):
    batch = stream.batch_size if stream.drop_remainder else None

    table = stream.label_table
    kinds = (tf.float32,)
    if table:
        kinds += (tf.string if table.dtype == "object" else tf.as_dtype(table.dtype),)

    def on_cpu(number):
        try:
            images, labels = stream.read(number)
        except Exception as error:
            stream.failure = error  # TensorFlow raises one of its own, with the stack as its text
            raise
        images = to_float(images)
        return (images, labels) if table else (images,)

    def read(step):
        images, *labels = tf.numpy_function(on_cpu, [step], kinds)
        images.set_shape((batch, *stream.image_shape))
        if not table:
            return images
        labels[0].set_shape((batch, *table.shape))
        return images, labels[0]

    return read
