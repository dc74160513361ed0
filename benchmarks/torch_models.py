"""The models of keras_faces in PyTorch, to measure against: networks, losses and steps of each.

Written as one does who follows the documents with PyTorch: the discriminator learns from real and
from detached generated faces, then the generator through a discriminator that is not
differentiated by its weights. Networks are those of `keras_faces/models/`, layer by layer; the
number of trainable parameters is the same (`tests/test_benchmarks.py`).

    step = MODELS["dcgan"](Torch(device="cpu", dtype="float32", compiled=False))
    step(faces)     # one step of training on a tensor of shape (batch, channels, size, size)
"""

import random
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional


class Torch:
    """How networks are made and trained: where, in which precision, compiled or not.

    Args:
        device: `"cpu"` or `"cuda"`.
        dtype: `"float32"`, or `"bfloat16"` for autocast.
        compiled: Whether `torch.compile` compiles networks, and optimizers are fused.
        image_size: Width and height of the faces.
        channels: 1 for grey, 3 for colour.

    Attributes:
        trained: All networks that were made, in that order.
    """

    def __init__(
        self,
        device: str = "cpu",
        dtype: str = "float32",
        compiled: bool = False,
        image_size: int = 64,
        channels: int = 3,
    ):
        self.device = device
        self.half = dtype == "bfloat16"
        self.compiled = compiled
        self.image_size = image_size
        self.channels = channels
        self.trained: list[nn.Module] = []

    def network(self, *layers: nn.Module) -> nn.Module:
        """Return a network of these layers, channels-last, on the device."""
        network = layers[0] if len(layers) == 1 else nn.Sequential(*layers)
        network = network.to(self.device).to(memory_format=torch.channels_last)
        self.trained.append(network)
        if self.compiled:
            network.compile()
        return network

    def adam(self, rate: float, beta_1: float, *networks: nn.Module):
        fused = True if self.compiled or self.device == "cuda" else None
        return torch.optim.Adam(_parameters(networks), rate, (beta_1, 0.999), fused=fused)

    def rmsprop(self, rate: float, rho: float, *networks: nn.Module):
        return torch.optim.RMSprop(_parameters(networks), rate, rho)

    def precision(self):
        return torch.autocast(self.device, torch.bfloat16, enabled=self.half)

    def normal(self, *shape: int):
        return torch.randn(shape, device=self.device)

    def uniform(self, *shape: int):
        return torch.rand(shape, device=self.device) * 2 - 1


def _parameters(networks):
    return [parameter for network in networks for parameter in network.parameters()]


def descend(optimizer, loss) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def fixed(network: nn.Module, *, yes: bool = True) -> None:
    """Keep a network from being differentiated by its weights, or let it be again."""
    network.requires_grad_(not yes)


def cross_entropy(logits, label: int):
    return functional.softplus(-logits if label else logits).mean()


def squared_error(faces, copies):
    return (faces - copies).square().sum((1, 2, 3)).mean()


def kl_divergence(mean, log_variance):
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()


def moments(network, faces):
    mean, log_variance = network(faces).float().chunk(2, dim=1)
    return mean, log_variance.clamp(-10, 10)


def to_map(width: int, size: int) -> nn.Module:
    """Make a map of what a dense layer gives, in the layout of the convolutions behind it."""
    return nn.Sequential(nn.Unflatten(1, (width, size, size)), ChannelsLast())


class ChannelsLast(nn.Module):
    def forward(self, x):
        return x.contiguous(memory_format=torch.channels_last)


# DCGAN, and the WGAN of its networks.


def dcgan_generator(size, channels, latent_dim=100, filters=64):
    width = filters * size // 8
    layers = [nn.ConvTranspose2d(latent_dim, width, 4, 1, 0, bias=False)]
    while width > filters:
        layers += [nn.BatchNorm2d(width), nn.ReLU(True)]
        layers += [nn.ConvTranspose2d(width, width // 2, 4, 2, 1, bias=False)]
        width //= 2
    layers += [nn.BatchNorm2d(width), nn.ReLU(True)]
    layers += [nn.ConvTranspose2d(width, channels, 4, 2, 1, bias=False), nn.Tanh()]
    return nn.Sequential(nn.Unflatten(1, (latent_dim, 1, 1)), *layers)


def dcgan_discriminator(size, channels, filters=64):
    layers = [nn.Conv2d(channels, filters, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, True)]
    width = filters
    while width < filters * size // 8:
        layers += [nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False)]
        layers += [nn.BatchNorm2d(2 * width), nn.LeakyReLU(0.2, True)]
        width *= 2
    return nn.Sequential(*layers, nn.Conv2d(width, 1, 4, 1, 0, bias=False), nn.Flatten())


def dcgan(t: Torch) -> Callable:
    g = t.network(dcgan_generator(t.image_size, t.channels))
    d = t.network(dcgan_discriminator(t.image_size, t.channels))
    of_g, of_d = t.adam(2e-4, 0.5, g), t.adam(2e-4, 0.5, d)

    def step(faces):
        with t.precision():
            fakes = g(t.normal(len(faces), 100))
            loss = cross_entropy(d(faces).float(), 1) + cross_entropy(d(fakes.detach()).float(), 0)
        descend(of_d, loss)
        fixed(d)
        with t.precision():
            loss = cross_entropy(d(fakes).float(), 1)
        descend(of_g, loss)
        fixed(d, yes=False)

    return step


def wgan(t: Torch) -> Callable:
    g = t.network(dcgan_generator(t.image_size, t.channels))
    critic = t.network(dcgan_discriminator(t.image_size, t.channels))
    of_g, of_critic = t.rmsprop(5e-5, 0.99, g), t.rmsprop(5e-5, 0.99, critic)

    def step(faces):
        for part in faces.chunk(5):
            with t.precision():
                with torch.no_grad():
                    fakes = g(t.normal(len(part), 100))
                loss = critic(fakes).float().mean() - critic(part).float().mean()
            descend(of_critic, loss)
            with torch.no_grad():
                for parameter in critic.parameters():
                    parameter.clamp_(-0.01, 0.01)
        fixed(critic)
        with t.precision():
            loss = -critic(g(t.normal(len(part), 100))).float().mean()
        descend(of_g, loss)
        fixed(critic, yes=False)

    return step


def gan(t: Torch) -> Callable:
    size, base, filters, hidden = t.image_size, t.image_size // 4, 64, 1024
    g = t.network(
        nn.Linear(100, hidden),
        nn.Linear(hidden, 2 * filters * base * base, bias=False),
        nn.BatchNorm1d(2 * filters * base * base),
        nn.Tanh(),
        to_map(2 * filters, base),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(2 * filters, filters, 5, 1, 2),
        nn.Tanh(),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(filters, t.channels, 5, 1, 2),
        nn.Tanh(),
    )
    d = t.network(
        nn.Conv2d(t.channels, filters, 5, 1, 2),
        nn.Tanh(),
        nn.MaxPool2d(2),
        nn.Conv2d(filters, 2 * filters, 5),
        nn.Tanh(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(2 * filters * ((size // 2 - 4) // 2) ** 2, hidden),
        nn.Tanh(),
        nn.Linear(hidden, 1),
    )
    of_g, of_d = (
        torch.optim.SGD(network.parameters(), 5e-4, momentum=0.9, nesterov=True)
        for network in (g, d)
    )

    def step(faces):
        with t.precision():
            with torch.no_grad():
                fakes = g(t.uniform(len(faces), 100))
            loss = cross_entropy(d(faces).float(), 1) + cross_entropy(d(fakes).float(), 0)
        descend(of_d, loss)
        fixed(d)
        with t.precision():
            loss = -cross_entropy(d(g(t.uniform(len(faces), 100))).float(), 0)
        descend(of_g, loss)
        fixed(d, yes=False)

    return step


# BEGAN.


class BeganDecoder(nn.Module):
    def __init__(self, size, channels, latent_dim, filters):
        super().__init__()
        sizes = (size // 8).bit_length()
        self.dense = nn.Sequential(nn.Linear(latent_dim, 64 * filters), to_map(filters, 8))
        self.body = nn.ModuleList(nn.Conv2d(filters, filters, 3, 1, 1) for _ in range(2 * sizes))
        self.last = nn.Conv2d(filters, channels, 3, 1, 1)

    def forward(self, x):
        x = self.dense(x)
        for number, layer in enumerate(self.body):
            if number and number % 2 == 0:
                x = functional.interpolate(x, scale_factor=2)
            x = functional.elu(layer(x), inplace=True)
        return self.last(x).float()


def began(t: Torch, latent_dim=64, filters=128) -> Callable:
    sizes = (t.image_size, t.channels, latent_dim, filters)
    layers, before = [nn.Conv2d(t.channels, filters, 3, 1, 1), nn.ELU(inplace=True)], filters
    halvings = (t.image_size // 8).bit_length() - 1
    for number in range(1, halvings + 2):
        for _ in range(2):
            layers += [nn.Conv2d(before, number * filters, 3, 1, 1), nn.ELU(inplace=True)]
            before = number * filters
        if number <= halvings:
            layers += [nn.Conv2d(before, before, 3, 2, 1), nn.ELU(inplace=True)]
    layers += [nn.Flatten(), nn.Linear(64 * before, latent_dim)]
    g = t.network(BeganDecoder(*sizes))
    d = t.network(*layers, BeganDecoder(*sizes))
    of_g, of_d = t.adam(1e-4, 0.9, g), t.adam(1e-4, 0.9, d)
    k = torch.zeros((), device=t.device)

    def error(faces):
        return (faces - d(faces)).abs().mean()

    def step(faces):
        with t.precision():
            fakes = g(t.uniform(len(faces), latent_dim))
            real, fake = error(faces), error(fakes.detach())
        descend(of_d, real - k * fake)
        fixed(d)
        with t.precision():
            loss = error(fakes)
        descend(of_g, loss)
        fixed(d, yes=False)
        k.add_(1e-3 * (0.5 * real.detach() - loss.detach())).clamp_(0, 1)

    return step


# Autoencoders.


def vae_encoder(size, channels, outputs, conditions=0, filters=32, hidden=512):
    halvings = (size // 4).bit_length() - 1
    layers, before = [], channels
    for halving in range(halvings):
        layers += [nn.Conv2d(before, filters * 2**halving, 4, 2, 1), nn.LeakyReLU(0.2, True)]
        before = filters * 2**halving
    convolutions = nn.Sequential(*layers, nn.Flatten())
    head = [nn.Linear(16 * before + conditions, hidden), nn.LeakyReLU(0.2, True)]
    return convolutions, nn.Sequential(*head, nn.Linear(hidden, outputs))


def vae_decoder(size, channels, latent_dim, filters=32, hidden=512):
    width = filters * size // 8
    layers = [nn.Linear(latent_dim, hidden), nn.LeakyReLU(0.2, True)]
    layers += [nn.Linear(hidden, 16 * width), to_map(width, 4)]
    while width > filters:
        layers += [nn.LeakyReLU(0.2, True), nn.ConvTranspose2d(width, width // 2, 4, 2, 1)]
        width //= 2
    layers += [nn.LeakyReLU(0.2, True), nn.ConvTranspose2d(width, channels, 4, 2, 1)]
    return nn.Sequential(*layers, nn.Tanh())


def autoencoder(t: Torch) -> Callable:
    encoder = t.network(*vae_encoder(t.image_size, t.channels, 128))
    decoder = t.network(vae_decoder(t.image_size, t.channels, 128))
    optimizer = t.adam(1e-3, 0.9, encoder, decoder)

    def step(faces):
        with t.precision():
            copies = decoder(encoder(faces)).float()
        descend(optimizer, squared_error(faces, copies))

    return step


def vae(t: Torch) -> Callable:
    encoder = t.network(*vae_encoder(t.image_size, t.channels, 256))
    decoder = t.network(vae_decoder(t.image_size, t.channels, 128))
    optimizer = t.adam(1e-3, 0.9, encoder, decoder)

    def step(faces):
        with t.precision():
            mean, log_variance = moments(encoder, faces)
            latents = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
            copies = decoder(latents).float()
        error = squared_error(faces, copies) / (2 * 0.3**2)
        descend(optimizer, error + kl_divergence(mean, log_variance))

    return step


class ConditionalEncoder(nn.Module):
    def __init__(self, convolutions, head):
        super().__init__()
        self.convolutions, self.head = convolutions, head

    def forward(self, faces, conditions):
        return self.head(torch.cat([self.convolutions(faces), conditions], dim=1))


def cvae(t: Torch, conditions=40) -> Callable:
    encoder = ConditionalEncoder(*vae_encoder(t.image_size, t.channels, 256, conditions))
    encoder = t.network(encoder)
    decoder = t.network(vae_decoder(t.image_size, t.channels, 128 + conditions))
    optimizer = t.adam(1e-3, 0.9, encoder, decoder)

    def step(faces):
        given = torch.randint(0, 2, (len(faces), conditions), device=t.device).float()
        with t.precision():
            mean, log_variance = moments(lambda x: encoder(x, given), faces)
            latents = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
            copies = decoder(torch.cat([latents, given], dim=1)).float()
        error = squared_error(faces, copies) / 2
        descend(optimizer, error + kl_divergence(mean, log_variance))

    return step


def dense_vae(t: Torch) -> Callable:
    shape, hidden, latent_dim = (t.channels, t.image_size, t.image_size), 512, 2
    values = t.channels * t.image_size**2
    encoder = t.network(
        nn.Flatten(), nn.Linear(values, hidden), nn.ReLU(True), nn.Linear(hidden, 2 * latent_dim)
    )
    decoder = t.network(
        nn.Linear(latent_dim, hidden), nn.ReLU(True), nn.Linear(hidden, values), nn.Sigmoid()
    )
    optimizer = t.rmsprop(1e-3, 0.9, encoder, decoder)

    def step(faces):
        with t.precision():
            mean, log_variance = moments(encoder, faces)
            latents = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
            copies = decoder(latents).float().mul(2).sub(1).unflatten(1, shape)
        error = squared_error(faces, copies) / 4
        descend(optimizer, error + kl_divergence(mean, log_variance))

    return step


# VAE/GAN, with Larsen et al.'s networks.


def larsen_norm(width, flat=False):
    return (nn.BatchNorm1d if flat else nn.BatchNorm2d)(width, eps=1e-6)


class LarsenDiscriminator(nn.Module):
    def __init__(self, channels, filters, hidden, widths):
        super().__init__()
        self.first = nn.Conv2d(channels, filters // 2, 5, 1, 2)
        before, layers = filters // 2, []
        for width in widths:
            layers += [nn.Conv2d(before, width, 5, 2, 2, bias=False), larsen_norm(width)]
            layers += [nn.ReLU(True)]
            before = width
        self.body, self.norm = nn.Sequential(*layers[:-2]), layers[-2]
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(64 * before, hidden // 2, bias=False),
            larsen_norm(hidden // 2, flat=True),
            nn.ReLU(True),
            nn.Linear(hidden // 2, 1),
        )

    def forward(self, faces):
        features = self.body(functional.relu(self.first(faces), inplace=True))
        return self.head(functional.relu(self.norm(features))).float(), features.float()


def vaegan(t: Torch, latent_dim=128, filters=64, hidden=1024, gamma=15.0) -> Callable:
    halvings = (t.image_size // 8).bit_length() - 1
    layers, before = [], t.channels
    for halving in range(halvings):
        width = min(filters * 2**halving, 4 * filters)
        layers += [nn.Conv2d(before, width, 5, 2, 2, bias=False), larsen_norm(width), nn.ReLU(True)]
        before = width
    encoder = t.network(
        *layers,
        nn.Flatten(),
        nn.Linear(64 * before, hidden, bias=False),
        larsen_norm(hidden, flat=True),
        nn.ReLU(True),
        nn.Linear(hidden, 2 * latent_dim),
    )
    width = 4 * filters
    layers = [nn.Linear(latent_dim, 64 * width, bias=False), larsen_norm(64 * width, flat=True)]
    layers += [nn.ReLU(True), to_map(width, 8)]
    for after in (4 * filters, *[2 * filters] * (halvings - 2), filters // 2):
        layers += [nn.ConvTranspose2d(width, after, 5, 2, 2, output_padding=1, bias=False)]
        layers += [larsen_norm(after), nn.ReLU(True)]
        width = after
    decoder = t.network(*layers, nn.Conv2d(width, t.channels, 5, 1, 2), nn.Tanh())
    widths = (2 * filters, *[4 * filters] * (halvings - 2), 4 * filters)
    discriminator = t.network(LarsenDiscriminator(t.channels, filters, hidden, widths))
    optimizers = [t.rmsprop(3e-3, 0.9, n) for n in (encoder, decoder, discriminator)]

    def step(faces):
        count = len(faces)
        with t.precision():
            mean, log_variance = moments(encoder, faces)
            codes = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
            made = decoder(torch.cat([codes, t.normal(count, latent_dim)])).float()
            logits, features = discriminator(torch.cat([faces, made]))
        real, copy, fake = logits.split(count)
        squares = 0.5 * (features[:count] - features[count : 2 * count]).square()
        of_fakes = cross_entropy(fake, 0) + cross_entropy(copy, 0)
        of_encoder = kl_divergence(mean, log_variance) + squares.sum((1, 2, 3)).mean()
        # Three losses of one pass, each for its own network.
        losses = (
            of_encoder,
            gamma * squares.mean() - of_fakes,
            cross_entropy(real, 1) + of_fakes,
        )
        for loss, network in zip(losses, t.trained, strict=True):
            parameters = list(network.parameters())
            found = torch.autograd.grad(loss, parameters, retain_graph=True)
            for parameter, gradient in zip(parameters, found, strict=True):
                parameter.grad = gradient
        for optimizer in optimizers:
            optimizer.step()

    return step


# CycleGAN, with the slides' networks.


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(True),
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x):
        return x + self.body(x)


def translator(channels, filters=64, blocks=6):
    layers, before = [], channels
    for width in (filters, 2 * filters, 4 * filters):
        layers += [nn.Conv2d(before, width, 4, 2, 1, bias=False), nn.BatchNorm2d(width)]
        layers += [nn.ReLU(True)]
        before = width
    layers += [Residual(before) for _ in range(blocks)]
    for width in (2 * filters, filters):
        layers += [nn.ConvTranspose2d(before, width, 4, 2, 1, bias=False), nn.BatchNorm2d(width)]
        layers += [nn.ReLU(True)]
        before = width
    layers += [nn.ConvTranspose2d(before, channels, 4, 2, 1, bias=False), nn.Tanh()]
    return nn.Sequential(*layers)


def patch_judge(channels, filters=64):
    layers, before = [], channels
    for number in range(4):
        width = filters * 2**number
        layers += [nn.Conv2d(before, width, 4, 2, 1, bias=False)]
        layers += [nn.BatchNorm2d(width)] if number else []
        layers += [nn.ReLU(True)]
        before = width
    return nn.Sequential(*layers, nn.Conv2d(before, 1, 4, 1, 1, bias=False))


class Pool:
    """Generated pictures, half of which come back later than they were made."""

    def __init__(self, size=50):
        self.size, self.pictures = size, []

    def exchange(self, pictures):
        chosen = []
        for picture in pictures.detach():
            if len(self.pictures) < self.size:
                self.pictures.append(picture)
            elif random.random() < 0.5:
                place = random.randrange(self.size)
                picture, self.pictures[place] = self.pictures[place], picture
            chosen.append(picture)
        return torch.stack(chosen).contiguous(memory_format=torch.channels_last)


def cyclegan(t: Torch) -> Callable:
    to_sketch, to_photo = (t.network(translator(t.channels)) for _ in range(2))
    judges = [t.network(patch_judge(t.channels)) for _ in range(2)]
    pools = [Pool(), Pool()]
    of_translators = t.adam(2e-4, 0.5, to_sketch, to_photo)
    of_judges = t.adam(2e-4, 0.5, *judges)

    def least_squares(judge, pictures, label):
        return (judge(pictures).float() - label).square().mean()

    def difference(first, second):
        return (first.float() - second).abs().mean()

    def step(photos):
        sketches = photos.roll(1, 0)  # these are random pictures as well
        for judge in judges:
            fixed(judge)
        with t.precision():
            fakes = to_photo(sketches), to_sketch(photos)
            loss = sum(least_squares(j, fake, 1) for j, fake in zip(judges, fakes, strict=True))
            loss = loss + 10 * difference(to_photo(fakes[1]), photos)
            loss = loss + 10 * difference(to_sketch(fakes[0]), sketches)
            loss = loss + 5 * difference(to_photo(photos), photos)
            loss = loss + 5 * difference(to_sketch(sketches), sketches)
        descend(of_translators, loss)
        for judge in judges:
            fixed(judge, yes=False)
        loss = 0
        with t.precision():
            for judge, pool, real, fake in zip(
                judges, pools, (photos, sketches), fakes, strict=True
            ):
                fake = pool.exchange(fake)
                loss = loss + 0.5 * least_squares(judge, real, 1)
                loss = loss + 0.5 * least_squares(judge, fake, 0)
        descend(of_judges, loss)

    return step


MODELS = {
    "autoencoder": autoencoder,
    "began": began,
    "cvae": cvae,
    "cyclegan": cyclegan,
    "dcgan": dcgan,
    "dense_vae": dense_vae,
    "gan": gan,
    "vae": vae,
    "vaegan": vaegan,
    "wgan": wgan,
}
