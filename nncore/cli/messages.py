"""The command's messages on standard error."""

import sys


def fail(message, status):
    """Print the message in one line and return the exit status."""
    print("nncore:", " ".join(str(message).split()) or "out of memory", file=sys.stderr)
    return status


def print_notes(source):
    """Print the warnings that the reader of a data file has collected."""
    for note in source.notes:
        print(f"nncore: note: {source.name}: {note}", file=sys.stderr)
