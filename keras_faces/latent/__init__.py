"""What a trained model can do with its latents: interpolate, change attributes, show their space.

Everything works on latents, arrays of shape `(count, latent_dim)`, wherever they come from: a
model's encoder, its samplers, or a search for the latent of a picture.
"""

from keras_faces.latent.attributes import (
    BY,
    Change,
    apply,
    attribute_change,
    attribute_direction,
    attribute_directions,
    combined,
    orthogonalise,
    under_conditions,
)
from keras_faces.latent.directions import Directions, main_directions, named_directions
from keras_faces.latent.encoding import EncodedFaces, blend, encode_faces, latent_of, latents_of
from keras_faces.latent.interpolation import (
    PATHS,
    animation,
    between,
    corner_grid,
    interpolate,
    save_frames,
)
from keras_faces.latent.inversion import Inversion, invert
from keras_faces.latent.measured import attribute_check, check_table
from keras_faces.latent.plots import plot_latents, plot_separability
from keras_faces.latent.projection import PROJECTIONS, manifold, project
from keras_faces.latent.separability import separability, separability_table

__all__ = [
    "BY",
    "PATHS",
    "PROJECTIONS",
    "Change",
    "Directions",
    "EncodedFaces",
    "Inversion",
    "animation",
    "apply",
    "attribute_change",
    "attribute_check",
    "attribute_direction",
    "attribute_directions",
    "between",
    "blend",
    "check_table",
    "combined",
    "corner_grid",
    "encode_faces",
    "interpolate",
    "invert",
    "latent_of",
    "latents_of",
    "main_directions",
    "manifold",
    "named_directions",
    "orthogonalise",
    "plot_latents",
    "plot_separability",
    "project",
    "save_frames",
    "separability",
    "separability_table",
    "under_conditions",
]
