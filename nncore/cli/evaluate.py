"""The command `nncore evaluate`: how well a model predicts labels or numbers that are known."""

import math
import os

import numpy as np

import nncore
from nncore import _files
from nncore.cli import arguments, data, messages

HELP = """\
Compare what MODEL (a file written by nncore train) predicts for DATA with the labels in it.

For a classifier: accuracy, mean loss, precision, recall and F1 of every class, and the confusion
matrix. For numbers: R2, RMSE (root mean squared error), MAE (mean absolute error), and the largest
error.
"""
WIDTH = 100  # of a confusion matrix; wider ones are printed as a list


def add_options(parser):
    """Add the arguments of `nncore evaluate`."""
    parser.set_defaults(run=run)
    parser.add_argument("model", metavar="MODEL", help="file written by nncore train")
    parser.add_argument("data", metavar="DATA", help="anything that nncore train reads")
    arguments.add_columns(parser)
    arguments.add_part(parser)
    parser.add_argument(
        "--plot",
        metavar="FILE.png",
        help="draw the confusion matrix, or predictions over targets (.png, .pdf or .svg; needs "
        "matplotlib)",
    )


def run(options):
    """Print the comparison."""
    net = nncore.load(options.model)
    if options.plot:
        arguments.check_output("--plot", options.plot, options.model, "MODEL")
        arguments.check_output("--plot", options.plot, options.data, "DATA")
        arguments.check_plot(options.plot)
    source = data.read_for(net, options.model, options.data, options)
    X, labels = source.select(options.part)
    if labels is None:
        raise ValueError(
            f"{options.data} must hold labels to compare with{_place(net, source)}, got samples "
            f"only; --label-column says where they are"
        )
    samples, features = messages.count(X.shape[1], "sample"), messages.count(len(X), "feature")
    print(f"data       {options.data}: {samples}, {features}")
    if source.choice:
        print(f"table      {source.choice}")
    report = _numbers if data.is_regression(net) else _classes
    figure = report(net, X, labels, options)
    if options.plot:
        ending = os.path.splitext(options.plot)[1]
        _files.write(options.plot, lambda file: figure.savefig(file, format=ending[1:], dpi=150))
        print(f"plotted    {options.plot}")
    messages.print_notes(source)


def _place(net, source):
    """Return where a table would have labels, in words."""
    if source.feature_names is None or net.target_name is None:
        return ""
    return f" in a column {net.target_name!r}, as in the training"


# ---------------------------------------------------------------- numbers


def _numbers(net, X, targets, options):
    """Print the errors of a regression; return the figure if one is wanted."""
    predicted = np.atleast_2d(net.predict(X)).astype(np.float64)
    if len(predicted) != 1:
        raise ValueError(f"{options.model} must predict one number, got {len(predicted)} outputs")
    error = predicted[0] - targets
    r2, rmse = data.scores(predicted, targets)
    worst = int(abs(error).argmax())
    print(f"R2         {r2:.4f}")
    print(f"RMSE       {rmse:.6g}")
    print(f"MAE        {np.mean(abs(error)):.6g}")
    print(
        f"largest    {abs(error[worst]):.6g} (sample {worst + 1}: {predicted[0, worst]:.6g} "
        f"instead of {targets[worst]:.6g})"
    )
    if options.plot:
        from nncore import _plot

        return _plot.predictions(targets, predicted[0], net.target_name).figure
    return None


# ---------------------------------------------------------------- classes


def _classes(net, X, labels, options):
    """Print the scores of a classifier; return the figure if one is wanted."""
    predicted = net.predict(X)
    if predicted.ndim != 1:
        raise ValueError(f"{options.model} must predict one label per sample, got {len(predicted)}")
    known = _known(net)
    if known.dtype.kind != labels.dtype.kind:
        raise ValueError(
            f"{options.data} must hold labels like those of {options.model}, {known[0].item()!r} "
            f"for example, got {labels[0].item()!r}"
        )
    classes = np.concatenate([known, np.setdiff1d(labels, known)])
    if classes.size > known.size:
        shown = ", ".join(repr(label) for label in classes[known.size :][:5].tolist())
        messages.note(f"{options.data} has labels that {options.model} cannot predict: {shown}")
    matrix = confusion(labels, predicted, classes)
    correct = int(matrix.trace())
    print(f"accuracy   {correct / labels.size:.4f} ({correct}/{labels.size})")
    if classes.size == known.size:
        print(f"loss       {net.evaluate(X, labels)[0]:.4f} (mean negative log-likelihood)")
    print()
    print(scores(matrix, classes))
    print()
    print(confusions(matrix, classes))
    if options.plot:
        from nncore import _plot

        return _plot.confusion(matrix, classes).figure
    return None


def _known(net):
    """Return the labels that a classifier predicts."""
    if net.classes is not None:
        return net.classes
    outputs = len(net.predict_proba(np.zeros((data.inputs_of(net, "the model"), 1))))
    if isinstance(net.loss, nncore.Hinge):
        return np.array([-1, 1])
    return np.arange(max(outputs, 2))


def confusion(labels, predicted, classes):
    """Return how many samples of each class (rows) are predicted as each class (columns)."""
    order = np.argsort(classes)
    rows, columns = (
        order[np.searchsorted(classes, part, sorter=order)] for part in (labels, predicted)
    )
    matrix = np.zeros((classes.size, classes.size), np.int64)
    np.add.at(matrix, (rows, columns), 1)
    return matrix


def scores(matrix, classes):
    """Return a table of precision, recall, F1 and the number of samples of each class."""
    right, predicted, actual = matrix.diagonal(), matrix.sum(axis=0), matrix.sum(axis=1)
    with np.errstate(invalid="ignore"):
        columns = [right / predicted, right / actual, 2 * right / (predicted + actual)]
    names = [*map(messages.on_one_line, classes.tolist()), "mean"]
    width = max(map(len, [*names, "class"]))
    lines = [f"{'class':>{width}}  precision  recall      F1  samples"]
    means = [np.nanmean(c) if np.isfinite(c).any() else math.nan for c in columns]
    for name, *values, count in zip(
        names,
        *(np.append(c, m) for c, m in zip(columns, means, strict=True)),
        [*actual, actual.sum()],
        strict=True,
    ):
        shown = ["-" if math.isnan(value) else f"{value:.4f}" for value in values]
        lines.append(f"{name:>{width}}  {shown[0]:>9}  {shown[1]:>6}  {shown[2]:>6}  {count:>7}")
    return "\n".join(lines)


def confusions(matrix, classes):
    """Return the confusion matrix as a text, or if it is wide its largest entries."""
    names = list(map(messages.on_one_line, classes.tolist()))
    width = max(len(str(matrix.max())), *map(len, names)) + 2
    first = max(map(len, names))
    if first + width * len(names) <= WIDTH:
        lines = ["confusion matrix (rows: the label; columns: the prediction)"]
        lines.append(" " * first + "".join(f"{name:>{width}}" for name in names))
        for name, row in zip(names, matrix, strict=True):
            lines.append(f"{name:>{first}}" + "".join(f"{count or '.':>{width}}" for count in row))
        return "\n".join(lines)
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    largest = np.argsort(wrong, axis=None)[::-1][:10]
    lines = ["most frequent confusions"]
    for at in largest:
        i, j = np.unravel_index(at, wrong.shape)
        if wrong[i, j]:
            lines.append(f"  {wrong[i, j]:>5}  {names[i]} predicted as {names[j]}")
    return "\n".join(lines if len(lines) > 1 else ["no confusions"])
