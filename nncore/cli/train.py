"""The command `nncore train`: train a network by stochastic gradient descent and save it."""

import copy
import math
import os

import nncore
from nncore import _files, _readers, registry
from nncore.cli import arguments, data, messages, training
from nncore.training import session

INTERRUPTED = 130

HELP = """\
Train a network on DATA by stochastic gradient descent: a classifier (hidden layers, softmax,
negative log-likelihood), or for numbers a regression (squared loss).

DATA is one of
  digits          the UCI handwritten digits, which come with the package (the default)
  file.npz        arrays X (samples first) and y, or x_train, y_train, x_test, y_test
  file.csv[.gz]   one sample per line (also .tsv), optionally with headings; see --label-column
  file.parquet    likewise (needs polars, or pandas with pyarrow)
  folder          MNIST-format idx files, such as train-images-idx3-ubyte.gz, with their labels
Labels are integers or texts, or the numbers of a regression. Data without a test part are split
into four fifths for training and one fifth for testing, in the same way for every seed. The test
part never influences a setting.

With batch size 1 this is the algorithm of the course notes: W ~ N(0, 1/m), W0 ~ N(0, 1); then each
step draws a sample at random (with replacement), runs forward and backward, and subtracts rate x
gradient. An epoch is as many draws as there are samples. --batch-size above 1, --shuffle, --l2 or
an --optimizer other than sgd select another algorithm, mini-batches: every epoch shuffles the
samples, uses each once, and steps along the mean gradient of a batch.

The model keeps the scaling, the labels and the headings. Ctrl-C ends the training and saves what
was learned.
"""
EXAMPLES = """\
examples:
  nncore train
  nncore train mnist/ --layers 256,64 --epochs 10
  nncore train flowers.csv --label-column species --drop id --output flowers.npz
  nncore train houses.csv --label-column price --task regression
  nncore train --optimizer adam --batch-size 32 --validation 0.2 --plot curve.png
"""


def add_options(parser):
    """Add the arguments of `nncore train`."""
    parser.set_defaults(run=run)
    group = parser.add_argument_group("data")
    group.add_argument(
        "data", metavar="DATA", nargs="?", default="digits", help="see above (default: digits)"
    )
    arguments.add_columns(group)
    group.add_argument(
        "--task",
        choices=("auto", "classification", "regression"),
        default="auto",
        help="what to predict: one of the labels, or a number; auto (default): a number if the "
        "labels have fractions, or are integers of many values (above 50, or a quarter of the "
        "samples)",
    )
    group.add_argument(
        "--scaling",
        choices=("auto", "grey", "standard", "none"),
        default="auto",
        help="grey: divide by the training part's largest value; standard: scale every feature to "
        "mean 0 and standard deviation 1 over the training part; auto (default): grey for integers "
        "in 0..255, else standard. Saved with the model. The targets of a regression are scaled "
        "to mean 0 and standard deviation 1",
    )
    group = parser.add_argument_group("network")
    group.add_argument(
        "--layers",
        metavar="N,N,...",
        type=arguments.layers,
        default=[128],
        help="widths of the hidden layers, or none (default: 128)",
    )
    group.add_argument(
        "--activation",
        choices=tuple(training.ACTIVATIONS),
        default="relu",
        help="activation of the hidden layers (default: relu)",
    )
    group.add_argument(
        "--dtype",
        choices=("float32", "float64"),
        default="float32",
        help="type of the weights and of all computations (default: float32)",
    )
    group = parser.add_argument_group("training")
    group.add_argument(
        "--rate",
        metavar="R",
        type=arguments.rate,
        help="initial learning rate R (default: the smaller of 0.05 and 2/(1 + mean squared "
        "length of a scaled sample), times the square root of the batch size, at most 16; for a "
        "regression 0.5/(1 + the largest of that length and the widths). If the default diverges, "
        "the training starts again with a quarter of it)",
    )
    group.add_argument(
        "--schedule",
        choices=tuple(training.SCHEDULES),
        default="cosine",
        help="decay of the learning rate from R: cosine, to 0 at the last step (default); "
        "inverse, as 1/t to R/10; step, halved after each quarter; or constant",
    )
    group.add_argument(
        "--optimizer",
        choices=tuple(registry.OPTIMIZERS),
        type=str.lower,
        default="sgd",
        help="optimizer (default: sgd); the default of R is a tenth of the above for momentum and "
        "nesterov, 0.01 for adagrad, 0.001 for the others",
    )
    group.add_argument(
        "--l2",
        metavar="L",
        type=arguments.fraction(math.inf),
        default=0.0,
        help=(
            "penalty: adds L/2 times the sum of the squared weights, without W0, to the "
            "loss (default: 0)"
        ),
    )
    group.add_argument(
        "--validation",
        metavar="F",
        type=arguments.fraction(1),
        default=0.0,
        help=(
            "fraction of the training part that is held out and reported after each "
            "epoch (default: 0)"
        ),
    )
    group.add_argument(
        "--epochs",
        metavar="N",
        type=arguments.whole(1),
        default=30,
        help="passes over the data (default: 30)",
    )
    group.add_argument(
        "--batch-size",
        metavar="B",
        type=arguments.whole(1, None),
        default=1,
        help="samples per step, at most all of them (default: 1, the notes' algorithm; above 1: "
        "mini-batches, see above)",
    )
    group.add_argument(
        "--shuffle",
        action="store_true",
        help="use every sample once per epoch instead of drawing at random; implied by batches",
    )
    group.add_argument(
        "--seed",
        metavar="S",
        type=arguments.whole(0, 2**32 - 1),
        default=0,
        help="seed of the initial weights and the draws (default: 0)",
    )
    group.add_argument(
        "--backend", choices=training.BACKENDS, default="compiled", help="kernels to train with"
    )
    group = parser.add_argument_group("output")
    group.add_argument(
        "--output",
        metavar="FILE",
        default="nncore-model.npz",
        help="file of the model (default: nncore-model.npz; '' saves none)",
    )
    group.add_argument(
        "--plot",
        metavar="FILE.png",
        help="draw the learning curve (.png, .pdf or .svg; needs matplotlib)",
    )
    group.add_argument("--no-save", action="store_true", help="save no model")
    group.add_argument(
        "--no-compare", action="store_true", help="do not measure the speed of the NumPy backend"
    )
    group.add_argument("--quiet", action="store_true", help="print the last line only")


def run(options):
    """Read and check everything, then train, save, compare the backends and report."""
    say = (lambda *words: None) if options.quiet else (lambda *words: print(*words, flush=True))
    output = "" if options.no_save else options.output
    _check_outputs(options, output)
    wanted = data.wanted(options)
    task = None if options.task == "auto" else options.task
    source = _readers.read(options.data, wanted, task)
    prepared = data.prepare(source, options)
    options.batch_size = min(options.batch_size, prepared.X.shape[1])
    with nncore.use_backend(options.backend):
        _announce(options, source, prepared, say)
        result = training.train(prepared, options, say)
        if output:
            _save(result.net, prepared, source, output)
        score = training.test_score(result.net, prepared)
        say(
            f"trained   {result.samples} samples in {result.seconds:.3g} s, "
            f"{result.samples / max(result.seconds, 1e-9):,.0f} samples/s (testing not counted)"
        )
    if output:
        say(f"saved     {output}")
    if options.plot and result.history["loss"]:
        figure = nncore.plot_history(result.history).figure
        ending = os.path.splitext(options.plot)[1]
        _files.write(options.plot, lambda file: figure.savefig(file, format=ending[1:], dpi=150))
        say(f"plotted   {options.plot}")
    if not (options.quiet or options.no_compare or result.interrupted):
        say(f"speed     {training.comparison(prepared, result.rate, options)}")
    print(score)
    if result.interrupted:
        kept = f"; {output} holds what was learned" if output else ""
        return messages.fail(f"interrupted in {result.interrupted}{kept}", INTERRUPTED)
    return 0


def _save(net, prepared, source, output):
    """Save a copy of the network that takes raw data; a Ctrl-C waits until it is saved."""
    net = copy.copy(net)
    prepared.describe(net, source)
    with session.defer_sigint():
        net.save(output)


def _announce(options, source, prepared, say):
    """Print what is going to be trained, on which data."""
    validation = f"{prepared.held[0].shape[1]} to validate, " if prepared.held else ""
    say(
        f"data      {options.data}: {messages.count(prepared.X.shape[1], 'sample')} to train on, "
        f"{validation}{prepared.X_test.shape[1]} to test, "
        f"{messages.count(prepared.X.shape[0], 'feature')}, {prepared.kind}"
    )
    if source.choice:
        say(f"table     {source.choice}")
    if options.task == "auto" and prepared.reason:
        say(f"task      {prepared.reason}")
    messages.print_notes(source)
    widths = [prepared.X.shape[0], *options.layers, prepared.Y.shape[0]]
    say(f"network   {'-'.join(map(str, widths))}, {options.activation}, {options.dtype}")
    rate = training.rate_of(prepared, options)
    say(
        f"training  {options.epochs} epochs, {training.algorithm(options)}, rate {rate:.4g} "
        f"{options.schedule}, "
        f"seed {options.seed}, {options.backend} backend"
    )


def _check_outputs(options, output):
    """Refuse what could not be written after the training."""
    if output:
        arguments.check_output("--output", output, options.data, "DATA")
    if options.plot:
        arguments.check_output("--plot", options.plot, options.data, "DATA")
        arguments.check_plot(options.plot)
