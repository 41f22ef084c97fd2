"""A site that is built and read without a network: MathJax goes into the build, and the names of
other projects, for links to their pages, come from docs/inventories/*.txt.

An inventory's first line is the address of the project's pages. Each other line is a name, its kind
and its page, in which $ is the name.
"""

import shutil
import zlib
from importlib.metadata import files
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "inventories"
MATHJAX = "mathjax/tex-svg.js"  # draws its glyphs itself, so that no font is loaded


def write_inventories(app, config):
    """Write each list of names in Sphinx's format, and register it with intersphinx."""
    folder = Path(app.doctreedir)
    folder.mkdir(parents=True, exist_ok=True)
    mapping = {}
    for source in sorted(FOLDER.glob("*.txt")):
        address, *lines = source.read_text(encoding="utf-8").splitlines()
        head = "# Sphinx inventory version 2\n# Project: {}\n# Version: \n# zlib\n"
        body = "".join(
            f"{name} {kind if ':' in kind else 'py:' + kind} 1 {page} -\n"
            for name, kind, page in map(str.split, lines)
        )
        path = folder / f"{source.stem}.inv"
        path.write_bytes(head.format(source.stem).encode() + zlib.compress(body.encode()))
        mapping[source.stem] = (address, str(path))
    config.intersphinx_mapping = mapping
    config.mathjax_path = MATHJAX
    config.mathjax3_config = {"options": {"enableMenu": False}}  # the menu loads more files


def copy_mathjax(app):
    """Copy MathJax from the package that ships it into the site."""
    if app.builder.format == "html":
        found = next(f for f in files("sphinx-mathjax-offline") if f.match(MATHJAX))
        target = Path(app.outdir) / "_static" / MATHJAX
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(found.locate(), target)


def setup(app):
    app.connect("config-inited", write_inventories)
    app.connect("builder-inited", copy_mathjax)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
