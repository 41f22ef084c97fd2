"""How Sphinx builds the site: Markdown by MyST, the reference from nncore's docstrings, the gallery
by running examples/gallery. `make docs` treats every warning as an error; it needs no network, and
neither do the pages."""

import os
import re
import sys
from importlib.metadata import metadata
from pathlib import Path

import nncore

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER / "_extensions"))

import notebooks  # noqa: E402

project = "nncore"
author = "the nncore developers"
release = version = nncore.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "without_network",
    "linked_names",
]
html_theme = "furo"
html_title = "nncore"
html_show_sphinx = False
html_show_copyright = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
# The repository's address is kept in [project.urls] of pyproject.toml alone.
urls = dict(url.split(", ", 1) for url in metadata("nncore").get_all("Project-URL") or ())
if "Repository" in urls:
    html_theme_options = {
        "source_repository": urls["Repository"],
        "source_branch": "main",
        "source_directory": "docs/",
    }
templates_path = ["_templates"]
exclude_patterns = ["**/*.ipynb", "gallery/*.py", "notebooks/programs"]
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False
numpydoc_xref_param_type = True
numpydoc_xref_aliases = {
    "ndarray": ":class:`numpy.ndarray`",
    "Module": ":class:`nncore.Module`",
    "Sequential": ":class:`nncore.Sequential`",
}
numpydoc_xref_ignore = "all"
smartquotes = False  # quotation marks in formulas and dictionaries stay what they are
default_role = "literal"  # docstrings mark names by single backticks
nitpicky = True
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the sections Parameters and Returns have the types
autodoc_default_options = {"members": True}
autosummary_generate = True
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

os.environ["MPLBACKEND"] = "agg"
notebooks.write_programs(FOLDER.parent / "examples", FOLDER / "notebooks" / "programs")
sphinx_gallery_conf = {
    "examples_dirs": ["../examples/gallery", "notebooks/programs"],
    "gallery_dirs": ["gallery", "notebooks/pages"],
    "ignore_repr_types": r"matplotlib\.",
    "backreferences_dir": "reference/examples",
    "doc_module": ("nncore",),
    "reference_url": {"nncore": None},
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "remove_config_comments": True,
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,
    "min_reported_time": 1e9,  # times differ from machine to machine
    "matplotlib_animations": False,
}


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


def skip(app, what, name, obj, skipped, options):
    """Leave out the methods that scikit-learn makes for metadata routing."""
    return True if name.startswith("set_") and name.endswith("_request") else None


def setup(app):
    app.connect("autodoc-process-docstring", as_rest, priority=400)  # before numpydoc
    app.connect("autodoc-skip-member", skip)
