"""Ledger of the VAE/GAN: Gruber and the three-models report, on Larsen et al. and their code."""

from keras_faces.ledger import GARBLED, OPEN, SILENT, Entry
from keras_faces.ledger.probes import (
    adversarial_loss,
    faces,
    initial_weights,
    moves,
    noise,
    normalisation_of,
    optimizer,
    output_of,
    parameters,
    terms_of,
    weight_decay,
)

STANDARD = '"pretty standard architecture"; the Report: silent'
CODE = "The authors' code."


def _features_a_mean_is_over(model):
    """How the similarity of the encoder's loss and that of the decoder's differ, but for gamma."""
    terms = model.losses(model.draw(faces(model)), training=False)
    encoders, decoders = (float(terms[name]["similarity"]) for name in ("encoder", "decoder"))
    return round(encoders / decoders * model.gamma)


ENTRIES = (
    Entry("image_size", "Gruber 3, Report 2.1", 64, states="64 x 64"),
    Entry(
        "channels",
        "Gruber 3, Report 2.1, 2.3",
        GARBLED,
        states='CelebA, whose pictures are in colour; but the Report: "d = 64 x 64" values a face',
        reference="Larsen's code: 3",
        decides=3,
        why="CelebA has colour, and nobody says that it was removed.",
    ),
    Entry(
        "latent_dim",
        "Report 4.1.1",
        OPEN,
        states="128 for the VAE; silent on the VAE+GAN's; Gruber: silent",
        reference="Larsen's code: 128; pythae: 64",
        decides=128,
        why=CODE,
    ),
    Entry(
        "filters",
        "Gruber 3",
        OPEN,
        states=STANDARD,
        reference="Larsen's code: 64, 128, 256 in the encoder",
        decides=64,
        why=CODE,
    ),
    Entry(
        "hidden_units",
        "Gruber 3",
        OPEN,
        states=STANDARD,
        reference="Larsen's code: 1024; the table in their paper: 2048 (not verified)",
        decides=1024,
        why="The authors' code, whose parameter counts are known. With 2048 the encoder has "
        "35,112,768.",
    ),
    Entry(
        "discriminator_norm",
        "Gruber 3",
        OPEN,
        states=STANDARD,
        reference="Larsen's code: batch normalisation",
        decides="batch",
        why="The authors' code. The quick recipes take layer: with 16 faces of each kind in a "
        "batch the discriminator tells faces from the prior by what they do to the batch's "
        "statistics, and the decoder runs into black-and-white patterns, from which tanh lets no "
        "gradient back. With 20,000 colour faces and batches of 32 half of the prior's were such.",
    ),
    Entry(
        "gamma",
        "Report 4.1.3",
        15.0,
        states="1.5 and 15, of which 15 is called optimal; Gruber: silent",
        reference="Larsen's code: 1e-6 on a sum over features",
    ),
    Entry(
        "kl_weight",
        "Report 3.3",
        1.0,
        states="the encoder is updated on KL and similarity, without a weight; Gruber: silent",
        reference="Larsen's code: 1",
    ),
    Entry(
        "saturating",
        "Report 3.2 (3.16), 3.3",
        True,
        states="L_GAN with log(1 - D), lowered by the decoder; Gruber: silent",
        reference="Larsen's code: the same",
    ),
    Entry(
        "equilibrium",
        "Gruber 3, Report 3.3",
        SILENT,
        reference="Larsen's code: 0.68",
        why="The rule stands in the authors' code alone, in no document. It is off; 0.68 turns it "
        "on.",
    ),
    Entry(
        "margin",
        "Gruber 3, Report 3.3",
        SILENT,
        reference="Larsen's code: 0.35 in the CelebA script, 0.4 by default; pythae: 0.4",
        decides=0.35,
        why="The CelebA script's. Used with an equilibrium only.",
    ),
    Entry(
        "learning_rate",
        "Gruber 3",
        3e-3,
        states="initial learning rate = 3 x 10^-3; the Report: silent",
        reference="Larsen's code: from 3.9e-4; pythae: 1e-3",
    ),
    Entry(
        "rho",
        "Gruber 3",
        OPEN,
        states="RMSProp; its decay is not said",
        reference="Larsen's code: 0.9",
        decides=0.9,
        why=CODE,
    ),
    Entry(
        "schedule",
        "Gruber 3",
        OPEN,
        states='an "initial" learning rate, so it changed; how is not said',
        reference="Larsen's code: from 3.9e-4 down to 1.6e-7 within 250 epochs",
        why="Any decay would be ours, not Gruber's. schedule, decay_steps and decay_rate give one.",
    ),
    Entry(
        "epochs",
        "Gruber 3",
        50,
        states="50 epochs; the Report: trained for 200, best at about 150",
        reference="Larsen's code: 250 of 250 batches each",
    ),
    Entry(
        "batch_size",
        "Gruber 3",
        64,
        states="mini-batch size 64; the Report: silent",
        reference="Larsen's code: 64",
    ),
    Entry(
        "parameters of the encoder and the discriminator",
        "Gruber 3",
        OPEN,
        states=STANDARD,
        reference="Larsen's code: 18,071,360 and 10,953,857",
        decides={"encoder": 18_071_360, "discriminator": 10_953_857},
        why=CODE,
        probe=parameters("encoder", "discriminator"),
    ),
    Entry(
        "parameters of the decoder",
        "Gruber 3",
        OPEN,
        states=STANDARD,
        reference="Larsen's code: 4,693,155",
        decides={"decoder": 4_693_155},
        why=CODE,
        probe=parameters("decoder"),
    ),
    Entry(
        "D_l, the features compared",
        "Report 3.3",
        OPEN,
        states="D(x) | z ~ N(D(x'), I); which layer is not said",
        reference="Larsen's code: the third convolution with stride 2, before its norm and ReLU",
        decides="8x8x256",
        why=CODE,
        probe=output_of("discriminator", 1),
    ),
    Entry(
        "values that the decoder's similarity is a mean over",
        "Report 3.3",
        OPEN,
        states="gamma times the similarity term; whether that is a sum over features or a mean is "
        "not said",
        reference="Larsen's code: sums, and a weight of 1e-6",
        why="With a sum over 16,384 features, either gamma would leave next to nothing of the "
        "GAN's term, which the Report wants balanced. With a mean, the Report's gamma does not "
        "depend on how many features there are; a mean with 15 is a sum with 9e-4. The "
        "encoder's similarity is a sum, against the divergence, as Larsen et al. have it.",
        probe=_features_a_mean_is_over,
        ours=8 * 8 * 256,
    ),
    Entry(
        "terms of the losses",
        "Report 3.3 (3.17)",
        {
            "encoder": ("kl", "similarity"),
            "decoder": ("similarity", "gan"),
            "discriminator": ("real", "prior", "copies"),
        },
        states="the encoder is updated on KL and similarity, the decoder on GAN and similarity, "
        "the discriminator on GAN; Gruber: silent",
        reference="Larsen et al., algorithm 1: the same",
        probe=terms_of,
    ),
    Entry(
        "decoder's loss",
        "Report 3.2 (3.16), 3.3",
        "log(1 - D(G(z)))",
        states="L_GAN with log(1 - D)",
        reference="Larsen's code: the same",
        probe=adversarial_loss("decoder", "gan", "prior", "copies"),
    ),
    Entry(
        "shown as fake",
        "Report 3.3",
        OPEN,
        states='"to identify whether the reconstructed images look like real ones"; Algorithm 1 of '
        "Larsen et al.",
        reference="Larsen et al., algorithm 1: faces from the prior and reconstructions; their "
        "code's CelebA script and pythae: faces from the prior alone",
        decides=("prior", "copies"),
        why="The algorithm that the Report names. Real and both kinds of fakes weigh one each.",
        probe=lambda model: tuple(model.players[2].terms[1:]),
    ),
    Entry(
        "update order",
        "Report 3.3",
        OPEN,
        states="Algorithm 1 of Larsen et al.",
        reference="Larsen et al., algorithm 1: one forward pass, then all three",
        decides=("encoder and decoder and discriminator",),
        why="The algorithm that the Report names.",
        probe=moves,
    ),
    Entry(
        "noise",
        "Report 3.1",
        "N(0, I)",
        states="the prior of the VAE",
        reference="Larsen et al.: the same",
        probe=noise,
    ),
    Entry(
        "optimizer",
        "Gruber 3",
        "RMSprop",
        states="RMSProp",
        reference="Larsen's code: RMSProp",
        probe=optimizer(),
    ),
    Entry(
        "RMSProp's epsilon",
        "Gruber 3",
        SILENT,
        reference="Larsen's code: 1e-8",
        decides="RMSprop, epsilon 1e-08",
        why=CODE,
        probe=optimizer("epsilon"),
    ),
    Entry(
        "batch normalisation",
        "Gruber 3",
        SILENT,
        reference="Larsen's code: momentum 0.9, epsilon 1e-6",
        decides="batch norm, momentum 0.9, epsilon 1e-06",
        why="The authors' code. Its statistics are those of all that a network sees in a step: "
        "real faces, reconstructions and faces from the prior go through the discriminator in one "
        "batch, codes and priors through the decoder. Apart, reconstructions of another contrast "
        "had the features of their originals, and came out black and white.",
        probe=normalisation_of("encoder", "decoder", "discriminator"),
    ),
    Entry(
        "initial weights",
        "Gruber 3",
        SILENT,
        reference="Larsen's code: uniform, within gain / sqrt(inputs) / sqrt(3)",
        why="Keras's default. Batch normalisation follows nearly all layers, and undoes a scale.",
        probe=initial_weights("encoder", "decoder", "discriminator"),
        ours="GlorotUniform",
    ),
    Entry(
        "weight decay",
        "Gruber 3",
        SILENT,
        reference="Larsen's code: 1e-5",
        why="No document has one.",
        probe=weight_decay,
        ours="none",
    ),
)
