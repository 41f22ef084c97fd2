"""Notebooks of examples/ as programs that sphinx-gallery runs and shows: Markdown cells become
comments in reStructuredText, and code cells stay."""

import json
import re
from pathlib import Path

HEADER = """\
Notebooks
=========

The notebooks of the repository's folder `examples`, run when the site is built. Each page ends with
the notebook to download; any Jupyter, VS Code or Colab runs it.
"""
UNDERLINES = {"#": "=", "##": "-", "###": "~"}


def as_rest(markdown):
    """Return Markdown as reStructuredText, as far as the notebooks use it."""
    text = re.sub(r"\[([^\]]+)\]\(([^)]+)\)", r"`\1 <\2>`_", markdown)
    text = re.sub(r"\$\$(.+?)\$\$", r"\n\n.. math:: \1\n\n", text, flags=re.DOTALL)
    text = re.sub(r"\$(.+?)\$", r":math:`\1`", text)
    lines = []
    for line in text.splitlines():
        heading = re.fullmatch(r"(#{1,3}) (.*)", line)
        if heading:
            lines += [heading[2], UNDERLINES[heading[1]] * len(heading[2])]
        else:
            lines.append(line)
    return "\n".join(lines)


def as_program(notebook):
    """Return a notebook, as JSON has it, as a program for sphinx-gallery."""
    cells = [(cell["cell_type"], "".join(cell["source"])) for cell in notebook["cells"]]
    if cells[0][0] != "markdown" or not cells[0][1].startswith("# "):
        raise ValueError("a notebook must begin with a Markdown cell with its title")
    parts = ['r"""\n' + as_rest(cells[0][1]) + '\n"""\n']
    for kind, source in cells[1:]:
        if kind == "markdown":
            comment = "\n".join(f"# {line}".rstrip() for line in as_rest(source).splitlines())
            parts.append(f"# %%\n{comment}\n")
        elif kind == "code":
            parts.append(f"# %%\n{source.rstrip().removesuffix(';')}\n")
    return "\n".join(parts)


def write_programs(source, target):
    """Write a program for each notebook of a folder, and remove programs without a notebook."""
    target = Path(target)
    target.mkdir(parents=True, exist_ok=True)
    programs = {"GALLERY_HEADER.rst": HEADER} | {
        f"plot_notebook_{path.stem}.py": as_program(json.loads(path.read_text(encoding="utf-8")))
        for path in sorted(Path(source).glob("*.ipynb"))
    }
    for path in target.iterdir():
        if path.is_file() and path.name not in programs:
            path.unlink()
    for name, program in programs.items():
        path = target / name
        if not path.exists() or path.read_text(encoding="utf-8") != program:
            path.write_text(program, encoding="utf-8")
