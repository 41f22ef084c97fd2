"""accelerate: networks of somebody's own classes, recognised by behaviour, sharing their arrays,
training as their own code does."""

import pickle
import random
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nncore as nn
from nncore import foreign, reference
from nncore.foreign.snapshot import random_state

# ----------------------------------------------------------------- a student's file, in five styles


class Rebinding:
    """W and W0 are bound anew by every step."""

    def __init__(self, m, n):
        self.m, self.n = m, n
        self.W0 = np.random.normal(size=(n, 1))
        self.W = np.random.normal(0, m**-0.5, (m, n))

    def forward(self, A):
        self.A = A
        return self.W.T @ A + self.W0

    def backward(self, dLdZ):
        self.dLdW = self.A @ dLdZ.T
        self.dLdW0 = dLdZ.sum(axis=1, keepdims=True)
        return self.W @ dLdZ

    def sgd_step(self, lrate):
        self.W = self.W - lrate * self.dLdW
        self.W0 = self.W0 - lrate * self.dLdW0


class InPlace(Rebinding):
    def sgd_step(self, lrate):
        self.W -= lrate * self.dLdW
        self.W0 -= lrate * self.dLdW0


class Unsummed(Rebinding):
    """The gradient of W0 stays (n, b): right for single samples only."""

    def backward(self, dLdZ):
        dLdA = super().backward(dLdZ)
        self.dLdW0 = dLdZ
        return dLdA


class UnsummedInPlace(Unsummed):
    sgd_step = InPlace.sgd_step


class Momentum(InPlace):
    velocity = 0

    def sgd_step(self, lrate):
        self.velocity = 0.9 * self.velocity + self.dLdW
        self.W -= lrate * self.velocity
        self.W0 -= lrate * self.dLdW0


class SubtlyWrong(InPlace):
    def backward(self, dLdZ):
        return super().backward(dLdZ) * (1 + 1e-9)


class Nothing:
    def step(self, lrate):
        pass


class MyTanh(Nothing):
    def forward(self, Z):
        self.A = np.tanh(Z)
        return self.A

    def backward(self, dLdA):
        return dLdA * (1 - self.A**2)


class MyReLU(Nothing):
    def forward(self, Z):
        self.Z = Z
        return np.where(Z > 0, Z, 0)

    def backward(self, dLdA):
        return dLdA * (self.Z > 0)


class MySigmoid(Nothing):
    def forward(self, Z):
        self.A = 1 / (1 + np.exp(-Z))
        return self.A

    def backward(self, dLdA):
        return self.A * (1 - self.A) * dLdA


class Unstable(Nothing):
    def forward(self, Z):
        return np.exp(Z) / np.sum(np.exp(Z), axis=0, keepdims=True)

    def backward(self, dLdZ):
        return dLdZ

    def class_fun(self, Ypred):
        return np.argmax(Ypred, axis=0)


class Stable(Unstable):
    def forward(self, Z):
        e = np.exp(Z - Z.max(axis=0, keepdims=True))
        return e / e.sum(axis=0, keepdims=True)


class MyNLL:
    def forward(self, Ypred, Y):
        self.Ypred, self.Y = Ypred, Y
        return float(np.sum(-Y * np.log(Ypred)))

    def backward(self):
        return self.Ypred - self.Y


class MyBinaryNLL(MyNLL):
    def forward(self, Ypred, Y):
        self.Ypred, self.Y = Ypred, Y
        return float(np.sum(-Y * np.log(Ypred) - (1 - Y) * np.log(1 - Ypred)))


class MyOutputSigmoid(MySigmoid):
    def backward(self, dLdZ):
        return dLdZ

    def class_fun(self, Ypred):
        return (Ypred > 0.5).astype(int)


class MyNetwork:
    def __init__(self, modules, loss):
        self.modules, self.loss = modules, loss

    def sgd(self, X, Y, iters, lrate):
        for _ in range(iters):
            i = np.random.randint(X.shape[1])
            self.loss.forward(self.forward(X[:, i : i + 1]), Y[:, i : i + 1])
            delta = self.loss.backward()
            for m in self.modules[::-1]:
                delta = m.backward(delta)
            for m in self.modules:
                (m.sgd_step if hasattr(m, "sgd_step") else m.step)(lrate)

    def forward(self, X):
        for m in self.modules:
            X = m.forward(X)
        return X


STYLES = (Rebinding, InPlace, Unsummed, UnsummedInPlace, Momentum, SubtlyWrong)


def network(Dense, sizes=(2, 10, 10, 3), Output=Unstable, Loss=MyNLL, hidden=(MyReLU, MyTanh)):
    modules = []
    for i, (m, n) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        modules += [Dense(m, n), hidden[i % len(hidden)]()]
    return MyNetwork([*modules[:-1], Output()], Loss())


def data(inputs=2, classes=3, samples=30):
    rng = np.random.default_rng(0)
    return rng.normal(size=(inputs, samples)), np.eye(classes)[
        :, rng.integers(classes, size=samples)
    ]


def weights(net):
    return [np.array(w) for m in net.modules if hasattr(m, "W") for w in (m.W, m.W0)]


def everything(net):
    """The whole state of a network of these classes, values and identities."""
    parts = [net, *net.modules, net.loss]
    attributes = [(name, id(value)) for x in parts for name, value in vars(x).items()]
    return (
        attributes,
        [pickle.dumps(vars(x)) for x in [*net.modules, net.loss]],
        random_state(),
        np.geterr(),
    )


# ---------------------------------------------------------------------------------- the five styles


@pytest.mark.parametrize("trained", [False, True], ids=["new", "trained before"])
@pytest.mark.parametrize("style", STYLES)
def test_probing_leaves_no_trace(style, trained, capsys):
    net = network(style)
    if trained:
        net.sgd(*data(), 20, 0.1)
    before = everything(net)
    nn.accelerate(net)
    assert everything(net) == before
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("trained", [False, True], ids=["new", "trained before"])
@pytest.mark.parametrize("style", STYLES)
def test_trains_as_the_users_own(style, trained):
    """The same draws, the same weights to rounding, the generator left in the same state, and the
    user's modules see them."""
    X, Y = data()
    np.random.seed(1)
    net = network(style)
    if trained:
        net.sgd(X, Y, 20, 0.1)
    own = pickle.loads(pickle.dumps(net))
    fast = nn.accelerate(net)
    np.random.seed(2)
    own.sgd(X, Y, 200, 0.02)
    state = random_state()
    np.random.seed(2)
    fast.sgd(X, Y, 200, 0.02)
    assert random_state() == state
    for a, b, c in zip(weights(own), weights(net), weights(fast) or weights(net), strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-11)
        np.testing.assert_array_equal(c, b)
    np.testing.assert_allclose(net.forward(X), own.forward(X), rtol=0, atol=1e-11)
    np.testing.assert_array_equal(fast.predict(X), own.modules[-1].class_fun(own.forward(X)))


@pytest.mark.parametrize("style", STYLES[:4])
def test_recognised_styles_share_the_very_arrays(style):
    net = network(style)
    fast = nn.accelerate(net)
    assert (
        fast.report.compiled
        and all(e.matched for e in fast.report.modules)
        and fast.report.loss.matched
    )
    assert [type(m) for m in fast.modules] == [
        nn.Linear,
        nn.ReLU,
        nn.Linear,
        nn.Tanh,
        nn.Linear,
        nn.SoftMax,
    ]
    assert type(fast) is nn.Sequential and type(fast.loss) is nn.NLL
    for mine, theirs in zip(fast.modules[::2], net.modules[::2], strict=True):
        assert mine.W is theirs.W and mine.W0 is theirs.W0
    rebinds = "your own step rebinds W and W0" in str(fast.report)
    assert rebinds == (style in (Rebinding, Unsummed))
    assert ("not summed over the batch" in str(fast.report)) == (
        style in (Unsummed, UnsummedInPlace)
    )
    assert "5: Unstable -> SoftMax(): yours gives nan or infinity for large numbers" in str(
        fast.report
    )


@pytest.mark.parametrize(
    "style, why",
    [
        (Momentum, "second step is not W − lrate dL/dW; it keeps velocity from step to step"),
        (SubtlyWrong, "its backward is not W dLdZ (off by"),
    ],
)
def test_other_styles_keep_their_own_module_among_compiled_ones(style, why):
    net = network(style)
    fast = nn.accelerate(net)
    assert [type(m) for m in fast.modules] == [style, nn.ReLU, style, nn.Tanh, style, nn.SoftMax]
    assert fast.modules[0] is net.modules[0]
    assert not fast.report.compiled and why in str(fast.report)
    assert str(fast.report).startswith(
        "3 of 6 modules and the loss matched; the network trains module by module"
    )


def test_one_foreign_module_among_recognised_ones():
    net = network(InPlace)
    net.modules[3] = Scaled()
    fast = nn.accelerate(net)
    assert [e.matched for e in fast.report.modules] == [True, True, True, False, True, True]
    assert fast.modules[3] is net.modules[3]
    assert fast.report.modules[3].remarks == ["its forward is none of the library's functions"]


class Scaled(Nothing):
    def forward(self, Z):
        return 3 * Z

    def backward(self, dLdA):
        return 3 * dLdA


# --------------------------------------------------------------------------- where weights may live


class Kept:
    """Linear whose weights live where `layout` says: attributes of any name, a dict, a list,
    transposed, as rows of one matrix."""

    def __init__(self, m, n, layout, dtype=np.float64):
        W, b = (
            np.random.normal(0, m**-0.5, (m, n)).astype(dtype),
            np.random.normal(size=(n, 1)).astype(dtype),
        )
        self.layout = layout
        self.store = {
            "names": lambda: {"weights": W, "bias": b},
            "flat bias": lambda: [W, b.ravel()],
            "row bias": lambda: SimpleNamespace(w=W, b=b.T.copy()),
            "transposed": lambda: [W.T.copy(), b],
            "bias last": lambda: np.vstack([W, b.T]),
            "bias first": lambda: np.vstack([b.T, W]),
            "transposed, bias last": lambda: np.hstack([W.T, b]),
            "strided": lambda: [np.repeat(W, 2, 0)[::2], b[::-1]],
        }[layout]()

    def views(self):
        s = self.store
        return {
            "names": lambda: (s["weights"], s["bias"]),
            "flat bias": lambda: (s[0], s[1][:, None]),
            "row bias": lambda: (s.w, s.b.T),
            "transposed": lambda: (s[0].T, s[1]),
            "bias last": lambda: (s[:-1], s[-1:].T),
            "bias first": lambda: (s[1:], s[:1].T),
            "transposed, bias last": lambda: (s[:, :-1].T, s[:, -1:]),
            "strided": lambda: tuple(s),
        }[self.layout]()

    def forward(self, A):
        self.A = A
        W, W0 = self.views()
        return W.T @ A + W0

    def backward(self, dLdZ):
        self.grads = self.A @ dLdZ.T, dLdZ.sum(axis=1, keepdims=True)
        return self.views()[0] @ dLdZ

    def step(self, lrate):
        for w, g in zip(self.views(), self.grads, strict=True):
            w -= lrate * g


LAYOUTS = (
    "names",
    "flat bias",
    "row bias",
    "transposed",
    "bias last",
    "bias first",
    "transposed, bias last",
    "strided",
)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 7),
    st.lists(st.integers(1, 7), min_size=1, max_size=3),
    st.sampled_from(LAYOUTS),
    st.sampled_from([np.float32, np.float64]),
    st.integers(0, 1000),
)
def test_any_shape_and_layout_is_shared(inputs, widths, layout, dtype, seed):
    np.random.seed(seed)
    sizes = [inputs, *widths, 3]
    net = network(lambda m, n: Kept(m, n, layout, dtype), sizes)
    own = pickle.loads(pickle.dumps(net))
    fast = nn.accelerate(net)
    linears = [m for m in fast.modules if isinstance(m, nn.Linear)]
    assert len(linears) == len(sizes) - 1, str(fast.report)
    X, Y = data(inputs)
    for one in (own, fast):
        np.random.seed(seed)
        one.sgd(X.astype(dtype), Y.astype(dtype), 12, 0.01)
    for linear, theirs, alone in zip(linears, net.modules[::2], own.modules[::2], strict=True):
        for a, b, c in zip((linear.W, linear.W0), theirs.views(), alone.views(), strict=True):
            assert np.shares_memory(a, b)
            np.testing.assert_array_equal(a, b)
            np.testing.assert_allclose(b, c, rtol=0, atol=1e-12 if dtype is np.float64 else 1e-4)


def test_a_copy_that_forward_reads_is_not_the_weight():
    class Cached(InPlace):
        """Computes with a transpose made by its own step: an update of W alone would not be
        seen."""

        def __init__(self, m, n):
            super().__init__(m, n)
            self.WT = self.W.T.copy()

        def forward(self, A):
            self.A = A
            return self.WT @ A + self.W0

        def sgd_step(self, lrate):
            super().sgd_step(lrate)
            self.WT = self.W.T.copy()

    fast = nn.accelerate(network(Cached))
    assert not fast.report.modules[0].matched


def test_the_right_one_of_equal_arrays_is_found():
    class WithHistory(InPlace):
        def __init__(self, m, n):
            super().__init__(m, n)
            self.__dict__ = {"first_W": self.W.copy(), "first_W0": self.W0.copy(), **self.__dict__}

    net = network(WithHistory)
    fast = nn.accelerate(net)
    assert fast.modules[0].W is net.modules[0].W and fast.modules[0].W0 is net.modules[0].W0


# ------------------------------------------------------------------------- what is refused, and why


def changed(method, body, base=InPlace):
    """A subclass with one method replaced."""
    return type("Changed", (base,), {method: body})


def _step(scale=1.0, after=None):
    def step(self, lrate):
        self.W -= scale * lrate * self.dLdW
        self.W0 -= scale * lrate * self.dLdW0
        if after:
            after(self)

    return step


def _averaged(self, dLdZ):
    self.dLdW, self.dLdW0 = self.A @ dLdZ.T / dLdZ.shape[1], dLdZ.mean(axis=1, keepdims=True)
    return self.W @ dLdZ


def _wrong_transpose(self, dLdZ):
    self.dLdW, self.dLdW0 = (dLdZ @ self.A.T).T[::-1].copy(), dLdZ.sum(axis=1, keepdims=True)
    return self.W @ dLdZ


def _noisy(self, A):
    np.random.rand()
    return InPlace.forward(self, A)


LINEARS_REFUSED = {
    "averaged": (
        changed("backward", _averaged),
        "averages the gradient of W over the batch instead of summing it",
    ),
    "wrong gradient": (changed("backward", _wrong_transpose), "step is not W − lrate dL/dW"),
    "twice the step": (changed("sgd_step", _step(2)), "but 2 times that step"),
    "upwards": (changed("sgd_step", _step(-1)), "but -1 times that step"),
    "no step": (changed("sgd_step", lambda self, lrate: None), "step leaves W unchanged"),
    "decay": (
        changed("sgd_step", _step(after=lambda self: self.W.__imul__(0.999))),
        "step is not W − lrate dL/dW",
    ),
    "clipped": (
        changed("sgd_step", _step(after=lambda self: np.clip(self.W, -10, 10, out=self.W))),
        "step is not W − lrate dL/dW",
    ),
    "lost weight": (
        changed("sgd_step", lambda self, lrate: self.__dict__.pop("W")),
        "leaves W as NoneType",
    ),
    "raises": (changed("sgd_step", lambda self, lrate: 1 / 0), "its step raises ZeroDivisionError"),
    "draws": (changed("forward", _noisy), "draws random numbers"),
    "no backward": (
        changed("backward", lambda self, dLdZ: None),
        "its backward gives NoneType instead of an array of shape (2, 1)",
    ),
    "backward raises": (
        changed("backward", lambda self, dLdZ: [][0]),
        "its backward raises IndexError",
    ),
    "no bias": (changed("forward", lambda self, A: self.W.T @ A), "there is no bias W0"),
    "forward raises": (
        changed("forward", lambda self, A: {}["lost"]),
        "its forward raises KeyError: 'lost'",
    ),
    "nothing returned": (
        changed("forward", lambda self, A: None),
        "none of the library's functions",
    ),
}


@pytest.mark.parametrize("cls, why", LINEARS_REFUSED.values(), ids=LINEARS_REFUSED)
def test_linears_refused(cls, why):
    net = MyNetwork([cls(2, 3), MyReLU(), InPlace(3, 2), Stable()], MyNLL())
    before = everything(net)
    fast = nn.accelerate(net)
    assert everything(net) == before
    assert fast.modules[0] is net.modules[0] and not fast.report.modules[0].matched
    assert why in fast.report.modules[0].remarks[0]
    assert [type(m) for m in fast.modules[1:]] == [nn.ReLU, nn.Linear, nn.SoftMax]


@pytest.mark.parametrize(
    "prepare, why",
    [
        (
            lambda w: np.rint(w * 9).astype(int),
            "W is int64 and cannot be updated in place; use W.astype(float)",
        ),
        (lambda w: w.astype(np.float16), "W is float16 and cannot be updated in place"),
        (lambda w: w.astype(">f8"), "W is >f8 and cannot be updated in place"),
        (lambda w: np.broadcast_to(w, w.shape), "W is read-only and cannot be updated in place"),
    ],
)
def test_weights_that_cannot_be_updated_in_place(prepare, why):
    net = network(Rebinding)
    first = net.modules[0]
    first.W = prepare(first.W)
    W = first.W
    fast = nn.accelerate(net)
    assert fast.modules[0] is first and first.W is W
    assert why in fast.report.modules[0].remarks[0]
    fast.sgd(*data(), 3, 0.1)  # by the module's own step, which binds W anew
    assert first.W is not W


ACTIVATIONS_REFUSED = {
    "elu": (
        changed(
            "forward", lambda self, Z: MyReLU.forward(self, Z) + np.expm1(np.minimum(Z, 0)), MyReLU
        ),
        "none of the library's functions",
    ),
    "bounded": (
        changed("forward", lambda self, Z: np.minimum(MyReLU.forward(self, Z), 500), MyReLU),
        "its forward is not max(0, Z) for large numbers",
    ),
    "derivative everywhere": (
        changed("backward", lambda self, d: d * (np.maximum(0, self.Z) >= 0), MyReLU),
        "its forward is ReLU's, but its backward is not dLdA where A > 0, else 0 (off by",
    ),
    "nan": (
        changed("backward", lambda self, d: d * np.log(self.Z), MyReLU),
        "else 0 (nan or infinity in its place)",
    ),
    "1 - A": (
        changed("backward", lambda self, d: d * (1 - self.A), MyTanh),
        "its forward is Tanh's, but its backward is not dLdA ⊙ (1 − A²)",
    ),
    "shape": (changed("backward", lambda self, d: d.T, MyTanh), "its backward gives shape"),
}


@pytest.mark.parametrize("cls, why", ACTIVATIONS_REFUSED.values(), ids=ACTIVATIONS_REFUSED)
def test_activations_refused(cls, why):
    fast = nn.accelerate(MyNetwork([InPlace(2, 3), cls(), InPlace(3, 2), Stable()], MyNLL()))
    assert [e.matched for e in fast.report.modules] == [True, False, True, True]
    assert why in fast.report.modules[1].remarks[0]


def _bounded(low, high):
    def forward(self, P, Y):
        self.Ypred, self.Y = P, Y
        return -np.sum(Y * np.log(np.clip(P, low, high)))

    return changed("forward", forward, MyNLL)


LOSSES_REFUSED = {
    "mean": (
        changed("forward", lambda self, P, Y: MyNLL.forward(self, P, Y) / P.shape[1], MyNLL),
        "its value is NLL's averaged over the batch",
    ),
    "gradient": (
        changed("backward", lambda self: self.Y - self.Ypred, MyNLL),
        "its value is NLL's, but its backward is not dL/dZ",
    ),
    "shifted": (
        changed(
            "forward",
            lambda self, P, Y: (MyNLL.forward(self, P, Y), float(np.sum(-Y * np.log(P + 1e-3))))[1],
            MyNLL,
        ),
        "none of the library's losses",
    ),
    "bounded early": (
        _bounded(0, 0.99),
        "its value is not NLL's for large numbers or probabilities near 0 or 1",
    ),
    "bounded": (
        _bounded(1e-15, 1 - 1e-5),
        "its value is not NLL's for large numbers or probabilities near 0 or 1",
    ),
    "raises": (
        changed("forward", lambda self, P, Y: P["loss"], MyNLL),
        "its forward raises IndexError",
    ),
    "no gradient": (
        changed("backward", lambda self: None, MyNLL),
        "its backward is not dL/dZ as nncore's (NoneType instead of shape",
    ),
    "averaged gradient": (
        changed("backward", lambda self: (self.Ypred - self.Y) / self.Y.shape[1], MyNLL),
        "its backward is not dL/dZ",
    ),
    "a little wrong": (
        changed("backward", lambda self: (self.Ypred - self.Y) * (1 + 1e-9), MyNLL),
        "its backward is not dL/dZ",
    ),
    "bounded gradient": (
        changed("backward", lambda self: np.clip(self.Ypred, 1e-3, 1) - self.Y, MyNLL),
        "its backward is not dL/dZ",
    ),
}


@pytest.mark.parametrize("cls, why", LOSSES_REFUSED.values(), ids=LOSSES_REFUSED)
def test_losses_refused(cls, why):
    net = network(InPlace, Loss=cls)
    fast = nn.accelerate(net)
    assert fast.loss is net.loss and not fast.report.loss.matched and not fast.report.compiled
    assert why in fast.report.loss.remarks[0]
    assert "6 of 6 modules and not the loss matched" in str(fast.report)


# ---------------------------------------------------------------------- what matches with a remark


@pytest.mark.parametrize("bound", [1e-15, 1e-7])
def test_a_bounded_logarithm_is_matched(bound):
    fast = nn.accelerate(network(InPlace, Loss=_bounded(bound, 1 - bound)))
    assert fast.report.compiled
    assert fast.report.loss.remarks == [
        "yours bounds the logarithm of a probability near 0 or 1, nncore's does not"
    ]


@pytest.mark.parametrize("added", [1e-7, 1e-8, 1e-12])
def test_a_small_number_in_the_logarithm_is_matched(added):
    forward = lambda self, P, Y: (MyNLL.forward(self, P, Y), -np.sum(Y * np.log(P + added)))[1]  # noqa: E731
    fast = nn.accelerate(network(InPlace, Loss=changed("forward", forward, MyNLL)))
    assert fast.report.compiled
    assert fast.report.loss.remarks == [
        f"yours adds {added:.2g} to a probability before its logarithm, nncore's does not"
    ]
    binary = changed(
        "forward",
        lambda self, P, Y: (
            MyNLL.forward(self, P, Y),
            -np.sum(Y * np.log(P + added) + (1 - Y) * np.log(1 - P + added)),
        )[1],
        MyNLL,
    )
    assert (
        "to a probability before its logarithm"
        in nn.accelerate(
            SimpleNamespace(modules=[InPlace(2, 1), nn.OutputSigmoid()], loss=binary())
        ).report.loss.remarks[0]
    )
    other = changed(
        "forward",
        lambda self, P, Y: (MyNLL.forward(self, P, Y), -np.sum(Y * np.log(P + 1e-3)))[1],
        MyNLL,
    )
    assert not nn.accelerate(network(InPlace, Loss=other)).report.loss.matched


# What is right for training is taken: the entry of that place has the note, and the network trains
# compiled.


def _heaviside(self, d):
    return d * np.heaviside(self.Z, 0.5)


def _zero_one(self, d):
    d = np.array(d)
    d[self.Z < 0] = 0
    return d


@pytest.mark.parametrize(
    "backward, slope",
    [(lambda self, d: d * (self.Z >= 0), "1"), (_zero_one, "1"), (_heaviside, "0.5")],
)
def test_a_relu_with_another_derivative_at_0_is_matched(backward, slope):
    fast = nn.accelerate(
        network(InPlace, Output=Stable, hidden=(changed("backward", backward, MyReLU),))
    )
    assert fast.report.compiled
    assert fast.report.modules[1].remarks == [
        f"your derivative at exactly 0 is {slope}, nncore's 0"
    ]


@pytest.mark.parametrize("margin", [np.less_equal, lambda a, b: ~(a > b)])
def test_a_hinge_with_another_derivative_at_the_margin_is_matched(margin):
    class MyHinge:
        def forward(self, Ypred, Y):
            self.Ypred, self.Y = Ypred, Y
            return float(np.sum(np.maximum(0, 1 - Y * Ypred)))

        def backward(self):
            return np.where(margin(self.Y * self.Ypred, 1), -self.Y, 0)

    fast = nn.accelerate(MyNetwork([InPlace(2, 3), MyTanh(), InPlace(3, 1)], MyHinge()))
    assert fast.report.compiled
    assert fast.report.loss.remarks == [
        "your derivative at exactly the margin y a = 1 is 1, nncore's 0"
    ]


@pytest.mark.parametrize(
    "body, why",
    [
        (lambda self, Ypred: np.argmax(Ypred, axis=1), "your class_fun gives other classes"),
        (lambda self, Ypred: np.max(Ypred, axis=0), "your class_fun gives other classes"),
        (lambda self, Ypred: np.zeros(Ypred.shape[1], int), "your class_fun gives other classes"),
        (lambda self, Ypred: None, "your class_fun gives other classes"),
        (lambda self: 0, "your class_fun raises TypeError: "),
    ],
)
def test_an_output_with_a_wrong_class_fun_is_matched(body, why):
    net = network(InPlace, Output=changed("class_fun", body, Stable))
    before = everything(net)
    fast = nn.accelerate(net)
    assert everything(net) == before
    assert fast.report.compiled and type(fast.modules[-1]) is nn.SoftMax
    (note,) = fast.report.modules[-1].remarks
    assert note.startswith(why)
    assert note.endswith(
        "predictions of the new network use nncore's, the place of the largest entry of each column"
    )
    X = data()[0]
    np.testing.assert_array_equal(fast.predict(X), np.argmax(fast.predict_proba(X), axis=0))


def _argmax(self, Ypred):
    return np.argmax(Ypred, axis=0)


class Quotients(MyBinaryNLL):
    """Hands back dL/dYpred, for a sigmoid that multiplies by its derivative."""

    def backward(self):
        return (1 - self.Y) / (1 - self.Ypred) - self.Y / self.Ypred


@pytest.mark.parametrize("Output, Loss", [(MyOutputSigmoid, MyBinaryNLL), (MySigmoid, Quotients)])
def test_a_last_sigmoid_whose_classes_are_the_largest_outputs_is_matched(Output, Loss):
    net = network(InPlace, (2, 5, 3), changed("class_fun", _argmax, Output), Loss)
    fast = nn.accelerate(net)
    assert fast.report.compiled and type(fast.modules[-1]) is nn.OutputSigmoid
    assert fast.report.modules[-1].remarks[-1] == (
        "your class_fun gives other classes; predictions of the new network use nncore's, 1 above "
        "1/2, else 0"
    )
    X, Y = data()
    own = pickle.loads(pickle.dumps(weights(net)))
    np.random.seed(3)
    net.sgd(X, Y, 40, 0.05)
    wanted = weights(net)
    for m, W, W0 in zip(net.modules[::2], own[::2], own[1::2], strict=True):
        m.W[...], m.W0[...] = W, W0
    np.random.seed(3)
    fast.sgd(X, Y, 40, 0.05)
    for a, b in zip(weights(net), wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-10)


def test_a_last_module_that_alone_makes_the_predictions_stays():
    class Distance:
        def forward(self, Ypred, Y):
            self.difference = Ypred - Y
            return float(np.sum(self.difference**2))

        def backward(self):
            return 2 * self.difference

    net = network(InPlace, (2, 5, 3), changed("class_fun", _argmax, MySigmoid), Distance)
    fast = nn.accelerate(net)
    assert fast.modules[-1] is net.modules[-1] and type(fast.modules[1]) is nn.ReLU
    assert fast.report.modules[-1].remarks == [
        "it is Sigmoid(), but its class_fun makes the predictions, and nncore's has none"
    ]
    assert fast.predict(data()[0]).shape == (30,)
    net = MyNetwork(
        [InPlace(2, 3), MyTanh(), changed("class_fun", _argmax, InPlace)(3, 2)], Distance()
    )
    fast = nn.accelerate(net)
    assert fast.report.compiled
    assert fast.report.modules[-1].remarks == [
        "predictions of the new network use Squared.class_fun instead of yours"
    ]


def _guard(kind, small):
    """Losses right until a probability underflows, in several spellings; alone or, with True,
    beside a softmax with its derivative."""

    def through_the_derivative(self):
        g = (
            -self.Y
            / {
                "": self.Ypred,
                "added": self.Ypred + small,
                "bounded": np.maximum(self.Ypred, small),
            }[kind]
        )
        return self.Ypred * (g - np.sum(self.Ypred * g, axis=0))

    def kept(self, P, Y):
        return MyNLL.forward(self, np.clip(P, small, 1), Y)

    def strict(self, P, Y):
        assert (P > 0).all(), "a logarithm of 0"
        return MyNLL.forward(self, P, Y)

    def quotient(self):
        return -self.Y / (self.Ypred + small)

    return {
        "kept": changed("forward", kept, MyNLL),
        "strict": changed("forward", strict, MyNLL),
        "quotient": changed("backward", quotient, MyNLL),
    }.get(kind, changed("backward", through_the_derivative, MyNLL))


class Derivative(Stable):
    def forward(self, Z):
        self.A = super().forward(Z)
        return self.A

    def backward(self, dLdA):
        return self.A * (dLdA - np.sum(dLdA * self.A, axis=0))


@pytest.mark.parametrize(
    "kind, small, Output, note",
    [
        (
            "",
            0,
            Stable,
            "yours gives nan or infinity for large numbers, nncore's stays finite",
        ),
        (
            "added",
            1e-12,
            Stable,
            "yours keeps its divisor away from 0, by 1e-12, nncore's does not",
        ),
        (
            "added",
            1e-8,
            Stable,
            "yours keeps its divisor away from 0, by 1e-08, nncore's does not",
        ),
        (
            "bounded",
            1e-7,
            Stable,
            "yours keeps its divisor away from 0, by 1e-07, nncore's does not",
        ),
        ("kept", 1e-7, Stable, "your dL/dZ clips probabilities below 1e-07, nncore's does not"),
        (
            "strict",
            0,
            Stable,
            "yours raises AssertionError if a probability is 0, nncore's does not",
        ),
        ("quotient", 1e-12, Derivative, "matched together with the last module"),
    ],
)
def test_a_loss_that_is_right_until_a_probability_underflows_is_matched(kind, small, Output, note):
    net = network(InPlace, Output=Output, Loss=_guard(kind, small))
    before = everything(net)
    fast = nn.accelerate(net)
    assert everything(net) == before
    assert fast.report.compiled, fast.report
    assert note in "; ".join(fast.report.loss.remarks)
    assert ("matched together" in str(fast.report.modules[-1])) == (Output is Derivative)


@pytest.mark.parametrize(
    "small", [1e-5, 1e-7, 1e-8, 1e-12, 1e-20, 1e-300, np.finfo(np.float64).tiny]
)
@pytest.mark.parametrize(
    "kind, Output",
    [("added", Stable), ("bounded", Stable), ("kept", Stable), ("quotient", Derivative)],
)
def test_a_guarded_loss_is_taken_for_any_initial_weights(kind, Output, small):
    """The whole networks differ by the guard, which is not mistaken for modules that share
    state."""
    for seed in range(8):
        np.random.seed(seed)
        fast = nn.accelerate(network(InPlace, Output=Output, Loss=_guard(kind, small)))
        assert fast.report.compiled, (seed, fast.report)


class OneAtZero(MyReLU):
    def backward(self, dLdA):
        return dLdA * (self.Z >= 0)


class NoBias(InPlace):
    """Starts with W0 = 0, as the course's Linear does."""

    def __init__(self, m, n):
        super().__init__(m, n)
        self.W0[:] = 0


@pytest.mark.parametrize("nested", [False, True])
def test_another_derivative_at_0_is_taken_for_any_initial_weights(nested):
    """Two units that are both off, before a bias of 0, put the next ReLU at its kink."""
    for seed in range(25):
        np.random.seed(seed)
        net = network(NoBias, (2, 2, 2, 3), Stable, hidden=(OneAtZero,))
        if nested:
            net.modules = [MyChain(*net.modules[:-1]), net.modules[-1]]
        fast = nn.accelerate(net)
        assert fast.report.compiled, (seed, fast.report)


def _lowering(self, lrate):
    self.t += 1
    InPlace.sgd_step(self, lrate * 0.5 ** (self.t // 100))


def _listing(self, lrate):
    self.log["steps"].append(lrate)
    InPlace.sgd_step(self, lrate)


def _counting_all(self, lrate):
    type(self).steps += 1
    InPlace.sgd_step(self, lrate * 0.5 ** (self.steps // 100))


def _numpy_count(self, lrate):
    self.t = np.int64(self.t) + 1
    InPlace.sgd_step(self, lrate * 0.5 ** (self.t // 100))


@pytest.mark.parametrize(
    "step, name",
    [
        (_lowering, "t"),
        (_listing, r"len(log['steps'])"),
        (_counting_all, "Counting.steps"),
        (_numpy_count, "t"),
    ],
)
def test_a_step_that_counts_is_kept(step, name):
    net = network(type("Counting", (InPlace,), {"t": 0, "steps": 0, "log": None, "sgd_step": step}))
    for module in net.modules:
        module.log = {"steps": []}
    fast = nn.accelerate(net)
    assert not fast.report.modules[0].matched and fast.modules[0] is net.modules[0]
    assert fast.report.modules[0].remarks == [
        f"it is Linear, but its step also changes {name}, on which later steps may depend"
    ]
    assert all(
        getattr(module, "t", 0) == 0 and module.log == {"steps": []} for module in net.modules
    )


def test_a_step_that_remembers_its_rate_is_matched():
    def step(self, lrate):
        self.lrate = lrate
        InPlace.sgd_step(self, lrate)

    assert nn.accelerate(network(changed("sgd_step", step))).report.compiled


def test_one_value_a_sample_is_matched():
    def forward(self, Ypred, Y):
        self.Ypred, self.Y = Ypred, Y
        return -np.sum(Y * np.log(Ypred), axis=0)

    assert "one value per sample" in str(
        nn.accelerate(network(InPlace, Loss=changed("forward", forward, MyNLL))).report
    )


def test_arguments_changed_in_place_are_told():
    def forward(self, Z):
        Z[Z < 0] = 0
        self.Z = Z
        return Z

    fast = nn.accelerate(network(InPlace, hidden=(changed("forward", forward, MyReLU),)))
    assert fast.report.modules[1].remarks == ["yours changes its input in place, nncore's does not"]


def test_output_and_loss_that_are_right_only_together():
    class Jacobian(Stable):
        def forward(self, Z):
            self.A = super().forward(Z)
            return self.A

        def backward(self, dLdA):
            return self.A * (dLdA - np.sum(dLdA * self.A, axis=0))

    class Quotient(MyNLL):
        def backward(self):
            return -self.Y / self.Ypred

    X, Y = data()
    net = network(InPlace, Output=Jacobian, Loss=Quotient)
    fast = nn.accelerate(net)
    assert fast.report.compiled and "matched together with the loss" in str(fast.report.modules[-1])
    copy = [np.array(w) for w in weights(net)]
    np.random.seed(0)
    net.sgd(X, Y, 50, 0.02)
    wanted = weights(net)
    for m, W, W0 in zip(net.modules[::2], copy[::2], copy[1::2], strict=True):
        m.W[...], m.W0[...] = W, W0
    np.random.seed(0)
    fast.sgd(X, Y, 50, 0.02)
    for a, b in zip(weights(net), wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-10)
    alone = nn.accelerate(
        network(InPlace, Output=Jacobian, Loss=MyNLL)
    )  # the same output with a loss that returns dL/dZ: wrong
    assert not alone.report.modules[-1].matched and alone.report.loss.matched


@pytest.mark.parametrize("labels", [1, 3])
def test_binary_networks(labels):
    net = network(InPlace, (2, 5, labels), MyOutputSigmoid, MyBinaryNLL)
    fast = nn.accelerate(net)
    assert (
        fast.report.compiled
        and type(fast.modules[-1]) is nn.OutputSigmoid
        and type(fast.loss) is nn.BinaryNLL
    )
    assert ("class_fun gives shape" in str(fast.report)) == (labels == 1)


def test_a_loss_beside_another_output_stays():
    net = network(
        InPlace, (2, 5, 1), MySigmoid, MyBinaryNLL
    )  # multiplies dL/dZ by the derivative once more
    fast = nn.accelerate(net)
    assert type(fast.modules[-1]) is nn.Sigmoid and fast.loss is net.loss
    assert "goes with a last OutputSigmoid" in fast.report.loss.remarks[0]
    fast.sgd(data()[0], (data()[1][:1]), 5, 0.1)


# ------------------------------------------------------------------------------ batch normalisation


class MyBatchNorm:
    """As the course has it, with the gradient taken apart into those of μ and v."""

    def __init__(self, m, eps=1e-20):
        self.eps = eps
        self.B, self.G = np.zeros((m, 1)), np.random.normal(0, m**-0.5, (m, 1))

    def forward(self, A):
        self.A, self.K = A, A.shape[1]
        self.mus, self.vars = A.mean(axis=1, keepdims=True), A.var(axis=1, keepdims=True)
        self.norm = (A - self.mus) / np.sqrt(self.vars + self.eps)
        return self.G * self.norm + self.B

    def backward(self, dLdZ):
        self.dLdG, self.dLdB = (
            (dLdZ * self.norm).sum(axis=1, keepdims=True),
            dLdZ.sum(axis=1, keepdims=True),
        )
        inverse, centred, d = 1 / np.sqrt(self.vars + self.eps), self.A - self.mus, dLdZ * self.G
        dvars = (d * centred * -0.5 * inverse**3).sum(axis=1, keepdims=True)
        dmus = (-d * inverse).sum(axis=1, keepdims=True) + dvars * (-2 * centred).mean(
            axis=1, keepdims=True
        )
        return d * inverse + dvars * 2 / self.K * centred + dmus / self.K

    def step(self, lrate):
        self.G -= lrate * self.dLdG
        self.B -= lrate * self.dLdB


class MyFlatBatchNorm:
    """G and B of shape (m,), eps only in the code, weights bound anew."""

    def __init__(self, m):
        self.scale, self.shift = np.ones(m), np.zeros(m)

    def forward(self, A):
        self.std = np.sqrt(A.var(axis=1) + 1e-5)[:, None]
        self.norm = (A - A.mean(axis=1)[:, None]) / self.std
        return self.scale[:, None] * self.norm + self.shift[:, None]

    def backward(self, d):
        self.dscale, self.dshift = (d * self.norm).sum(axis=1), d.sum(axis=1)
        K = d.shape[1]
        return (
            self.scale[:, None]
            / self.std
            * (d - self.dshift[:, None] / K - self.norm * self.dscale[:, None] / K)
        )

    def sgd_step(self, lrate):
        self.scale = self.scale - lrate * self.dscale
        self.shift = self.shift - lrate * self.dshift


def with_norm(norm):
    return MyNetwork([InPlace(2, 6), MyReLU(), norm, InPlace(6, 3), Stable()], MyNLL())


def mini_batch_steps(net, X, Y, K=6, lrate=0.02):
    for i in range(0, X.shape[1], K):
        net.loss.forward(net.forward(X[:, i : i + K]), Y[:, i : i + K])
        delta = net.loss.backward()
        for m in net.modules[::-1]:
            delta = m.backward(delta)
        for m in net.modules:
            (m.sgd_step if hasattr(m, "sgd_step") else m.step)(lrate)


@pytest.mark.parametrize(
    "norm, eps, names",
    [
        (lambda: MyBatchNorm(6), 1e-20, ("G", "B")),
        (lambda: MyBatchNorm(6, 1e-8), 1e-8, ("G", "B")),
        (lambda: MyBatchNorm(6, 0.0021), 0.0021, ("G", "B")),
        (lambda: MyBatchNorm(6, 1e-12), 1e-12, ("G", "B")),
        (lambda: MyFlatBatchNorm(6), 1e-5, ("scale", "shift")),
    ],
)
def test_batch_normalisation_is_recognised(norm, eps, names):
    np.random.seed(4)
    net = with_norm(norm())
    before = everything(net)
    fast = nn.accelerate(net)
    assert everything(net) == before
    ours, theirs = fast.modules[2], net.modules[2]
    assert (
        type(ours) is nn.BatchNorm
        and ours.eps == eps
        and ours.statistics == "batch"
        and fast.report.compiled
    ), fast.report
    assert all(
        np.shares_memory(getattr(ours, a), getattr(theirs, b))
        for a, b in zip("GB", names, strict=True)
    )
    own = pickle.loads(pickle.dumps(net))
    X, Y = data()
    mini_batch_steps(own, X, Y)
    fast.fit(X, Y, batch_size=6, shuffle=False, lrate=0.02, reduction="sum")
    np.testing.assert_allclose(fast.predict_proba(X), own.forward(X), rtol=1e-9)
    np.testing.assert_allclose(
        getattr(theirs, names[0]).ravel(), getattr(own.modules[2], names[0]).ravel(), rtol=1e-9
    )


class Running(MyBatchNorm):
    def __init__(self, m):
        super().__init__(m)
        self.mean = np.zeros((m, 1))

    def forward(self, A):
        Z = super().forward(A)
        self.mean = 0.9 * self.mean + 0.1 * self.mus
        return Z


class Detached(MyBatchNorm):
    """μ and v are treated as constants."""

    def backward(self, dLdZ):
        super().backward(dLdZ)
        return dLdZ * self.G / np.sqrt(self.vars + self.eps)


class Unbiased(MyBatchNorm):
    def forward(self, A):
        super().forward(A)
        self.vars = A.var(axis=1, keepdims=True, ddof=1) if self.K > 1 else self.vars
        self.norm = (A - self.mus) / np.sqrt(self.vars + self.eps)
        return self.G * self.norm + self.B


class OnlyG(MyBatchNorm):
    def step(self, lrate):
        self.G -= lrate * self.dLdG


@pytest.mark.parametrize(
    "cls, why",
    [
        (Running, "trains as BatchNorm, but keeps mean from batch to batch, as running statistics"),
        (Detached, "its backward is not its gradient, on which μ and v of the batch depend, too"),
        (Unbiased, "its forward is none of the library's functions"),
        (OnlyG, "its step leaves B unchanged"),
    ],
)
def test_batch_normalisation_refused(cls, why):
    net = with_norm(cls(6))
    before = everything(net)
    fast = nn.accelerate(net)
    assert everything(net) == before
    assert fast.modules[2] is net.modules[2] and why in str(fast.report), fast.report
    assert [e.matched for e in fast.report.modules] == [True, True, False, True, True]


# ----------------------------------------------------------------------------- networks in networks


class MyChain(MyNetwork):
    def __init__(self, *modules):
        super().__init__(list(modules), None)

    def backward(self, delta):
        for m in self.modules[::-1]:
            delta = m.backward(delta)
        return delta

    def step(self, lrate):
        for m in self.modules:
            (m.sgd_step if hasattr(m, "sgd_step") else m.step)(lrate)


class Residual(MyChain):
    def forward(self, X):
        return X + super().forward(X)

    def backward(self, delta):
        return delta + super().backward(delta)


def nested(Chain, Dense=InPlace):
    return MyNetwork(
        [
            InPlace(2, 4),
            MyReLU(),
            Chain(Dense(4, 4), MyTanh(), MyChain(InPlace(4, 4), MyReLU())),
            InPlace(4, 3),
            Stable(),
        ],
        MyNLL(),
    )


def test_networks_in_networks_are_taken_apart():
    np.random.seed(1)
    net = nested(MyChain)
    before = [pickle.dumps(vars(m)) for m in net.modules]
    fast = nn.accelerate(net)
    assert [pickle.dumps(vars(m)) for m in net.modules] == before
    assert fast.report.compiled and str(fast.report).startswith(
        "8 of 8 modules and the loss matched"
    ), fast.report
    assert "  2.2.0: InPlace -> Linear(4, 4)" in str(fast.report).splitlines()
    assert fast.modules[2].modules[2].modules[0].W is net.modules[2].modules[2].modules[0].W
    own = pickle.loads(pickle.dumps(net))
    for trained in (own, fast):
        np.random.seed(2)
        trained.sgd(*data(), 50, 0.05)
    np.testing.assert_allclose(net.forward(data()[0]), own.forward(data()[0]), rtol=1e-9)


def test_one_foreign_module_in_a_network_in_a_network():
    fast = nn.accelerate(nested(MyChain, Momentum))
    assert not fast.report.compiled and type(fast.modules[2]) is nn.Sequential
    assert [e.matched for e in fast.report.modules[2].inside] == [False, True, True]
    assert str(fast.report).startswith(
        "7 of 8 modules and the loss matched; the network trains module by module"
    )


def test_a_network_in_a_network_that_is_not_its_chain_stays():
    net = nested(Residual)
    fast = nn.accelerate(net)
    assert fast.modules[2] is net.modules[2] and "it has modules, but is not their chain" in str(
        fast.report
    )
    assert [e.matched for e in fast.report.modules] == [True, True, False, True, True]


def test_the_librarys_network_around_foreign_modules():
    inner = nn.Sequential([InPlace(2, 3), nn.Tanh()]).eval()
    fast = nn.accelerate(nn.Sequential([inner, InPlace(3, 2), Stable()], MyNLL()))
    assert (
        fast.report.compiled
        and fast.modules[0].modules[0].W is inner.modules[0].W
        and fast.modules[0].training is False
    )
    own = nn.Sequential([nn.Sequential([nn.Linear(2, 3)]), nn.SoftMax()], nn.NLL())
    assert nn.accelerate(own).modules[0] is own.modules[0]


# ------------------------------------------------------------------------------ networks as a whole


@pytest.mark.parametrize("Loss", [MyNLL, _guard("added", 1e-7)], ids=["plain", "guarded"])
def test_modules_that_share_state_are_left_as_they_are(Loss):
    shared = {}

    class Front(InPlace):
        def sgd_step(self, lrate):
            super().sgd_step(lrate)
            shared["steps"] = shared.get("steps", 0) + 1

    class Back(InPlace):
        def sgd_step(self, lrate):
            if shared.get("steps", 0) % 2 == 0:
                super().sgd_step(lrate)

    net = MyNetwork([Front(2, 3), MyTanh(), Back(3, 2), Stable()], Loss())
    fast = nn.accelerate(net)
    assert not shared
    assert fast.modules == net.modules and fast.loss is net.loss
    assert "together they differ after" in str(fast.report) and str(fast.report).startswith(
        "0 of 4"
    )


def test_a_module_that_stands_twice_does_so_again():
    twice = MyTanh()
    fast = nn.accelerate(MyNetwork([InPlace(3, 3), twice, InPlace(3, 3), twice], None))
    assert fast.modules[1] is fast.modules[3] and type(fast.modules[1]) is nn.Tanh


def test_networks_of_the_library_pass_through():
    net = nn.Sequential([nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2), nn.SoftMax()], nn.NLL())
    fast = nn.accelerate(net)
    assert fast.modules == net.modules and fast.modules is not net.modules and fast.loss is net.loss
    assert fast.report.compiled and "nncore's own" in str(fast.report)
    assert "report" not in vars(net)
    ref = reference.Sequential(
        [reference.Linear(2, 3), reference.Tanh(), reference.Linear(3, 2), reference.SoftMax()],
        reference.NLL(),
    )
    fast = nn.accelerate(ref)
    assert fast.report.compiled and [type(m) for m in fast.modules] == [
        nn.Linear,
        nn.Tanh,
        nn.Linear,
        nn.SoftMax,
    ]
    assert fast.modules[0].W is ref.modules[0].W


def test_without_a_loss_and_with_a_tuple_of_modules():
    fast = nn.accelerate(SimpleNamespace(modules=(InPlace(2, 3), Stable()), loss=None))
    assert isinstance(fast.modules, list) and fast.loss is None and fast.report.loss is None
    assert fast.predict(np.ones((2, 4))).shape == (4,)
    assert str(fast.report).startswith("2 of 2 modules matched")


def test_unknown_width_is_found():
    net = MyNetwork([Scaled(), InPlace(4, 3), Stable()], MyNLL())
    assert [e.matched for e in nn.accelerate(net).report.modules] == [False, True, True]


def test_modules_without_a_step_are_told():
    net = MyNetwork(
        [
            InPlace(2, 3),
            SimpleNamespace(forward=lambda Z: 2 * Z, backward=lambda d: 2 * d),
            Stable(),
        ],
        MyNLL(),
    )
    assert "neither sgd_step nor step" in str(nn.accelerate(net).report)


def test_both_backends_and_noise():
    class Loud(InPlace):
        def forward(self, A):
            print("forward", A)
            np.seterr(all="raise")
            return super().forward(A)

    for backend in ("numpy", "compiled"):
        with nn.use_backend(backend), np.errstate(all="raise"):
            net = network(Loud)
            before = everything(net)
            assert nn.accelerate(net).report.modules[0].matched
            assert everything(net) == before


def test_interrupted_probing_leaves_no_trace():
    class Slow(InPlace):
        def sgd_step(self, lrate):
            super().sgd_step(lrate)
            random.random()
            raise KeyboardInterrupt

    net = network(Slow)
    before = everything(net)
    with pytest.raises(KeyboardInterrupt):
        nn.accelerate(net)
    assert everything(net) == before


def test_result_can_be_saved_and_pickled(tmp_path):
    fast = nn.accelerate(network(InPlace))
    fast.save(tmp_path / "net.npz")
    np.testing.assert_array_equal(nn.load(tmp_path / "net.npz").modules[0].W, fast.modules[0].W)
    assert str(pickle.loads(pickle.dumps(fast)).report) == str(fast.report) == repr(fast.report)


@pytest.mark.parametrize(
    "net, error, message",
    [
        (
            3,
            TypeError,
            "net must have a list `modules` and a `loss`, as Sequential(modules, loss) has, got "
            "int",
        ),
        (
            SimpleNamespace(modules=[InPlace(1, 1)]),
            TypeError,
            "net must have a list `modules` and a `loss`",
        ),
        (
            SimpleNamespace(modules=InPlace(1, 1), loss=None),
            TypeError,
            "net must have a list `modules`",
        ),
        (
            SimpleNamespace(modules=[], loss=None),
            ValueError,
            "net.modules must hold at least one module, got none",
        ),
        (
            SimpleNamespace(modules=[InPlace(1, 1), ""], loss=None),
            TypeError,
            "net.modules[1] must have methods forward and backward, got str",
        ),
        (
            SimpleNamespace(modules=[None], loss=None),
            TypeError,
            "net.modules[0] must have methods forward and backward, got NoneType",
        ),
        (
            SimpleNamespace(modules=[InPlace(1, 1)], loss=np.sum),
            TypeError,
            "net.loss must have methods forward and backward, got",
        ),
    ],
)
def test_errors(net, error, message):
    with pytest.raises(error) as info:
        nn.accelerate(net)
    assert message in str(info.value)


def test_report_speaks_of_every_module():
    report = nn.accelerate(network(Momentum)).report
    assert isinstance(report, foreign.Report) and len(str(report).splitlines()) == 8
