"""Ledger of the CVAE: the three-models report, section 5, on Sohn, Lee and Yan."""

from keras_faces.ledger import GARBLED, OPEN, SILENT, Entry
from keras_faces.ledger.probes import error_factor, initial_weights, noise, optimizer

AS_THE_VAE = "The VAE's, so that the two differ in the conditions alone."


def _inputs(model):
    """Values that reach the layers where conditions enter."""
    hidden = next(layer for layer in model.encoder.layers if hasattr(layer, "units"))
    return {
        "encoder's hidden layer": hidden.kernel.shape[0],
        "decoder": model.decoder.input_shape[-1],
    }


ENTRIES = (
    Entry("image_size", "Report 2.1", 64, states="64 x 64"),
    Entry(
        "channels",
        "Report 2.1, 2.3",
        GARBLED,
        states='CelebA, whose pictures are in colour; but "d = 64 x 64" values a face',
        why="As for the VAE: CelebA has colour, and the Report does not say that it was removed.",
    ),
    Entry(
        "conditions",
        "Report 2.1, 5.1",
        OPEN,
        states='"generate images under specific conditions"; CelebA\'s "40 binary annotations such '
        'as mustache, hair color, and the shape of face"',
        reference="PyTorch-VAE: CelebA's 40 attributes",
        why="CelebA's 40, by their names there. `train` takes those of the data instead, which may "
        "be identities.",
    ),
    Entry(
        "number of conditions",
        "Report 2.1",
        40,
        states="40 binary annotations",
        reference="PyTorch-VAE: 40",
        probe=lambda model: len(model.condition_names),
    ),
    Entry(
        "latent_dim",
        "Report 4.1.1, 5.1",
        OPEN,
        states="128 for the VAE; silent on the CVAE's",
        reference="PyTorch-VAE: 128",
        decides=128,
        why=AS_THE_VAE,
    ),
    Entry("filters", "Report 5.1", SILENT, why=AS_THE_VAE),
    Entry("hidden_units", "Report 5.1", SILENT, why=AS_THE_VAE),
    Entry(
        "noise_scale",
        "Report 5.1",
        SILENT,
        why="The VAE's 0.3 left so much of a face to the latent that conditions were not obeyed: a "
        "classifier of real ORL faces saw what was asked for in 52 % of faces, chance 50 %; with "
        "1.0 in 77 %.",
    ),
    Entry(
        "kl_weight",
        "Report 5.1",
        SILENT,
        reference="Sohn et al.: 1, the variational bound; PyTorch-VAE: 0.00025 beside a mean over "
        "pixels",
        decides=1.0,
        why="Sohn et al.'s.",
    ),
    Entry("learning_rate", "Report 5.1", SILENT, reference="PyTorch-VAE: 0.005", why=AS_THE_VAE),
    Entry(
        "epochs",
        "Report 4.1.1, 5.1",
        OPEN,
        states="20 for the VAE; silent on the CVAE's",
        reference="PyTorch-VAE: 10",
        why=AS_THE_VAE,
    ),
    Entry("batch_size", "Report 5.1", SILENT, reference="PyTorch-VAE: 64", why=AS_THE_VAE),
    Entry(
        "where conditions enter",
        "Report 5.1",
        SILENT,
        reference="Sohn et al.: both q(z | x, y) and p(x | z, y) see them; PyTorch-VAE: a dense "
        "layer makes them a fourth channel of the picture, and they are joined to the latent",
        why="In both networks, as Sohn et al. have it: beside the 4,096 features before the "
        "encoder's hidden layer, where they need no layer of their own, and beside the 128 of the "
        "latent.",
        probe=_inputs,
        ours={"encoder's hidden layer": 4096 + 40, "decoder": 128 + 40},
    ),
    Entry(
        "conditions that are not given",
        "Report 5.1",
        SILENT,
        why="They are drawn as they go together in up to 1,024 training faces: independent draws "
        "would make faces that no data has.",
        probe=lambda model: tuple(model.seen_conditions.shape),
        ours=(1024, 40),
    ),
    Entry(
        "squared error's factor times noise_scale^2",
        "Report 5.1",
        SILENT,
        reference="Sohn et al.: - log p(x | z, y)",
        decides=0.5,
        why="The VAE's Gaussian likelihood.",
        probe=lambda model: round(error_factor(model) * model.noise_scale**2, 2),
    ),
    Entry(
        "noise",
        "Report 5.1",
        SILENT,
        reference="Sohn et al.: a prior p(z) that does not depend on the conditions, in the "
        "simplest form",
        decides="N(0, I)",
        why="The simplest form, as the VAE's.",
        probe=noise,
    ),
    Entry(
        "optimizer",
        "Report 5.1",
        SILENT,
        reference="PyTorch-VAE: Adam",
        decides="Adam, beta_1 0.9, beta_2 0.999",
        why=AS_THE_VAE,
        probe=optimizer("beta_1", "beta_2"),
    ),
    Entry(
        "initial weights",
        "Report 5.1",
        SILENT,
        why="Keras's default, as the VAE's.",
        probe=initial_weights("encoder", "decoder"),
        ours="GlorotUniform",
    ),
)
