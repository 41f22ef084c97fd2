"""Two spirals, learned one random sample per step: the decision regions after more and more steps.

python examples/spirals.py
python examples/spirals.py --hidden 16 --plot spirals.png --dark
"""

import argparse
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

import nncore as nn

STEPS = (1_000, 5_000, 30_000)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--hidden", type=int, default=32, help="width of the two hidden layers (default: 32)"
    )
    parser.add_argument("--points", type=int, default=200, help="points per spiral (default: 200)")
    parser.add_argument("--lrate", type=float, default=0.03, help="step size (default: 0.03)")
    parser.add_argument(
        "--seed", type=int, default=0, help="of the points, weights and draws (default: 0)"
    )
    parser.add_argument("--plot", metavar="FILE.png", help="draw the regions (needs matplotlib)")
    parser.add_argument("--dark", action="store_true", help="draw for a dark page")
    return parser.parse_args(arguments)


def spirals(points: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Points (2, 2 * points) on two spirals that wind round each other, and their classes."""
    rng = np.random.default_rng(seed)
    angle = 3 * np.pi * np.sqrt(rng.random(points))
    arm = np.vstack([np.cos(angle), np.sin(angle)]) * (angle + np.pi / 2) / (3.5 * np.pi)
    X = np.hstack([arm, -arm]) + rng.normal(0, 0.02, (2, 2 * points))
    return X, np.repeat([0, 1], points)


def network(hidden: int) -> nn.Sequential:
    return nn.Sequential(
        [
            nn.Linear(2, hidden, init="notes", dtype=np.float32),
            nn.Tanh(),
            nn.Linear(hidden, hidden, dtype=np.float32),
            nn.Tanh(),
            nn.Linear(hidden, 2, dtype=np.float32),
            nn.SoftMax(),
        ],
        nn.NLL(),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    figure: Any = None
    axes: list[Any] = []
    if options.plot:
        import plots

        figure, axes = plots.grid(len(STEPS), columns=len(STEPS))
        if options.dark:
            figure.patch.set_alpha(0)
    X, labels = spirals(options.points, options.seed)
    np.random.seed(options.seed)
    net = network(options.hidden)
    print("  steps  mean loss  accuracy     time")
    done, seconds = 0, 0.0
    for k, steps in enumerate(STEPS):
        start = time.perf_counter()
        net.sgd(4 * X, labels, steps - done, options.lrate)
        seconds += time.perf_counter() - start
        loss, accuracy = net.evaluate(4 * X, labels)
        print(f"{steps:7}  {loss:9.4f}  {accuracy:8.2f}  {seconds:5.3f} s")
        if options.plot:
            import plots

            title = f"{steps:,} steps, accuracy {accuracy:.0%}"
            plots.regions(axes[k], lambda P: net.predict_proba(4 * P), X, labels, title)
            axes[k].set_axis_off()
            axes[k].title.set_color("#e6edf3" if options.dark else "black")
        done = steps
    if options.plot:
        figure.savefig(options.plot, dpi=100)
        print("plotted", options.plot)


if __name__ == "__main__":
    main()
