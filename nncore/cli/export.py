"""The command `nncore export MODEL`: write a saved model as ONNX, C or safetensors."""

import os
import re

import numpy as np

import nncore
from nncore import _files
from nncore.cli import arguments, data, messages
from nncore.exchange import c_source, tensors, to_onnx

HELP = """\
Write MODEL, a file saved by nncore train or by `save`, in other formats. They include the scaling
of the inputs that nncore train stores with a model, so they take raw data.

Without FILE, the name is that of MODEL with another ending. If one of the formats cannot hold the
model, nothing is written.
"""


def add_options(parser):
    """Add the arguments of `nncore export`."""
    parser.set_defaults(run=run)
    parser.add_argument("model", metavar="MODEL", help="file written by nncore train")
    parser.add_argument(
        "--onnx", metavar="FILE", nargs="?", const="", help="write an ONNX file (needs onnx)"
    )
    parser.add_argument(
        "--c", metavar="FILE", nargs="?", const="", help="write one file of C99, without malloc"
    )
    parser.add_argument(
        "--safetensors",
        metavar="FILE",
        nargs="?",
        const="",
        help="write the weights in PyTorch's names and layout",
    )
    group = parser.add_argument_group("C")
    group.add_argument(
        "--name", metavar="NAME", help="name of the function (default: that of the C file)"
    )
    group.add_argument(
        "--int8",
        metavar="DATA",
        help="write the C in integer arithmetic, calibrated with DATA, which is anything that "
        "nncore train reads; prints the share of samples that keep their class",
    )
    arguments.add_columns(group)


def run(options):
    """Write the files and print a line for each."""
    given = {ending: getattr(options, ending) for ending in ("onnx", "c", "safetensors")}
    outputs = {
        ending: path or f"{os.path.splitext(options.model)[0]}.{ending}"
        for ending, path in given.items()
        if path is not None
    }
    if not outputs:
        raise ValueError("one of --onnx, --c and --safetensors must be given, got none")
    for option in ("int8", "name"):
        if getattr(options, option) is not None and "c" not in outputs:
            raise ValueError(f"--{option} must come with --c, got it alone")
    for ending, path in outputs.items():
        arguments.check_output(f"--{ending}", path, options.model, "MODEL")
    net = nncore.load(options.model)
    try:
        contents = list(_contents(net, outputs, options))
    except (ImportError, TypeError, ValueError) as error:
        raise ValueError(f"{options.model}: {error}") from None
    for path, content, report in contents:
        _files.write(path, lambda file, content=content: file.write(content))
        print(f"wrote {path} ({len(content)} bytes)")
        if report:
            print(report)


def _contents(net, outputs, options):
    """Yield (path, bytes, report or None) of each file."""
    for ending, path in outputs.items():
        if ending == "onnx":
            yield path, to_onnx.rendered(net), None
        elif ending == "c":
            name = options.name if options.name is not None else _name_of(path)
            X = None if options.int8 is None else _calibration(net, options)
            yield path, *c_source.rendered(net, name, X)
        else:
            yield path, tensors.rendered(net), None


def _calibration(net, options):
    """Return the samples of DATA."""
    source = data.read_for(net, options.model, options.int8, options)
    X, _ = source.select("all")
    messages.print_notes(source)
    return np.asarray(X, np.float64)


def _name_of(path):
    """Return a name for the function from that of its file."""
    stem = os.path.splitext(os.path.basename(path))[0]
    return re.sub(r"\W", "_", stem, flags=re.ASCII)
