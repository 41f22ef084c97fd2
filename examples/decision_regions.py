"""Decision regions of the course's toy sets, learned one random sample per step by the course's own
`sgd`.

python examples/decision_regions.py                          # all five sets, 2-10-10-2 with ReLU
python examples/decision_regions.py hard --activation tanh --plot regions.png
"""

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import nncore as nn

SETS = (
    "super_simple_separable_through_origin",
    "super_simple_separable",
    "xor",
    "xor_more",
    "hard",
)
ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh}


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "sets", nargs="*", metavar="SET", help=f"any of {', '.join(SETS)} (default: all)"
    )
    parser.add_argument(
        "--hidden", type=int, default=10, help="width of the two hidden layers (default: 10)"
    )
    parser.add_argument(
        "--activation",
        choices=ACTIVATIONS,
        default="relu",
        help="of the hidden layers (default: relu)",
    )
    parser.add_argument(
        "--iters",
        type=int,
        default=100_000,
        help="steps, one sample each (default: 100000, the homework's)",
    )
    parser.add_argument("--lrate", type=float, default=0.005, help="step size (default: 0.005)")
    parser.add_argument(
        "--seed", type=int, default=0, help="of the weights and of the draws (default: 0)"
    )
    parser.add_argument("--plot", metavar="FILE.png", help="draw the regions (needs matplotlib)")
    options = parser.parse_args(arguments)
    if unknown := set(options.sets) - set(SETS):
        parser.error(f"SET must be one of {', '.join(SETS)}, got {', '.join(sorted(unknown))}")
    options.sets = options.sets or SETS
    return options


def network(hidden: int, activation: Callable[[], nn.Module]) -> nn.Sequential:
    return nn.Sequential(
        [
            nn.Linear(2, hidden),
            activation(),
            nn.Linear(hidden, hidden),
            activation(),
            nn.Linear(hidden, 2),
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

        figure, axes = plots.grid(len(options.sets), columns=min(3, len(options.sets)))
    print(f"{'set':40}points  mean loss  accuracy     time")
    for k, name in enumerate(options.sets):
        X, Y = getattr(nn.datasets, name)()
        np.random.seed(options.seed)
        net = network(options.hidden, ACTIVATIONS[options.activation])
        start = time.perf_counter()
        net.sgd(X, Y, options.iters, options.lrate)
        seconds = time.perf_counter() - start
        loss, accuracy = net.evaluate(X, Y)
        print(f"{name:40}{X.shape[1]:6}  {loss:9.4f}  {accuracy:8.2f}  {seconds:5.3f} s")
        if options.plot:
            import plots

            plots.regions(
                axes[k],
                net.predict_proba,
                X,
                net.modules[-1].class_fun(Y),
                f"{name}: {accuracy:.0%}",
            )
    if options.plot:
        figure.savefig(options.plot, dpi=150)
        print("plotted", options.plot)


if __name__ == "__main__":
    main()
