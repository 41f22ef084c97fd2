"""The command `nncore check FILE.py`: run the file, find the networks and module classes in it,
check them, print the report.

What checks is loaded when the command runs: the other commands do not wait for it.
"""

import contextlib
import importlib.util
import inspect
import os
import sys

__all__ = ["HELP", "add_options", "find", "load", "run"]

HELP = """\
Check the neural network modules in FILE.py against finite differences and against the library,
and name what is wrong.

Checked are the networks (objects with modules and loss) that FILE.py keeps in variables, and the
classes with forward and backward that no such network uses: modules, losses, Sequential.

This runs the program in FILE.py, as `import` would: all of it but what stands under `if __name__
== "__main__":`. Check only files that you would run. What the program prints goes to standard
error; it gets no input, and figures are not shown.

Exit status: 0 all right, 1 something is wrong, 2 FILE.py cannot be checked.
"""


def add_options(parser):
    """The arguments of `nncore check`."""
    parser.set_defaults(run=run)
    parser.add_argument("file", metavar="FILE.py", help="the program with the modules")
    parser.add_argument(
        "--name", metavar="NAME", help="check this variable or class of FILE.py only"
    )
    parser.add_argument(
        "--inputs",
        metavar="M",
        type=int,
        help="number of input features, where the weights do not tell it",
    )


def run(options):
    """`nncore check`: prints the reports; returns the exit status 0 or 1. ValueError and OSError
    for what cannot be checked."""
    from nncore import checking

    if options.inputs is not None and options.inputs < 1:
        raise ValueError(f"--inputs must be at least 1, got {options.inputs}")
    program = load(options.file)
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
    """The module that the file at `path` makes when it is run, without being `__main__`.

    OSError where it cannot be read; ValueError in one sentence where it is no Python program or
    does not run to its end.
    """
    from nncore.checking.trials import Failure

    if not path.endswith(".py"):
        raise ValueError(f"FILE.py must be a Python program, got {path}")
    with open(path, "rb") as file:
        source = file.read()
    name = os.path.splitext(os.path.basename(path))[0]
    program = importlib.util.module_from_spec(
        importlib.util.spec_from_loader(name, loader=None, origin=path)
    )
    program.__file__ = os.path.abspath(path)
    os.environ.setdefault("MPLBACKEND", "Agg")  # a window would wait to be closed
    before = sys.argv, sys.stdin, sys.modules.get(name)
    sys.path.insert(0, os.path.dirname(program.__file__))
    sys.modules[name] = program
    try:
        with open(os.devnull) as sys.stdin, contextlib.redirect_stdout(sys.stderr):
            sys.argv = [path]
            exec(compile(source, program.__file__, "exec"), vars(program))
    except SyntaxError as error:
        raise ValueError(
            f"{path} must be a Python program that runs, got {type(error).__name__}: {error.msg}, "
            f"line {error.lineno}"
        ) from None
    except (Exception, SystemExit) as error:
        if isinstance(error, SystemExit) and error.code in (None, 0):
            return program  # it says itself that it has come to its end
        failure = Failure(error)
        where = f" at {failure.line}" if failure.line else ""
        raise ValueError(
            f"{path} must run to its end to be checked, got {failure}{where}"
        ) from None
    finally:
        sys.argv, sys.stdin, old = before
        if old is not None:
            sys.modules[name] = old
    return program


def find(program, path, name=None):
    """[(name, network or class)] of what can be checked in a program that has run; ValueError where
    there is nothing."""
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
    from nncore.checking.networks import is_network

    seen = {}
    for name, thing in vars(program).items():
        if not name.startswith("_") and is_network(thing):
            seen.setdefault(id(thing), (name, thing))
    return list(seen.values())


def _classes(program):
    """Module and loss classes of the program's own, in their order; not those that only others are
    derived from."""
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
    """True for classes of libraries, nncore's included."""
    file = getattr(sys.modules.get(cls.__module__), "__file__", None) or ""
    return (
        cls.__module__.split(".")[0] == "nncore"
        or f"{os.sep}site-packages{os.sep}" in file
        or cls.__module__ in sys.stdlib_module_names
    )


def _is_abstract(cls):
    """True where forward does nothing but refuse."""
    names = getattr(getattr(cls.forward, "__code__", None), "co_names", None)
    return names is not None and (not names or "NotImplementedError" in names)


def _check_class(cls, options):
    """The results for a class; one that needs more than sizes is told of, where it was not asked
    for by name."""
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
                unchecked=f"{error}; a variable with a network that holds one will do",
            )
        ]
