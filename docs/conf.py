"""Settings of the documentation site: `make site` builds it from the pages and the docstrings.

The source folder of the build is the root of the repository, so that links between pages, to the
README and to files of code are the same here and in a viewer of the repository. Formulas are
MathML, which browsers draw themselves: no script, no fonts, no network and no LaTeX.
"""

from __future__ import annotations

import html
import importlib
import inspect
import re
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from fl_platform import __version__  # noqa: E402 - of this clone, not of an installed wheel

project = "fl_platform"
author = copyright = "fl_platform contributors"
version = release = __version__

logger = logging.getLogger(__name__)
PACKAGES = ("core", "metrics", "attacks", "defenses", "federated")  # described by docs/api/

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "docs/index"
include_patterns = ["docs/**", "README.md", "CONTRIBUTING.md", "CHANGELOG.md"]
exclude_patterns = sorted(
    path.name
    for path in ROOT.iterdir()
    if path.name != "docs" and path.suffix != ".md"  # folders that are not even looked through
)

html_theme = "furo"
html_title = f"fl_platform {__version__}"
html_show_copyright = html_show_sourcelink = html_copy_source = False
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["formulas.css"]

myst_heading_anchors = 6  # links to sections as in the repository
myst_links_external_new_tab = False
default_role = "py:obj"
add_module_names = False
autodoc_typehints = "signature"  # with ranges: Annotated[float, AtLeast(0)]
autodoc_preserve_defaults = True
maximum_signature_line_length = 80
napoleon_numpy_docstring = False
napoleon_use_rtype = False
toc_object_entries_show_parents = "hide"

# What the converter reads differently from LaTeX: the index of an accented letter (it goes below),
# and a fraction of two characters without braces (12 would be its upper part).
REPAIRS = (
    (re.compile(r"(\\(?:bar|hat|tilde)\s*(?:\w|\{[^{}]*\}))(?=\s*[_^])"), r"{\1 {}}"),
    (re.compile(r"(\\t?frac)\s*([0-9a-z])([0-9a-z])"), r"\1{\2}{\3}"),
)


def mathml(node: nodes.Element, block: bool) -> str:
    """The formula of a node; one that the converter does not know is a warning with its place."""
    code = node.astext()
    for pattern, braced in REPAIRS:
        code = pattern.sub(braced, code)
    try:
        return tex2mathml(code, as_block=block)
    except MathError as error:
        logger.warning("%s Formula: %s", error, code, location=node)
        return f"<code>{html.escape(code)}</code>"


def inline_formula(translator: Any, node: nodes.math) -> None:
    """Write a formula within a line."""
    translator.body.append(mathml(node, block=False))
    raise nodes.SkipNode


def displayed_formula(translator: Any, node: nodes.math_block) -> None:
    """Write a formula on lines of its own."""
    translator.body.append(f'<div class="math">{mathml(node, block=True)}</div>\n')
    raise nodes.SkipNode


def under_public_names() -> None:
    """Let each public class state the module and the name under which it is imported.

    autodoc would otherwise describe ``mimic``, the class ``Mimic``, only as an alias, and would not
    link a type in a signature to its description. Of two names the one of the configuration is
    described: ``dnc``, not ``DnC``.
    """
    for name in PACKAGES:
        package = importlib.import_module(f"fl_platform.{name}")
        for public in sorted(package.__all__):  # capitals first
            found = getattr(package, public)
            if inspect.isclass(found):
                found.__module__, found.__name__ = package.__name__, public


def second_name(app: Sphinx, kind: str, name: str, found: object, skip: bool, _: Any) -> bool:
    """Skip the other name of a class that is described already."""
    return skip or (inspect.isclass(found) and found.__name__ != name)


def entry_page(app: Sphinx, error: Exception | None) -> None:
    """Lead from the top of the built site to the start page."""
    if error is None and app.builder.format == "html":
        target = f"{root_doc}.html"
        text = f'<!doctype html><meta http-equiv="refresh" content="0; url={target}">\n'
        (Path(app.outdir) / "index.html").write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> None:
    """Register the converter of formulas and the steps above."""
    under_public_names()
    app.connect("autodoc-skip-member", second_name)
    app.connect("build-finished", entry_page)
    app.add_html_math_renderer("mathml", (inline_formula, None), (displayed_formula, None))
