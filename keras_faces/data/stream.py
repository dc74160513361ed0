"""The order in which faces reach training: a pure function of the seed and the step."""

import itertools
from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from keras_faces.data.cache import FaceCache
from keras_faces.data.labels import Labels
from keras_faces.errors import UserError, require_whole
from keras_faces.pixels import to_float

# What narrows a split and goes without saying in a protocol.
USUAL = {"test_fraction": 0.1}


class FaceStream:
    """Batches of faces, each determined by `(seed, step)` alone.

    Because batch number `step` can be made without those before it, a run resumes in the middle of
    an epoch with exactly the batches that an unbroken run would have seen. Every epoch is a new
    permutation of the whole set, not of a window. Iterating yields one epoch of NumPy batches;
    `dataset()` gives the same as a tf.data pipeline.

    Args:
        cache: The decoded pictures.
        indices: Positions of those in use.
        batch_size: Pictures in a batch.
        seed: Seed of the order.
        shuffle: Whether to permute; without it the order is the source's.
        drop_remainder: Whether to leave out the last, smaller batch of an epoch.
        mirror: Whether to mirror every second picture, chosen anew in every epoch; its sketch with
            it.
        labels: None, or the labels of all pictures of the cache, to yield `(images, labels)`.
        facts: What a run records about where its faces come from.

    Attributes:
        failure: Why a batch could not be read for tf.data, which does not pass it on; or None.

    Raises:
        UserError: If there are too few pictures for one batch.
    """

    def __init__(
        self,
        cache: FaceCache,
        indices: np.ndarray,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = True,
        drop_remainder: bool = True,
        mirror: bool = False,
        labels: Labels | None = None,
        facts: dict | None = None,
    ):
        if batch_size < 1:
            raise UserError(f"batch_size must be 1 or more. Received: {batch_size}.")
        if drop_remainder and len(indices) < batch_size:
            raise UserError(
                f"{len(indices)} pictures are too few for a batch of {batch_size}. "
                f"Give more pictures, or a batch size of {len(indices)} or less."
            )
        self.cache = cache
        self.indices = np.asarray(indices)
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.drop_remainder = drop_remainder
        self.mirror = mirror
        self.label_table = labels
        self.facts = facts or {}
        self.failure: Exception | None = None
        self._order = lru_cache(maxsize=2)(self._permutation)
        self._turned = lru_cache(maxsize=2)(self._coins)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image."""
        return self.cache.image_shape

    @property
    def count(self) -> int:
        """Number of pictures."""
        return len(self.indices)

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches in an epoch."""
        whole, rest = divmod(self.count, self.batch_size)
        return whole + (rest > 0 and not self.drop_remainder)

    @property
    def labels(self) -> str | None:
        """The kind of labels, one of `LABELS`."""
        return self.label_table.kind if self.label_table else None

    @property
    def label_names(self) -> list[str]:
        """Names of the attributes or of the people."""
        return self.label_table.names if self.label_table else []

    @property
    def labels_digest(self) -> str | None:
        """A digest of all labels and their names, or None: different after any change."""
        return self.label_table.digest if self.label_table else None

    @property
    def protocol(self) -> dict:
        """What of these faces belongs to the protocol of every score.

        The source is named for people to read. Which pictures it holds is said by the fingerprint,
        a digest of their names, people, own splits and files: wherever they lie, it is the same.
        """
        narrowed = {
            name: self.facts[name]
            for name, usual in USUAL.items()
            if self.facts.get(name, usual) != usual
        }
        return {
            "source": self.facts.get("source"),
            "fingerprint": self.cache.meta["content"],
            "split": self.facts.get("split"),
            **narrowed,
            "crop": self.facts.get("crop"),
            "image_size": self.image_shape[0],
            "channels": self.image_shape[2],
        }

    def read(
        self, step: int, part: int = 0, parts: int = 1
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return batch number `step`, counted from the beginning of training.

        Args:
            step: Its number.
            part: Which of the batch's `parts` to return, from 0.
            parts: Number of processes that share the batch, in parts of the same size.

        Returns:
            `(images, labels)`: uint8 images of shape `(batch, height, width, channels)`, and
            labels: int32 numbers of people of shape `(batch,)`, float32 attributes of shape
            `(batch, attributes)`, uint8 sketches like the images, or None.
        """
        epoch, batch = divmod(int(step), self.steps_per_epoch)
        begin = batch * self.batch_size
        size = min(self.batch_size, self.count - begin) // parts
        rows = slice(begin + part * size, begin + (part + 1) * size)
        chosen = self._order(epoch)[rows]
        images = self.cache.read(chosen)
        labels = self.label_table.read(chosen) if self.label_table else None
        if self.mirror:
            turned = self._turned(epoch)[rows]
            for pictures in [images, labels] if self.labels == "sketch" else [images]:
                pictures[turned] = pictures[turned, :, ::-1]
        return images, labels

    def labels_at(self, positions: np.ndarray) -> np.ndarray | None:
        """Return the labels of pictures, given their positions in the cache, or None."""
        return self.label_table.at(positions) if self.label_table else None

    def dataset(self, start: int | None = None):
        """Return the stream as a tf.data pipeline of NHWC images.

        Args:
            start: None for one epoch of float32 in [-1, 1], a new permutation each time it is
                iterated; or, for `fit`, the step to start from for a stream without end, of uint8,
                a quarter of the bytes to carry to a device.

        Returns:
            A `tf.data.Dataset` whose attribute `stream` is this one: our models' `fit` finds the
            stream there, and so can go on from any step.
        """
        import tensorflow as tf

        steps = self.steps_per_epoch
        if start is None:
            epochs = itertools.count()

            def next_epoch(_):
                first = tf.numpy_function(lambda: np.int64(next(epochs) * steps), [], tf.int64)
                return tf.data.Dataset.range(first, first + steps)

            numbers = tf.data.Dataset.range(1).flat_map(next_epoch)
        else:
            numbers = tf.data.Dataset.range(start, np.iinfo(np.int64).max)

        # TensorFlow 2.21 idles at the end of an epoch for as long as the epoch took when any stage
        # is tuned automatically, so parallelism is fixed here and the tuner is off.
        dataset = numbers.map(
            lambda step: self._tensors(step, as_float=start is None),
            num_parallel_calls=2,
            deterministic=True,
        ).prefetch(4)
        options = tf.data.Options()
        options.autotune.enabled = False
        options.deterministic = True
        dataset = dataset.with_options(options)
        if start is None:
            dataset = dataset.apply(tf.data.experimental.assert_cardinality(steps))
        dataset.stream = self
        return dataset

    def _tensors(self, step, as_float: bool):
        """Return batch number `step`, a tensor, as tensors of known shapes."""
        import tensorflow as tf

        table = self.label_table
        pictures = tf.float32 if as_float else tf.uint8
        kinds = (pictures,)
        if self.labels == "sketch":
            kinds += (pictures,)
        elif table:
            kinds += (tf.string if table.dtype == "object" else tf.as_dtype(table.dtype),)

        def on_cpu(number):
            try:
                images, labels = self.read(number)
            except Exception as error:
                self.failure = error  # TensorFlow raises one of its own, with the stack as its text
                raise
            if as_float:
                images, labels = self._as_float(images, labels)
            return (images, labels) if table else (images,)

        batch = self.batch_size if self.drop_remainder else None
        images, *labels = tf.numpy_function(on_cpu, [step], kinds)
        images.set_shape((batch, *self.image_shape))
        if not table:
            return images
        labels[0].set_shape((batch, *table.shape))
        return images, labels[0]

    def __len__(self) -> int:
        return self.steps_per_epoch

    def __iter__(self) -> Iterator:
        for step in range(self.steps_per_epoch):
            images, labels = self._as_float(*self.read(step))
            yield (images, labels) if self.labels else images

    def _as_float(self, images, labels):
        return to_float(images), to_float(labels) if self.labels == "sketch" else labels

    def sample(self, count: int, seed: int = 0, labelled: bool = False):
        """Return up to `count` different pictures, chosen by seed, as float32 in [-1, 1].

        With `labelled`, return `(pictures, labels)` where the stream has labels.
        """
        require_whole(0, count=count, seed=seed)
        count = min(count, self.count)
        chosen = np.random.default_rng(seed).permutation(self.indices)[:count]
        faces = to_float(self.cache.read(chosen))
        return (faces, self.labels_at(chosen)) if labelled and self.labels else faces

    def _permutation(self, epoch: int) -> np.ndarray:
        if not self.shuffle:
            return self.indices
        return np.random.default_rng([self.seed, epoch]).permutation(self.indices)

    def _coins(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.seed, epoch, 1]).random(self.count) < 0.5


def stream_of(faces) -> FaceStream | None:
    """Return the stream of what `load` or `open_faces` returned, or None of anything else."""
    return faces if isinstance(faces, FaceStream) else getattr(faces, "stream", None)
