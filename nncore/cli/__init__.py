"""The command `nncore`: train a network, save it, predict with it, export it, check modules.

Errors in files, labels or options are reported in one line on standard error, with exit status 2,
before anything is written. A training that diverges exits with status 1, Ctrl-C with 130 (after a
training has saved what was learned), a closed pipe with 141.
"""

import argparse
import os
import sys
import warnings

import nncore
from nncore import _names
from nncore.cli import (
    check,
    completion,
    evaluate,
    export,
    info,
    predict,
    run,
    train,
    training,
)
from nncore.cli.messages import fail


def main(arguments=None):
    """Run the command with `arguments` (default: those of the process) and return the exit status.

    >>> main(["predict", "none.npz", "digits"])
    2
    """
    if getattr(sys.stdout, "errors", "") == "strict" and hasattr(sys.stdout, "reconfigure"):
        # The terminal's encoding may lack characters of a file's name.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        options = _parsed(arguments)
        with warnings.catch_warnings():
            if options.run is not run.run:  # another program's warnings are its own
                # The command reports overflow and a non-finite loss itself, in one line.
                warnings.simplefilter("ignore", RuntimeWarning)
            status = options.run(options)
        sys.stdout.flush()
        return status or 0
    except KeyboardInterrupt:
        return fail("interrupted", 130)
    except BrokenPipeError:
        # Nobody reads the rest of the buffer; the interpreter's flush at exit would print an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except training.Diverged as error:
        return fail(error, 1)
    except OSError as error:
        return fail(f"{error.filename}: {error.strerror}" if error.filename else error, 2)
    except (ValueError, MemoryError) as error:
        return fail(error, 2)


def _parsed(arguments):
    """Return the options; an unknown one is answered by its command, with the closest."""
    parser = _parser()
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        command = options.parser
        flag = next((word for word in unknown if word.startswith("-")), None)
        flags = [name for action in command._actions for name in action.option_strings]
        hint = "" if flag is None else _names.suggestion(flag.partition("=")[0], flags)
        command.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
    return options


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        """Print the message in one line, without argparse's usage."""
        sys.exit(fail(f"{message} (see {self.prog} -h)", 2))


class _Help(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog):
        super().__init__(prog, max_help_position=28, width=110)


def _parser():
    parser = _Parser(
        prog="nncore",
        formatter_class=_Help,
        allow_abbrev=False,
        description="Small neural networks, trained by SGD with compiled kernels.",
    )
    parser.add_argument("--version", action="version", version=f"nncore {nncore.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, module, summary in (
        ("train", train, "train a network (no arguments: on the digits) and save it"),
        ("predict", predict, "predict labels or numbers with a saved model"),
        ("evaluate", evaluate, "compare a saved model's predictions with known labels"),
        ("info", info, "describe a saved model"),
        ("export", export, "write a saved model as ONNX, C or safetensors"),
        ("check", check, "check the modules and networks in a Python program or notebook"),
        ("run", run, "run a Python program with nncore's classes in the place of others"),
        ("completion", completion, "print a script for completion in bash or zsh"),
    ):
        command = commands.add_parser(
            name,
            help=summary,
            description=module.HELP,
            epilog=getattr(module, "EXAMPLES", None),
            formatter_class=_Help,
            allow_abbrev=False,
        )
        command.set_defaults(parser=command)
        module.add_options(*((command, parser) if module is completion else (command,)))
    return parser
