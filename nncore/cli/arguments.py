"""Option types shared by the commands."""

import argparse
import math

WIDEST = 100_000


def add_label_column(parser):
    """Add the option --label-column."""
    parser.add_argument(
        "--label-column",
        metavar="COLUMN",
        default="auto",
        help="label column of a .csv: first, last, none, a heading, or auto (default): the column "
        "headed label, class or target, else the one headed y, else the last",
    )


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
    """Return a parser of integers in [least, most]."""

    def parse(text):
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(
                f"must be an integer from {least} to {most}, got {text!r}"
            )
        return number

    return parse
