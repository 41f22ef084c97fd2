"""The command `nncore train`: train a classifier by stochastic gradient descent and save it."""

import math
import os
import time

import numpy as np

import nncore
from nncore import _files, _readers, datasets, registry, schedules
from nncore.cli import arguments, messages
from nncore.training import validate

ACTIVATIONS = {
    record.name: record.cls for record in registry.ACTIVATIONS.values() if not record.is_output
}
BACKENDS = ("compiled", "numpy")
PLOTS = (".png", ".pdf", ".svg")
# Each entry makes a schedule over all `steps` of a training.
SCHEDULES = {
    "constant": lambda rate, steps: schedules.Constant(rate),
    "cosine": lambda rate, steps: schedules.Cosine(rate, steps),
    "inverse": lambda rate, steps: schedules.InverseTime(rate, decay=9 / steps),
    "step": lambda rate, steps: schedules.Step(rate, every=max(1, steps // 4), factor=0.5),
}
# Long enough for the clock's resolution, short enough that nobody waits for it.
COMPARISON_SECONDS = 0.1

HELP = """\
Train a classifier on DATA: hidden layers, softmax, negative log-likelihood, stochastic gradient
descent.

DATA is one of
  digits          the UCI handwritten digits, which come with the package (the default)
  file.npz        arrays X (samples first) and y, or x_train, y_train, x_test, y_test
  file.csv[.gz]   one sample per line, optionally with headings; see --label-column
  folder          MNIST-format idx files, such as train-images-idx3-ubyte.gz, with their labels
Labels are integers. Data without a test part are split into four fifths for training and one
fifth for testing, in the same way for every seed. The test part never influences a setting.

With batch size 1 this is the algorithm of the course notes: W ~ N(0, 1/m), W0 ~ N(0, 1); then each
step draws a sample at random (with replacement), runs forward and backward, and subtracts rate x
gradient. An epoch is as many draws as there are samples. --batch-size above 1, --shuffle, --l2 or
an --optimizer other than sgd select another algorithm, mini-batches: every epoch shuffles the
samples, uses each once, and steps along the mean gradient of a batch.
"""
EXAMPLES = """\
examples:
  nncore train
  nncore train mnist/ --layers 256,64 --epochs 10
  nncore train table.csv --activation tanh --rate 0.01 --schedule constant --output model.npz
  nncore train --optimizer adam --batch-size 32 --validation 0.2 --plot curve.png
"""


class Diverged(Exception):
    """Raised when the training reaches a non-finite loss.

    >>> raise Diverged("training diverged in epoch 1")
    Traceback (most recent call last):
        ...
    nncore.cli.train.Diverged: training diverged in epoch 1
    """


def add_options(parser):
    """Add the arguments of `nncore train`."""
    parser.set_defaults(run=run)
    group = parser.add_argument_group("data")
    group.add_argument(
        "data", metavar="DATA", nargs="?", default="digits", help="see above (default: digits)"
    )
    arguments.add_label_column(group)
    group.add_argument(
        "--scaling",
        choices=("auto", "grey", "standard", "none"),
        default="auto",
        help="grey: divide by the training part's largest value; standard: scale every feature to "
        "mean 0 and standard deviation 1 over the training part; auto (default): grey for integers "
        "in 0..255, else standard. Saved with the model",
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
        choices=tuple(ACTIVATIONS),
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
        "length of a scaled sample), times the square root of the batch size)",
    )
    group.add_argument(
        "--schedule",
        choices=tuple(SCHEDULES),
        default="cosine",
        help="decay of the learning rate from R: cosine, to 0 at the last step (default); "
        "inverse, as 1/t to R/10; step, halved after each quarter; or constant",
    )
    group.add_argument(
        "--optimizer",
        choices=tuple(registry.OPTIMIZERS),
        default="sgd",
        help="optimiser (default: sgd); the default of R is a tenth of the above for momentum and "
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
        type=arguments.whole(1),
        default=1,
        help="samples per step (default: 1, the notes' algorithm; above 1: mini-batches, see "
        "above)",
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
        "--backend", choices=BACKENDS, default="compiled", help="kernels to train with"
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
    if output:
        _check_output(output, options.data)
    if options.plot:
        _check_output(options.plot, options.data, "--plot")
        if not options.plot.lower().endswith(PLOTS):
            raise ValueError(
                f"--plot must end in {', '.join(PLOTS[:-1])} or {PLOTS[-1]}, got {options.plot}"
            )
        _check_matplotlib()
    source = _readers.read(options.data, options.label_column, option="--label-column")
    X, labels, X_test, labels_test = source.split()
    classes = np.unique(np.concatenate([labels, labels_test]))
    scaling = datasets.fit_scaling(X, options.scaling)
    X, X_test = (datasets.scale(part, scaling, options.dtype) for part in (X, X_test))
    Y, Y_test = (
        datasets.one_hot(np.searchsorted(classes, part), classes.size, options.dtype)
        for part in (labels, labels_test)
    )
    (X, Y), held = _hold_out(X, Y, options.validation)
    rate = (
        options.rate
        if options.rate is not None
        else _default_rate(X, options.batch_size, options.optimizer)
    )

    with nncore.use_backend(options.backend):
        np.random.seed(options.seed)
        net = _network(options, X.shape[0], classes.size)
        validation = f"{held[0].shape[1]} to validate, " if held else ""
        say(
            f"data      {options.data}: {X.shape[1]} samples to train on, "
            f"{validation}{X_test.shape[1]} to test, "
            f"{X.shape[0]} features, {classes.size} classes"
        )
        if source.choice:
            say(f"table     {source.choice}")
        messages.print_notes(source)
        say(
            f"network   {'-'.join(map(str, [X.shape[0], *options.layers, classes.size]))}, "
            f"{options.activation}, "
            f"{options.dtype}"
        )
        say(
            f"training  {options.epochs} epochs, {_algorithm(options)}, rate {rate:.4g} "
            f"{options.schedule}, "
            f"seed {options.seed}, {options.backend} backend"
        )
        seconds, history = _train_epochs(net, X, Y, held, X_test, Y_test, rate, options, say)
        correct = int((classes[net.predict(X_test)] == labels_test).sum())
    samples = options.epochs * X.shape[1]
    say(
        f"trained   {samples} samples in {seconds:.3g} s, {samples / seconds:,.0f} samples/s "
        f"(testing not counted)"
    )
    if output:
        net.scaling, net.classes = scaling, classes
        net.save(output)
        say(f"saved     {output}")
    if options.plot:
        figure = nncore.plot_history(history).figure
        ending = os.path.splitext(options.plot)[1]
        _files.write(options.plot, lambda file: figure.savefig(file, format=ending[1:], dpi=150))
        say(f"plotted   {options.plot}")
    if not (options.quiet or options.no_compare):
        say(f"speed     {_comparison(X, Y, rate, options)}")
    print(f"test accuracy: {correct / labels_test.size:.4f} ({correct}/{labels_test.size})")


def _train_epochs(net, X, Y, held, X_test, Y_test, rate, options, say):
    """Train `net`, reporting after each epoch; return (seconds of training, history)."""
    steps = math.ceil(X.shape[1] / options.batch_size)
    schedule = SCHEDULES[options.schedule](rate, steps * options.epochs)
    optimizer = validate.as_optimizer(options.optimizer)
    history = {
        name: []
        for name in (
            "loss",
            "accuracy",
            *(("validation_loss", "validation_accuracy") if held else ()),
        )
    }
    seconds = 0.0
    for epoch in range(1, options.epochs + 1):
        done = (epoch - 1) * steps
        start = time.perf_counter()
        finite = _train_on(net, X, Y, X.shape[1], _Continued(schedule, done), options, optimizer)
        seconds += time.perf_counter() - start
        loss, accuracy = net.evaluate(X, Y)
        if not (finite and math.isfinite(loss)):
            raise Diverged(
                f"training diverged in epoch {epoch}: the loss is not finite; --rate must be "
                f"smaller, got {rate:.3g}"
            )
        values = [loss, accuracy, *(net.evaluate(*held) if held else ())]
        for name, value in zip(history, values, strict=True):
            history[name].append(value)
        validation = f"validation {values[-1]:.4f}  " if held else ""
        say(
            f"epoch {epoch:{len(str(options.epochs))}}/{options.epochs}  rate "
            f"{schedule(done + 1):<8.3g} "
            f"loss {loss:.4f}  train {accuracy:.4f}  {validation}test "
            f"{net.evaluate(X_test, Y_test)[1]:.4f}  {seconds:.2f} s"
        )
    return seconds, history


def _hold_out(X, Y, share):
    """Return ((X, Y) for training, (X, Y) for validation or None), split alike for every seed."""
    if not share:
        return (X, Y), None
    held = round(share * X.shape[1])
    if not 0 < held < X.shape[1]:
        raise ValueError(
            f"--validation must leave samples to train and to validate on, got {share} of "
            f"{X.shape[1]} samples"
        )
    order = np.random.default_rng(0).permutation(X.shape[1])
    parts = np.sort(order[held:]), np.sort(order[:held])
    return tuple((X[:, part], Y[:, part]) for part in parts)


class _Continued(schedules.Schedule):
    """η(t + done): a schedule continued after `done` steps, since every call of `sgd` and `fit`
    counts from 1.
    """

    def __init__(self, schedule, done):
        self.schedule, self.done = schedule, done

    def values(self, t0, count):
        return self.schedule.values(t0 + self.done, count)


def _train_on(net, X, Y, count, rate, options, optimizer):
    """Train on `count` samples, by random draws or in shuffled batches; return False if the loss
    became non-finite.
    """
    if _draws(options):
        net.sgd(X, Y, count, rate)
        return True
    try:
        # --seed determines the order of an epoch through the generator that also drew the weights.
        net.fit(
            X[:, :count],
            Y[:, :count],
            epochs=1,
            batch_size=options.batch_size,
            shuffle=True,
            lrate=rate,
            optimizer=optimizer,
            l2=options.l2,
            seed=np.random.randint(2**31),
        )
    except FloatingPointError:
        return False
    return True


def _comparison(X, Y, rate, options):
    """Return a sentence with the seconds that both backends take for the same steps from the same
    start.
    """

    def seconds(backend, count):
        with nncore.use_backend(backend):
            np.random.seed(options.seed)
            net = _network(options, X.shape[0], Y.shape[0])
            start = time.perf_counter()
            _train_on(net, X, Y, count, rate, options, options.optimizer)
            return time.perf_counter() - start

    batch = options.batch_size
    few = min(20 * batch, X.shape[1])
    for backend in BACKENDS:
        seconds(backend, few)
    count = int(few * COMPARISON_SECONDS / seconds("numpy", few)) // batch * batch
    count = min(max(count, batch), X.shape[1])
    rounds = [[seconds(backend, count) for backend in BACKENDS] for _ in range(3)]
    compiled, plain = (sorted(times)[1] for times in zip(*rounds, strict=True))
    return (
        f"compiled backend {plain / compiled:.3g} times as fast as the NumPy backend, measured "
        f"here: {count} samples of this training in {compiled * 1e3:.3g} ms and "
        f"{plain * 1e3:.3g} ms (medians of 3)"
    )


def _network(options, features, classes):
    """Build the classifier that the options describe."""
    widths = [features, *options.layers, classes]
    activation = ACTIVATIONS[options.activation]
    modules = []
    for inputs, outputs in zip(widths, widths[1:], strict=False):
        modules += [nncore.Linear(inputs, outputs, init="notes", dtype=options.dtype), activation()]
    modules[-1] = nncore.SoftMax()
    return nncore.Sequential(modules, nncore.NLL())


def _default_rate(X, batch, optimizer="sgd"):
    """Return min(0.05, 2 / (1 + mean ‖x‖²)) · sqrt(batch), times 1 − beta with momentum; other
    optimisers have a default of their own.

    The curvature of a single softmax layer's loss in its weights is at most (1 + ‖x‖²) / 2, so
    steps beyond 4 / (1 + ‖x‖²) overshoot: the default is half of that. 0.05, like the other
    defaults, did best in five-fold cross-validation on the training part of the digits.
    """
    record = registry.OPTIMIZERS[optimizer]
    if record.command_rate is not None:
        return record.command_rate
    length = float(np.einsum("ij,ij->", X, X, dtype=np.float64)) / X.shape[1]
    return min(0.05, 2 / (1 + length)) * math.sqrt(batch) * (1 - getattr(record.cls, "beta", 0.0))


def _draws(options):
    """Return whether the training is the notes' algorithm, one random draw per step."""
    return (
        options.batch_size == 1
        and not options.shuffle
        and options.optimizer == "sgd"
        and options.l2 == 0
    )


def _algorithm(options):
    """Describe the algorithm in a few words for the report."""
    if _draws(options):
        return "one random draw per step"
    more = f", {options.optimizer}" if options.optimizer != "sgd" else ""
    return f"shuffled batches of {options.batch_size}{more}" + (
        f", l2 {options.l2:.3g}" if options.l2 else ""
    )


def _check_matplotlib():
    try:
        import matplotlib.figure  # type: ignore[import-not-found, unused-ignore] # noqa: F401
    except ImportError:
        raise ValueError(
            "--plot needs matplotlib; install it with `pip install nncore[plot]`"
        ) from None


def _check_output(path, data, option="--output"):
    """Refuse an output that cannot be written or would overwrite the data, before training."""
    try:
        _files.check(_files.name(path))
    except OSError as error:
        raise ValueError(
            f"{option} must be a file that can be written, got {path} ({error.strerror})"
        ) from None
    if os.path.exists(path) and os.path.exists(data) and os.path.samefile(path, data):
        raise ValueError(f"{option} must be another file than DATA, got {path}")
