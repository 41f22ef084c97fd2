"""Every example in docs/ and the README, as a reader would try it: page by page, from top to
bottom, in an empty folder.

A block of Python with prompts is a doctest; without, it runs; with a caption it is a file that the
page speaks of. A block "console" has commands after "$ " and what they print. "..." matches
anything.
"""

import doctest
import importlib.util
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import nncore

ROOT = Path(__file__).parent.parent
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]
BLOCK = re.compile(
    r"^```(?:\{code-block\} )?(\w+)\n(?::caption: (\S+)\n)?(.*?)^```$", re.MULTILINE | re.DOTALL
)
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder, from which the page's own files can be imported; generators and
    modules are put back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    before, state = set(sys.modules), np.random.get_state()
    yield tmp_path
    np.random.set_state(state)
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def blocks(page):
    """(language, caption, text, number of its first line)"""
    text = page.read_text(encoding="utf-8")
    for found in BLOCK.finditer(text):
        yield *found.groups(), text.count("\n", 0, found.start(3)) + 1


def run_python(page, text, line, names):
    if ">>> " not in text:
        exec(compile("\n" * (line - 1) + text, page.name, "exec"), names)
        return
    if "savefig" in text or "plot" in text:
        pytest.importorskip("matplotlib")
    if "onnx" in text:
        pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")
    for module in ("sklearn", "pandas"):
        if re.search(rf"(?:import|from) (?:nncore\.)?{module}\b", text):
            pytest.importorskip(module)
    test = doctest.DocTestParser().get_doctest(text, names, page.name, page.name, line - 1)
    report = []
    doctest.DocTestRunner(optionflags=FLAGS).run(test, out=report.append, clear_globs=False)
    names.update(test.globs)
    assert not report, "".join(report)


def run_console(page, text, line):
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(nncore.__file__).parent.parent), *sys.path]),
    }
    for command, wanted in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE):
        program, *arguments = shlex.split(command)
        assert program == "nncore", f"{page.name}:{line}: {command}"
        done = subprocess.run(
            [sys.executable, "-m", "nncore", *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            env=environment,
        )
        given = done.stdout + done.stderr
        assert doctest.OutputChecker().check_output(wanted, given, FLAGS), (
            f"{page.name}:{line}: {command}\n{given}"
        )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_example_of_a_page_does_what_it_says(page, folder):
    names = {"__name__": "__main__"}
    for language, caption, text, line in blocks(page):
        if caption:
            (folder / caption).write_text(text, encoding="utf-8")
        elif language == "python":
            run_python(page, text, line, names)
        elif language == "console":
            run_console(page, text, line)
        else:
            assert language in ("text", "eval"), (
                f"{page.name}:{line}: nobody runs a block of {language}"
            )


def test_every_public_name_is_in_the_pages():
    pages = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    wanted = {name for name in nncore.__all__ if name not in ("datasets", "reference")}
    wanted |= {name for module in (nncore.optimizers, nncore.schedules) for name in module.__all__}
    assert not sorted(name for name in wanted if not re.search(rf"\b{name}\b", pages))


def needed(extra):
    """The modules of an extra's packages, as they are imported."""
    with open(ROOT / "pyproject.toml", "rb") as file:
        packages = tomllib.load(file)["project"]["optional-dependencies"][extra]
    names = [re.match(r"[\w-]+", package)[0].replace("-", "_") for package in packages]
    return [name for name in names if name != "sphinx_mathjax_offline"]  # has no module


@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in needed("docs")),
    reason="the docs extra is not installed",
)
def test_the_site_builds_without_a_warning(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "sphinx",
            "-W",
            "--keep-going",
            "-q",
            "-d",
            str(tmp_path / "cache"),
            str(ROOT / "docs"),
            str(tmp_path / "site"),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(Path(nncore.__file__).parent.parent), *sys.path]),
        },
    )
    assert done.returncode == 0, done.stderr
    site = tmp_path / "site"
    assert "softmax_nll" in (site / "kernels.html").read_text(encoding="utf-8")
    fit = (site / "reference" / "nncore.Sequential.html").read_text(encoding="utf-8")
    for link in ("_modules/nncore/sequential.html", "numpy.org/doc/stable/reference/generated"):
        assert link in fit
    assert "MathJax" in (site / "_static/mathjax/tex-svg.js").read_text(encoding="utf-8")
    assert len(list((site / "_images").glob("sphx_glr_plot_*_001.png"))) > 7


def test_code_blocks_have_at_most_80_columns():
    """Wider ones are cut off on the site; it shows the README of the examples and others, too."""
    others = ("ARCHITECTURE.md", "CHANGELOG.md", "examples/README.md")
    for page in [*PAGES, *(ROOT / other for other in others)]:
        text = page.read_text(encoding="utf-8")
        inside = re.findall(r"^```.*?^```$", text, re.MULTILINE | re.DOTALL)
        inside += re.findall(r"(?<=\n\n)(?:    .*\n)+", text)
        wide = [line for block in inside for line in block.splitlines() if len(line) > 84]
        wide += [line for block in inside for line in re.findall(r"^(?!    ).{81,}$", block, re.M)]
        assert not wide, f"{page.name}: {wide[0]}"


def test_files_that_the_readme_links_to_are_there():
    if not (ROOT / "nncore").is_dir():
        pytest.skip("a wheel is tested, without a checkout")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    links += re.findall(r"(?:src|srcset)=\"([^\"]+)\"", text)
    assert len(links) > 20 and not [link for link in links if not (ROOT / link).exists()]


def test_no_page_is_missing_from_the_contents():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    listed = re.findall(r"^[a-z-]+$", index, re.MULTILINE)
    assert {page.stem for page in PAGES} - {"index", "README"} <= set(listed)


def test_the_project_files_name_no_address_of_their_own():
    """[project.urls] is the one place for the repository and the contact."""
    with open(ROOT / "pyproject.toml", "rb") as file:
        version = tomllib.load(file)["project"]["version"]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(r"^version: (.*)$", citation, re.MULTILINE)[1] == version
    files = [ROOT / name for name in ("SECURITY.md", "CODE_OF_CONDUCT.md", "CITATION.cff")]
    files += [path for path in (ROOT / ".github").rglob("*") if path.suffix in (".md", ".yml")]
    for path in files:
        if path.parent.name != "workflows":
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"https?://|[\w.]+@[\w.]+", text), path.name
    for path in files[:2]:
        assert "[project.urls]" in path.read_text(encoding="utf-8")
