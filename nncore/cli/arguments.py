"""Values of the command's options."""

import argparse
import math

WIDEST = 100_000


def add_label_column(parser):
    """The option --label-column."""
    parser.add_argument(
        "--label-column",
        metavar="COLUMN",
        default="auto",
        help="of a .csv: first, last, none, a heading, or auto (default): the one "
        "headed label, class or target, else the one headed y, else the last",
    )


def layers(text):
    """Widths of hidden layers: whole numbers with commas, or none."""
    if text in ("", "none"):
        return []
    try:
        widths = [int(width) for width in text.split(",")]
    except ValueError:
        widths = [0]
    if not all(0 < width <= WIDEST for width in widths):
        raise argparse.ArgumentTypeError(
            f"must be whole numbers from 1 to {WIDEST} with commas, or none, got {text!r}"
        )
    return widths


def rate(text):
    """A positive number."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"must be a positive number, got {text!r}")
    return number


def fraction(below):
    """The parser of numbers from 0 to below that."""

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
    """The parser of whole numbers in a range."""

    def parse(text):
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(
                f"must be a whole number from {least} to {most}, got {text!r}"
            )
        return number

    return parse
