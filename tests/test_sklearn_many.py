"""Epochs that run without Python between them are those that run one at a time."""

import signal
import threading
import time
import warnings
from unittest import mock

import numpy as np
import pytest

pytest.importorskip("sklearn", "1.9", reason="scikit-learn 1.9 is not installed")

from sklearn.datasets import make_multilabel_classification  # noqa: E402
from sklearn.exceptions import ConvergenceWarning  # noqa: E402

from nncore import schedules  # noqa: E402
from nncore.sklearn import MLPClassifier, MLPRegressor, _many  # noqa: E402

rng = np.random.RandomState(0)
X = rng.randn(203, 7)
NUMBERS = X[:, 0] + 0.1 * rng.randn(203)
THREE = np.argmax(X[:, :3], axis=1)
LABELS = make_multilabel_classification(203, 7, random_state=0)[1]
COUNTS = rng.poisson(2.0, 203).astype(float)
WEIGHTS = rng.uniform(0, 2, 203)
STOP = dict(early_stopping=True, n_iter_no_change=3, tol=0.01)

CASES = {
    "classes": (MLPClassifier, THREE, {}),
    "batch of 1": (MLPClassifier, THREE, dict(batch_size=1, max_iter=3)),
    "in order": (MLPClassifier, THREE, dict(shuffle=False)),
    "invscaling": (MLPRegressor, NUMBERS, dict(solver="sgd", learning_rate="invscaling")),
    "adaptive": (MLPRegressor, NUMBERS, dict(solver="sgd", learning_rate="adaptive", tol=0.3)),
    "rmsprop": (MLPRegressor, NUMBERS, dict(solver="rmsprop")),
    "never": (MLPRegressor, NUMBERS, dict(n_iter_no_change=np.inf, tol=10)),
    "no improvement": (MLPRegressor, NUMBERS, dict(n_iter_no_change=2, tol=10)),
    "scored classes": (MLPClassifier, THREE, STOP),
    "scored pairs": (MLPClassifier, THREE == 0, STOP),
    "scored labels": (MLPClassifier, LABELS, STOP),
    "scored hinge": (MLPClassifier, THREE == 0, dict(loss="hinge", **STOP)),
    "scored hinge of three": (MLPClassifier, THREE, dict(loss="hinge", **STOP)),
    "scored numbers": (MLPRegressor, NUMBERS, STOP),
    "scored rows of numbers": (MLPRegressor, X[:, :2] ** 2, STOP),
    "scored counts": (MLPRegressor, COUNTS, dict(loss="poisson", **STOP)),
    "scored constants": (MLPRegressor, np.zeros(203), STOP),
    "no weight": (MLPClassifier, THREE, dict(STOP, validation_data=(X[:2], THREE[:2], [1, -1]))),
    "no weight of numbers": (
        MLPRegressor,
        NUMBERS,
        dict(STOP, validation_data=(X[:2], NUMBERS[:2], [1, -1])),
    ),
    "divergence": (MLPRegressor, NUMBERS * 1e200, dict(solver="sgd", **STOP)),
}


def fitted(cls, y, parameters, samples, weights, one_by_one):
    """(estimator, epochs of each call of Course.run)."""
    calls, held_out = [], parameters.get("validation_data")
    parameters = {name: parameters[name] for name in parameters if name != "validation_data"}
    run = _many.Course.run

    def counted(course, most):
        before = course.estimator.n_iter_
        run(course, most)
        calls.append(course.estimator.n_iter_ - before)

    generator = np.random.RandomState(3)
    model = cls(hidden_layer_sizes=(9,), random_state=generator, **{"max_iter": 30} | parameters)
    course = mock.Mock(return_value=None) if one_by_one else _many.course
    with (
        mock.patch.object(_many, "course", course),
        mock.patch.object(_many.Course, "run", counted),
        warnings.catch_warnings(),
        np.errstate(all="ignore"),
    ):
        warnings.simplefilter("ignore")
        try:
            model.fit(samples, y, weights, validation_data=held_out)
        except ValueError as error:
            assert "non-finite" in str(error)
    return model, calls


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", CASES)
def test_the_same_bits_and_draws(case, dtype, weighted):
    cls, y, parameters = CASES[case]
    if cls is MLPRegressor and dtype == "float32":
        with np.errstate(over="ignore"):
            y = y.astype(np.float32)
        if not np.isfinite(y).all():
            y = np.full_like(y, 1e30)
    data = X.astype(dtype), WEIGHTS if weighted else None
    one, _ = fitted(cls, y, parameters, *data, True)
    many, calls = fitted(cls, y, parameters, *data, False)
    assert sum(calls) == many.n_iter_ == one.n_iter_ and len(calls) < max(2, many.n_iter_)
    assert [type(v) for v in many.loss_curve_] == [type(v) for v in one.loss_curve_]
    np.testing.assert_array_equal(many.loss_curve_, one.loss_curve_)
    assert type(many.best_loss_) is type(one.best_loss_) and many.best_loss_ == one.best_loss_
    assert many._no_improvement_count == one._no_improvement_count and many.t_ == one.t_
    assert many._optimizer.learning_rate == one._optimizer.learning_rate
    exact = 1e-12 if dtype == "float64" else 1e-5
    if one.validation_scores_ is not None:
        np.testing.assert_allclose(many.validation_scores_, one.validation_scores_, rtol=exact)
        assert type(many.best_validation_score_) is type(one.best_validation_score_)
        for a, b in zip(many._best_coefs, one._best_coefs, strict=True):
            np.testing.assert_array_equal(a, b)
        assert (many._best_coefs is many.coefs_) == (one._best_coefs is one.coefs_)
    for name in ("coefs_", "intercepts_"):
        for a, b in zip(getattr(many, name), getattr(one, name), strict=True):
            np.testing.assert_array_equal(a, b)
    assert many.random_state.randint(1 << 30) == one.random_state.randint(1 << 30)


@pytest.mark.parametrize(
    "parameters",
    [
        dict(verbose=True),
        dict(callbacks=lambda network, history: None),
        dict(dropout=0.5),
        dict(learning_rate=schedules.Constant(0.01)),
        dict(scoring="accuracy", early_stopping=True),
        dict(hidden_layer_sizes=(200_000,), max_iter=1),
    ],
    ids=lambda parameters: next(iter(parameters)),
)
def test_others_run_one_at_a_time(parameters, capsys):
    with mock.patch.object(_many.Course, "run", side_effect=AssertionError):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            MLPClassifier(**{"max_iter": 2} | parameters).fit(X, THREE)


def test_warm_starts_go_on():
    one, many = (
        MLPClassifier(max_iter=4, warm_start=True, random_state=0, **STOP) for _ in range(2)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for _ in range(3):
            many.fit(X, THREE)
            with mock.patch.object(_many, "course", return_value=None):
                one.fit(X, THREE)
    assert many.loss_curve_ == one.loss_curve_
    assert many.validation_scores_ == one.validation_scores_


def test_an_interrupt_keeps_the_epochs_so_far():
    model = MLPRegressor(max_iter=10**7, n_iter_no_change=10**7, tol=0)

    def interrupt():
        time.sleep(0.3)
        signal.raise_signal(signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    with pytest.warns(UserWarning, match="interrupted by user"):
        thread.start()
        model.fit(X, NUMBERS)
    thread.join()
    assert 1 < model.n_iter_ == len(model.loss_curve_) < 10**7
    assert model.t_ == model.n_iter_ * len(X)
