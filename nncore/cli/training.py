"""The training of `nncore train`: the network, the rate, the epochs and their report."""

import dataclasses
import math
import time

import numpy as np

import nncore
from nncore import registry, schedules
from nncore.cli import messages
from nncore.training import validate

ACTIVATIONS = {
    record.name: record.cls for record in registry.ACTIVATIONS.values() if not record.is_output
}
BACKENDS = ("compiled", "numpy")
# Each entry makes a schedule over all `steps` of a training.
SCHEDULES = {
    "constant": lambda rate, steps: schedules.Constant(rate),
    "cosine": lambda rate, steps: schedules.Cosine(rate, steps),
    "inverse": lambda rate, steps: schedules.InverseTime(rate, decay=9 / steps),
    "step": lambda rate, steps: schedules.Step(rate, every=max(1, steps // 4), factor=0.5),
}
# Long enough for the clock's resolution, short enough that nobody waits for it.
COMPARISON_SECONDS = 0.1
# A training at the default rate counts as diverged if its loss has grown to so many times that of
# the first weights, and starts again at this share of the rate, up to so many times.
GROWN, SLOWER, MOST_STARTS = 10, 0.25, 5


class Diverged(Exception):
    """Raised when the training reaches a non-finite loss.

    >>> raise Diverged("training diverged in epoch 1")
    Traceback (most recent call last):
        ...
    nncore.cli.training.Diverged: training diverged in epoch 1
    """


@dataclasses.dataclass
class Result:
    """A trained network and what was measured. interrupted: the epoch of a Ctrl-C, in words."""

    net: object
    rate: float
    history: dict
    seconds: float = 0.0
    samples: int = 0
    interrupted: str = ""


def train(data, options, say):
    """Train a network; return the Result. At a default rate that diverges, start again."""
    rate = rate_of(data, options)
    for start in range(MOST_STARTS):
        np.random.seed(options.seed)
        result = Result(network(options, data), rate, history_of(data))
        try:
            _train_epochs(result, data, options, say)
            return result
        except Diverged:
            if options.rate is not None or start == MOST_STARTS - 1:
                raise
        rate *= SLOWER
        messages.note(f"the training diverged; it starts again with the rate {rate:.3g}")
    raise AssertionError("unreachable")


def history_of(data):
    """Return the history before the first epoch."""
    names = ["loss"] + ["accuracy"] * (not data.is_regression)
    if data.held:
        names += [f"validation_{name}" for name in names]
    return {name: [] for name in names}


def _train_epochs(result, data, options, say):
    """Train epoch by epoch, with a report after each; a Ctrl-C ends it."""
    net, count = result.net, data.X.shape[1]
    steps = math.ceil(count / options.batch_size)
    schedule = SCHEDULES[options.schedule](result.rate, steps * options.epochs)
    optimizer = validate.as_optimizer(options.optimizer)
    epoch = 1
    try:
        most = math.inf if options.rate is not None else GROWN * net.evaluate(data.X, data.Y)[0]
        for epoch in range(1, options.epochs + 1):
            done = (epoch - 1) * steps
            start = time.perf_counter()
            rate = _Continued(schedule, done)
            finite = _train_on(net, data, count, rate, options, optimizer)
            result.seconds += time.perf_counter() - start
            result.samples += count
            loss, score = net.evaluate(data.X, data.Y)
            if not (finite and math.isfinite(loss) and loss <= most):
                raise Diverged(
                    f"training diverged in epoch {epoch}: the loss is not finite; --rate must be "
                    f"smaller, got {result.rate:.3g}"
                )
            line = _report(result, data, loss, score)
            say(
                f"epoch {epoch:{len(str(options.epochs))}}/{options.epochs}  rate "
                f"{schedule(done + 1):<8.3g} {line}  {result.seconds:.2f} s"
            )
    except KeyboardInterrupt:
        result.interrupted = f"epoch {epoch} of {options.epochs}"


def _report(result, data, loss, score):
    """Add an epoch to the history; return its line."""
    name = "R2 " if data.is_regression else ""
    values = [loss, score]
    line = f"loss {loss:.4f}  train {name}{score:.4f}"
    if data.held:
        values += result.net.evaluate(*data.held)
        line += f"  validation {name}{values[-1]:.4f}"
    for kept, value in zip(
        result.history, values[::2] if data.is_regression else values, strict=True
    ):
        result.history[kept].append(value)
    return f"{line}  test {name}{result.net.score(data.X_test, data.Y_test):.4f}"


def test_score(net, data):
    """Return the last line of the report: the accuracy or R² on the test part."""
    if not data.is_regression:
        correct = int((net.predict(data.X_test) == data.Y_test.argmax(axis=0)).sum())
        total = data.X_test.shape[1]
        return f"test accuracy: {correct / total:.4f} ({correct}/{total})"
    error = (net.predict(data.X_test) - data.Y_test).astype(np.float64) / data.target_factor
    return (
        f"test R2: {net.score(data.X_test, data.Y_test):.4f} "
        f"(RMSE {math.sqrt(np.mean(error**2)):.4g} on {error.size} samples)"
    )


class _Continued(schedules.Schedule):
    """η(t + done): a schedule continued after `done` steps, since every call of `sgd` and `fit`
    counts from 1.
    """

    def __init__(self, schedule, done):
        self.schedule, self.done = schedule, done

    def values(self, t0, count):
        return self.schedule.values(t0 + self.done, count)


def _train_on(net, data, count, rate, options, optimizer):
    """Train on `count` samples, by random draws or in shuffled batches; return False if the loss
    became non-finite.
    """
    if _draws(options):
        net.sgd(data.X, data.Y, count, rate)
        return True
    try:
        # --seed determines the order of an epoch through the generator that also drew the weights.
        net.fit(
            data.X[:, :count],
            data.Y[:, :count],
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


def comparison(data, rate, options):
    """Return a sentence with the seconds that both backends take for the same steps from the same
    start.
    """

    def seconds(backend, count):
        with nncore.use_backend(backend):
            np.random.seed(options.seed)
            net = network(options, data)
            start = time.perf_counter()
            _train_on(net, data, count, rate, options, options.optimizer)
            return time.perf_counter() - start

    batch, most = options.batch_size, data.X.shape[1]
    few = min(20 * batch, most)
    for backend in BACKENDS:
        seconds(backend, few)
    count = int(few * COMPARISON_SECONDS / seconds("numpy", few)) // batch * batch
    count = min(max(count, batch), most)
    rounds = [[seconds(backend, count) for backend in BACKENDS] for _ in range(3)]
    compiled, plain = (sorted(times)[1] for times in zip(*rounds, strict=True))
    return (
        f"compiled backend {plain / compiled:.3g} times as fast as the NumPy backend, measured "
        f"here: {count} samples of this training in {compiled * 1e3:.3g} ms and "
        f"{plain * 1e3:.3g} ms (medians of 3)"
    )


def network(options, data):
    """Build the network that the options describe."""
    widths = [data.X.shape[0], *options.layers, data.Y.shape[0]]
    activation = ACTIVATIONS[options.activation]
    modules = []
    for inputs, outputs in zip(widths, widths[1:], strict=False):
        modules += [nncore.Linear(inputs, outputs, init="notes", dtype=options.dtype), activation()]
    if data.is_regression:
        return nncore.Sequential(modules[:-1], nncore.Squared())
    modules[-1] = nncore.SoftMax()
    return nncore.Sequential(modules, nncore.NLL())


def rate_of(data, options):
    """Return the initial rate: the one given, or the default."""
    if options.rate is not None:
        return options.rate
    record = registry.OPTIMIZERS[options.optimizer]
    if record.command_rate is not None:
        return record.command_rate
    widest = max(options.layers, default=0)
    rate = _default_rate(data.X, options.batch_size, data.is_regression, widest)
    return rate * (1 - getattr(record.cls, "beta", 0.0))


def _default_rate(X, batch, is_regression, widest):
    """Return the default rate of plain SGD.

    The curvature of a single softmax layer's loss in its weights is at most (1 + ‖x‖²) / 2, so
    steps beyond 4 / (1 + ‖x‖²) overshoot: the default is half of that. 0.05, like the other
    defaults, did best in five-fold cross-validation on the training part of the digits. Batches
    average the noise, hence sqrt(batch), but not the curvature: beyond a factor of 16 trainings of
    128-unit networks began to diverge.

    The squared loss has the curvature 2 (1 + ‖a‖²) at the last layer, whose inputs ‖a‖² are up to
    its width at the first weights, and batches do not lower it.
    """
    length = float(np.einsum("ij,ij->", X, X, dtype=np.float64)) / X.shape[1]
    if is_regression:
        return min(0.05, 0.5 / (1 + max(length, widest)))
    return min(0.05, 2 / (1 + length)) * min(math.sqrt(batch), 16)


def _draws(options):
    """Return whether the training is the notes' algorithm, one random draw per step."""
    return (
        options.batch_size == 1
        and not options.shuffle
        and options.optimizer == "sgd"
        and options.l2 == 0
    )


def algorithm(options):
    """Describe the algorithm in a few words for the report."""
    if _draws(options):
        return "one random draw per step"
    more = f", {options.optimizer}" if options.optimizer != "sgd" else ""
    return f"shuffled batches of {options.batch_size}{more}" + (
        f", l2 {options.l2:.3g}" if options.l2 else ""
    )
