"""Random configurations of nncore.sklearn against scikit-learn: curves, scores, predictions, the
types of the attributes, and errors."""

import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn", "1.9", reason="scikit-learn 1.9 is not installed")

import scipy.sparse as sp  # noqa: E402
from sklearn import neural_network  # noqa: E402

import nncore.sklearn  # noqa: E402

SEEDS = 120
CALLS = [
    ["fit"],
    ["fit", "fit"],
    ["partial_fit", "partial_fit", "partial_fit"],
    ["fit", "partial_fit"],
    ["partial_fit", "fit"],
]


def drawn(rng, *choices):
    return choices[rng.randint(len(choices))]


def configuration(rng):
    """(name of the class, X, y, weights, parameters, calls)."""
    n, features = drawn(rng, 2, 3, 12, 37, 150, 230), drawn(rng, 1, 2, 5, 33)
    kind = drawn(rng, "float64", "float64", "float32", "int", "csr", "csc", "Fortran")
    X = rng.randn(n, features)
    if kind == "int":
        X = rng.randint(-3, 3, (n, features))
    elif kind == "float32":
        X = X.astype(np.float32)
    elif kind == "Fortran":
        X = np.asfortranarray(X)
    elif kind in ("csr", "csc"):
        X = {"csr": sp.csr_matrix, "csc": sp.csc_matrix}[kind](X * (rng.rand(n, features) < 0.4))
    parameters = dict(
        hidden_layer_sizes=drawn(rng, (), (3,), (9, 4), (20,)),
        activation=drawn(rng, "relu", "tanh", "logistic", "identity"),
        solver=drawn(rng, "adam", "sgd"),
        alpha=drawn(rng, 0, 1e-4, 0.1, 3),
        batch_size=drawn(rng, "auto", 1, 7, 32, 1000),
        learning_rate=drawn(rng, "constant", "invscaling", "adaptive"),
        learning_rate_init=drawn(rng, 1e-3, 0.01),
        max_iter=drawn(rng, 1, 4, 8),
        shuffle=drawn(rng, True, True, False),
        random_state=rng.randint(100),
        tol=drawn(rng, 0, 1e-4, 0.02),
        momentum=drawn(rng, 0, 0.5, 0.9),
        nesterovs_momentum=drawn(rng, True, False),
        early_stopping=drawn(rng, True, False, False),
        n_iter_no_change=drawn(rng, 1, 3, np.inf),
        validation_fraction=drawn(rng, 0.1, 0.3, 0.6),
        warm_start=drawn(rng, True, False, False),
    )
    if rng.rand() < 0.5:
        name = "MLPClassifier"
        y = drawn(
            rng,
            rng.randint(0, 2, n),
            rng.randint(0, 4, n),
            rng.randint(0, 2, (n, 3)),
            np.ones(n, int),
            np.array(list("abc"))[rng.randint(0, 3, n)],
        )
    else:
        name, counts = "MLPRegressor", rng.poisson(2, n).astype(float)
        y = drawn(rng, rng.randn(n), rng.randn(n, 2), rng.randn(n, 1), counts)
        if y is counts:
            parameters["loss"] = "poisson"
        if kind == "float32":
            y = y.astype(np.float32)
    weights = drawn(rng, None, None, rng.uniform(0.1, 2, n), rng.uniform(-0.1, 1, n))
    return name, X, y, weights, parameters, drawn(rng, *CALLS)


def history(cls, X, y, weights, parameters, calls):
    """What a user sees after each call, ending with the first error."""
    model, seen = cls(**parameters), []
    for call in calls:
        given = {} if weights is None else {"sample_weight": weights}
        if call == "partial_fit" and "Classifier" in cls.__name__:
            given["classes"] = np.unique(y) if y.ndim == 1 else np.arange(3)
        try:
            getattr(model, call)(X, y, **given)
        except (ValueError, AttributeError) as error:
            return [*seen, f"{type(error).__name__}: {error}"]
        seen += [model.n_iter_, model.t_, type(model.loss_).__name__, model.loss_curve_]
        seen += [model.validation_scores_ or [], model.predict(X)]
        if "Classifier" in cls.__name__:
            seen.append(model.predict_proba(X))
    return seen


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_random_configuration(seed):
    name, *case = configuration(np.random.RandomState(seed))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        theirs = history(getattr(neural_network, name), *case)
        ours = history(getattr(nncore.sklearn, name), *case)
    tolerance = (5e-3, 1e-4) if case[0].dtype == np.float32 else (1e-6, 1e-9)
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert a.shape == b.shape and a.dtype == b.dtype
        if a.dtype.kind == "f":
            np.testing.assert_allclose(a, b, *tolerance)
        else:
            assert np.mean(a == b) > (0.97 if a.size > 100 else 0.99)
