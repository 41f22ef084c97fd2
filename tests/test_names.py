"""Names that people try first: other libraries' words, classes for objects, sizes that do not fit,
tables; each is taken, or answered with what to write."""

import copy
import pickle
import re

import numpy as np
import pytest

import nncore as nn
from nncore import optimizers

X = np.random.default_rng(0).normal(size=(4, 30))
LABELS = np.arange(30) % 2


def net():
    np.random.seed(0)
    return nn.Sequential([nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2), nn.SoftMax()], nn.NLL())


def refused(call, error=TypeError):
    with pytest.raises(error) as caught:
        call()
    return str(caught.value)


# ------------------------------------------------------------------------------- names of arguments


@pytest.mark.parametrize(
    ("call", "meant"),
    [
        (lambda n: n.fit(X, LABELS, lr=0.1), "lrate"),
        (lambda n: n.fit(X, LABELS, learning_rate=0.1), "lrate"),
        (lambda n: n.fit(X, LABELS, epohcs=3), "epochs"),
        (lambda n: n.fit(X, LABELS, epoch=3), "epochs"),
        (lambda n: n.fit(X, LABELS, n_epochs=3), "epochs"),
        (lambda n: n.fit(X, LABELS, batchsize=3), "batch_size"),
        (lambda n: n.fit(X, LABELS, validation_data=(X, LABELS)), "validation"),
        (lambda n: n.fit(X, LABELS, verbose=2), "progress"),
        (lambda n: n.fit(X, LABELS, random_state=0), "seed"),
        (lambda n: n.fit(x=X, y=LABELS), "X"),
        (lambda n: n.fit(X, labels=LABELS), "Y"),
        (lambda n: n.sgd(X, LABELS, lr=0.1), "lrate"),
        (lambda n: n.sgd(X, LABELS, epochs=3), "iters"),
        (lambda n: n.mini_gd(X, LABELS, 3, 0.1, batch_size=4), "K"),
        (lambda n: n.partial_fit(X, LABELS, lr=0.1), "lrate"),
        (lambda n: n.partial_fit(X, LABELS, weight_decay=0.1), "l2"),
        (lambda n: n.learner(learning_rate=0.1), "lrate"),
        (lambda n: nn.Linear(in_features=2, out_features=3), "m"),
        (lambda n: nn.Linear(2, 3, kernel_initializer="he"), "init"),
        (lambda n: nn.Linear(2, 3, seed=0), "rng"),
        (lambda n: nn.Dropout(rate=0.5), "p"),
        (lambda n: nn.LeakyReLU(negative_slope=0.5), "slope"),
        (lambda n: nn.BatchNorm(3, epsilon=0.5), "eps"),
        (lambda n: nn.Sequential(layers=[]), "modules"),
        (lambda n: nn.Sequential([], criterion=nn.NLL()), "loss"),
        (lambda n: optimizers.Momentum(momentum=0.5), "beta"),
        (lambda n: optimizers.RMSprop(alpha=0.5), "rho"),
        (lambda n: optimizers.Adam(beta_1=0.5), "beta1"),
        (lambda n: nn.callbacks.EarlyStopping(restore_best_weights=True), "restore_best"),
        (lambda n: nn.callbacks.ModelCheckpoint(filepath="x.npz"), "path"),
        (lambda n: nn.callbacks.ReduceOnPlateau(min_lr=0.1), "min_lrate"),
    ],
)
def test_other_libraries_words_are_answered_with_ours(call, meant):
    trained = net()
    before = copy.deepcopy(trained.modules[0].W)
    assert re.search(
        rf"has no argument '\w+'; did you mean {meant}\?", refused(lambda: call(trained))
    )
    assert np.array_equal(trained.modules[0].W, before)


@pytest.mark.parametrize(
    ("call", "advice"),
    [
        (
            lambda n: n.fit(X, LABELS, loss="nll"),
            "the loss is the network's: Sequential(modules, loss)",
        ),
        (
            lambda n: n.fit(X, LABELS, momentum=0.9),
            "optimizer=nncore.optimizers.Momentum(beta=...)",
        ),
        (lambda n: n.fit(X, LABELS, metrics=["accuracy"]), "nncore.callbacks.Metrics(...)"),
        (lambda n: n.fit(X, LABELS, banana=1), "it takes X, Y, epochs, batch_size"),
        (lambda n: n.partial_fit(X, LABELS, loss="nll"), "the loss is the network's"),
        (lambda n: n.sgd(X, LABELS, optimizer="adam"), "net.fit(X, Y, optimizer=...)"),
        (lambda n: n.sgd(X, LABELS, seed=3), "np.random.seed and nncore.set_seed"),
        (lambda n: nn.Sequential([], optimizer="adam"), "net.fit(X, Y, optimizer=...)"),
        (lambda n: nn.Linear(2, 3, activation="relu"), "[Linear(m, n), ReLU()]"),
        (lambda n: optimizers.Adam(lr=0.1), "net.fit(X, Y, lrate=...)"),
        (lambda n: optimizers.Adam(lrate=0.1), "net.fit(X, Y, lrate=...)"),
        (lambda n: optimizers.Adam(betas=(0.9, 0.99)), "write beta1=..., beta2=..."),
        (lambda n: optimizers.SGD(momentum=0.9), "write Momentum(beta=...)"),
        (lambda n: optimizers.Adam(weight_decay=0.1), "write AdamW(weight_decay=...)"),
    ],
)
def test_words_of_another_place_are_answered_with_that_place(call, advice):
    assert advice in refused(lambda: call(net()))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("Adam", "optimizers.Adam"),
        ("Dense", "Linear"),
        ("MSELoss", "Squared"),
        ("CrossEntropyLoss", "NLL"),
        ("Relu", "ReLU"),
        ("optim", "optimizers"),
        ("EarlyStopping", "callbacks.EarlyStopping"),
        ("load_digits", "datasets.load_digits"),
        ("MLPClassifier", "sklearn.MLPClassifier"),
        ("manual_seed", "set_seed"),
    ],
)
def test_other_libraries_classes_are_answered_with_ours(name, meant):
    message = refused(lambda: getattr(nn, name), AttributeError)
    assert message == f"module 'nncore' has no attribute {name!r}; did you mean nncore.{meant}?"
    if not meant.startswith("sklearn"):
        thing = nn
        for part in meant.split("."):
            thing = getattr(thing, part)
    assert not hasattr(nn, "banana") and not hasattr(nn, "__wrapped__")
    assert refused(lambda: nn.banana, AttributeError).endswith("no attribute 'banana'")


def test_settings_by_position_are_answered_with_their_names():
    assert refused(lambda: nn.Linear(2, 3, "he")) == (
        "Linear(2, 3, ...) takes settings by their names, as in init='he'"
    )
    assert refused(lambda: nn.Linear(2, 3, False)).endswith("bias=False")
    assert refused(lambda: nn.Linear(2, 3, np.float32)).endswith("dtype=float32")
    for wrong in (1, 0, "verbose"):
        with pytest.raises((TypeError, ValueError), match="'lines'.*got"):
            net().fit(X, LABELS, progress=wrong)


def test_texts_as_numbers_are_answered_with_the_conversion(backend):
    numbers = nn.Sequential([nn.Linear(4, 1)], nn.Squared())
    before = numbers.modules[0].W.copy()
    for Y in (X[0].astype(str), X[0].astype(object), list(X[0].astype(str))):
        for call in (numbers.fit, numbers.partial_fit, numbers.sgd, numbers.evaluate):
            message = refused(lambda call=call, Y=Y: call(X, Y))
            assert message.startswith("Y must hold numbers for Squared, got ")
            assert "np.asarray(Y, float)" in message and "classes" not in message
    sparse = pytest.importorskip("scipy.sparse").csr_array(X[:1])
    for Y, wanted in (
        (X[0] + 1j, "must be a real array, got complex128"),
        (np.ma.masked_array(X[0], X[0] > 0), "must not be masked"),
        (sparse, "must be a dense array, got a sparse csr_array"),
        ([[1.0, 2.0], [3.0]], "must be a real array, got list"),
    ):
        assert f"Y {wanted}" in refused(lambda Y=Y: numbers.fit(X, Y))
    assert (numbers.modules[0].W == before).all()


def test_other_errors_of_a_call_stay():
    assert "missing 1 required positional argument: 'n'" in refused(lambda: nn.Linear(2))

    class Odd(nn.Sequential):
        def print_accuracy(self, *args):
            raise TypeError("an error of the user's own")

    odd = Odd(net().modules, nn.NLL())
    assert refused(lambda: odd.sgd(X, LABELS, iters=1)) == "an error of the user's own"


@pytest.mark.parametrize("name", ["Adam", "AdamW", "RMSprop", "Adagrad", "SGD"])
def test_a_step_size_is_no_setting_of_an_optimizer(name):
    sentence = refused(lambda: getattr(optimizers, name)(0.001))
    assert f"optimizer={name}(), lrate=0.001)" in sentence and "step size" in sentence


def test_settings_by_position_that_stay():
    assert optimizers.Momentum(0.8).beta == optimizers.Nesterov(0.8).beta == 0.8
    assert "net.fit(X, Y, optimizer=Momentum(), lrate=0.01)" in refused(
        lambda: optimizers.Momentum(0.9, 0.01)
    )

    class Own(optimizers.Optimizer):
        def __init__(self, rate):
            super().__init__()

    assert Own(0.1).t == 0 and copy.deepcopy(optimizers.Adam(beta1=0.5)).beta1 == 0.5
    assert pickle.loads(pickle.dumps(optimizers.RMSprop(rho=0.5))).rho == 0.5


@pytest.mark.parametrize("name", ["adam", "Adam", "ADAM"])
def test_names_of_optimizers_in_any_case(backend, name):
    one, two = net(), net()
    assert one.fit(X, LABELS, optimizer=name, seed=0) == two.fit(
        X, LABELS, optimizer="adam", seed=0
    )
    assert type(one.optimizer) is optimizers.Adam
    before = one.optimizer
    for _ in range(2):  # by the kept program, and not
        one.partial_fit(X, LABELS, optimizer=name)
    assert one.optimizer is before and before.t == 3
    assert "got 'adm'; did you mean 'adam'?" in refused(
        lambda: one.fit(X, LABELS, optimizer="adm"), ValueError
    )


# -------------------------------------------------------------------- classes and names for objects


@pytest.mark.parametrize(
    ("call", "remedy"),
    [
        (
            lambda: nn.Sequential([nn.ReLU]),
            r"modules\[0\] must .* got the class ReLU; write ReLU\(\)$",
        ),
        (lambda: nn.Sequential([nn.Linear]), r"write Linear\(m, n\)$"),
        (lambda: nn.Sequential([nn.Dropout]), r"write Dropout\(p\)$"),
        (lambda: nn.Sequential(["relu"]), r"modules\[0\] must .* got 'relu'; write ReLU\(\)$"),
        (lambda: nn.Sequential(["dense"]), r"write Linear\(m, n\)$"),
        (lambda: nn.Sequential([], nn.NLL), r"loss must .* got the class NLL; write NLL\(\)$"),
        (lambda: nn.Sequential([], "nll"), r"write NLL\(\)$"),
        (lambda: nn.Sequential([], "Cross-Entropy"), r"write NLL\(\)$"),
        (lambda: nn.Sequential([], "sparse_categorical_crossentropy"), r"write NLL\(\)$"),
        (lambda: nn.Sequential([], "mse"), r"write Squared\(\)$"),
        (lambda: nn.Sequential([], "hinj"), r"write Hinge\(\)$"),
        (lambda: nn.Sequential([], "banana"), r"write one of NLL\(\), BinaryNLL\(\), Squared\(\)"),
        (lambda: nn.Sequential(nn.Linear(2, 3)), r"write Sequential\(\[Linear\(2, 3\), ReLU\(\)"),
        (
            lambda: nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)),
            r"got 3 objects; write Sequential\(\[Linear\(4, 3\), ReLU\(\), \.\.\.\]\)",
        ),
        (
            lambda: net().fit(X, LABELS, optimizer=optimizers.Adam),
            r"got the class Adam; write Adam",
        ),
        (lambda: net().fit(X, LABELS, lrate=nn.schedules.Cosine), r"write Cosine\(rate, steps\)$"),
        (
            lambda: net().fit(X, LABELS, callbacks=[nn.callbacks.EarlyStopping]),
            r"callbacks must hold objects, got the class EarlyStopping; write EarlyStopping\(\)$",
        ),
        (
            lambda: net().fit(X, LABELS, callbacks=nn.callbacks.ModelCheckpoint),
            r"write ModelCheckpoint\(path\)$",
        ),
    ],
)
def test_classes_and_names_are_answered_with_the_object(call, remedy):
    assert re.search(remedy, refused(call))


@pytest.mark.parametrize("use", ["forward", "predict_forward", "predict_proba", "fit"])
@pytest.mark.parametrize("wrong", [None, 3, np.tanh, [nn.ReLU()], nn.Tanh], ids=repr)
def test_what_is_no_module_is_refused_at_first_use(use, wrong):
    late = net()
    late.modules[1] = wrong
    message = refused(lambda: getattr(late, use)(X, *[LABELS] * (use == "fit")))
    assert message.startswith("modules[1] must ")
    late.modules = None
    assert refused(lambda: late.forward(X)) == "modules must be a list of modules, got NoneType"


def test_losses_and_modules_in_each_others_place():
    assert refused(lambda: nn.Sequential([nn.Linear(4, 2), nn.SoftMax(), nn.NLL()])) == (
        "modules[2] must be a module, got the loss NLL(), which is given after the list: "
        "Sequential([...], NLL())"
    )
    assert "got the module Tanh(), which belongs in the list" in refused(
        lambda: nn.Sequential([nn.Linear(4, 2)], nn.Tanh())
    )

    class Own(nn.Module):  # a loss of the user's own may be derived from Module
        def forward(self, Ypred, Y):
            self.d = Ypred - Y
            return float((self.d**2).sum())

        def backward(self):
            return 2 * self.d

    nn.Sequential([nn.Linear(4, 2)], Own()).partial_fit(X, np.zeros((2, 30)))


def test_a_mistake_in_a_users_module_keeps_its_own_error():
    class Own(nn.Module):
        def forward(self, A):
            return A.banana

    late = net()
    late.modules[1] = Own()
    assert refused(lambda: late.forward(X), AttributeError).endswith("no attribute 'banana'")


@pytest.mark.parametrize("form", ["csr_matrix", "csc_array", "coo_array"])
def test_sparse_samples_where_they_are_not_taken(form, backend):
    matrix = getattr(pytest.importorskip("scipy.sparse"), form)(X)
    for call in (net().forward, net().predict_forward, net()):
        assert refused(lambda call=call: call(matrix)) == (
            f"X must be a dense array for forward, got a sparse {form} (4, 30); pass X.toarray(), "
            "or call predict_proba, which takes it as it is"
        )
    for call in (net().predictor(), nn.Linear(4, 2).forward, nn.Tanh().forward):
        message = refused(lambda call=call: call(matrix))
        assert f"must be a dense array, got a sparse {form} (4, 30); pass its toarray()" in message
    columns = getattr(pytest.importorskip("scipy.sparse"), form)(np.eye(2)[:, LABELS])
    assert "Y must be a dense array" in refused(lambda: net().fit(X, columns))


def test_a_class_that_is_assigned_later_is_refused_at_its_first_use():
    late = net()
    late.loss = nn.NLL
    assert "write NLL()" in refused(lambda: late.fit(X, LABELS))
    late = net()
    late.modules[1] = nn.Tanh
    assert "modules[1] must be an object, got the class Tanh; write Tanh()" in refused(
        lambda: late.predict(X)
    )


# ---------------------------------------------------------------------------- sizes that do not fit


MISFIT = "modules[2] Linear(2, 2) must take the 3 outputs of modules[0] Linear(4, 3), got 2 inputs"
USES = {
    "forward": lambda n, path: n.forward(X),
    "call": lambda n, path: n(X),
    "predict_forward": lambda n, path: n.predict_forward(X),
    "fit": lambda n, path: n.fit(X, LABELS),
    "fit blocks": lambda n, path: n.fit([(X, LABELS)]),
    "sgd": lambda n, path: n.sgd(X, LABELS),
    "mini_gd": lambda n, path: n.mini_gd(X, LABELS, 3, 0.1),
    "partial_fit": lambda n, path: n.partial_fit(X, LABELS),
    "learner": lambda n, path: n.learner(),
    "predictor": lambda n, path: n.predictor(),
    "predict": lambda n, path: n.predict(X),
    "predict of one": lambda n, path: n.predict(X[:, :1]),
    "evaluate": lambda n, path: n.evaluate(X, LABELS),
    "log_likelihood": lambda n, path: n.log_likelihood(X, LABELS),
    "save": lambda n, path: n.save(path),
    "export.c": lambda n, path: nn.export.c(n, path, "f"),
    "export.safetensors": lambda n, path: nn.export.safetensors(n, path),
    "explain": lambda n, path: nn.explain(n, X, LABELS),
}


@pytest.mark.parametrize("use", USES)
def test_sizes_that_do_not_fit_are_refused_at_first_use_in_one_text(backend, tmp_path, use):
    wrong = net()
    wrong.modules[2] = nn.Linear(2, 2)  # nothing is raised before the network is used
    before = [m.W.copy() for m in wrong.modules[::2]]
    assert refused(lambda: USES[use](wrong, tmp_path / "file"), ValueError) == MISFIT
    assert all(map(np.array_equal, before, [m.W for m in wrong.modules[::2]]))
    assert not (tmp_path / "file").exists()
    wrong.modules[2].W, wrong.modules[2].W0 = np.ones((3, 2)), np.zeros((2, 1))
    USES[use](wrong, tmp_path / "file")


# -------------------------------------------------------------------------- rows, tables and labels


ROWS = X.T
WRONG_WAY = {
    "forward": lambda n, R: n(R),
    "fit": lambda n, R: n.fit(R, LABELS),
    "sgd": lambda n, R: n.sgd(R, LABELS),
    "partial_fit": lambda n, R: n.partial_fit(R, LABELS),
    "predict": lambda n, R: n.predict(R),
    "evaluate": lambda n, R: n.evaluate(R, LABELS),
}


@pytest.mark.parametrize("use", WRONG_WAY)
def test_rows_are_answered_with_the_transpose(backend, use):
    message = refused(lambda: WRONG_WAY[use](net(), ROWS), ValueError)
    assert "X must have shape (4, N), got (30, 4)" in message
    assert "pass the transpose, X.T, or train the estimators of nncore.sklearn" in message
    pandas = pytest.importorskip("pandas")
    message = refused(lambda: WRONG_WAY[use](net(), pandas.DataFrame(ROWS)), ValueError)
    assert (
        "pass the transpose, X.to_numpy().T, or train the estimators of nncore.sklearn" in message
    )


def test_columns_and_labels_without_numbers(backend):
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(ROWS, columns=list("abcd")).assign(b="x")
    assert "got object; columns without numbers: b; encode" in refused(
        lambda: net().fit(table, LABELS)
    )
    names = np.array(["ham", "spam"] * 15)
    for Y in (names, list(names), pandas.Series(names)):
        assert "np.unique(labels, return_inverse=True)[1], and nncore.sklearn" in refused(
            lambda Y=Y: net().fit(X, Y)
        )
    net().fit(X, np.unique(names, return_inverse=True)[1])
    assert "(N,), as in Y.ravel()" in refused(
        lambda: net().fit(X, pandas.DataFrame({"y": LABELS})), ValueError
    )


def labelled(kind):
    """A network, its labels (N,), and the same as columns."""
    np.random.seed(0)
    first = [nn.Linear(4, 3), nn.Tanh()]
    if kind == "classes":
        return (
            nn.Sequential([*first, nn.Linear(3, 2), nn.SoftMax()], nn.NLL()),
            LABELS,
            np.eye(2)[:, LABELS],
        )
    last = [nn.Linear(3, 1)] + [nn.OutputSigmoid()] * (kind == "binary")
    loss = {"binary": nn.BinaryNLL, "signs": nn.Hinge, "numbers": nn.Squared}[kind]()
    Y = {"binary": LABELS, "signs": 2 * LABELS - 1, "numbers": X[0]}[kind]
    return nn.Sequential([*first, *last], loss), Y, Y[None, :]


@pytest.mark.parametrize("kind", ["classes", "binary", "signs", "numbers"])
def test_sgd_and_mini_gd_take_the_labels_that_fit_takes(backend, kind):
    for call in (
        lambda n, Y: n.sgd(X, Y, 50, 0.01),
        lambda n, Y: n.mini_gd(X, Y, 20, 0.01),
        lambda n, Y: n.sgd(X, Y, 3, 0.01, progress=True),
    ):
        weights = []
        for form in (1, 2):
            network, *labels = labelled(kind)
            for given in (labels[form - 1], labels[form - 1].tolist()):
                np.random.seed(1)
                call(network, given)
            weights.append(network.modules[0].W)
        assert np.array_equal(*weights)


# --------------------------------------------------------------------------------------- regression


def regression():
    return labelled("numbers")[0]


TRAININGS = {
    "fit": lambda n, Y: n.fit(X, Y),
    "fit blocks": lambda n, Y: n.fit([(X, Y), (X, Y)]),
    "partial_fit": lambda n, Y: n.partial_fit(X, Y),
    "sgd": lambda n, Y: n.sgd(X, Y, 5),
    "mini_gd": lambda n, Y: n.mini_gd(X, Y, 5, 0.01),
}


@pytest.mark.parametrize("training", TRAININGS)
def test_predict_gives_numbers_in_the_shape_that_the_training_took(backend, tmp_path, training):
    for Y, shape in ((X[0], (30,)), (X[:1], (1, 30)), (X[0].tolist(), (30,))):
        network = regression()
        assert network.predict(X).shape == (1, 30)  # before any training
        TRAININGS[training](network, Y)
        assert network.predict(X).shape == shape
        assert np.array_equal(network.predict(X).ravel(), network.predict_proba(X)[0])
        assert network.predict(X[:, :1]).shape == (*shape[:-1], 1)
        for outputs in (network.predict_proba(X), network.forward(X), network.predictor()(X)):
            assert outputs.shape == (1, 30)
        network.save(tmp_path / "net.npz")
        for same in (
            nn.load(tmp_path / "net.npz"),
            pickle.loads(pickle.dumps(network)),
            copy.deepcopy(network),
        ):
            assert np.array_equal(same.predict(X), network.predict(X))
            assert same.predict(X).shape == shape


def test_fit_decides_anew_and_the_others_continue(backend):
    network = regression()
    network.fit(X, X[0])
    network.partial_fit(X, X[:1])
    network.sgd(X, X[:1], 2)
    assert network.predict(X).shape == (30,)
    network.fit(X, X[:1])
    assert network.predict(X).shape == (1, 30)
    network.fit([(X, X[0])])
    assert network.predict(X).shape == (30,)
    with pytest.raises(ValueError, match="Y must be finite"):
        network.fit(X, X[:1] * np.nan)
    assert network.predict(X).shape == (30,)


def test_several_outputs_stay_rows(backend):
    network = nn.Sequential([nn.Linear(4, 2)], nn.Squared())
    network.fit(X, X[:2])
    assert network.predict(X).shape == (2, 30)


@pytest.mark.parametrize("samples", [7, 30, 5000])
def test_evaluate_gives_r_squared_for_numbers(backend, samples):
    data = np.random.default_rng(1).normal(3, 2, size=(4, samples))
    Y = np.vstack([data[0] ** 2, 100 + data[1]])
    network = nn.Sequential([nn.Linear(4, 2)], nn.Squared())
    network.fit(data, Y, epochs=3, lrate=0.01, seed=0)
    loss, r2 = network.evaluate(data, Y)
    P = network.predict(data)
    residual, total = ((Y - P) ** 2).sum(axis=1), ((Y.T - Y.mean(axis=1)) ** 2).sum(axis=0)
    assert r2 == pytest.approx(np.mean(1 - residual / total), rel=1e-11)
    assert r2 == network.score(data, Y) and loss == pytest.approx(residual.sum() / samples)
    history = network.fit(data, Y, validation=(data, Y), epochs=2, lrate=0.001)
    assert list(history) == ["loss", "validation_loss", "validation_r2"]
    assert history["validation_r2"][-1] == network.score(data, Y)


def test_r_squared_of_constant_numbers_in_slices(backend):
    many = np.ones((1, 10000))
    network = nn.Sequential([nn.Linear(1, 1)], nn.Squared())
    network.modules[0].W[:], network.modules[0].W0[:] = 1, 0
    assert network.score(many, many) == 1 and network.score(many, 2 * many) == 0


# -------------------------------------------------------------------------- a network as a sequence


def test_a_network_is_a_sequence_of_its_modules(backend):
    network = net()
    assert (
        len(network) == 4 and network[0] is network.modules[0] and network[-1] is network.modules[3]
    )
    assert list(network) == network.modules and network.modules[1] in network
    assert np.array_equal(network(X), network.forward(X)) and network[0].A is X
    logits = network[:-1]
    assert isinstance(logits, nn.Sequential) and logits.loss is None and logits[0] is network[0]
    assert np.allclose(nn.SoftMax().forward(logits(X)), network(X))
    assert bool(network) and bool(nn.Sequential([])) and len(nn.Sequential([])) == 0
    assert "4 modules, got place 4" in refused(lambda: network[4], IndexError)
    assert "an integer or a slice, got str" in refused(lambda: network["relu"])
    assert isinstance(nn.reference.Sequential(network.modules)[1:], nn.reference.Sequential)


def test_calling_a_network_calls_its_own_forward():
    class Doubled(nn.Sequential):
        def forward(self, X):
            return 2 * super().forward(X)

    network = Doubled([nn.Linear(4, 2)])
    assert np.array_equal(network(X), 2 * network.modules[0].forward(X))
    assert isinstance(network[:1], nn.Sequential) and not isinstance(network[:1], Doubled)


def test_an_array_of_networks_is_one_dimensional():
    one, two = net(), net()
    for array in (
        np.array([one, two], dtype=object),
        np.array([one, two]),
        np.asarray((one, two), dtype=object),
        np.array([nn.Sequential([]), two], dtype=object),
    ):
        assert array.shape == (2,) and array.dtype == object
        assert array[1] is two
    assert np.array([[one, two]], dtype=object).shape == (1, 2)
    assert np.asarray(one, dtype=object).shape == () and np.asarray(one)[()] is one
    with pytest.raises(TypeError, match="a network cannot become an array of float64"):
        np.asarray(one, dtype=float)
    pandas = pytest.importorskip("pandas")
    assert pandas.Series([one, two])[0] is one


class Mystery:
    def forward(self, A):
        return A

    def backward(self, d):
        return d

    def step(self, lrate):
        pass


def test_the_summary():
    inner = nn.Sequential([nn.Linear(3, 5), nn.Tanh()])
    network = nn.Sequential([nn.Linear(4, 3), inner, Mystery(), nn.Linear(5, 2)], nn.Squared())
    text = network.summary()
    assert repr(text) == str(text)
    rows = [re.split(r"  +", line.strip()) for line in text.splitlines()]
    assert rows == [
        ["module", "output", "parameters"],
        ["0", "Linear(4, 3)", "(3, N)", "15"],
        ["1.0", "Linear(3, 5)", "(5, N)", "20"],
        ["1.1", "Tanh()", "(5, N)", "0"],
        ["2", "Mystery", "(?, N)", "0"],
        ["3", "Linear(5, 2)", "(2, N)", "12"],
        ["total", "47"],
        ["loss: Squared()"],
    ]
    assert "total" in nn.Sequential([]).summary() and f"{network.parameters:,}" in text


# -------------------------------------------------------------------------------------- repeatable


def test_one_seed_makes_weights_and_training_repeatable(backend):
    def trained():
        nn.set_seed(3)
        network = nn.Sequential(
            [nn.Linear(4, 3), nn.Dropout(0.2), nn.Linear(3, 2), nn.SoftMax()], nn.NLL()
        )
        network.fit(X, LABELS, epochs=2, batch_size=5)
        network.fit(X, LABELS, validation=0.5)
        network.sgd(X, LABELS, 10)
        return network.modules[0].W

    try:
        assert np.array_equal(trained(), trained())
        state = np.random.get_state()[1]
        np.random.seed(3)
        first = np.random.normal(0, 0.5, (4, 3))
        nn.set_seed(3)
        assert np.array_equal(nn.Linear(4, 3).W, first)  # the course's draws
        assert len(state) == 624
        nn.set_seed(3)
        one, two = net(), net()
        histories = [n.fit(X, LABELS, epochs=3, batch_size=5, seed=5) for n in (one, two)]
        assert histories[0] == histories[1]  # a seed of its own decides
        nn.set_seed(3)
        assert net().fit(X, LABELS, epochs=3, batch_size=5) != histories[0]
    finally:
        nn.set_seed(None)
    assert net().fit(X, LABELS, epochs=3, batch_size=5) != net().fit(
        X, LABELS, epochs=3, batch_size=5
    )
    for wrong, error in ((-1, ValueError), (2**32, ValueError), (1.5, TypeError), ("1", TypeError)):
        assert "seed must be" in refused(lambda wrong=wrong: nn.set_seed(wrong), error)


def test_layers_with_a_generator_of_their_own():
    state = np.random.get_state()[1].copy()
    a, b = nn.Linear(3, 2, rng=0), nn.Linear(3, 2, rng=np.random.default_rng(0))
    assert np.array_equal(a.W, b.W) and np.array_equal(
        a.W, np.random.default_rng(0).normal(0, 3**-0.5, (3, 2))
    )
    shared = np.random.default_rng(0)
    assert not np.array_equal(nn.Linear(3, 2, rng=shared).W, nn.Linear(3, 2, rng=shared).W)
    norm = nn.BatchNorm(3, rng=0)
    assert np.array_equal(norm.G, nn.BatchNorm(3, rng=0).G)
    assert np.array_equal(state, np.random.get_state()[1])  # neither drawn from nor seeded
    assert "rng must be None, an integer" in refused(lambda: nn.Linear(2, 2, rng="x"))
    assert "rng must be None if init is a function" in refused(
        lambda: nn.Linear(1, 1, init=lambda m, n: (np.ones((m, n)), np.ones((n, 1))), rng=0)
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_initial_weights_of_other_libraries_names(dtype):
    m, n = 300, 200
    for name in ("glorot", "xavier"):
        layer = nn.Linear(m, n, init=name, rng=0, dtype=dtype)
        bound = np.sqrt(6 / (m + n))
        assert layer.W.dtype == dtype and not layer.W0.any()
        assert 0.99 * bound < np.abs(layer.W).max() <= bound * (1 + 1e-6)
        assert layer.W.var() == pytest.approx(2 / (m + n), rel=0.02)
    assert np.array_equal(
        nn.Linear(m, n, init="lecun", rng=0).W, nn.Linear(m, n, init="course", rng=0).W
    )
    assert nn.Linear(m, n, init="lecun", rng=0).W.var() == pytest.approx(1 / m, rel=0.02)
    assert "did you mean 'glorot'?" in refused(lambda: nn.Linear(2, 2, init="Glorot"), ValueError)


# ------------------------------------------------------------------------------------- the history


def test_the_history_is_a_dict_that_shows_itself_briefly():
    history = net().fit(X, LABELS, epochs=2, validation=(X, LABELS), seed=0)
    assert isinstance(history, dict) and type(history) is nn.History
    first, last = history["loss"]
    assert repr(history).startswith(f"History(2 epochs: loss {first:.4g} -> {last:.4g}, validation")
    assert repr(net().fit(X, LABELS, epochs=0)) == "History(0 epochs: loss -)"
    for name, meant in (("val_loss", "validation_loss"), ("val_acc", "validation_accuracy")):
        assert f"did you mean '{meant}'?" in refused(lambda name=name: history[name], KeyError)
    assert "it has loss, validation_loss" in refused(lambda: history["banana"], KeyError)
    assert history.get("val_loss") is None and "val_loss" not in history
    history["other"] = ["words"]
    assert "other -" in repr(history) and len(repr(history)) < 200
    assert pickle.loads(pickle.dumps(history)) == history == dict(history)


def test_the_history_answers_attributes():
    history = net().fit(X, LABELS)
    assert "it is the dict itself: history['loss']" in refused(
        lambda: history.history, AttributeError
    )
    assert "write history['loss']" in refused(lambda: history.loss, AttributeError)
    assert copy.deepcopy(history) == pickle.loads(pickle.dumps(history)) == history
    assert not hasattr(history, "banana")


def test_the_history_draws_itself():
    pytest.importorskip("matplotlib")
    history = net().fit(X, LABELS, epochs=2, validation=(X, LABELS))
    labels = [line.get_label() for line in history.plot().get_lines()]
    assert labels == ["loss", "validation loss"]
    history = regression().fit(X, X[0], epochs=2, validation=0.5)
    ax = history.plot()
    assert [line.get_label() for line in ax.get_lines()] == ["loss", "validation loss"]
    assert ax.figure.axes[1].get_ylabel() == "R²"
