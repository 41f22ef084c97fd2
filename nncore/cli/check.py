"""The command `nncore check FILE`: run the file, check its networks and modules, print a report.

The imports of nncore.checking are inside the functions, so that the other commands do not pay for
them.
"""

import contextlib
import importlib.util
import inspect
import os
import sys

from nncore.cli import messages, notebooks

__all__ = ["HELP", "add_options", "find", "load", "run"]

HELP = """\
Check the neural network modules in FILE, a Python program (.py) or a Jupyter notebook (.ipynb),
against finite differences and against the library, and name what is wrong.

It checks the networks (objects with modules and loss) that FILE keeps in variables, and the
classes with forward and backward that no such network uses: modules, losses, Sequential.

The command runs FILE as `import` would, without the block under `if __name__ == "__main__":`.
Check only files that you would run. The program's output goes to standard error; it gets no
input, and figures are not shown. Of a notebook it runs the code cells in order, counted from 1,
without lines that start with % or !. If a cell fails, it checks what the cells before it define.

Exit status: 0 all right, 1 something is wrong, 2 FILE cannot be checked.
"""


def add_options(parser):
    """Add the arguments of `nncore check`."""
    parser.set_defaults(run=run)
    parser.add_argument("file", metavar="FILE", help="the program or notebook with the modules")
    parser.add_argument("--name", metavar="NAME", help="check this variable or class of FILE only")
    parser.add_argument(
        "--inputs",
        metavar="M",
        type=int,
        help="number of input features, if it cannot be inferred from the weights",
    )


def run(options):
    """Print the reports and return the exit status, 0 or 1.

    ValueError or OSError if FILE cannot be checked.
    """
    from nncore import checking

    if options.inputs is not None and options.inputs < 1:
        raise ValueError(f"--inputs must be at least 1, got {options.inputs}")
    program, fault = load(options.file)
    if fault:
        messages.note(f"{fault}; what the cells before it define is checked")
    found = find(program, options.file, options.name)
    reports = [
        (name, checking.check(thing, options.inputs))
        for name, thing in found
        if not inspect.isclass(thing)
    ]
    classes = [_check_class(thing, options) for _, thing in found if inspect.isclass(thing)]
    if classes:
        reports.append(
            (
                "classes" if reports else "",
                checking.Report([r for results in classes for r in results]),
            )
        )
    for i, (name, report) in enumerate(reports):
        if len(reports) > 1:
            print("\n" * (i > 0) + f"== {name}")
        print(report)
    return 0 if all(report for _, report in reports) else 1


def load(path):
    """Run the file at `path` as a module (not as `__main__`); return (module, the place and error
    at which a notebook ended early, or "").

    OSError if it cannot be read; ValueError, in one sentence, if it is not a Python program or a
    notebook, or raises. A notebook keeps what the cells before the error have defined.
    """
    notebook = path.lower().endswith(".ipynb")
    if not notebook and not path.endswith(".py"):
        raise ValueError(f"FILE must be a Python program (.py) or a notebook (.ipynb), got {path}")
    parts = _parts_of_notebook(path) if notebook else [_whole(path)]
    program = _new_module(path)
    if notebook:
        vars(program).update(notebooks.NAMES)
    absent = notebooks.absent_modules() if notebook else contextlib.nullcontext()
    with _as_imported(program, path), absent:
        for i, (filename, source) in enumerate(parts, 1):
            fault = _run(program, filename, source, path)
            if fault == "":
                if i < len(parts):
                    messages.note(f"{path} exits in cell {i}; the cells after it are not checked")
                break
            if fault is not None:
                if not notebook or not (_networks(program) or _classes(program)):
                    raise ValueError(fault)
                return program, fault
    return program, ""


def _whole(path):
    with open(path, "rb") as file:
        return os.path.abspath(path), file.read()


def _parts_of_notebook(path):
    """Return (name in tracebacks, source) of each code cell; note what is left out."""
    found = notebooks.cells(path)
    left_out = [(cell.number, line, text) for cell in found for line, text in cell.left_out]
    if left_out:
        number, line, text = left_out[0]
        one = len(left_out) == 1
        messages.note(
            f"{path}: {len(left_out)} line{'' if one else 's'} for Jupyter alone "
            f"{'is' if one else 'are'} left out, "
            f"{'' if one else 'the first '}in cell {number}, line {line}: {text[:60]}"
        )
    return [(cell.filename, cell.source) for cell in found]


def _new_module(path):
    name = os.path.splitext(os.path.basename(path))[0]
    program = importlib.util.module_from_spec(
        importlib.util.spec_from_loader(name, loader=None, origin=path)
    )
    program.__file__ = os.path.abspath(path)
    return program


@contextlib.contextmanager
def _as_imported(program, path):
    """Run a `with` block as if in a process that imports the program: its folder is on the path, it
    reads nothing, and prints to standard error.
    """
    name = program.__name__
    os.environ.setdefault("MPLBACKEND", "Agg")  # a window would wait to be closed
    before = sys.argv, sys.stdin, sys.modules.get(name)
    sys.path.insert(0, os.path.dirname(program.__file__))
    sys.modules[name] = program
    try:
        with open(os.devnull) as sys.stdin, contextlib.redirect_stdout(sys.stderr):
            sys.argv = [path]
            yield
    finally:
        sys.argv, sys.stdin, old = before
        if old is not None:
            sys.modules[name] = old


def _run(program, filename, source, path):
    """Run one part of a program; return None, "" if it has called sys.exit(), or what is wrong."""
    from nncore.checking.trials import Failure, line_of

    try:
        exec(compile(source, filename, "exec"), vars(program))
    except SyntaxError as error:
        place = f"line {error.lineno}"
        if error.filename == filename and filename != program.__file__:
            place = line_of(filename, error.lineno)
        return (
            f"{path} must be a Python program that runs, got {type(error).__name__}: {error.msg}, "
            f"{place}"
        )
    except (Exception, SystemExit) as error:
        if isinstance(error, SystemExit) and error.code in (None, 0):
            return ""  # sys.exit() is a regular end
        failure = Failure(error)
        where = f" at {failure.line}" if failure.line else ""
        return f"{path} must run to its end to be checked, got {failure}{where}"
    return None


def find(program, path, name=None):
    """Return [(name, network or class)] of everything that can be checked; ValueError if there is
    nothing.
    """
    from nncore.checking.modules import has_methods
    from nncore.checking.networks import flattened, is_network

    if name is not None:
        if not hasattr(program, name):
            names = ", ".join(n for n, _ in _networks(program) + _classes(program))
            raise ValueError(
                f"--name must be a variable of {path}{f', such as {names}' if names else ''}, got "
                f"{name!r}"
            )
        thing = getattr(program, name)
        if not is_network(thing) and not has_methods(thing):
            raise ValueError(
                f"--name must be a network, a module or a loss, or a class of them, got {name!r}, "
                f"a {type(thing).__name__}"
            )
        return [(name, thing)]
    nets = _networks(program)
    used = {
        type(part)
        for _, net in nets
        for part in (net, getattr(net, "loss", None), *(m for _, m in flattened(net.modules)))
    }
    found = nets + [(n, c) for n, c in _classes(program) if c not in used]
    if not found:
        raise ValueError(
            f"{path} must keep a network in a variable, or define classes with forward and "
            f"backward, outside of "
            '`if __name__ == "__main__":`, got neither'
        )
    return found


def _networks(program):
    """Return the program's networks as [(name, network)], each once."""
    from nncore.checking.networks import is_network

    seen = {}
    for name, thing in vars(program).items():
        if not name.startswith("_") and is_network(thing):
            seen.setdefault(id(thing), (name, thing))
    return list(seen.values())


def _classes(program):
    """Return the program's own module and loss classes in order, without abstract base classes."""
    from nncore.checking.modules import has_methods

    seen = {}
    for name, thing in vars(program).items():
        if inspect.isclass(thing) and has_methods(thing) and not _is_installed(thing):
            seen.setdefault(thing, name)
    return [
        (name, c)
        for c, name in seen.items()
        if not (_is_abstract(c) and any(c in other.__mro__[1:] for other in seen))
    ]


def _is_installed(cls):
    """Return whether the class belongs to a library, nncore included."""
    file = getattr(sys.modules.get(cls.__module__), "__file__", None) or ""
    return (
        cls.__module__.split(".")[0] == "nncore"
        or f"{os.sep}site-packages{os.sep}" in file
        or cls.__module__ in sys.stdlib_module_names
    )


def _is_abstract(cls):
    """Return whether forward only raises NotImplementedError or does nothing."""
    names = getattr(getattr(cls.forward, "__code__", None), "co_names", None)
    return names is not None and (not names or "NotImplementedError" in names)


def _check_class(cls, options):
    """Return the results for a class. A class whose constructor needs more than sizes is reported
    as unchecked, or raises ValueError if --name asked for it.
    """
    from nncore import checking

    try:
        return checking.check(cls, options.inputs).results
    except TypeError as error:
        if options.name is not None:
            raise ValueError(str(error)) from None
        return [
            checking.Result(
                "",
                cls.__name__,
                unchecked=f"{error}; keep a network that holds one in a variable",
            )
        ]
