"""How the package is put together: imports go downwards, and the public names are exactly those
that are shown."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import nncore
from nncore import optimizers, registry

PACKAGE = Path(nncore.__file__).parent
ROOT = PACKAGE.parent

# ARCHITECTURE.md's order from the top: a module imports from its own line or from those below.
# A package includes its modules.
ORDER = """
nncore.__main__ nncore.cli
nncore
nncore.sklearn
nncore.export
nncore.exchange
nncore.checking nncore.foreign nncore.reference nncore.callbacks nncore.datasets
nncore.sequential
nncore._sequence
nncore.serialization nncore.training
nncore.registry
nncore.optimizers
nncore._chain nncore.losses
nncore.modules
nncore._backend nncore._config nncore._kinds nncore._preprocessing nncore.initializers
nncore.kernels
nncore._sparse
nncore._core nncore._sums
nncore._random nncore.schedules nncore._readers nncore._tables nncore._npz
nncore._memory nncore._rates nncore._threads
nncore._checks nncore._files nncore._columns nncore._missing nncore._version nncore.data
nncore._names nncore._plot nncore._types
"""
LEVELS = {
    name: level for level, line in enumerate(ORDER.strip().splitlines()) for name in line.split()
}


def module_files():
    """{name of a module: its file}."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts).removesuffix(".__init__")] = path
    return found


FILES = module_files()


def imported(tree, known):
    """The modules among `known` that import statements name, those inside functions too."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            parts = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {part if part in known else node.module for part in parts}
    return names & known


def import_graph():
    """{module: modules it imports}. Importing a module of another package runs that package, too.

    The compiled core imports what the first lines of its source say; a function of it that falls
    back on the NumPy kernels imports them when it is called.
    """
    known = {*FILES, "nncore._core"}
    graph = {name: imported(ast.parse(path.read_text()), known) for name, path in FILES.items()}
    graph["nncore._core"] = set()
    for source in (ROOT / "src").rglob("*.p[yx][xi]"):
        for names in re.findall(r"^from nncore import (.*)$", source.read_text(), re.MULTILINE):
            graph["nncore._core"] |= {f"nncore.{name.strip()}" for name in names.split(",")}
    for name, others in graph.items():
        packages = {other.rpartition(".")[0] for other in others} & known
        others |= {package for package in packages if not f"{name}.".startswith(f"{package}.")}
    return graph


def level(module):
    """The line of ORDER that a module, or the package it is in, has."""
    return LEVELS[".".join(module.split(".")[:2])]


def test_every_module_has_its_place_in_the_order():
    known = {*FILES, "nncore._core"}
    assert {".".join(name.split(".")[:2]) for name in known} == set(LEVELS)


def test_imports_go_downwards():
    wrong = [
        (name, other)
        for name, others in import_graph().items()
        for other in others
        if level(other) < level(name)
    ]
    assert not wrong


def test_no_imports_run_in_a_circle():
    graph, finished, path = import_graph(), set(), []

    def visit(name):
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name in finished:
            return
        path.append(name)
        for other in graph[name]:
            visit(other)
        finished.add(path.pop())

    for name in graph:
        visit(name)


# ------------------------------------------------------------------------------------- public names

SUBMODULES = (
    "callbacks checking datasets export foreign kernels losses modules optimizers reference "
    "schedules"
).split()


def test_dir_shows_the_public_names_alone():
    code = "import nncore; print(*(n for n in dir(nncore) if not n.startswith('__')))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # sklearn is no part of `import *`, which must not need scikit-learn
    assert sorted(shown.stdout.split()) == sorted([*nncore.__all__, "sklearn"])
    assert len(nncore.__all__) == len(set(nncore.__all__))
    assert not [name for name in nncore.__all__ if name.startswith("_")]


@pytest.mark.parametrize("name", SUBMODULES)
def test_public_submodules_are_attributes_without_an_import(name):
    code = f"import nncore; print(nncore.{name}.__name__)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == f"nncore.{name}", result.stderr
    assert name in nncore.__all__


@pytest.mark.parametrize("name", SUBMODULES)
def test_public_submodules_export_what_is_there(name):
    module = importlib.import_module(f"nncore.{name}")
    assert module.__all__ and all(hasattr(module, public) for public in module.__all__)
    shown = [name for name in dir(module) if not name.startswith("__")]
    assert shown == sorted(module.__all__)


def test_documented_paths_exist():
    reference = (Path(__file__).parent.parent / "docs" / "api.md").read_text()
    paths = re.findall(r"^   (nncore\.[\w.]*)$", reference, re.MULTILINE)
    assert len(paths) > 20
    for path in paths:
        if path.startswith("nncore.sklearn"):
            pytest.importorskip("sklearn")
        thing = nncore
        for part in path.split(".")[1:]:
            thing = getattr(thing, part)


def test_the_names_of_the_optimizers_are_those_of_the_registry():
    assert {name: record.cls for name, record in registry.OPTIMIZERS.items()} == optimizers.NAMES
