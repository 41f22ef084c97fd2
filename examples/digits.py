"""Handwritten digits, 8x8: mini-batches with batch normalisation, dropout, Adam and early stopping;
which digits are mistaken for which.

python examples/digits.py
python examples/digits.py --hidden 64 --dropout 0 --optimizer momentum --plot digits.png
"""

import argparse
from collections.abc import Sequence

import numpy as np

import nncore as nn

OPTIMIZERS = ("sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--hidden", type=int, default=128, help="width of the hidden layer (default: 128)"
    )
    parser.add_argument(
        "--dropout",
        type=float,
        default=0.2,
        help="share of hidden units left out in a step (default: 0.2)",
    )
    parser.add_argument("--optimizer", choices=OPTIMIZERS, default="adam", help="default: adam")
    parser.add_argument("--lrate", type=float, help="step size (default: the optimizer's own)")
    parser.add_argument("--batch-size", type=int, default=32, help="samples per step (default: 32)")
    parser.add_argument(
        "--epochs", type=int, default=100, help="passes over the data at most (default: 100)"
    )
    parser.add_argument(
        "--patience",
        type=int,
        default=10,
        help="epochs without a better validation loss before the end (default: 10)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="of weights, masks, validation part and shuffling (default: 0)",
    )
    parser.add_argument("--save", metavar="FILE.npz", help="write the trained network")
    parser.add_argument(
        "--plot",
        metavar="FILE.png",
        help="draw the learning curve and the digits got wrong (needs matplotlib)",
    )
    return parser.parse_args(arguments)


def network(features: int, hidden: int, classes: int, dropout: float, seed: int) -> nn.Sequential:
    np.random.seed(seed)
    first, last = nn.Linear(features, hidden, init="he"), nn.Linear(hidden, classes)
    # Running statistics: the prediction for one digit does not depend on the others in its batch.
    normalise = nn.BatchNorm(hidden, statistics="running")
    normalise.G[:] = 1
    return nn.Sequential(
        [first, normalise, nn.ReLU(), nn.Dropout(dropout, seed=seed), last, nn.SoftMax()], nn.NLL()
    )


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """counts[i, j]: how many samples of class i were taken for class j."""
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (labels, predicted), 1)
    return counts


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    if options.plot:
        import plots  # now: without matplotlib there is no training
    X, labels, X_test, labels_test = nn.datasets.load_split("digits")
    scaling = nn.datasets.fit_scaling(X)
    X, X_test = nn.datasets.scale(X, scaling), nn.datasets.scale(X_test, scaling)

    net = network(X.shape[0], options.hidden, 10, options.dropout, options.seed)
    stop = nn.callbacks.EarlyStopping(patience=options.patience)
    history = net.fit(
        X,
        labels,
        epochs=options.epochs,
        batch_size=options.batch_size,
        lrate=options.lrate,
        optimizer=options.optimizer,
        validation=0.2,
        callbacks=[stop],
        seed=options.seed,
    )
    print(
        f"epochs {len(history['loss'])}, best validation loss {stop.best:.4f} in epoch "
        f"{stop.best_epoch}, whose weights are kept"
    )

    predicted = net.predict(X_test)
    print("rows: the digit; columns: the prediction")
    for digit, row in enumerate(confusion(labels_test, predicted, 10)):
        print(f"{digit:4} |" + "".join(f"{count or '.':>4}" for count in row))
    right = predicted == labels_test
    print(f"test accuracy: {right.mean():.4f} ({right.sum()}/{right.size})")

    if options.save:
        net.save(options.save)
        print("saved", options.save)
    if options.plot:
        import plots

        wrong = np.flatnonzero(~right)
        titles = [f"{labels_test[j]} as {predicted[j]}" for j in wrong]
        figure = plots.training(history, X_test[:, wrong], (8, 8), titles)
        figure.savefig(options.plot, dpi=150)
        print("plotted", options.plot)


if __name__ == "__main__":
    main()
