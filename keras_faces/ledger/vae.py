"""Ledger of the VAE: the three-models report, on Kingma and Welling."""

from keras_faces.ledger import GARBLED, OPEN, SILENT, Entry
from keras_faces.ledger.probes import error_factor, initial_weights, layers_of, noise, optimizer

ENTRIES = (
    Entry("image_size", "Report 2.1", 64, states="64 x 64"),
    Entry(
        "channels",
        "Report 2.1, 2.3",
        GARBLED,
        states='CelebA, whose pictures are in colour; but "d = 64 x 64" values a face',
        why="The count leaves no room for colour; CelebA has it, and the Report does not say that "
        "it was removed.",
    ),
    Entry(
        "latent_dim",
        "Report 4.1.1",
        128,
        states='"in our case, the latent dimension was 128"',
        reference="PyTorch-VAE: 128",
    ),
    Entry(
        "filters",
        "Report 3.1",
        SILENT,
        reference="PyTorch-VAE: 32-64-128-256-512; pythae: 128-256-512-1024",
        why="The smaller family: 2.9 million parameters a side train on two cores.",
    ),
    Entry(
        "hidden_units",
        "Report 3.1",
        SILENT,
        reference="Kingma and Welling: a hidden layer next to the latent on both sides; pythae and "
        "PyTorch-VAE: none",
        why="Without the layer, faces drawn from the prior fall apart.",
    ),
    Entry(
        "noise_scale",
        "Report 3.1 (3.7)",
        OPEN,
        states="the loss is the sum of mean squared error and KL divergence, which leaves open "
        "what the mean is over, and so the weight of one against the other",
        reference="Kingma and Welling: the variance of a Gaussian likelihood; pythae: a standard "
        "deviation of 1 on pictures in [0, 1]; PyTorch-VAE: a mean over pixels + 0.00025 KL",
        why="The weight that the Report leaves open. Smaller sharpens reconstructions, larger "
        "brings the latents closer to the prior that faces are drawn from.",
    ),
    Entry(
        "kl_weight",
        "Report 3.1 (3.7)",
        1.0,
        states="the plain sum of both terms",
        reference="Kingma and Welling: 1, the variational bound",
    ),
    Entry(
        "learning_rate",
        "Report 3.1",
        SILENT,
        reference="PyTorch-VAE: 0.005, decaying; pythae: 1e-3; GDL: 5e-4",
        why="Adam's own default, and pythae's.",
    ),
    Entry(
        "epochs",
        "Report 4.1.1, table 4.2",
        20,
        states="converged and stopped at the 20th epoch",
        reference="pythae: 50; PyTorch-VAE: 100",
    ),
    Entry(
        "batch_size",
        "Report",
        SILENT,
        reference="Kingma and Welling: 100; pythae: 100; PyTorch-VAE: 64",
        decides=100,
        why="Kingma and Welling's.",
    ),
    Entry(
        "encoder",
        "Report 3.1",
        SILENT,
        reference="PyTorch-VAE: five 3x3 convolutions with stride 2, batch norm, leaky ReLU",
        why="DCGAN's convolutions down to 4x4, around Kingma and Welling's hidden layer. No batch "
        "normalisation: it made reconstructions and samples of this model worse.",
        probe=layers_of("encoder"),
        ours=(
            "conv 4x4 32 stride 2",
            "leaky relu 0.2",
            "conv 4x4 64 stride 2",
            "leaky relu 0.2",
            "conv 4x4 128 stride 2",
            "leaky relu 0.2",
            "conv 4x4 256 stride 2",
            "leaky relu 0.2",
            "flatten",
            "dense 512",
            "leaky relu 0.2",
            "dense 256",
        ),
    ),
    Entry(
        "decoder",
        "Report 3.1",
        SILENT,
        reference="PyTorch-VAE: the encoder's mirror image, tanh",
        why="The encoder's mirror image, with tanh at its end.",
        probe=layers_of("decoder", "conv", "deconv", "dense", "tanh"),
        ours=(
            "dense 512",
            "dense 4096",
            "deconv 4x4 128 stride 2",
            "deconv 4x4 64 stride 2",
            "deconv 4x4 32 stride 2",
            "deconv 4x4 3 stride 2",
            "tanh",
        ),
    ),
    Entry(
        "squared error's factor times noise_scale^2",
        "Report 3.1 (3.7)",
        OPEN,
        states='"the mean square error"',
        reference="Kingma and Welling: the log-likelihood of a Gaussian",
        decides=0.5,
        why="The error is summed over a face's values and divided by 2 noise_scale^2: minus the "
        "log-likelihood, up to a constant.",
        probe=lambda model: round(error_factor(model) * model.noise_scale**2, 2),
    ),
    Entry(
        "noise",
        "Report 3.1",
        OPEN,
        states='"stochastic back propagation", the reparameterisation of Rezende et al.',
        reference="Kingma and Welling: z = mu + sigma * epsilon, one epsilon a face",
        decides="N(0, I)",
        why="Kingma and Welling's.",
        probe=noise,
    ),
    Entry(
        "optimizer",
        "Report 3.1",
        OPEN,
        states='"gradient ascent"',
        reference="PyTorch-VAE and pythae: Adam",
        decides="Adam, beta_1 0.9, beta_2 0.999",
        why="What the public code of such models uses, with the optimizer's own defaults.",
        probe=optimizer("beta_1", "beta_2"),
    ),
    Entry(
        "initial weights",
        "Report",
        SILENT,
        why="Keras's default.",
        probe=initial_weights("encoder", "decoder"),
        ours="GlorotUniform",
    ),
)
