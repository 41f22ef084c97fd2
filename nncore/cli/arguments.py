"""Option types shared by the commands."""

import argparse
import math
import os

from nncore import _files

WIDEST = 100_000
PLOTS = (".png", ".pdf", ".svg")


def add_columns(parser):
    """Add the options --label-column and --drop."""
    parser.add_argument(
        "--label-column",
        metavar="COLUMN",
        default="auto",
        help="label column of a table: first, last, none, a heading, a number from 1, or auto "
        "(default): the column headed label, class or target, else the one headed y, else the last",
    )
    parser.add_argument(
        "--drop",
        metavar="COLUMN,...",
        type=columns,
        default=(),
        help="columns of a table to leave out: headings or numbers from 1",
    )


def add_part(parser):
    """Add the option --part."""
    parser.add_argument(
        "--part",
        choices=("all", "train", "test"),
        default="all",
        help="of DATA, divided as nncore train divides them (default: all)",
    )


def columns(text):
    """Parse headings separated by commas; one with a comma stands in quotes."""
    import csv

    return tuple(name.strip() for name in next(csv.reader([text]), ()) if name.strip())


def check_output(option, path, other, other_name):
    """Refuse an output that cannot be written or would overwrite another file of the command."""
    try:
        _files.check(_files.name(path))
    except OSError as error:
        raise ValueError(
            f"{option} must be a file that can be written, got {path} ({error.strerror})"
        ) from None
    if os.path.exists(path) and os.path.exists(other) and os.path.samefile(path, other):
        raise ValueError(f"{option} must be another file than {other_name}, got {path}")


def check_plot(path):
    """Refuse a plot that matplotlib could not write."""
    if not path.lower().endswith(PLOTS):
        raise ValueError(f"--plot must end in {', '.join(PLOTS[:-1])} or {PLOTS[-1]}, got {path}")
    try:
        import matplotlib.figure  # type: ignore[import-not-found, unused-ignore] # noqa: F401
    except ImportError:
        raise ValueError(
            "--plot needs matplotlib; install it with `pip install nncore[plot]`"
        ) from None


def layers(text):
    """Parse the widths of hidden layers: integers separated by commas, or none."""
    if text in ("", "none"):
        return []
    try:
        widths = [int(width) for width in text.split(",")]
    except ValueError:
        widths = [0]
    if not all(0 < width <= WIDEST for width in widths):
        raise argparse.ArgumentTypeError(
            f"must be integers from 1 to {WIDEST} separated by commas, or none, got {text!r}"
        )
    return widths


def rate(text):
    """Parse a positive number."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"must be a positive number, got {text!r}")
    return number


def fraction(below):
    """Return a parser of numbers in [0, below)."""

    def parse(text):
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not 0 <= number < below:
            limits = "at least 0" + (f" and below {below}" if below < math.inf else "")
            raise argparse.ArgumentTypeError(f"must be a number of {limits}, got {text!r}")
        return number

    return parse


def whole(least, most=2**31 - 1):
    """Return a parser of integers in [least, most]; most None: of any size."""

    def parse(text):
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least or most is not None and number > most:
            limits = f"of at least {least}" if most is None else f"from {least} to {most}"
            raise argparse.ArgumentTypeError(f"must be an integer {limits}, got {text!r}")
        return number

    return parse
