"""Settings of the documentation build. It needs no network and no database."""

from __future__ import annotations

import warnings

import adamacs

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
suppress_warnings = ["myst.strikethrough"]

# Mermaid's script comes from its content network; offline a diagram shows as its own text, and the important ones
# stand beside it as plain text too. See explanations/decisions/sphinx.md.
mermaid_init_config = {"startOnLoad": False, "flowchart": {"useMaxWidth": True}}
mermaid_light_theme = "neutral"
mermaid_height = "auto"
mermaid_fullscreen_button = "+"

default_role = "code"  # docstrings write names in single back-ticks
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "show-inheritance": False}
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
python_use_unqualified_type_names = True
nitpicky = False
