"""WGAN: Arjovsky, Chintala and Bottou, 2017, https://arxiv.org/abs/1701.07875.

The second baseline of Zhang et al., *Realistic Face Image Generation Based on GAN*, who name it and
state nothing else. The paper decides (algorithm 1): RMSProp with learning rate 5e-5, batches of 64,
five steps of the critic for one of the generator, all of the critic's weights clipped to
[-0.01, 0.01] after each of its steps; the networks are DCGAN's without the sigmoid.

`gradient_penalty` replaces the clipping by a penalty on the critic's gradient (Gulrajani et al.,
2017, https://arxiv.org/abs/1704.00028): a factor of 10 there, Adam with beta1 0 and beta2 0.9, and
no batch normalisation in the critic, since the penalty is on each face by itself.
"""

import keras
from keras import ops

from keras_faces.errors import require_above, require_at_least, require_at_most
from keras_faces.models.adversarial import AdversarialModel
from keras_faces.models.dcgan import build_discriminator, build_generator
from keras_faces.models.layers import Clip
from keras_faces.training.backend import input_gradients
from keras_faces.training.players import LEAST_EPSILON, Player


@keras.saving.register_keras_serializable(package="keras_faces")
class WGAN(AdversarialModel):
    """DCGAN whose critic estimates the Wasserstein distance between real and generated faces.

    A training step takes one batch and is one step of the generator: the critic moves
    `critic_steps` times before it, each time on its own part of the batch. The paper's batches of
    64 are therefore batches of 320 here.

    Args:
        image_size: Width and height of the faces in pixels: 32, 64 or 128 (the authors' code).
        channels: 1 for grey, 3 for colour (the authors' code).
        latent_dim: Size of the latent z, which is drawn from N(0, I) (the authors' code).
        filters: Filters of the generator's last and the critic's first hidden layer; they double
            with every halving of the size (the authors' code).
        critic_steps: n_critic, steps of the critic for one of the generator (Arjovsky et al.,
            algorithm 1).
        clip: c, the largest absolute weight of the critic. Not used with a gradient penalty
            (Arjovsky et al., algorithm 1).
        gradient_penalty: lambda, the factor of the gradient penalty; 0 for weight clipping
            (Gulrajani et al., of 10).
        learning_rate: Learning rate of both players: RMSProp, or Adam with a gradient penalty
            (Arjovsky et al., algorithm 1).
        epsilon: RMSProp's floor under the gradient's mean square, whose root the gradient is
            divided by. Not used with a gradient penalty (the authors' code: 1e-8 under the root
            itself).
        **kwargs: Arguments of `AdversarialModel`.
    """

    generating = ("generator",)
    measures = ("wasserstein",)
    epochs = 25  # of the authors' code
    batch_size = 320  # five of the paper's 64

    def __init__(
        self,
        image_size: int = 64,
        channels: int = 3,
        latent_dim: int = 100,
        filters: int = 64,
        critic_steps: int = 5,
        clip: float = 0.01,
        gradient_penalty: float = 0.0,
        learning_rate: float = 5e-5,
        epsilon: float = 1e-16,
        **kwargs,
    ):
        super().__init__(image_size=image_size, channels=channels, **kwargs)
        require_at_least(1, latent_dim=latent_dim, filters=filters, critic_steps=critic_steps)
        require_at_most(100, critic_steps=critic_steps)
        require_above(0, clip=clip)
        require_at_least(0, gradient_penalty=gradient_penalty)
        require_at_least(LEAST_EPSILON, epsilon=epsilon)
        self.latent_dim = latent_dim
        self.filters = filters
        self.critic_steps = critic_steps
        self.clip = clip
        self.gradient_penalty = gradient_penalty
        self.learning_rate = learning_rate
        self.epsilon = epsilon
        with self.building():
            self.generator = build_generator(image_size, channels, latent_dim, filters)
            self.critic = build_discriminator(
                image_size, channels, filters, normalised=not gradient_penalty
            )
        if not gradient_penalty:
            for variable in self.critic.trainable_variables:
                variable.constraint = Clip(clip)

    @property
    def players(self):
        penalty = ("penalty",) if self.gradient_penalty else ()
        return [
            Player("critic", [self.critic], terms=("real", "fake", *penalty)),
            Player("generator", [self.generator], terms=("fake",)),
        ]

    def default_optimizers(self):
        def optimizer(rate):
            if self.gradient_penalty:
                return keras.optimizers.Adam(rate, beta_1=0.0, beta_2=0.9)
            # The decay is that of the authors' code; the paper states none. Keras adds epsilon
            # within the root, PyTorch its own behind it: 1e-16 here is 1e-8 there.
            return keras.optimizers.RMSprop(rate, rho=0.99, epsilon=self.epsilon)

        # The critic's rate decays over as many rounds of the game, not over its own steps.
        return {
            "critic": optimizer(self.learning_rate_for(self.learning_rate, self.critic_steps)),
            "generator": optimizer(self.learning_rate_for(self.learning_rate)),
        }

    @property
    def batch_multiple(self):
        return self.critic_steps

    def feature_network(self):
        return self.critic

    def sample_noise(self, images, labels=None):
        count = ops.shape(images)[0]
        latents = keras.random.normal((count, self.latent_dim), seed=self.noise)
        mix = keras.random.uniform((count, 1, 1, 1), seed=self.noise)
        return images, latents, mix

    def turns(self, images, labels=None):
        critic, generator = self.players
        count = images.shape[0] or ops.shape(images)[0]
        # Training takes only multiples; of another batch to evaluate, the rest is left out.
        size = count // self.critic_steps
        for number in range(self.critic_steps):
            start = number * size
            part = images[start : start + size]
            yield [critic], self.sample_noise(part)
        _, latents, mix = self.sample_noise(part)
        yield [generator], (None, latents, mix)  # who has no use for real faces

    def losses(self, batch, training):
        images, latents, mix = batch
        images = None if images is None else self.seen(images)
        fakes = self.seen(self.generator(latents, training=training))
        real = None if images is None else ops.mean(self.critic(images, training=training))
        fake = ops.mean(self.critic(fakes, training=training))
        generator = {"generator": {"fake": -fake}}
        if images is None:
            return generator
        critic = {"real": -real, "fake": fake}
        if self.gradient_penalty:
            between = mix * images + (1.0 - mix) * fakes
            critic["penalty"] = self.gradient_penalty * self.penalty(between, training)
        return generator | {"critic": critic, "measures": {"wasserstein": real - fake}}

    def penalty(self, images, training=False):
        """Return the mean of (|gradient of the critic at an image| - 1)^2."""
        gradients = input_gradients(lambda faces: self.critic(faces, training=training), images)
        squares = ops.sum(ops.square(gradients), axis=(1, 2, 3))
        # The root's own gradient is infinite at 0.
        return ops.mean(ops.square(ops.sqrt(squares + 1e-12) - 1.0))
