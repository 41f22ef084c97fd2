"""NLL with labels that do not sum to 1: dL/dZ = (Σ y) a − y in every loop, and a − y to the last
bit where they do."""

import copy

import numpy as np
import pytest
from support import TOLERANCE, assert_close

import nncore as nn
from nncore import reference
from nncore.kernels import compiled, numpy_kernels


def linear(m, n, dtype=np.float64):
    np.random.seed(0)
    return nn.Sequential([nn.Linear(m, n, dtype=dtype), nn.SoftMax()], nn.NLL())


# --------------------------------------------------------------------------------------- every loop


def by_modules(net, X, Y, steps):
    for _ in range(steps):
        net.loss.forward(net.forward(X), Y)
        net.backward(net.loss.backward())
        net.sgd_step(0.01)


def sgd(net, X, Y, steps):
    np.random.seed(1)
    net.sgd(X, Y, 3 * steps, nn.schedules.InverseTime(0.2, decay=0.01))


def partial_fit(net, X, Y, steps):
    for _ in range(steps):
        net.partial_fit(X, Y, batch_size=100, lrate=0.5)


LOOPS = {
    "sgd": sgd,
    "mini_gd": lambda net, X, Y, steps: net.mini_gd(X, Y, steps, 0.005, K=100),
    "fit": lambda net, X, Y, steps: net.fit(X, Y, epochs=steps, batch_size=100, lrate=0.5, seed=0),
    "adam": lambda net, X, Y, steps: net.fit(
        X, Y, epochs=steps, batch_size=100, optimizer="adam", lrate=0.01, seed=0
    ),
    "partial_fit": partial_fit,
    "by modules": by_modules,
}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("of", ["nncore", "reference"])
def test_weights_of_classes_give_the_weighted_shares(loop, of, backend, dtype):
    """80 samples of one class, 20 of the other with weight 2: probabilities 80 : 40."""
    lib = reference if of == "reference" else nn
    X, Y = np.ones((1, 100), dtype), np.zeros((2, 100), dtype)
    Y[0, :80] = 1
    Y[1, 80:] = 2
    np.random.seed(0)
    net = lib.Sequential([lib.Linear(1, 2, dtype=dtype), lib.SoftMax()], lib.NLL())
    LOOPS[loop](net, X, Y, 600)
    assert net.predict_proba(X[:, :1]).ravel() == pytest.approx(
        [2 / 3, 1 / 3], abs=0.02 if loop == "sgd" else 1e-3
    )


def labels(kind, n, count, rng):
    """Columns of every kind at once, but that negative ones are refused by fit."""
    Y = np.eye(n)[:, rng.integers(n, size=count)]
    if kind == "one hot":
        return Y
    if kind == "shares":
        return rng.dirichlet(np.ones(n), count).T
    Y *= rng.uniform(0.2, 5, count)
    Y[:, ::3] = rng.random((n, len(range(0, count, 3))))
    Y[:, 1::4] = 0
    if kind == "negative":
        Y[:, 2::5] *= -1
    return Y


@pytest.mark.parametrize("kind", ["one hot", "shares", "weights", "negative"])
@pytest.mark.parametrize("n", [2, 5, 10, 20, 40, 300, 800, 1700])
def test_steps_follow_the_formula(kind, n, isa, dtype):
    """Each loop from the same weights, next to W ← W − η x ((Σ y) a − y)ᵀ in plain NumPy."""
    m, count, steps = 3, 17, 12
    rng = np.random.default_rng(n)
    X, Y = rng.normal(size=(m, count)).astype(dtype), labels(kind, n, count, rng).astype(dtype)
    start = linear(m, n, dtype)
    one = start.modules[0]
    eta = 0.1 if kind == "one hot" else 0.02

    def expected(batches, scale):
        W, W0 = one.W.astype(np.float64), one.W0.astype(np.float64)
        for batch in batches:
            x, y = X[:, batch].astype(np.float64), Y[:, batch].astype(np.float64)
            Z = W.T @ x + W0
            e = np.exp(Z - Z.max(axis=0))
            dZ = y.sum(axis=0) * (e / e.sum(axis=0)) - y
            W -= eta * scale(len(batch)) * (x @ dZ.T)
            W0 -= eta * scale(len(batch)) * dZ.sum(axis=1, keepdims=True)
        return W, W0

    np.random.seed(3)
    draws = [[np.random.randint(count)] for _ in range(steps)]
    rows = [list(range(at, min(at + 5, count))) for at in range(0, count, 5)]
    runs = [(lambda net: net.sgd(X, Y, steps, eta), draws, lambda b: 1)]
    if kind != "negative":
        runs.append(
            (
                lambda net: net.fit(X, Y, batch_size=5, shuffle=False, lrate=eta),
                rows,
                lambda b: 1 / b,
            )
        )
        runs.append(
            (
                lambda net: net.partial_fit(X, Y, batch_size=1, lrate=eta),
                [[j] for j in range(count)],
                lambda b: 1,
            )
        )
    for run, batches, scale in runs:
        net = copy.deepcopy(start)
        np.random.seed(3)
        run(net)
        W, W0 = expected(batches, scale)
        tolerance = 50 * TOLERANCE[np.dtype(dtype)]
        assert_close(net.modules[0].W, W.astype(dtype), f"W, {batches[:3]}", tolerance=tolerance)
        assert_close(net.modules[0].W0, W0.astype(dtype), f"W0, {batches[:3]}", tolerance=tolerance)


@pytest.mark.parametrize("sizes", [(5, 4, 3), (70, 90, 30), (6, 700)], ids=str)
def test_losses_of_weighted_and_unlabelled_samples(sizes, backend, dtype):
    rng = np.random.default_rng(0)
    np.random.seed(0)
    parts = [
        part
        for m, n in zip(sizes, sizes[1:], strict=False)
        for part in (nn.Linear(m, n, dtype=dtype), nn.Tanh())
    ][:-1]
    net = nn.Sequential([*parts, nn.SoftMax()], nn.NLL())
    X, Y = (
        rng.normal(size=(sizes[0], 30)).astype(dtype),
        labels("weights", sizes[-1], 30, rng).astype(dtype),
    )
    terms = -np.sum(Y * np.log(net.predict_proba(X).astype(np.float64)), axis=0)
    assert net.evaluate(X, Y)[0] == pytest.approx(
        terms.mean(), rel=1e-5 if dtype == np.float32 else 1e-12
    )
    assert net.log_likelihood(X[:, 1::4], Y[:, 1::4]) == 0 and not Y[:, 1::4].any()
    before = [part.W.copy() for part in parts if isinstance(part, nn.Linear)]
    net.fit(X, np.zeros_like(Y), epochs=2, batch_size=4, lrate=0.5)
    assert all(np.array_equal(part.W, w) for part, w in zip(parts[::2], before, strict=True))


@pytest.mark.parametrize("shape", [(2, 1), (3, 5), (9, 4), (20, 7), (300, 3), (1700, 2)], ids=str)
def test_the_loss_of_a_column_is_that_of_its_weights(shape, kernels, isa, dtype):
    rng = np.random.default_rng(1)
    Z, Y = rng.normal(size=shape).astype(dtype), labels("weights", *shape, rng).astype(dtype)
    wide = Z.astype(np.longdouble)
    logs = wide - wide.max(axis=0) - np.log(np.exp(wide - wide.max(axis=0)).sum(axis=0))
    loss, gradient = kernels.softmax_nll(Z, Y)
    assert loss == pytest.approx(
        float(-(Y * logs).sum()), rel=1e-6 if dtype == np.float32 else 1e-14
    )
    assert_close(
        gradient,
        (Y.sum(axis=0, dtype=np.longdouble) * np.exp(logs) - Y).astype(dtype),
        scale=np.ones(1) + Y.sum(axis=0),
    )
    nothing = kernels.softmax_nll(Z, np.zeros_like(Y))
    assert nothing[0] == 0 and not nothing[1].any()


# -------------------------------------------------------------------------------------- to rounding


def one_hot(n, t):
    Y = np.zeros((n, 3), t)
    Y[[0, n // 2, n - 1], [0, 1, 2]] = 1
    return Y


MADE = {  # soft labels of n classes as programs make them
    "one hot": one_hot,
    "smoothed": lambda n, t: one_hot(n, t) * t(0.9) + t(0.1) / t(n),
    "equal": lambda n, t: np.full((n, 3), t(1) / t(n)),
    "normalised": lambda n, t: (lambda Y: Y / Y.sum(axis=0))(
        np.random.default_rng(n).random((n, 3)).astype(t)
    ),
    "normalised tenths": lambda n, t: (lambda Y: Y / Y.sum(axis=0))(np.full((n, 3), t(0.1))),
    "softmax": lambda n, t: numpy_kernels.softmax_forward(
        np.random.default_rng(n).normal(0, 3, (n, 3)).astype(t)
    ),
}


@pytest.mark.parametrize("made", MADE)
@pytest.mark.parametrize("of", [np.float32, np.float64], ids=["of float32", "of float64"])
def test_labels_normalised_in_any_type_give_ypred_less_y_to_the_last_bit(made, of, isa, dtype):
    for n in (2, 3, 10, 17, 100, 1000, 2000, 100_000):
        Y = MADE[made](n, of).astype(dtype)
        Z = np.random.default_rng(n).normal(size=Y.shape).astype(dtype)
        for k in (compiled, numpy_kernels) if isa == "generic" else (compiled,):
            P = k.softmax_forward(Z)
            assert np.array_equal(k.nll_backward(P, Y), P - Y), (n, k)
            for order in "CF":
                gradient = k.softmax_nll(np.array(Z, order=order), np.array(Y, order=order))[1]
                assert np.array_equal(gradient, P - Y), (n, order, k)


@pytest.mark.parametrize("n", [2, 3, 7, 10, 20, 33, 300, 1700])
def test_one_tolerance_in_every_path(n, isa, dtype):
    """|Σ y − 1| ≤ n 2⁻²³ counts as 1, more does not: kernels of one sample and of many, in both
    orders, and both backends."""
    tolerance = n * 2.0**-23
    P = np.full((n, 5), 1 / n, dtype)
    for excess, counts in (
        (0, True),
        (tolerance, True),
        (-tolerance, True),
        (tolerance * 1.5, False),
        (-tolerance * 1.5, False),
    ):
        Y = np.zeros((n, 5), dtype)
        Y[0], Y[-1] = 0.5, 0.5
        Y[-1] += dtype(excess)
        weight = 1 if counts else Y.sum(axis=0, dtype=np.float64).astype(dtype)
        expected = weight * P - Y
        assert not counts or np.array_equal(expected, P - Y)
        for k in (compiled, numpy_kernels):
            softmax = k.softmax_forward(np.zeros_like(P))
            for columns in (1, 5):
                what = f"{k.__name__} {excess / tolerance} {columns}"
                given = P[:, :columns], Y[:, :columns]
                assert_close(
                    k.nll_backward(*given),
                    expected[:, :columns],
                    what,
                    tolerance=2 * np.finfo(dtype).eps,
                )
                for order in "CF":
                    got = k.softmax_nll(
                        np.zeros((n, columns), dtype, order), np.array(given[1], order=order)
                    )[1]
                    exact = (weight * softmax - Y)[:, :columns]
                    assert_close(got, exact, f"{what} {order}", tolerance=2 * np.finfo(dtype).eps)
        net = linear(1, n, dtype)
        net.modules[0].W[:] = 0
        net.sgd(
            np.ones((1, 5), dtype), Y, 2, 1.0
        )  # one compiled step would not leave W0 where the formula does, if it weighed otherwise
        twin = copy.deepcopy(net)
        with nn.use_backend("numpy"):
            twin.modules[0].W[:] = twin.modules[0].W0[:] = 0
            twin.sgd(np.ones((1, 5), dtype), Y, 2, 1.0)
        assert_close(
            net.modules[0].W0,
            twin.modules[0].W0,
            f"sgd {excess / tolerance}",
            np.ones(1),
            4 * np.finfo(dtype).eps,
        )


# -------------------------------------------------------------------------------- users' own losses


class CourseNLL:
    """As the homework's: Ypred − Y for any labels."""

    def forward(self, Ypred, Y):
        self.Ypred, self.Y = Ypred, Y
        return float(np.sum(-Y * np.log(Ypred)))

    def backward(self):
        return self.Ypred - self.Y


class ExactNLL(CourseNLL):
    def backward(self):
        return self.Y.sum(axis=0) * self.Ypred - self.Y


class Ratio(CourseNLL):
    """∂L/∂Ypred, for a softmax that multiplies by its own derivative."""

    def backward(self):
        return -self.Y / self.Ypred


class Jacobian(nn.SoftMax):
    def forward(self, Z):
        self.A = super().forward(Z)
        return self.A

    def backward(self, dLdA):
        return self.A * (dLdA - np.sum(self.A * dLdA, axis=0))


@pytest.mark.parametrize(
    "loss, softmax",
    [(CourseNLL, nn.SoftMax), (ExactNLL, nn.SoftMax), (Ratio, Jacobian)],
    ids=lambda c: c.__name__,
)
@pytest.mark.parametrize("n", [3, 40])
def test_an_accelerated_network_keeps_what_its_own_loss_does_with_weights(
    loss, softmax, n, backend
):
    rng = np.random.default_rng(2)
    X, Y = rng.normal(size=(4, 30)), labels("weights", n, 30, rng)
    np.random.seed(0)
    mine = nn.Sequential([nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, n), softmax()], loss())
    theirs = copy.deepcopy(mine)
    fast = nn.accelerate(theirs)
    assert isinstance(fast.loss, nn.NLL) and fast.report.loss.matched
    for train in (
        lambda net: net.sgd(X, Y, 50, 0.01),
        lambda net: net.mini_gd(X, Y, 8, 0.01, K=7),
        lambda net: net.fit(X, Y, epochs=2, lrate=0.01, seed=0),
    ):
        np.random.seed(5)
        train(mine)
        np.random.seed(5)
        train(fast)
        for a, b in zip(fast.modules[:3:2], mine.modules[:3:2], strict=True):
            assert_close(a.W, b.W, tolerance=1e-11)
    by_hand = mine.loss.forward(mine.forward(X), Y), mine.loss.backward()
    assert fast.loss.forward(fast.forward(X), Y) == pytest.approx(by_hand[0])
    if softmax is nn.SoftMax:
        assert_close(fast.loss.backward(), by_hand[1], tolerance=1e-10)


def test_a_course_style_loss_is_not_accused():
    report = nn.check(CourseNLL())
    assert report, str(report)
