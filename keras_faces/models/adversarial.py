"""What a discriminator sees, changed at random, lest it know few faces by heart.

Zhao, Liu, Lin, Zhu and Han, 2020, https://arxiv.org/abs/2006.10738 (DiffAugment): real and
generated faces alike are changed before the discriminator sees them, each by a change of its own,
through which the generator's gradient passes. So it learns to make faces, not changed ones, as long
as a change leaves a face possible: of those below, `light` and `contrast` show in what is generated
where faces are few. None of the documents does so; it is off unless asked for.

Mescheder, Geiger and Nowozin, 2018, https://arxiv.org/abs/1801.04406, (9), penalise the
discriminator's gradient at real faces: R1(D) = gamma / 2 E |grad D(x)|^2.
"""

from collections.abc import Callable

import keras
from keras import ops

from keras_faces.errors import require_at_least, unknown_name
from keras_faces.models.base import FaceModel
from keras_faces.training.backend import input_gradients

CHANGES = ("mirror", "shift", "cutout", "light", "contrast")
NONE = "none"

# Zhao et al.'s, of faces in [-1, 1].
SHIFT = 1 / 8  # of the size, at most, in either direction
HOLE = 1 / 2  # of the size is a hole's side
LIGHT = 0.5  # that is added or taken, at most
CONTRAST = 0.5  # by which 1 grows or falls, at most


class AdversarialModel(FaceModel):
    """Base class of models with a discriminator.

    Args:
        augment: What changes all that the discriminator sees, real and generated: `"none"`, or
            some of `mirror`, `shift` (by up to an eighth of the size), `cutout` (a grey square of
            half the size), `light` and `contrast`, separated by commas (Zhao et al., 2020).
        **kwargs: Arguments of `FaceModel`.
    """

    def __init__(self, augment: str = NONE, **kwargs):
        super().__init__(**kwargs)
        self.augment = augment
        self._changes = set() if augment == NONE else {n.strip() for n in augment.split(",")}
        for name in self._changes - set(CHANGES):
            raise unknown_name("change of augment", name, (NONE, *CHANGES))

    def seen(self, faces):
        """Return faces as the discriminator is to see them, each changed by itself.

        Args:
            faces: Tensor of shape `(count, image_size, image_size, channels)` in [-1, 1].
        """
        return self.draw_change(ops.shape(faces)[0])(faces)

    def draw_change(self, count) -> Callable:
        """Draw a change for each of `count` faces; return the function that makes them.

        The function takes and returns tensors of shape `(count, image_size, image_size, channels)`:
        a face and its copy, changed by the same function, are changed alike.
        """
        size, changes = self.image_size, []

        def uniform(low, high, *shape):
            return keras.random.uniform((count, *shape), low, high, seed=self.noise)

        if "light" in self._changes:
            light = uniform(-LIGHT, LIGHT, 1, 1, 1)
            changes.append(lambda faces: faces + light)
        if "contrast" in self._changes:
            contrast = uniform(1 - CONTRAST, 1 + CONTRAST, 1, 1, 1)

            def spread(faces):
                mean = ops.mean(faces, axis=(1, 2, 3), keepdims=True)
                return mean + contrast * (faces - mean)

            changes.append(spread)
        places = ops.arange(size, dtype="float32")[None]
        if "mirror" in self._changes:
            columns = ops.where(uniform(0, 1, 1) < 0.5, size - 1 - places, places)
            changes.append(lambda faces: _picked(faces, columns, 2))
        if "shift" in self._changes:
            reach = SHIFT * size
            down, right = (places + ops.round(uniform(-reach, reach, 1)) for _ in range(2))
            changes.append(lambda faces: _picked(_picked(faces, down, 1), right, 2))
        if "cutout" in self._changes:
            near = [ops.abs(places - uniform(0, size, 1)) < HOLE * size / 2 for _ in range(2)]
            hole = ops.logical_and(near[0][:, :, None, None], near[1][:, None, :, None])
            changes.append(lambda faces: ops.where(hole, 0.0, faces))

        def change(faces):
            for make in changes:
                faces = make(faces)
            return faces

        return change


class LogitModel(AdversarialModel):
    """Base class of models whose discriminator gives a logit, with R1.

    Args:
        r1: gamma, the weight of the penalty of the discriminator's gradient at real faces; 0 for
            none (Mescheder et al., 2018).
        **kwargs: Arguments of `AdversarialModel`.
    """

    def __init__(self, r1: float = 0.0, **kwargs):
        super().__init__(**kwargs)
        require_at_least(0, r1=r1)
        self.r1 = r1

    @property
    def penalties(self) -> tuple[str, ...]:
        """Names of what `penalty` adds to the discriminator's loss."""
        return ("r1",) if self.r1 else ()

    def penalty(self, judge: Callable, faces) -> dict:
        """Return R1 at real faces, as they are seen, by name; nothing where it has no weight.

        Args:
            judge: Callable of faces that returns their logits.
            faces: Tensor of shape `(count, image_size, image_size, channels)`.
        """
        if not self.r1:
            return {}
        squares = ops.sum(ops.square(input_gradients(judge, faces)), axis=(1, 2, 3))
        return {"r1": 0.5 * self.r1 * ops.mean(squares)}


def _picked(faces, places, axis):
    """Return faces of whose rows (axis 1) or columns (2) those at `places` are left, or grey.

    A product with zeros and ones, since gradients of `take` are slow on a CPU.
    """
    size = faces.shape[axis]
    chosen = ops.cast(places[..., None] == ops.arange(size, dtype="float32"), faces.dtype)
    form = "nij,njkc->nikc" if axis == 1 else "nij,nkjc->nkic"
    return ops.einsum(form, chosen, faces)
