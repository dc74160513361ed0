"""Losses that several papers share, and the warnings that go with them."""

import numpy as np
from keras import ops


def cross_entropy(logits, label: int):
    """Return the mean binary cross-entropy of logits against one label, 0 or 1."""
    return ops.mean(ops.softplus(-logits if label else logits))


def accuracies(real, fake) -> dict:
    """Return how often a discriminator's logits are right, for real and for generated faces."""
    return {
        "real_accuracy": ops.mean(ops.cast(real > 0, "float32")),
        "fake_accuracy": ops.mean(ops.cast(fake < 0, "float32")),
    }


def one_sided(logs) -> list[str]:
    """Return a warning where the discriminator wins always or never."""
    real, fake = logs["real_accuracy"], logs["fake_accuracy"]
    if min(real, fake) > 0.99:
        return [
            f"One-sided discriminator: it recognises {real:.1%} of the real and {fake:.1%} of "
            "the generated faces, so the generator learns little from it. Try fewer filters, "
            "a lower learning rate, or more faces."
        ]
    if real + fake < 0.6:
        return [
            f"One-sided discriminator: it recognises only {real:.1%} of the real and "
            f"{fake:.1%} of the generated faces, worse than guessing. Try a lower learning "
            "rate."
        ]
    return []


def squared_error(images, reconstructions):
    """Return the squared error, summed over an image's values, mean over the batch."""
    return ops.mean(ops.sum(ops.square(images - reconstructions), axis=(1, 2, 3)))


def split(moments):
    """Return mean and log-variance; the latter is clipped, or one outlier overflows exp."""
    mean, log_variance = ops.split(moments, 2, axis=-1)
    return mean, ops.clip(log_variance, -10.0, 10.0)


def kl_divergence(mean, log_variance):
    """Return KL(N(mean, variance) || N(0, I)), summed over units, mean over the batch.

    Kingma and Welling, appendix B.
    """
    terms = ops.square(mean) + ops.exp(log_variance) - 1.0 - log_variance
    return ops.mean(ops.sum(0.5 * terms, axis=-1))


def active_units(means: np.ndarray) -> int:
    """Count latent units whose posterior mean varies with the image.

    Burda et al., 2016, https://arxiv.org/abs/1509.00519: variance over images above 0.01.

    Args:
        means: Posterior means of different images, of shape `(count, latent_dim)`.
    """
    return int((np.var(means, axis=0) > 0.01).sum())


def posterior_collapse(means: np.ndarray) -> list[str]:
    """Return a warning where next to no latent unit tells faces apart."""
    active, units = active_units(means), means.shape[1]
    if active >= min(units, max(2, units // 32)):
        return []
    return [
        f"Posterior collapse: only {active} of {units} latent units tell faces apart. Try a "
        "smaller weight of the KL divergence, or a smaller noise_scale."
    ]
