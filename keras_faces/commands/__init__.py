"""The commands of `keras-faces`: every public function of these files is one, named after it.

Its signature makes its flags and its docstring their help. What is heavy it imports itself, so that
help answers at once. Those of `data.py` are called as `keras-faces data NAME`.
"""

import inspect

from keras_faces.commands import data, exports, faces, latents, listing, scores, serve, training
from keras_faces.commands.parsing import Command

GROUPS = {"data": data}
MODULES = (training, faces, latents, scores, exports, serve, data, listing)


def all_commands() -> dict[str, Command]:
    """Return the commands by their names, those of a group as in `"data check"`."""
    groups = {module: f"{group} " for group, module in GROUPS.items()}
    found = {}
    for module in MODULES:
        for name, function in vars(module).items():
            own = inspect.isfunction(function) and function.__module__ == module.__name__
            if own and not name.startswith("_"):
                name = groups.get(module, "") + name.rstrip("_").replace("_", "-")
                found[name] = Command(name, function)
    return found
