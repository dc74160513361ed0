"""The web page: what trained models can do, in a browser on this machine.

`served` holds the models that are served, `actions` is what can be asked of them as plain
functions, `site` answers requests, `server` holds the port, and `page/` is what a browser loads,
together with what it shares with the exported page, `export/web/page/`. Only `site` imports
Starlette.

It is no Gradio: there sliders answer only once they are let go, the layout is its own on phones, it
makes files of all that is shown, and has more than 80 routes to be shut.
"""

from keras_faces.app.server import serve

__all__ = ["serve"]
