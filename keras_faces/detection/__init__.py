"""Faces in photographs: found, framed as those of a training set are, and aligned by their eyes."""
