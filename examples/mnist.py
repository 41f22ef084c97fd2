"""MNIST: float32, mini-batches of SGD with momentum under a cosine schedule, dropout; then one
image at a time by a frozen predictor.

FOLDER holds the idx files, gzipped or not. With both pairs, t10k-... is the test part; of one pair
a fixed fifth is.

    python examples/mnist.py FOLDER
    python examples/mnist.py FOLDER --hidden 32,32 --dropout 0 --epochs 3 --plot mnist.png
"""

import argparse
import sys
import time
from collections.abc import Sequence

import numpy as np

import nncore as nn


def widths(text: str) -> list[int]:
    return [int(width) for width in text.split(",")]


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "folder", metavar="FOLDER", help="with train-images-idx3-ubyte.gz and its like"
    )
    parser.add_argument(
        "--hidden",
        type=widths,
        default="256,128",
        metavar="N,N,...",
        help="layers' widths (default: 256,128)",
    )
    parser.add_argument(
        "--dropout",
        type=float,
        default=0.2,
        help="share of hidden units left out in a step (default: 0.2)",
    )
    parser.add_argument(
        "--lrate",
        type=float,
        default=0.05,
        help="step size at the start; it falls to 0 (default: 0.05)",
    )
    parser.add_argument(
        "--l2", type=float, default=1e-4, help="penalty on the weights (default: 1e-4)"
    )
    parser.add_argument("--batch-size", type=int, default=64, help="samples per step (default: 64)")
    parser.add_argument("--epochs", type=int, default=20, help="passes over the data (default: 20)")
    parser.add_argument(
        "--seed", type=int, default=0, help="of weights, masks and shuffling (default: 0)"
    )
    parser.add_argument(
        "--plot",
        metavar="FILE.png",
        help="draw the learning curve and images got wrong (needs matplotlib)",
    )
    return parser.parse_args(arguments)


def network(sizes: Sequence[int], dropout: float) -> nn.Sequential:
    modules = []
    for inputs, outputs in zip(sizes[:-2], sizes[1:-1], strict=True):
        modules += [
            nn.Linear(inputs, outputs, init="he", dtype=np.float32),
            nn.ReLU(),
            nn.Dropout(dropout),
        ]
    return nn.Sequential(
        [*modules, nn.Linear(*sizes[-2:], dtype=np.float32), nn.SoftMax()], nn.NLL()
    )


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    if options.plot:
        import plots  # now: without matplotlib there is no training
    try:
        X, labels, X_test, labels_test = nn.datasets.load_split(options.folder)
    except (OSError, ValueError) as error:
        sys.exit(f"mnist.py: {error}")
    scaling = nn.datasets.fit_scaling(X)
    X, X_test = (
        nn.datasets.scale(X, scaling, np.float32),
        nn.datasets.scale(X_test, scaling, np.float32),
    )
    print(f"{X.shape[1]} images to train on, {X_test.shape[1]} to test")

    np.random.seed(options.seed)
    net = network([X.shape[0], *options.hidden, 10], options.dropout)
    print(net)
    steps = options.epochs * -(-X.shape[1] // options.batch_size)
    start = time.perf_counter()

    def report(net: nn.Sequential, history: nn.History) -> None:
        print(
            f"epoch {len(history['loss']):2}  mean loss {history['loss'][-1]:.4f}  "
            f"{time.perf_counter() - start:5.2f} s",
            flush=True,
        )

    history = net.fit(
        X,
        labels,
        epochs=options.epochs,
        batch_size=options.batch_size,
        optimizer="momentum",
        l2=options.l2,
        lrate=nn.schedules.Cosine(options.lrate, steps),
        callbacks=[report],
        seed=options.seed,
    )

    # One image at a time, as a service would be asked.
    predictor = net.predictor()
    start = time.perf_counter()
    predicted = np.array([predictor(x).argmax() for x in X_test.T])
    each = (time.perf_counter() - start) / predicted.size
    right = predicted == labels_test
    print(f"one image at a time: {each * 1e6:.1f} µs each")
    print(f"test accuracy: {right.mean():.4f} ({right.sum()}/{right.size})")

    if options.plot:
        import plots

        wrong = np.flatnonzero(~right)
        titles = [f"{labels_test[j]} as {predicted[j]}" for j in wrong]
        side = int(X.shape[0] ** 0.5)
        plots.training(history, X_test[:, wrong], (side, side), titles).savefig(
            options.plot, dpi=150
        )
        print("plotted", options.plot)


if __name__ == "__main__":
    main()
