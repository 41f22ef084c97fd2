"""nncore.sklearn among scikit-learn's tools, its refusals, and what scikit-learn lacks."""

import copy
import pickle
import subprocess
import sys
import threading
import warnings
from unittest import mock

import numpy as np
import pytest

pytest.importorskip("sklearn", "1.9", reason="scikit-learn 1.9 is not installed")

import joblib  # noqa: E402
import scipy.sparse as sp  # noqa: E402
import sklearn  # noqa: E402
from sklearn import neural_network  # noqa: E402
from sklearn.base import clone  # noqa: E402
from sklearn.calibration import CalibratedClassifierCV  # noqa: E402
from sklearn.compose import ColumnTransformer  # noqa: E402
from sklearn.datasets import load_digits, load_iris, make_regression  # noqa: E402
from sklearn.ensemble import (  # noqa: E402
    AdaBoostClassifier,
    BaggingClassifier,
    StackingClassifier,
)
from sklearn.exceptions import ConvergenceWarning, NotFittedError  # noqa: E402
from sklearn.inspection import PartialDependenceDisplay, permutation_importance  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.model_selection import GridSearchCV, cross_val_score  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import OneHotEncoder, StandardScaler  # noqa: E402

import nncore  # noqa: E402
from nncore import optimizers, schedules  # noqa: E402
from nncore.sklearn import (  # noqa: E402
    MLPClassifier,
    MLPRegressor,
    from_sklearn,
    is_patched,
    patch,
    to_sklearn,
    unpatch,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
SMALL = dict(hidden_layer_sizes=(8,), max_iter=20, random_state=0)
TRAINED = dict(SMALL, learning_rate_init=0.05)
X, y = load_iris(return_X_y=True)
X = (X - X.mean(0)) / X.std(0)
names = np.array(["setosa", "versicolor", "virginica"])[y]
Xr, yr = make_regression(120, 5, noise=1, random_state=0)
yr = yr / yr.std()
PAIRS = [
    (neural_network.MLPClassifier, MLPClassifier, X, names),
    (neural_network.MLPRegressor, MLPRegressor, Xr, yr),
]


def weights(model):
    return [*model.coefs_, *model.intercepts_]


def assert_same_weights(a, b, **tolerance):
    for u, v in zip(weights(a), weights(b), strict=True):
        np.testing.assert_allclose(u, v, **tolerance)


# ------------------------------------------------------------------------- scikit-learn's own tools


def test_signature_begins_as_scikit_learns():
    for theirs, ours, *_ in PAIRS:
        a, b = theirs().get_params(), ours().get_params()
        assert list(a.items()) == [item for item in b.items() if item[0] in a]
        assert issubclass(ours, theirs)
        assert MLPRegressor("poisson", (3,), "tanh").loss == "poisson"


@pytest.mark.parametrize("keeps", [pickle.dumps, None])
def test_copies_predict_and_train_on_alike(keeps, tmp_path):
    model = MLPClassifier(**SMALL).fit(X, names)
    if keeps is None:
        joblib.dump(model, tmp_path / "model")
        again = joblib.load(tmp_path / "model")
    else:
        again = pickle.loads(keeps(model))
    assert (again.predict_proba(X) == model.predict_proba(X)).all()
    assert_same_weights(again.partial_fit(X, names), model.partial_fit(X, names), rtol=0)
    assert clone(model).get_params() == model.get_params()
    assert (copy.deepcopy(model).predict(X) == model.predict(X)).all()


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_searches_give_scikit_learns_scores(backend):
    grid = {"alpha": [1e-4, 1.0], "hidden_layer_sizes": [(4,), (8,)]}
    scores = []
    with joblib.parallel_config(backend, n_jobs=2):
        for cls in PAIRS[0][:2]:
            search = GridSearchCV(cls(max_iter=10, random_state=0), grid, cv=3).fit(X, names)
            scores.append(search.cv_results_["mean_test_score"])
            scores.append(cross_val_score(cls(**SMALL), X, names, cv=3))
    assert (scores[0] == scores[2]).all() and (scores[1] == scores[3]).all()


def test_meta_estimators():
    def ours():
        return MLPClassifier(**TRAINED)

    boosted = AdaBoostClassifier(ours(), n_estimators=2).fit(X, names)
    models = [
        CalibratedClassifierCV(ours(), cv=2).fit(X, names),
        boosted,
        BaggingClassifier(ours(), n_estimators=2, n_jobs=2).fit(X, names),
        StackingClassifier([("mlp", ours()), ("lr", LogisticRegression())], cv=2).fit(X, names),
    ]
    for model in models:
        assert model.score(X, names) > 0.5
    found = permutation_importance(ours().fit(X, names), X, names, n_repeats=2, random_state=0)
    assert found.importances_mean.shape == (4,)
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    PartialDependenceDisplay.from_estimator(MLPRegressor(**SMALL).fit(Xr, yr), Xr, [0, 1])


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_go_through_a_column_transformer(library):
    frames = pytest.importorskip(library)
    frame = frames.DataFrame({"a": X[:, 0], "b": X[:, 1], "c": list(names)})
    columns = ColumnTransformer(
        [("scaled", StandardScaler(), ["a", "b"]), ("one hot", OneHotEncoder(), ["c"])]
    )
    model = make_pipeline(columns, MLPClassifier(**TRAINED)).fit(frame, names)
    assert model.score(frame, names) > 0.5
    plain = frame[["a", "b"]]
    direct = MLPClassifier(**SMALL).fit(plain, names)
    assert list(direct.feature_names_in_) == ["a", "b"]
    with pytest.warns(UserWarning, match="valid feature names"):
        direct.predict(np.asarray(plain))


def test_a_pipeline_hands_frames_on():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcd"))
    model = make_pipeline(StandardScaler(), MLPClassifier(**SMALL)).set_output(transform="pandas")
    model.fit(frame, names)
    assert list(model[-1].feature_names_in_) == list("abcd")
    assert model.predict(frame).shape == (150,)


def test_metadata_routing_hands_weights_on():
    with sklearn.config_context(enable_metadata_routing=True):
        model = MLPClassifier(**SMALL).set_fit_request(sample_weight=True)
        model.set_score_request(sample_weight=False)
        search = GridSearchCV(model, {"alpha": [1.0]}, cv=2)
        search.fit(X, names, sample_weight=np.arange(1.0, len(X) + 1))
    plain = MLPClassifier(**SMALL, alpha=1.0).fit(X, names, np.arange(1.0, len(X) + 1))
    assert_same_weights(search.best_estimator_, plain, rtol=1e-12)


def test_memory_mapped_data_are_taken_as_they_are(tmp_path):
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    ours = MLPClassifier(**SMALL).fit(mapped, names)
    assert_same_weights(ours, MLPClassifier(**SMALL).fit(X, names), rtol=0)


def test_threads_may_share_an_estimator_for_prediction():
    model = MLPClassifier(**SMALL).fit(X, names)
    wanted, wrong = model.predict_proba(X), []

    def predict():
        for i in range(200):
            if not np.allclose(model.predict_proba(X[i % 150 :]), wanted[i % 150 :]):
                wrong.append(i)

    threads = [threading.Thread(target=predict) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# ------------------------------------------------------------------------------------ the same bits


def test_scikit_learn_from_the_same_weights(subtests=None):
    for theirs, ours, data, targets in PAIRS:
        a, b = (cls(**SMALL, shuffle=False).fit(data, targets) for cls in (theirs, ours))
        assert_same_weights(a, b, rtol=1e-9, atol=1e-12)
        predict = "predict_proba" if hasattr(a, "classes_") else "predict"
        np.testing.assert_allclose(getattr(a, predict)(data), getattr(b, predict)(data), rtol=1e-9)
        assert (a.score(data, targets)) == pytest.approx(b.score(data, targets), rel=1e-9)


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("container", [sp.csr_array, sp.csc_array, sp.csr_matrix])
def test_sparse_data(container, solver):
    dense = np.where(np.random.RandomState(0).rand(150, 30) < 0.1, 1.5, 0.0)
    sparse = container(dense)
    settings = {**SMALL, "solver": solver}
    a = neural_network.MLPClassifier(**settings).fit(sparse, names)
    b = MLPClassifier(**settings).fit(sparse, names)
    assert_same_weights(a, b, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(b.predict_proba(sparse), b.predict_proba(dense), rtol=1e-12)
    unsorted = sp.csr_array(
        (np.ones(4), np.array([3, 1, 1, 0]), np.array([0, 2, 4])), shape=(2, 30)
    )
    np.testing.assert_allclose(b.predict_proba(unsorted), b.predict_proba(unsorted.toarray()))


@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
def test_plain_arrays_take_the_short_way(loss):
    counts = np.round(np.exp(Xr[:, 0]))
    model = MLPRegressor(loss, **SMALL).fit(Xr, counts)
    wanted = model.predict(Xr)
    with mock.patch("nncore.sklearn._predict.outputs", side_effect=AssertionError):
        np.testing.assert_array_equal(model.predict(Xr), wanted)
        np.testing.assert_allclose(model.predict(Xr[:1]), wanted[:1], rtol=1e-12)
        for other in (Xr.astype(np.float32), np.asfortranarray(Xr), Xr.tolist()):
            with pytest.raises(AssertionError):
                model.predict(other)
        model.coefs_ = [w.copy() for w in model.coefs_]
        with pytest.raises(AssertionError):
            model.predict(Xr)
    np.testing.assert_array_equal(model.predict(Xr), wanted)


def test_plain_csr_matrices_are_predicted_without_validation():
    dense = np.where(np.random.RandomState(0).rand(150, 30) < 0.1, 1.5, 0.0)
    sparse = sp.csr_matrix(dense)
    model = MLPClassifier(**SMALL).fit(dense, names)
    wanted = model.predict_proba(dense)
    with mock.patch("nncore.sklearn._mlp.validate_data", side_effect=AssertionError) as validate:
        np.testing.assert_allclose(model.predict_proba(sparse), wanted, rtol=1e-12)
        with pytest.raises(AssertionError):
            model.predict_proba(sparse.tocsc())
    assert validate.call_count == 1
    sparse.data[3] = np.nan
    with pytest.raises(ValueError, match="Input X contains NaN"):
        model.predict_proba(sparse)
    with pytest.raises(ValueError, match="X has 29 features"):
        model.predict_proba(sp.csr_matrix(dense[:, :29]))


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_a_stream_is_not_validated(solver):
    for _, ours, data, targets in PAIRS:
        model = ours(**{**SMALL, "solver": solver})
        model.partial_fit(data, targets, **({"classes": names} if targets is names else {}))
        with mock.patch.object(ours, "_validated_partial_fit", side_effect=AssertionError):
            model.partial_fit(data[:1], targets[:1])
            model.partial_fit(data, targets)
        assert model.t_ == 2 * len(data) + 1 and len(model.loss_curve_) == 3


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_a_stream_of_single_samples(solver):
    for theirs, ours, data, targets in PAIRS:
        models = [cls(**{**SMALL, "solver": solver}) for cls in (theirs, ours)]
        kind = {"classes": np.unique(targets)} if theirs is PAIRS[0][0] else {}
        for model in models:
            for i in range(60):
                model.partial_fit(data[i : i + 1], targets[i : i + 1], **kind)
            kind_of_none = dict.fromkeys(kind)
            for i in range(60, 120, 3):
                model.partial_fit(data[i : i + 3], targets[i : i + 3], **kind_of_none)
        a, b = models
        np.testing.assert_allclose(a.loss_curve_, b.loss_curve_, rtol=1e-9)
        assert_same_weights(a, b, rtol=1e-9, atol=1e-12)
        assert (a.t_, a.n_iter_, a._no_improvement_count) == (
            b.t_,
            b.n_iter_,
            b._no_improvement_count,
        )
        assert a._optimizer.learning_rate == pytest.approx(b._optimizer.learning_rate)


def test_weights_that_a_program_assigns_are_used():
    model = MLPRegressor(**SMALL).fit(Xr, yr)
    before = model.predict(Xr[:1])
    model.coefs_[0][...] = 0
    after = model.predict(Xr[:1])
    assert before != after
    model.coefs_ = [np.ones_like(w) for w in model.coefs_]
    assert model.predict(Xr[:1]) != after
    model.partial_fit(Xr[:1], yr[:1]).partial_fit(Xr[:1], yr[:1])
    model.coefs_[1] = np.zeros_like(model.coefs_[1])
    model.partial_fit(Xr[:1], yr[:1])
    assert abs(model.coefs_[1]).max() < 0.1


def test_negative_weights_are_accepted():
    for theirs, ours, data, targets in PAIRS:
        given = np.random.RandomState(0).uniform(-0.5, 2, len(data))
        a, b = (cls(**SMALL).fit(data, targets, given) for cls in (theirs, ours))
        np.testing.assert_allclose(b.loss_curve_, a.loss_curve_, rtol=1e-6)


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_a_sparse_matrix_without_entries(solver):
    empty = sp.csr_matrix((150, 30))
    a, b = (
        cls(**{**SMALL, "solver": solver}).fit(empty, names)
        for cls in (neural_network.MLPClassifier, MLPClassifier)
    )
    assert_same_weights(a, b, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(b.predict_proba(empty), b.predict_proba(empty.toarray()))


def test_a_batch_whose_weights_sum_to_zero_makes_no_step():
    w = np.ones(len(X))
    w[:50] = 0
    model = MLPClassifier(**SMALL, batch_size=50, shuffle=False).fit(X, names, w)
    other = MLPClassifier(**SMALL, batch_size=50, shuffle=False).fit(
        np.vstack([X[:1], X[50:]])[1:], names[50:]
    )
    assert model._optimizer.t == 2 * model.n_iter_ == other._optimizer.t


# ----------------------------------------------------------------------------------------- refusals


def state_of(model):
    return copy.deepcopy(model.__dict__)


def assert_unchanged(model, before):
    assert model.__dict__.keys() == before.keys()
    for name, value in before.items():
        now = model.__dict__[name]
        if name in ("coefs_", "intercepts_"):
            for a, b in zip(now, value, strict=True):
                np.testing.assert_array_equal(a, b)
        elif isinstance(value, np.ndarray):
            np.testing.assert_array_equal(now, value)


NAN = np.where(X == X[0, 0], np.nan, X)


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m.fit(NAN, names),
        lambda m: m.partial_fit(NAN, names),
        lambda m: m.partial_fit(X[:, :2], names),
        lambda m: m.partial_fit(X[:1], np.array(["rosa"])),
        lambda m: m.partial_fit(X, names, np.zeros(len(X))),
        lambda m: m.fit(X, names[::-1], np.zeros(len(X))),
        lambda m: m.fit(X, np.arange(len(X)) % 2, np.zeros(len(X))),
        lambda m: m.partial_fit(X, names, classes=[]),
        lambda m: m.partial_fit(X, names, classes=["a", "b"]),
        lambda m: m.fit(X[:5], names),
        lambda m: m.set_params(alpha=-1).fit(X, names),
        lambda m: m.set_params(early_stopping=True).partial_fit(X, names),
        lambda m: m.set_params(early_stopping=True, alpha=1).fit(X[:3], names[:3]),
        lambda m: m.fit(X, names, validation_data=(X, names)),
    ],
)
def test_a_refused_call_leaves_the_estimator_as_it_was(call):
    model = MLPClassifier(**SMALL).fit(X, names)
    parameters = model.get_params()
    before = state_of(model)
    with pytest.raises(ValueError):
        call(model)
    model.set_params(**parameters)
    assert_unchanged(model, before)
    model.fit(X, names)


def test_held_out_samples_without_weight_are_refused():
    model = MLPRegressor(**SMALL, early_stopping=True)
    with pytest.raises(ValueError, match="at least one non-zero"):
        model.fit(Xr, yr, validation_data=(Xr, yr, np.zeros(len(Xr))))
    assert not hasattr(model, "coefs_")
    weights = np.zeros(len(Xr))
    weights[:2] = 1, -1
    model.fit(Xr, yr, validation_data=(Xr, yr, weights))
    assert np.isnan(model.validation_scores_).all()


def test_the_loss_has_scikit_learns_type():
    for theirs, ours, data, targets in PAIRS:
        for kind in (np.float32, np.float64):
            goal = targets if targets is names else targets.astype(kind)
            for settings in ({}, dict(batch_size=20), dict(solver="lbfgs")):
                a, b = (
                    cls(**{**SMALL, **settings}).fit(data.astype(kind), goal)
                    for cls in (theirs, ours)
                )
                assert type(b.loss_) is type(a.loss_)
                assert [*map(type, getattr(b, "loss_curve_", ()))] == [
                    *map(type, getattr(a, "loss_curve_", ()))
                ]


def test_a_warm_start_may_switch_early_stopping_and_solver():
    model = MLPClassifier(**SMALL, warm_start=True).fit(X, names)
    model.set_params(early_stopping=True).fit(X, names)
    assert len(model.validation_scores_) and model.best_loss_ is None
    model.set_params(solver="lbfgs", early_stopping=False).fit(X, names)
    model.set_params(solver="adam").fit(X, names)
    with pytest.raises(ValueError, match="warm_start can only be used"):
        model.fit(X, y)
    with pytest.raises(ValueError, match="outputs"):
        MLPRegressor(**SMALL, warm_start=True).fit(Xr, yr).fit(Xr, np.c_[yr, yr])


def test_network_and_unfitted():
    with pytest.raises(NotFittedError):
        MLPClassifier().predict(X)
    assert not hasattr(MLPClassifier(), "network_")


# -------------------------------------------------------------------- what scikit-learn does not do


def test_class_weights_are_sample_weights():
    weighted = {"setosa": 2.0, "versicolor": 0.5, "virginica": 1.0}
    by_class = MLPClassifier(**SMALL, class_weight=weighted).fit(X, names)
    by_sample = MLPClassifier(**SMALL).fit(X, names, np.array([weighted[n] for n in names]))
    assert_same_weights(by_class, by_sample, rtol=0)
    MLPClassifier(**SMALL, class_weight="balanced").fit(X[:120], names[:120])
    with pytest.raises(ValueError, match="balanced"):
        MLPClassifier(class_weight="balanced").partial_fit(X, names, classes=names[::50])


@pytest.mark.parametrize("loss", ["absolute_error", "huber", "quantile"])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_losses_of_a_regressor(loss, solver):
    from nncore.sklearn import _compiled, _formulas

    model = MLPRegressor(loss, (8,), solver=solver, max_iter=60, random_state=0, quantile=0.8)
    model.fit(Xr, yr)
    assert model.score(Xr, yr) > -1
    layout = [(0, 40, (5, 8)), (40, 48, (8, 1))], [(48, 56), (56, 57)]
    vector = np.random.RandomState(0).randn(57)
    problem = model._problem()
    compiled = _compiled.Gradient(problem, layout, Xr, yr.reshape(-1, 1), None, np.float64)
    coefs, intercepts = compiled._parts(vector)
    loss_, of_coefs, of_intercepts = _formulas.loss_and_gradients(
        problem, Xr, yr.reshape(-1, 1), None, coefs, intercepts
    )
    value, gradient = compiled(vector)
    assert value == pytest.approx(loss_, rel=1e-12)
    wanted = np.hstack([g.ravel() for g in of_coefs + of_intercepts])
    np.testing.assert_allclose(gradient, wanted, rtol=1e-9, atol=1e-12)


def test_the_median_is_the_quantile_half():
    noise = np.random.RandomState(0).exponential(size=400)
    flat = np.zeros((400, 1))
    for quantile in (0.2, 0.9):
        model = MLPRegressor(
            "quantile", (4,), quantile=quantile, max_iter=600, tol=0, alpha=0, random_state=0
        )
        model.fit(flat, noise)
        assert np.mean(noise <= model.predict(flat)) == pytest.approx(quantile, abs=0.05)


def test_hinge():
    for labels in (names, names[:100]):
        model = MLPClassifier(
            (8,), loss="hinge", max_iter=300, learning_rate_init=0.01, random_state=0
        )
        model.fit(X[: len(labels)], labels)
        assert model.score(X[: len(labels)], labels) > 0.9
        assert not hasattr(model, "predict_proba")
        scores = model.decision_function(X[:2])
        assert scores.shape == ((2,) if len(labels) == 100 else (2, 3))


def test_dropout_is_drawn_by_the_estimators_generator():
    def fit():
        return MLPClassifier((32,), dropout=0.5, max_iter=300, random_state=1).fit(X, names)

    state = np.random.get_state()[1].copy()
    a, b = fit(), fit()
    assert_same_weights(a, b, rtol=0)
    assert (np.random.get_state()[1] == state).all()
    assert a.score(X, names) > 0.8
    assert (a.predict_proba(X) == a.predict_proba(X)).all()


def test_a_chosen_score_and_given_validation_data():
    model = MLPClassifier(**SMALL, early_stopping=True, scoring="neg_log_loss")
    model.fit(X, names, validation_data=(X[::2], names[::2]))
    assert max(model.validation_scores_) == model.best_validation_score_ < 0
    assert len(model.validation_scores_) == model.n_iter_
    with pytest.raises(ValueError, match="validation_data"):
        model.fit(X[:50], names[:50], validation_data=(X, names))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        pandas = pytest.importorskip("pandas")
        warnings.simplefilter("ignore", ConvergenceWarning)
        MLPClassifier(**SMALL, early_stopping=True, scoring="accuracy").fit(
            pandas.DataFrame(X), names
        )


def test_partial_fit_stops_early_on_given_data():
    model = MLPClassifier((8,), early_stopping=True, n_iter_no_change=3, random_state=0)
    calls = 0
    while model.__dict__.get("_no_improvement_count", 0) <= 3 and calls < 500:
        model.partial_fit(X, names, classes=np.unique(names), validation_data=(X, names))
        calls += 1
    assert calls < 500
    best = [w.copy() for w in weights(model)]
    model.partial_fit(X, names, validation_data=(X, names))
    assert len(model.validation_scores_) == calls
    for a, b in zip(weights(model), best, strict=True):
        assert (a == b).all()
    assert model.score(X, names) == model.best_validation_score_


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_partial_fit_takes_new_classes_if_asked(solver):
    settings = {**TRAINED, "solver": solver}
    first = names < "virginica"
    strict = MLPClassifier(**settings).partial_fit(X[first], names[first], classes=names[:100:50])
    with pytest.raises(ValueError, match="classes"):
        strict.partial_fit(X, names)
    model = MLPClassifier(**settings, extend_classes=True).fit(X[first], names[first])
    before = model.predict_proba(X)
    model.partial_fit(X[first], names[first], classes=np.unique(names))
    after = model.predict_proba(X)
    assert after.shape == (150, 3) and list(model.classes_) == sorted(set(names))
    odds = np.log(before[:, 1] / before[:, 0]) - np.log(after[:, 1] / after[:, 0])
    assert abs(odds).max() < 2  # one step, not a new beginning
    for _ in range(60):
        model.partial_fit(X, names)
    assert model.score(X, names) > 0.8
    more = np.where(np.arange(150) % 10, names, "a new one")
    assert model.partial_fit(X, more).predict_proba(X).shape == (150, 4)


def test_callbacks():
    seen = []

    def callback(network, history):
        seen.append((network.predict_proba(X.T).shape, len(history["loss"])))
        return len(seen) == 5

    model = MLPClassifier(**SMALL, callbacks=callback).fit(X, names)
    assert seen == [((3, 150), i) for i in range(1, 6)] and model.n_iter_ == 5
    stop = nncore.callbacks.EarlyStopping("loss", patience=2)
    MLPClassifier(**SMALL, callbacks=[stop]).fit(X, names)
    assert stop.best_epoch > 0


def test_callbacks_of_scikit_learn(capsys):
    class Recorder:
        def __init__(self):
            self.hooks = []

        def setup(self, estimator, context):
            self.hooks.append("setup")

        def on_fit_task_begin(self, estimator, context):
            self.hooks.append(f"begin {context.task_name}")

        def on_fit_task_end(self, estimator, context):
            self.hooks.append(f"end {context.task_name}")

        def teardown(self, estimator, context):
            self.hooks.append("teardown")

    recorder = Recorder()
    MLPClassifier((4,), max_iter=2, random_state=0).set_callbacks(recorder).fit(X, names)
    epoch = ["begin epoch", "end epoch"]
    assert recorder.hooks == ["setup", "begin fit", *epoch, *epoch, "end fit", "teardown"]
    MLPClassifier((4,), max_iter=2, random_state=0, progress=True).fit(X, names)
    shown = capsys.readouterr()
    assert "loss" in shown.out + shown.err


@pytest.mark.parametrize(
    "solver",
    ["momentum", "nesterov", "adagrad", "rmsprop", "adamw", optimizers.Adam(beta1=0.8)],
)
def test_optimizers_of_nncore(solver):
    model = MLPClassifier(**SMALL, solver=solver, learning_rate_init=0.01).fit(X, names)
    assert model.loss_curve_[-1] < model.loss_curve_[0]
    assert clone(model).fit(X, names).loss_ == model.loss_
    assert pickle.loads(pickle.dumps(model)).partial_fit(X, names).loss_ < model.loss_curve_[0]


@pytest.mark.parametrize("solver", ["sgd", "adam", "rmsprop"])
def test_a_schedule_gives_each_steps_rate(solver):
    constant = {**SMALL, "solver": solver}
    a = MLPClassifier(**constant, learning_rate_init=0.01).fit(X, names)
    b = MLPClassifier(**constant, learning_rate=schedules.Constant(0.01)).fit(X, names)
    assert_same_weights(a, b, rtol=0)
    c = MLPClassifier(**constant, learning_rate=schedules.InverseTime(0.01, 0.1)).fit(X, names)
    assert c._optimizer.t == 20


# -------------------------------------------------------------------------------------- conversions


def test_models_of_scikit_learn_both_ways():
    for theirs, ours, data, targets in PAIRS:
        for solver in ("adam", "sgd", "lbfgs"):
            a = theirs(**{**SMALL, "solver": solver}).fit(data, targets)
            b = from_sklearn(a)
            c = b.to_sklearn()
            assert type(b) is ours and type(c) is theirs
            assert c.get_params() == a.get_params()
            if theirs is PAIRS[0][0]:
                assert (a.predict(data) == b.predict(data)).all()
            else:
                np.testing.assert_allclose(a.predict(data), b.predict(data), rtol=1e-12)
            if solver != "lbfgs":
                for model in (a, b, c):
                    model.partial_fit(data, targets)
                assert_same_weights(a, b, rtol=1e-9, atol=1e-12)
                assert_same_weights(a, c, rtol=1e-12)
    with pytest.raises(TypeError, match="scikit-learn's"):
        from_sklearn(LogisticRegression())


def test_networks_both_ways():
    model = MLPClassifier(**SMALL).fit(X, names)
    network = model.network_
    np.testing.assert_allclose(network.predict_proba(X.T).T, model.predict_proba(X), rtol=1e-12)
    network.fit(X.T, y, epochs=1)
    assert network.modules[0].W is model.coefs_[0]
    back = network.to_sklearn(classes=model.classes_)
    assert (back.predict(X) == model.predict(X)).all()
    nn = nncore
    for net, data in (
        (nn.Sequential([nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2)], nn.Squared()), Xr),
        (nn.Sequential([nn.Linear(4, 1), nn.OutputSigmoid()], nn.BinaryNLL()), X),
        (nn.Sequential([nn.Linear(4, 3), nn.OutputSigmoid()], nn.BinaryNLL()), X),
    ):
        theirs = net.to_sklearn()
        given = theirs.predict(data) if net.loss.output is nn.Linear else theirs.predict_proba(data)
        wanted = net.predict_proba(data.T)[-1]
        np.testing.assert_allclose(given[:, -1], wanted, rtol=1e-12)
    with pytest.raises(TypeError):
        nn.Sequential([nn.Linear(4, 3), nn.GELU(), nn.Linear(3, 2)], nn.Squared()).to_sklearn()
    for loss, text in (("absolute_error", "Absolute()"), ("huber", "Huber(delta=2.0)")):
        model = MLPRegressor(**SMALL, loss=loss, delta=2.0).fit(Xr, yr)
        assert repr(model.network_.loss) == text


def test_patch_and_unpatch():
    theirs = neural_network.MLPClassifier
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            patch()
            patch()
        assert is_patched()
        from sklearn.neural_network import MLPClassifier as imported

        assert imported is MLPClassifier and neural_network.MLPRegressor is MLPRegressor
    finally:
        unpatch()
    assert not is_patched() and neural_network.MLPClassifier is theirs


PROGRAM = """
import sys
from sklearn.neural_network import MLPClassifier
from sklearn.datasets import load_iris
model = MLPClassifier((4,), max_iter=3).fit(*load_iris(return_X_y=True))
print(type(model).__module__, __name__, sys.argv[1:])
if "fail" in sys.argv:
    raise KeyError("as the program says")
"""


def run(*arguments, cwd=None):
    command = [sys.executable, "-m", "nncore", "run", "--sklearn", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120)


def test_a_program_runs_with_nncores_classes(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    done = run("program.py", "--fast", cwd=tmp_path)
    assert done.returncode == 0 and done.stdout == "nncore.sklearn __main__ ['--fast']\n"
    assert "ConvergenceWarning" in done.stderr
    done = run("program.py", "fail", cwd=tmp_path)
    assert done.returncode == 1 and "KeyError: 'as the program says'" in done.stderr
    assert "runpy" not in done.stderr


def test_pickles_of_scikit_learn_load_as_nncores_while_patched():
    pickled = pickle.dumps(neural_network.MLPRegressor(**SMALL).fit(Xr, yr))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            patch()
        model = pickle.loads(pickled)
    finally:
        unpatch()
    assert type(model) is MLPRegressor and model.dropout == 0
    model.partial_fit(Xr, yr)
    assert type(to_sklearn(model)) is neural_network.MLPRegressor


def test_digits_are_learnt():
    data, digits = load_digits(return_X_y=True)
    model = MLPClassifier(max_iter=30, random_state=0).fit(data[:1500] / 16, digits[:1500])
    assert model.score(data[1500:] / 16, digits[1500:]) > 0.85
