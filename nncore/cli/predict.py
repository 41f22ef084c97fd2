"""The command `nncore predict`: print the predictions of a model of `nncore train`."""

import csv
import io
import sys

import numpy as np

import nncore
from nncore import _files
from nncore.cli import arguments, data, messages

HELP = """\
Print what MODEL (a file written by nncore train) predicts for each sample of DATA, one per line: a
label, or a number if it was trained on numbers.

DATA is anything that nncore train reads, in the same units: the model stores the scaling of its
inputs. It also stores the headings of a table: columns are found by them, in any order, and others
are ignored. Labels are optional (a table without headings has one column less without them); with
labels, the accuracy is printed to standard error.
"""


def add_options(parser):
    """Add the arguments of `nncore predict`."""
    parser.set_defaults(run=run)
    parser.add_argument("model", metavar="MODEL", help="file written by nncore train")
    parser.add_argument(
        "data",
        metavar="DATA",
        help="digits, .npz, .csv or .tsv (also .gz), .parquet or a folder of idx files",
    )
    arguments.add_columns(parser)
    arguments.add_part(parser)
    parser.add_argument(
        "--proba",
        action="store_true",
        help="print the probabilities of all classes, separated by commas, under a line with the "
        "classes",
    )
    parser.add_argument("--output", metavar="FILE", help="write to FILE instead of printing")


def run(options):
    """Print a line per sample, and the accuracy to standard error if labels are known."""
    net = nncore.load(options.model)
    regression = data.is_regression(net)
    if options.proba and regression:
        raise ValueError(f"--proba needs a classifier, but {options.model} predicts numbers")
    if options.output:
        arguments.check_output("--output", options.output, options.model, "MODEL")
        arguments.check_output("--output", options.output, options.data, "DATA")
    source = data.read_to_predict(net, options.model, options.data, options)
    X, labels = source.select(options.part)
    predicted = net.predict(X)
    text = _probabilities(net, X) if options.proba else _lines(predicted)
    if options.output:
        _files.write(options.output, lambda file: file.write(text.encode()))
        print(f"wrote {options.output} ({messages.count(X.shape[1], 'sample')})")
    else:
        sys.stdout.write(text)
    sys.stdout.flush()
    if labels is not None and not regression and predicted.dtype.kind != labels.dtype.kind:
        messages.note(
            f"{options.data}: its labels, {labels[0].item()!r} for example, are not like those of "
            f"{options.model}, {predicted.flat[0].item()!r} for example, so there is no accuracy"
        )
    elif labels is not None:
        print(_score(net, predicted, labels, regression), file=sys.stderr)
    messages.print_notes(source)


def _lines(predicted):
    """Return a line per sample: a label or a number, or several separated by commas."""
    rows = predicted.T if predicted.ndim == 2 else predicted[:, None]
    return "".join(",".join(map(_text, row)) + "\n" for row in rows)


def _text(value):
    """Return a number in the shortest digits that are read as the same, or a label, in quotes if it
    has line breaks.
    """
    text = str(value)
    if len(text.splitlines()) < 2:
        return text
    quoted = text.replace('"', '""')
    return f'"{quoted}"'


def _probabilities(net, X):
    """Return the probabilities as comma-separated values under a line with the classes."""
    P = net.predict_proba(X)
    if len(P) == 1:
        P = np.concatenate([1 - P, P])
    classes = range(len(P)) if net.classes is None else net.classes.tolist()
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(classes)
    writer.writerows([map(_text, column) for column in P.T])
    return text.getvalue()


def _score(net, predicted, labels, regression):
    """Return a line with the accuracy, or R² and the error."""
    if not regression:
        correct = int((predicted == labels).sum())
        return f"accuracy: {correct / labels.size:.4f} ({correct}/{labels.size})"
    r2, rmse = data.scores(predicted, labels)
    return f"R2: {r2:.4f} (RMSE {rmse:.4g} on {messages.count(labels.size, 'sample')})"
