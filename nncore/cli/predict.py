"""The command `nncore predict`: print one label per line, from a model saved by `nncore train`."""

import sys

import numpy as np

import nncore
from nncore import _chain, _checks, _readers, datasets, serialization
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
    net, metadata = serialization.read(options.model, nncore.Sequential)
    features, classes, scaling = _recipe(net, metadata, options.model)
    source = _readers.read(options.data, options.label_column, features, option="--label-column")
    X, labels = source.select(options.part)
    if X.shape[0] != features:
        raise ValueError(
            f"{options.data} must have {features} features per sample, as {options.model} has, "
            f"got {X.shape[0]}"
        )
    dtype = _checks.computing_dtype(net.modules[0].W)
    predicted = classes[net.predict(datasets.scale(X, scaling, dtype))]
    sys.stdout.writelines(f"{label}\n" for label in predicted)
    sys.stdout.flush()
    if labels is not None:
        correct = int((predicted == labels).sum())
        print(f"accuracy: {correct / labels.size:.4f} ({correct}/{labels.size})", file=sys.stderr)
    messages.print_notes(source)


def _recipe(net, metadata, path):
    """Return (features, class labels, scaling) of a model; without metadata the classes are 0, 1,
    ... and nothing is scaled.
    """
    first = net.modules[0] if net.modules else None
    if not isinstance(first, nncore.Linear) or not isinstance(net.modules[-1], nncore.SoftMax):
        raise ValueError(
            f"{path} must hold a classifier from a first Linear to a last SoftMax, got another "
            f"network"
        )
    outputs = [m.n for m in _chain.modules_of(net) if isinstance(m, nncore.Linear)][-1]
    try:
        labels = metadata.get("classes", list(range(outputs)))
        classes = np.array([_checks.count("class", label, -(2**63)) for label in labels], np.int64)
        scaling = metadata.get("scaling", {"shift": 0.0, "factor": 1.0})
        numbers = [np.array(scaling[key], dtype=np.float64) for key in ("shift", "factor")]
        fits = classes.shape == (outputs,) and all(
            a.shape in ((), (first.m,)) and np.isfinite(a).all() for a in numbers
        )
    except (TypeError, ValueError, KeyError, OverflowError):
        fits = False
    if not fits:
        raise ValueError(f"{path} must hold labels and scaling that fit its network, got others")
    return first.m, classes, scaling
