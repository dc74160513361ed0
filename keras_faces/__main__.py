"""`python -m keras_faces` is the `keras-faces` command."""

from keras_faces.cli import console

console()
