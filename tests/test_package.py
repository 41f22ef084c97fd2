"""The package as installed: version, public names, stub, import, configuration, NNCORE_ISA."""

import ast
import dataclasses
import importlib.machinery
import inspect
import os
import pickle
import shutil
import subprocess
import sys
import tomllib
import types
import typing
from pathlib import Path

import numpy as np
import pytest
from support import LEVELS

import nncore
from nncore import _core, _missing, kernels, reference
from nncore.kernels import compiled, numpy_kernels

PACKAGE = Path(nncore.__file__).parent
ROOT = Path(__file__).parent.parent
STUB = ast.parse((PACKAGE / "_core.pyi").read_text())


def python(code, **environment):
    """Run a fresh interpreter in the checkout's root, where a plain `import nncore` must work."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_version_is_that_of_the_project():
    assert (
        nncore.__version__
        == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    )


# ------------------------------------------------------------------------------------- public names


PUBLIC = [(nncore, name) for name in nncore.__all__] + [(kernels, name) for name in kernels.__all__]
PUBLIC += [(nncore.schedules, name) for name in nncore.schedules.__all__]


@pytest.mark.parametrize(
    "owner, name", PUBLIC, ids=lambda x: x if isinstance(x, str) else x.__name__
)
def test_public_names_are_documented(owner, name):
    thing = getattr(owner, name)
    doc = inspect.getdoc(thing)
    assert doc and len(doc.splitlines()[0]) > 10, f"{name} has no docstring"
    for method, value in vars(thing).items() if inspect.isclass(thing) else ():
        if (
            not method.startswith("_")
            and callable(value)
            and not issubclass(thing, nncore.schedules.Schedule)
        ):
            assert inspect.getdoc(getattr(thing, method)), f"{name}.{method} has no docstring"


EXAMPLES = [
    name for name in nncore.__all__ if not isinstance(getattr(nncore, name), types.ModuleType)
]


@pytest.mark.parametrize("name", EXAMPLES)
def test_public_classes_and_functions_show_an_example(name):
    thing = getattr(nncore, name)
    own = (
        [thing, *(v for v in vars(thing).values() if inspect.isfunction(v))]
        if inspect.isclass(thing)
        else [thing]
    )
    assert any(">>>" in (v.__doc__ or "") for v in own), f"{name} has no example"


@pytest.mark.parametrize("name", numpy_kernels.__all__)
def test_both_backends_have_the_kernel_under_the_same_signature(name):
    ours, theirs = getattr(compiled, name), getattr(numpy_kernels, name)
    assert list(inspect.signature(ours).parameters) == list(inspect.signature(theirs).parameters)
    assert [p.default for p in inspect.signature(ours).parameters.values()] == [
        p.default for p in inspect.signature(theirs).parameters.values()
    ]


def test_the_reference_has_every_class_of_the_layer_api():
    classes = {name for name in nncore.__all__ if inspect.isclass(getattr(nncore, name))} - {
        "History",
        "use_backend",
    }
    assert set(reference.__all__) == classes
    for name in classes:
        assert issubclass(getattr(reference, name), getattr(nncore, name))


def test_public_names_can_be_star_imported():
    result = python("from nncore import *; Sequential, reference, datasets, kernels")
    assert result.returncode == 0, result.stderr


# ----------------------------------------------------------------------------------------- the stub


def parameters(node):
    """Names of the arguments and which have defaults, from the stub's source."""
    args = node.args
    names = [a.arg for a in args.posonlyargs + args.args]
    defaults = [None] * (len(names) - len(args.defaults)) + [
        ast.literal_eval(d) for d in args.defaults
    ]
    return [
        (n, d, i >= len(names) - len(args.defaults))
        for i, (n, d) in enumerate(zip(names, defaults, strict=True))
    ]


def actual_parameters(function, drop=0):
    empty = inspect.Parameter.empty
    return [
        (p.name, None if p.default is empty else p.default, p.default is not empty)
        for p in list(inspect.signature(function).parameters.values())[drop:]
    ]


STUB_FUNCTIONS = [node for node in STUB.body if isinstance(node, ast.FunctionDef)]
STUB_CLASSES = [node for node in STUB.body if isinstance(node, ast.ClassDef)]


@pytest.mark.parametrize("node", STUB_FUNCTIONS, ids=lambda n: n.name)
def test_functions_of_the_stub_are_those_of_the_module(node):
    assert parameters(node) == actual_parameters(getattr(_core, node.name))


def test_methods_of_the_stub_are_those_of_the_module():
    for node in STUB_CLASSES:
        cls = getattr(_core, node.name)
        for method in node.body:
            if isinstance(method, ast.FunctionDef) and not method.name.startswith(
                "__"
            ):  # slots have no signature
                assert parameters(method)[1:] == [
                    p for p in actual_parameters(getattr(cls, method.name)) if p[0] != "self"
                ], method.name


def test_the_stub_names_everything_public_of_the_module():
    listed = {node.name for node in STUB_FUNCTIONS + STUB_CLASSES}
    there = {
        name
        for name, value in vars(_core).items()
        if not name.startswith("_")
        and callable(value)
        and getattr(value, "__module__", None) == "nncore._core"
    }
    unlisted = {name for name in there - listed if inspect.getdoc(getattr(_core, name))}
    assert not listed - there and not unlisted


def test_the_package_is_marked_as_typed():
    assert (PACKAGE / "py.typed").exists()


# ------------------------------------------------------------------------------------------- import


def test_import_is_light_and_leaves_the_process_alone():
    """Nothing heavy beyond NumPy, no thread, no change of floating-point mode, error handling,
    environment, signals or generator."""
    result = python("""
import os, signal, sys, threading
import numpy as np
state = lambda: (np.geterr(), dict(os.environ), threading.active_count(),
                 signal.getsignal(signal.SIGINT), np.random.get_state()[1].tobytes(),
                 float(np.float64(5e-324) / 1),
                 os.path.exists("/proc/self/task") and len(os.listdir("/proc/self/task")))
np.random.seed(0)
before, modules = state(), set(sys.modules)
import nncore
assert state() == before, "import changed the process"
new = {m.split(".")[0] for m in set(sys.modules) - modules} - {"nncore"}
print(*sorted(new))
print(*sorted(m for m in sys.modules if m.startswith("nncore.")))
""")
    assert result.returncode == 0, result.stderr
    others, ours = result.stdout.splitlines()
    heavy = {
        "json",
        "tempfile",
        "argparse",
        "csv",
        "zipfile",
        "gzip",
        "urllib",
        "importlib.metadata",
        "multiprocessing",
        "ctypes",
        "sklearn",
        "scipy",
        "matplotlib",
        "tqdm",
        "Cython",
        "subprocess",
        "logging",
        "dataclasses",
        "inspect",
    }
    assert not heavy & set(others.split())
    later = {
        "callbacks", "checking", "cli", "datasets", "exchange", "export", "foreign", "optimizers",
        "reference", "schedules", "serialization", "sklearn", "training.fit", "training.predict",
        "training.session", "training.sgd",
    }  # fmt: skip
    assert not {f"nncore.{name}" for name in later} & set(ours.split())


def test_import_loads_no_threading_signal_or_dataclasses_of_its_own():
    """What NumPy has not loaded by itself; each takes a millisecond or nearly so."""
    result = python("""
import sys
import numpy
modules = set(sys.modules)
import nncore
print(*sorted({"threading", "signal", "dataclasses", "inspect"} & set(sys.modules) - modules))
""")
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == []


LAZY = """
import sys, threading
import {package}
names, found, barrier = {package}.__all__, [], threading.Barrier(4)
before = set(sys.modules)
assert set(names) <= set(dir({package})) | set({lazy!r}) and set(sys.modules) == before
def read(order):
    barrier.wait()
    found.append({{name: getattr({package}, name) for name in order}})
orders = [names, names[::-1], sorted(names), sorted(names, reverse=True)]
threads = [threading.Thread(target=read, args=(order,)) for order in orders]
for thread in threads: thread.start()
for thread in threads: thread.join(60)
assert len(found) == 4 and all(each == found[0] for each in found), found
assert not hasattr({package}, "nothing")
"""


@pytest.mark.parametrize("package", ["nncore", "nncore.training"])
def test_names_that_are_imported_when_used_are_the_same_to_all_threads(package):
    lazy = nncore.training.__all__ if package == "nncore.training" else []
    result = python(LAZY.format(package=package, lazy=lazy))
    assert result.returncode == 0, result.stderr


def test_types_of_annotations_resolve_at_run_time():
    for function in (nncore.Sequential.predict, nncore.ReLU.forward, nncore.load):
        assert typing.get_type_hints(function)


def test_schedules_are_those_of_their_public_module():
    rate = nncore.schedules.Step(0.1, every=2)
    assert dataclasses.replace(rate, every=3) == nncore.schedules.Step(0.1, 3)
    assert pickle.loads(pickle.dumps(rate)) == rate
    assert type(rate).__module__ == nncore.schedules.Schedule.__module__ == "nncore.schedules"


@pytest.mark.alone
def test_import_takes_little_time_over_numpy(tmp_path, monkeypatch):
    """The fastest of several, in processor time and from compiled bytecode. It takes about half as
    long as NumPy's own import; the wide margin catches a heavy import, not a busy machine or slow
    files."""
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path))
    code = (
        "from time import process_time as now; start = now(); import numpy; t = now();"
        "import nncore; print((now() - t) / (t - start))"
    )
    assert min(float(python(code).stdout) for _ in range(6)) < 1.5


def test_a_missing_core_is_one_clear_import_error():
    result = python("import sys; sys.modules['nncore._core'] = None; import nncore")
    assert result.returncode == 1
    assert (
        "ImportError: nncore's compiled core is not there (" in result.stderr
        and "build it with `pip install .`" in result.stderr
    )


LIBGOMP = "libgomp.so.1: cannot open shared object file: No such file or directory"
CHANGE = (
    "Interpreter change detected - this module can only be loaded into one interpreter per process."
)
TWICE = "module nncore._core does not support loading in subinterpreters"


@pytest.mark.parametrize(
    ("error", "wanted", "unwanted"),
    [
        (
            ImportError(LIBGOMP, name="nncore._core", path="_core.so"),
            f"could not be loaded: {LIBGOMP}; if this names a library, install it",
            "pip install",
        ),
        (
            ImportError(CHANGE),
            f"nncore does not support subinterpreters; use threads or processes ({CHANGE})",
            "pip install",
        ),
        (
            ImportError(TWICE),
            f"nncore does not support subinterpreters; use threads or processes ({TWICE})",
            "pip install",
        ),
        (
            ModuleNotFoundError("No module named 'numpy'", name="numpy"),
            "needs numpy, which is not installed; install it with `pip install",
            "pip install .",
        ),
        (
            ImportError("NNCORE_ISA must be one of"),
            "NNCORE_ISA must be one of",
            "could not be loaded",
        ),
    ],
)
def test_the_hint_says_what_is_true(error, wanted, unwanted):
    sentence = str(_missing.explained(error))
    assert wanted in sentence and unwanted not in sentence


def test_a_library_that_cannot_be_loaded_is_named_by_the_loaders_own_words(tmp_path):
    """A core that is no shared library, in a copy of the package."""
    shutil.copytree(
        PACKAGE, tmp_path / "nncore", ignore=shutil.ignore_patterns("*.so", "__pycache__")
    )
    (tmp_path / "nncore" / f"_core{importlib.machinery.EXTENSION_SUFFIXES[0]}").write_bytes(
        b"no library"
    )
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import nncore"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    last = result.stderr.splitlines()[-1]
    assert (
        last.startswith("ImportError: nncore's compiled core could not be loaded: ")
        and "_core" in last
        and "pip install" not in last
    )


def test_a_core_for_another_python_is_named(monkeypatch):
    missing = ModuleNotFoundError("No module named 'nncore._core'", name="nncore._core")
    own = f"_core{importlib.machinery.EXTENSION_SUFFIXES[0]}"
    for files, found in (
        (["_core.pyi", own], ""),
        ([own, "_core.cpython-31-x.so", "other.so"], "; found only _core.cpython-31-x.so, which"),
    ):
        monkeypatch.setattr(_missing, "_files", lambda files=files: files)
        sentence = str(_missing.explained(missing))
        assert (
            found in sentence
            and ("found only" in sentence) == bool(found)
            and "build it with `pip install .`" in sentence
        )


def test_a_subinterpreter_is_named_as_unsupported():
    interpreters = "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
    result = python(f"""
import warnings
warnings.simplefilter("ignore")
try:
    import {interpreters} as interpreters
except ImportError:
    print("none")
else:
    import nncore
    try:
        code = "import warnings; warnings.simplefilter('ignore'); import nncore"
        failed = interpreters.run_string(interpreters.create(), code)
    except Exception as error:
        failed = error
    print(failed)
""")
    if result.stdout == "none\n":
        pytest.skip("this Python has no subinterpreters")
    assert "does not support subinterpreters; use threads or processes" in result.stdout, (
        result.stdout + result.stderr
    )


# ------------------------------------------------------------------------------------ configuration


def test_show_config(capsys):
    config = nncore.show_config(mode="dict")
    assert config["version"] == nncore.__version__ and config["numpy"] == np.__version__
    assert config["isa"] in config["isa_available"] and config["isa_available"][0] == "generic"
    assert (
        set(config["isa_available"]) <= set(LEVELS)
        and config["isa_available"] == _core.isa_levels()
    )
    assert config["threads"] == nncore.get_num_threads() and all(
        config[name] for name in ("compiler", "cython", "numpy_build", "python")
    )
    assert nncore.show_config() is None
    printed = capsys.readouterr().out
    assert all(name in printed for name in config)
    with pytest.raises(ValueError, match="mode must be .*, got 'xml'"):
        nncore.show_config(mode="xml")


@pytest.mark.parametrize("level", LEVELS)
def test_the_environment_forces_a_level(level):
    result = python(
        "import nncore; print(nncore.show_config(mode='dict')['isa'])", NNCORE_ISA=level
    )
    if level in _core.isa_levels():
        assert result.stdout.split() == [level], result.stderr
    else:
        assert result.returncode == 1 and "ImportError: NNCORE_ISA must be one of" in result.stderr


def test_without_it_the_highest_usable_level_is_live():
    result = python("import nncore; print(nncore.show_config(mode='dict')['isa'])", NNCORE_ISA="")
    assert result.stdout.split() == [_core.isa_levels()[-1]], result.stderr


def test_an_unknown_level_is_an_import_error():
    result = python("import nncore", NNCORE_ISA="abacus")
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == (
        f"ImportError: NNCORE_ISA must be one of {', '.join(_core.isa_levels())}, got 'abacus'"
    )
