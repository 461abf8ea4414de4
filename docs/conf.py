"""Configuration of Sphinx."""

from __future__ import annotations

import importlib
import inspect
import os
import re
from importlib.metadata import version as installed_version
from typing import Any

import xvar  # noqa: F401  (registers the accessor that the reference shows)

project = "xvar"
author = "The xvar developers"
copyright = "2026, the xvar developers"
release = version = installed_version("xvar")

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx_autosummary_accessors",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "jupyter_execute"]  # what builds leave beside the pages

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
# The tutorials are notebooks in Markdown, run anew by each build: their pictures are those of the code as it is. A cell
# that fails fails the build. What they write goes to a temporary folder.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_in_temp = True
nb_execution_timeout = 300  # seconds a cell
nb_merge_streams = True
os.environ.pop("MPLBACKEND", None)  # a notebook shows its pictures only by a backend of its own

# A prompt is not part of a command, nor is what the command prints.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

default_role = "py:obj"  # `names` in docstrings are links where the reference has them
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # numpydoc's Parameters sections name the types
numpydoc_show_class_members = False

# Dark mode follows the reader's system, the layout her screen; nothing is fetched but MathJax.
html_theme = "furo"
html_title = "xvar"
html_static_path = ["_static"]
html_css_files = ["page.css"]


def forwarded_signature(
    app: Any, what: str, name: str, member: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str, str | None] | None:
    """A method of the accessor shows the arguments of the function that it forwards to, which its docstring names."""
    function = re.search(r"see `(xvar\.[\w.]+)\.(\w+)`", member.__doc__ or "")
    if ".var4d." not in name or function is None:
        return None
    target = getattr(importlib.import_module(function[1]), function[2])
    _, *arguments = inspect.signature(target).parameters.values()  # without the data
    plain = [one.replace(annotation=inspect.Parameter.empty) for one in arguments]
    return str(inspect.Signature(plain)), returns


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-signature", forwarded_signature)
