"""Settings of the documentation build. It needs no network and no database."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Any

import adamacs

if TYPE_CHECKING:
    from sphinx.application import Sphinx

# DataJoint remarks on import that no datajoint.json lies about: adamacs has its own settings file.
warnings.filterwarnings("ignore", message="No datajoint.json found", category=UserWarning)

project = "adamacs"
author = "the adamacs developers"
release = version = adamacs.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinxcontrib.mermaid"]
html_theme = "furo"
html_title = f"adamacs {release}"
html_static_path = ["_static"]
html_css_files = ["adamacs.css"]
html_copy_source = False
html_show_copyright = False

# The same files are read on a code host: plain Markdown, with ```mermaid and #heading links as they are there.
myst_heading_anchors = 4
myst_fence_as_directive = ["mermaid"]
suppress_warnings = ["myst.strikethrough", "ref.python"]  # the latter: a Role of the settings, and one at work

# Mermaid's script comes from its content network; offline a diagram shows as its own text, and the important ones
# stand beside it as plain text too. See explanations/decisions/sphinx.md.
mermaid_init_config = {"startOnLoad": False, "flowchart": {"useMaxWidth": False}}
mermaid_light_theme = "neutral"
mermaid_height = "auto"
mermaid_fullscreen_button = "+"

default_role = "code"  # docstrings write names in single back-ticks
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True}
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
python_use_unqualified_type_names = True
nitpicky = False


def setup(app: Sphinx) -> None:
    """Let docstrings through a small preparation before napoleon reads them."""
    app.connect("autodoc-process-docstring", _prepare, priority=100)


def _prepare(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Turn what people write into what reStructuredText wants.

    Attributes of a dataclass are its parameters, and only there does napoleon take several names on a line. A block
    that is indented behind a colon is meant as it stands.
    """
    for number, line in enumerate(lines):
        if line.strip() == "Attributes" and re.fullmatch(r"\s*-{10}", "".join(lines[number + 1 : number + 2])):
            lines[number] = line.replace("Attributes", "Parameters")
        shown = lines[number + 1 : number + 3]
        if line.endswith(":") and len(shown) == 2 and not shown[0] and _indent(shown[1]) > _indent(line):
            lines[number] += ":"


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
