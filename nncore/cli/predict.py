"""The command `nncore predict`: print one label per line, from a model saved by `nncore train`."""

import sys

import nncore
from nncore import _readers
from nncore.cli import arguments, messages

HELP = """\
Print the label that MODEL (a file written by nncore train) predicts for each sample of DATA, one
per line.

DATA is anything that nncore train reads, in the same units: the model stores the scaling of its
inputs. Labels are optional (a .csv without them has one column less); with labels, the accuracy is
printed to standard error.
"""


def add_options(parser):
    """Add the arguments of `nncore predict`."""
    parser.set_defaults(run=run)
    parser.add_argument("model", metavar="MODEL", help="file written by nncore train")
    parser.add_argument(
        "data", metavar="DATA", help="digits, .npz, .csv[.gz] or a folder of idx files"
    )
    arguments.add_label_column(parser)
    parser.add_argument(
        "--part",
        choices=("all", "train", "test"),
        default="all",
        help="of DATA, divided as nncore train divides them (default: all)",
    )


def run(options):
    """Print one label per line, and the accuracy to standard error if labels are known."""
    net = nncore.load(options.model)
    features = _inputs(net, options.model)
    source = _readers.read(options.data, options.label_column, features, option="--label-column")
    X, labels = source.select(options.part)
    if X.shape[0] != features:
        raise ValueError(
            f"{options.data} must have {features} features per sample, as {options.model} has, "
            f"got {X.shape[0]}"
        )
    predicted = net.predict(X)
    sys.stdout.writelines(f"{label}\n" for label in predicted)
    sys.stdout.flush()
    if labels is not None:
        correct = int((predicted == labels).sum())
        print(f"accuracy: {correct / labels.size:.4f} ({correct}/{labels.size})", file=sys.stderr)
    messages.print_notes(source)


def _inputs(net, path):
    """Return the number of features of a classifier; ValueError for other networks."""
    first = net.modules[0] if net.modules else None
    if not isinstance(first, nncore.Linear) or not isinstance(net.modules[-1], nncore.SoftMax):
        raise ValueError(
            f"{path} must hold a classifier from a first Linear to a last SoftMax, got another "
            f"network"
        )
    return first.m
