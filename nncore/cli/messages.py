"""What the command writes to standard error."""

import sys


def fail(message, status):
    """Print the message on one line; returns the exit status."""
    print("nncore:", " ".join(str(message).split()) or "out of memory", file=sys.stderr)
    return status


def tell_doubts(source):
    """Print what was doubtful in a file that has been read."""
    for doubt in source.doubts:
        print(f"nncore: note: {source.name}: {doubt}", file=sys.stderr)
