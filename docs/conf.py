"""The documentation's settings: `make docs` builds it into `docs/_build`."""

import re
from pathlib import Path

project = "keras_faces"
author = "the keras_faces developers"
code = Path(__file__).parent.parent / "keras_faces" / "__init__.py"
release = re.search(r'__version__ = "(.+)"', code.read_text(encoding="utf-8"))[1]

extensions = ["myst_parser", "sphinx.ext.mathjax"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "space"]
html_theme = "furo"
html_title = f"keras_faces {release}"
# The only thing that a page would load from elsewhere; without a network formulas stay TeX.
mathjax_path = "https://cdn.jsdelivr.net/npm/mathjax@3/es5/tex-mml-chtml.js"
linkcheck_timeout = 20
linkcheck_retries = 2
