"""The commands of `keras-faces`: a file for each group of them, thin doors onto the package.

Each file says in `add` which flags its commands have, and imports what is heavy only in the
functions that do the work, so that `--help` answers at once.
"""

from keras_faces.commands import data, exports, faces, latents, listing, scores, serve, training

GROUPS = (training, faces, latents, scores, exports, serve, data, listing)
