"""A search and an out-of-core training with nncore.sklearn on the processes of a Dask cluster.

The search goes through joblib's Dask backend. The training hands a model from chunk to chunk of a
Dask array, as dask-ml's Incremental did: each chunk is loaded by the worker that trains on it, and
only the model moves.
"""

import argparse
import copy
from typing import Any

import dask.array
import joblib  # type: ignore[import-untyped, unused-ignore]
import numpy as np
from dask.delayed import delayed
from dask.distributed import Client, LocalCluster
from sklearn.datasets import load_digits  # type: ignore[import-untyped, unused-ignore]
from sklearn.model_selection import GridSearchCV  # type: ignore[import-untyped, unused-ignore]

from nncore.sklearn import MLPClassifier


def search(X: Any, y: Any) -> Any:
    """The best of four networks, fitted by the cluster's workers."""
    grid = {"hidden_layer_sizes": [(16,), (32,)], "alpha": [1e-4, 1e-2]}
    model = MLPClassifier(tol=0.01, random_state=0)
    with joblib.parallel_config("dask"):
        return GridSearchCV(model, grid, cv=3).fit(X, y)


def fit_chunk(
    model: MLPClassifier, rows: np.ndarray, labels: np.ndarray, classes: np.ndarray
) -> Any:
    """A copy of the model that has trained on one more chunk; tasks must not change their input."""
    return copy.deepcopy(model).partial_fit(rows, labels, classes=classes)


def train_by_chunks(X: Any, y: Any, epochs: int) -> Any:
    """A classifier trained on the chunks of Dask arrays by the workers, one chunk after another."""
    model, step = delayed(MLPClassifier((32,), random_state=0)), delayed(fit_chunk)
    classes = np.arange(10)
    for _ in range(epochs):
        for rows, labels in zip(X.to_delayed().ravel(), y.to_delayed().ravel(), strict=True):
            model = step(model, rows, labels, classes)
    return model.compute()


def main() -> None:
    """Run both on a local cluster of two processes."""
    parser = argparse.ArgumentParser(description="Search and train with Dask")
    parser.add_argument("--workers", type=int, default=2, help="worker processes (default: 2)")
    parser.add_argument("--epochs", type=int, default=20, help="passes over the chunks")
    options = parser.parse_args()
    X, y = load_digits(return_X_y=True)
    X = X / 16
    cluster: Any = LocalCluster  # Dask's types are those of its defaults
    client: Any = Client
    chunked: Any = dask.array.from_array
    with (
        cluster(n_workers=options.workers, threads_per_worker=1, dashboard_address=None) as local,
        client(local),
    ):
        found = search(X, y)
        print(f"best of the search: {found.best_params_}, accuracy {found.best_score_:.3f}")
        chunks = chunked(X, chunks=(300, -1)), chunked(y, chunks=300)
        model = train_by_chunks(*chunks, options.epochs)
        print(f"trained by chunks: accuracy {model.score(X, y):.3f}")


if __name__ == "__main__":
    main()
