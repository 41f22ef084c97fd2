"""How Sphinx builds the site: Markdown by MyST, the reference from nncore's docstrings. `make docs`
treats every warning as an error."""

import re

import nncore

project = "nncore"
author = "the nncore developers"
release = version = nncore.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "numpydoc"]
html_theme = "furo"
html_title = "nncore"
html_show_sphinx = False
html_show_copyright = False
html_static_path = ["_static"]
html_css_files = ["wide.css"]
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False
smartquotes = False  # quotation marks in formulas and dictionaries stay what they are
default_role = "literal"  # docstrings mark names by single backticks
nitpicky = True
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}


def as_rest(app, what, name, obj, options, lines):
    """Docstrings are plain text: what reStructuredText would read as its own marks is escaped,
    outside examples and literals."""
    example = False
    for i, line in enumerate(lines):
        example = line.lstrip().startswith(">>>") or example and bool(line.strip())
        if not example:
            parts = re.split(r"(``[^`]*``|`[^`]*`)", line)
            parts[::2] = [
                re.sub(r"([*|\\]|(?<=\w)_(?=\W|$))", r"\\\1", part) for part in parts[::2]
            ]
            lines[i] = "".join(parts)


def setup(app):
    app.connect("autodoc-process-docstring", as_rest, priority=400)  # before numpydoc
