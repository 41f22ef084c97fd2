"""Online learning from a stream that drifts: each sample is first predicted, then learned, once
(prequential accuracy).

Points of the plane belong to two classes on the two sides of a wave. The wave is still at first,
then turns slowly by 90 degrees, then the two classes swap at once. A frozen copy from before the
drift shows the cost of not learning further. The share of correct predictions so far is an unbiased
estimate, because each sample is predicted before it is learned (Dawid 1984; Gama and others
2013).

    python examples/online.py
    python examples/online.py --samples 20000 --optimizer adam --lrate 0.003 --plot online.png
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

import nncore as nn

# When the wave begins to turn, and when the classes swap, as shares of the stream.
TURN, SWAP = 0.3, 0.7
BLOCKS = 20


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--samples", type=int, default=100_000, help="length of the stream (default: 100000)"
    )
    parser.add_argument(
        "--noise", type=float, default=0.05, help="share of labels that are wrong (default: 0.05)"
    )
    parser.add_argument(
        "--hidden", type=int, default=16, help="width of the two hidden layers (default: 16)"
    )
    parser.add_argument(
        "--optimizer", choices=("sgd", "momentum", "adam"), default="sgd", help="default: sgd"
    )
    parser.add_argument(
        "--lrate",
        type=float,
        default=0.05,
        help="step size, which stays, so that learning does (default: 0.05)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of the weights and of the stream (default: 0)"
    )
    parser.add_argument(
        "--plot",
        metavar="FILE.png",
        help="draw the accuracy over time and some decision regions (needs matplotlib)",
    )
    options = parser.parse_args(arguments)
    if options.samples < BLOCKS:
        parser.error(f"--samples must be at least {BLOCKS}, got {options.samples}")
    return options


def stream(
    samples: int, noise: float, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Points (2, 1) and labels (1,), one after the other."""
    for t in range(samples):
        when = t / samples
        angle = np.pi / 2 * np.clip((when - TURN) / (SWAP - TURN), 0, 1) + (
            np.pi if when >= SWAP else 0
        )
        x = rng.uniform(-2, 2, (2, 1))
        along, across = (
            np.cos(angle) * x[0] + np.sin(angle) * x[1],
            np.cos(angle) * x[1] - np.sin(angle) * x[0],
        )
        yield x, (across > 0.8 * np.sin(2 * along)) ^ (rng.random() < noise)


def network(hidden: int) -> nn.Sequential:
    return nn.Sequential(
        [
            nn.Linear(2, hidden),
            nn.Tanh(),
            nn.Linear(hidden, hidden),
            nn.Tanh(),
            nn.Linear(hidden, 2),
            nn.SoftMax(),
        ],
        nn.NLL(),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    if options.plot:
        import plots  # now: without matplotlib there is no training
    np.random.seed(options.seed)
    net = network(options.hidden)
    frozen: Any = None
    right, right_frozen = np.zeros(options.samples, bool), np.zeros(options.samples, bool)
    moments: dict[int, Any] = {
        round(share * options.samples): None
        for share in (TURN - 0.01, (TURN + SWAP) / 2, SWAP - 0.01, SWAP + 0.01, 1)
    }
    seconds = 0.0
    for t, (x, label) in enumerate(
        stream(options.samples, options.noise, np.random.default_rng(options.seed))
    ):
        if t == round(TURN * options.samples):
            frozen = net.predictor()
        start = time.perf_counter()
        right[t] = net.predict(x) == label
        net.partial_fit(x, label, lrate=options.lrate, optimizer=options.optimizer)
        seconds += time.perf_counter() - start
        right_frozen[t] = right[t] if frozen is None else frozen(x).argmax() == label
        if t + 1 in moments:
            moments[t + 1] = net.predictor()

    print("samples seen  accuracy in the last block  of the frozen copy")
    for block in np.array_split(np.arange(options.samples), BLOCKS):
        print(
            f"{block[-1] + 1:12}  {right[block].mean():26.3f}  {right_frozen[block].mean():18.3f}"
        )
    print(
        f"prequential accuracy: {right.mean():.4f}, of the frozen copy {right_frozen.mean():.4f}, "
        f"at best {1 - options.noise:.4f}"
    )
    print(f"predicting and learning, per sample: {seconds / options.samples * 1e6:.1f} µs")
    if options.plot:
        import plots

        draw(plots, options, right, right_frozen, moments).savefig(options.plot, dpi=150)
        print("plotted", options.plot)


def draw(
    plots: Any,
    options: argparse.Namespace,
    right: np.ndarray,
    right_frozen: np.ndarray,
    moments: dict[int, Any],
) -> Any:
    """Accuracy over a sliding window against the number of samples seen; below it, P(class 1) at
    some moments."""
    figure, above, below = plots.two_rows(len(moments))
    window = max(1, options.samples // 100)
    for hits, name in ((right_frozen, "frozen before the drift"), (right, "goes on learning")):
        above.plot(
            np.arange(window, hits.size + 1),
            np.convolve(hits, np.ones(window) / window, "valid"),
            label=name,
        )
    above.axhline(1 - options.noise, color="gray", linestyle=":", label="at best")
    for share in (TURN, SWAP):
        above.axvline(share * options.samples, color="gray", linewidth=0.8)
    above.set(
        xlabel="samples seen (lines: the turn begins, the classes swap)",
        ylabel=f"accuracy over the last {window}",
    )
    above.legend()
    samples = list(stream(options.samples, options.noise, np.random.default_rng(options.seed)))
    for ax, (seen, predictor) in zip(below, moments.items(), strict=True):
        points, labels = map(np.hstack, zip(*samples[max(0, seen - 100) : seen], strict=True))
        plots.regions(ax, predictor, points, labels, f"after {seen}")
    return figure


if __name__ == "__main__":
    main()
