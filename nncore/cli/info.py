"""The command `nncore info`: what a model file holds."""

import os

import numpy as np

import nncore
from nncore import _chain, modules, registry
from nncore.cli import data, messages

HELP = """\
Describe MODEL, a file written by nncore train or by `save`: its layers, what it predicts, the
columns that it takes and their scaling.
"""
MOST_ROWS = 30  # of the table of columns


def add_options(parser):
    """Add the arguments of `nncore info`."""
    parser.set_defaults(run=run)
    parser.add_argument("model", metavar="MODEL", help="file written by nncore train")


def run(options):
    """Print the description."""
    net = nncore.load(options.model)
    parts = _chain.modules_of(net)
    print(f"file       {options.model} ({os.path.getsize(options.model):,} bytes)")
    linears = [m for m in parts if isinstance(m, modules.Linear)]
    if linears:
        sizes = [linears[0].m, *(m.n for m in linears)]
        types = "/".join(sorted({str(m.W.dtype) for m in linears}))
        print(f"network    {'-'.join(map(str, sizes))}, {types}, {net.parameters:,} parameters")
    for i, module in enumerate(parts):
        print(f"  {i:>7}  {module!r}")
    print(f"loss       {'none' if net.loss is None else type(net.loss).__name__}")
    if parts:
        print(f"predicts   {_predicts(net)}")
    if net.optimizer is not None:
        name = registry.name_of(net.optimizer) or type(net.optimizer).__name__
        print(f"optimizer  {name}, {net.optimizer.t} steps")
    _print_inputs(net, linears)


def _predicts(net):
    target = "" if net.target_name is None else f" {net.target_name!r}:"
    if data.is_regression(net):
        scaling = net.target_scaling
        if scaling is None:
            return f"numbers{target.rstrip(':')}"
        shift, factor = (np.ravel(scaling[key])[0] for key in ("shift", "factor"))
        return (
            f"a number{target} scaled by mean {shift:.6g} and standard deviation {1 / factor:.6g}"
        )
    if net.classes is None:
        return "classes 0, 1, ..."
    shown = ", ".join(map(messages.on_one_line, net.classes[:20].tolist()))
    more = ", ..." if len(net.classes) > 20 else ""
    return f"one of {len(net.classes)} labels{target or ':'} {shown}{more}"


def _print_inputs(net, linears):
    """Print the scaling and the names of the inputs."""
    scaling, names = net.scaling, net.feature_names
    count = linears[0].m if linears else len(names or ())
    if scaling is None:
        print(f"inputs     {count}, not scaled")
        shift = factor = None
    else:
        shift, factor = (np.ravel(scaling[key]) for key in ("shift", "factor"))
        if shift.size == factor.size == 1:
            minus = f"{shift[0]:.6g} subtracted, then " if shift[0] else ""
            print(f"inputs     {count}, {minus}divided by {1 / factor[0]:.6g}" if factor[0] else "")
            shift = factor = None
        else:
            print(f"inputs     {count}, each scaled by its mean and standard deviation")
    if names is None and shift is None:
        return
    shown = range(min(count, MOST_ROWS))
    labels = [str(i + 1) if names is None else messages.on_one_line(names[i]) for i in shown]
    width = max(map(len, [*labels, "column"]))
    print(
        f"  {'column':<{width}}" + ("" if shift is None else f"  {'mean':>12}  {'deviation':>12}")
    )
    for i, label in zip(shown, labels, strict=True):
        line = f"  {label:<{width}}"
        if shift is not None:
            shift_i, factor_i = (a[i if a.size > 1 else 0] for a in (shift, factor))
            deviation = f"{1 / factor_i:.6g}" if factor_i else "constant"
            line += f"  {shift_i:>12.6g}  {deviation:>12}"
        print(line)
    if count > MOST_ROWS:
        print(f"  ... and {count - MOST_ROWS} more")
