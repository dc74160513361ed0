"""The web page: what trained models can do, in a browser on this machine.

`served` holds the models that are served, `uploads` says what people may upload, `actions` are the
tabs as plain functions, `page` lays them out with Gradio, `visitors` knows whose files are whose,
`gate` lets pass what the page needs, and `server` answers on a port. Only `page` and `server`
import Gradio, `gate` what comes with it.
"""

from keras_faces.app.server import serve

__all__ = ["serve"]
