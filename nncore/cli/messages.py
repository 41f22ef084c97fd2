"""The command's messages on standard error."""

import sys


def fail(message, status):
    """Print the message in one line and return the exit status."""
    print("nncore:", " ".join(str(message).split()) or "out of memory", file=sys.stderr)
    return status


def note(text):
    """Print a note, which is no error."""
    print(f"nncore: note: {text}", file=sys.stderr)


def count(number, what):
    """Return a number of things in words."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def on_one_line(text):
    """Return a heading or a label without line breaks."""
    return " ".join(str(text).split())


def print_notes(source):
    """Print the warnings that the reader of a data file has collected."""
    for text in source.notes:
        note(f"{source.name}: {text}")
