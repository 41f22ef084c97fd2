"""Jupyter notebooks as programs: their code cells in order, without the lines that only Jupyter
understands.
"""

import contextlib
import importlib.util
import json
import linecache
import os
import re
import sys
import types

# Cell magics whose cell is Python; other cells that start with %% are left out.
PYTHON_MAGICS = ("%%time", "%%timeit", "%%capture", "%%prun", "%%python", "%%python3")
RUN_MAGICS = ("%time", "%timeit", "%prun")  # the rest of the line is Python
OPTIONS = re.compile(r"(-[a-z]+\s*\d*\s+)*")
ASSIGNED = re.compile(r"(\s*[\w., \[\]'\"]+=\s*)([!%].*)")


class Cell:
    """A code cell: its source, the name of its file in tracebacks, and the Jupyter lines left out
    as [(line, text)].
    """

    def __init__(self, path, number, source):
        self.number, self.given = number, source
        self.filename = f"{os.path.abspath(path)}, cell {number}"
        self.source, self.left_out = python_of(source, self.filename)
        # Tracebacks and reports show the lines as they are in the notebook.
        lines = source.splitlines(keepends=True)
        linecache.cache[self.filename] = (len(source), None, lines, self.filename)


def cells(path):
    """Return the code cells of a notebook; ValueError in one sentence for another file."""
    with open(path, "rb") as file:
        content = file.read()
    wanted = f"{path} must be a Jupyter notebook of format 4"
    if not content.strip():
        raise ValueError(f"{wanted}, got an empty file")
    try:
        notebook = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise ValueError(f"{wanted}, got a file that is not JSON") from None
    if isinstance(notebook, dict) and "worksheets" in notebook and "cells" not in notebook:
        raise ValueError(f"{wanted}, got format 3 or older; open it in Jupyter and save it again")
    try:
        found = notebook["cells"]
        sources = [_text(cell) for cell in found if cell["cell_type"] == "code"]
        language = _language(notebook)
    except (TypeError, KeyError, AttributeError):
        raise ValueError(f"{wanted}, got JSON without a notebook's cells") from None
    if language not in ("python", "python3", "ipython"):
        raise ValueError(f"{path} must be a notebook in Python, got one in {language[:40]}")
    return [Cell(path, number, source) for number, source in enumerate(sources, 1)]


def _text(cell):
    source = cell["source"]
    return source if isinstance(source, str) else "".join(source)


def _language(notebook):
    metadata = notebook.get("metadata", {})
    info, kernel = metadata.get("language_info", {}), metadata.get("kernelspec", {})
    return str(info.get("name") or kernel.get("language") or "python").lower()


def python_of(source, filename):
    """Return (Python with the same line numbers, [(line, text left out)]).

    Only lines at which Python finds a syntax error are replaced, so that texts and operators with
    % stay.
    """
    lines, left_out = source.split("\n"), []
    first = next((i for i, line in enumerate(lines) if line.strip()), None)
    if first is not None and lines[first].lstrip().startswith("%%"):
        name = lines[first].split()[0]
        left_out.append((first + 1, lines[first].strip()))
        if name not in PYTHON_MAGICS:
            return "", left_out
        lines[first] = ""
    for _ in range(len(lines) + 1):
        try:
            compile("\n".join(lines), filename, "exec")
            break
        except SyntaxError as error:
            at = (error.lineno or 0) - 1
            if not 0 <= at < len(lines) or (replaced := _replaced(lines[at])) is None:
                break  # the caller compiles it once more, and reports the error
            left_out.append((at + 1, lines[at].strip()))
            while lines[at].endswith("\\") and not replaced.endswith("\\") and at + 1 < len(lines):
                lines[at] = replaced
                at, replaced = at + 1, ""
            lines[at] = replaced
        except ValueError:  # null bytes
            break
    return "\n".join(lines), left_out


def _replaced(line):
    """Return the Python for a line of Jupyter's, None for another line."""
    text, indent = line.strip(), line[: len(line) - len(line.lstrip())]
    assigned = ASSIGNED.fullmatch(line.rstrip())
    if text.startswith(RUN_MAGICS):
        rest = text.split(maxsplit=1)[1:]
        return indent + OPTIONS.sub("", rest[0], count=1) if rest else indent + "pass"
    if text.startswith(("!", "%", "?")) or text.endswith("?"):
        return indent + "pass"
    if assigned is not None:
        target, magic = assigned.groups()
        inner = _replaced(magic)
        return target + ("[]" if inner is None or inner.strip() == "pass" else inner.strip())
    return None


class Shell:
    """The value of get_ipython() in a notebook that is checked: every method does nothing.

    It is false, so that libraries do not take it for a real one.
    """

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *_, **__):
        return self

    def __bool__(self):
        return False


class _Absent(types.ModuleType):
    """A module of Jupyter or Colab that is not installed here: all that it holds does nothing."""

    version_info = (9, 0, 0)  # matplotlib looks at that of IPython

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Shell()


class _Finder:
    """The last finder of imports: makes an _Absent for each of these names."""

    NAMES = ("google", "google.colab", "IPython", "IPython.display")

    def find_spec(self, name, path=None, target=None):
        if name in self.NAMES:
            return importlib.util.spec_from_loader(name, self, is_package=True)

    def create_module(self, spec):
        return _Absent(spec.name)

    def exec_module(self, module):
        pass


@contextlib.contextmanager
def absent_modules():
    """Let a notebook import google.colab and IPython in a `with` block if they are not installed.

    Notebooks use them to show things and to reach their files, not to compute.
    """
    finder = _Finder()
    sys.meta_path.append(finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in finder.NAMES:
            if isinstance(sys.modules.get(name), _Absent):
                del sys.modules[name]


# Names that Jupyter gives every notebook.
NAMES = {
    "display": lambda *things, **_: print(*things),
    "get_ipython": Shell,
}
