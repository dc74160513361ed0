"""The documentation's settings: `make docs` builds it into `docs/_build`."""

import re
from pathlib import Path

from docutils.nodes import SkipNode
from docutils.utils.math.latex2mathml import tex2mathml

project = "keras_faces"
author = "the keras_faces developers"
code = Path(__file__).parent.parent / "keras_faces" / "__init__.py"
release = re.search(r'__version__ = "(.+)"', code.read_text(encoding="utf-8"))[1]

extensions = ["myst_parser"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "space"]
html_theme = "furo"
html_title = f"keras_faces {release}"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["pictures.css"]
linkcheck_timeout = 20
linkcheck_retries = 2


def setup(app):
    """Write formulas as MathML, which browsers draw themselves: MathJax would need a network."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))


def _inline(translator, node):
    translator.body.append(tex2mathml(node.astext()))
    raise SkipNode


def _block(translator, node):
    formula = tex2mathml(node.astext()).replace("<math ", '<math display="block" ', 1)
    translator.body.append(formula)
    raise SkipNode
