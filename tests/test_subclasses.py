"""Subclasses of the library's classes: compiled if they override nothing of the computation,
called if they do."""

import numpy as np
import pytest

import nncore as nn
from nncore import _kinds
from nncore.training.compile import as_program

N = 23
X = np.random.default_rng(0).normal(size=(5, N))
Y = np.eye(3)[:, np.arange(N) % 3]


class Net(nn.Sequential):
    """As public programs write it: methods and attributes of their own, nothing overridden that
    trains."""

    def __init__(self, *args):
        super().__init__(*args)
        self.name = "mine"

    def get_accuracy(self, X, Y):
        return np.mean(self.modules[-1].class_fun(self.forward(X)) == self.modules[-1].class_fun(Y))

    def __repr__(self):
        return "Net"

    def __eq__(self, other):  # which makes it unhashable
        return True


class Lin(nn.Linear):
    flavour = "plain"

    def set_weights(self, W, W0):
        self.W, self.W0 = W, W0

    @property
    def size(self):
        return self.W.size

    def __len__(self):
        return 0


class Soft(nn.SoftMax):
    def class_fun(self, Ypred):  # not part of training
        return super().class_fun(Ypred)


class Loss(nn.NLL):
    def name(self):
        return "NLL"


class Printing:
    def show(self):
        return repr(self)


def make(
    linear=nn.Linear,
    activation=nn.Tanh,
    unit=nn.SoftMax,
    loss=nn.NLL,
    net=nn.Sequential,
    dtype=np.float64,
    seed=0,
):
    np.random.seed(seed)
    return net([linear(5, 7, dtype=dtype), activation(), linear(7, 3, dtype=dtype), unit()], loss())


def weights(net):
    return [
        getattr(m, name) for m in net.modules if isinstance(m, nn.Linear) for name in ("W", "W0")
    ]


def compiles(net):
    return as_program(net, (X, Y), True) is not None and as_program(net, (X,), False) is not None


TRAIN = {
    "sgd": lambda net: net.sgd(X, Y, 40, 0.1),
    "mini_gd": lambda net: net.mini_gd(X, Y, 40, 0.1, K=4),
    "fit": lambda net: net.fit(X, Y, epochs=3, batch_size=4, seed=1, optimizer="adam"),
    "partial_fit": lambda net: [net.partial_fit(X, Y, batch_size=5) for _ in range(3)],
}


@pytest.mark.parametrize("train", TRAIN)
def test_a_subclass_that_only_adds_is_compiled(train, dtype):
    plain, mine = make(dtype=dtype), make(Lin, unit=Soft, loss=Loss, net=Net, dtype=dtype)
    assert compiles(plain) and compiles(mine) and mine.modules[0].size == 35
    for net in (plain, mine):
        np.random.seed(4)
        TRAIN[train](net)
    assert all(map(np.array_equal, weights(plain), weights(mine)))
    assert np.array_equal(plain.predict_proba(X), mine.predict_proba(X)) and plain.evaluate(
        X, Y
    ) == mine.evaluate(X, Y)
    assert np.array_equal(plain.predictor()(X[:, 0]), mine.predictor()(X[:, 0]))
    assert mine.get_accuracy(X, Y) == plain.evaluate(X, Y)[1]


def test_networks_that_are_equal_keep_programs_of_their_own():
    first, second = make(net=Net), make(net=Net, seed=1)
    for net in (first, second, first, second):
        net.partial_fit(X, Y)
    twins = [make(seed=seed) for seed in (0, 1)]
    for twin in twins:
        twin.partial_fit(X, Y)
        twin.partial_fit(X, Y)
    for net, twin in zip((first, second), twins, strict=True):
        assert all(map(np.array_equal, weights(net), weights(twin)))


class Halving(nn.Tanh):
    def _derive(self, dLdA):
        return super()._derive(dLdA) / 2


class Doubled(nn.Linear):
    def backward(self, dLdZ):
        return super().backward(2 * dLdZ)


class Masked(nn.Linear):
    @property
    def W(self):
        return self.full * self.mask

    @W.setter
    def W(self, value):
        self.full, self.mask = value, np.ones_like(value)


class Noisy(nn.Linear):
    def __setattr__(self, name, value):
        super().__setattr__(name, value)


class Before:
    def forward(self, Z):
        self.A = np.tanh(Z / 2)
        return self.A


class Mixed(Before, nn.Tanh):
    pass


class Smoothed(nn.NLL):
    def _gradient(self):
        return 0.9 * super()._gradient()


class Slow(nn.Sequential):
    def sgd_step(self, lrate):
        super().sgd_step(lrate / 2)


@pytest.mark.parametrize(
    "classes",
    [
        {"activation": Halving},
        {"linear": Doubled},
        {"linear": Masked},
        {"linear": Noisy},
        {"activation": Mixed},
        {"loss": Smoothed},
        {"net": Slow},
        {"net": nn.reference.Sequential},
        {"linear": nn.reference.Linear},
        {"loss": nn.reference.NLL},
    ],
)
def test_a_subclass_that_overrides_is_run(classes):
    net, twin = make(**classes), make(**classes)
    assert as_program(net, (X, Y), True) is None
    with nn.use_backend("numpy"):
        np.random.seed(1)
        twin.sgd(X, Y, 20, 0.1)
    np.random.seed(1)
    net.sgd(X, Y, 20, 0.1)
    assert all(
        np.allclose(a, b, rtol=1e-12, atol=1e-14)
        for a, b in zip(weights(net), weights(twin), strict=True)
    )
    plain = make()
    np.random.seed(1)
    plain.sgd(X, Y, 20, 0.1)
    differs = not all(np.allclose(a, b) for a, b in zip(weights(net), weights(plain), strict=True))
    assert differs == (set(classes.values()) <= {Halving, Doubled, Mixed, Smoothed, Slow})


def test_classes_and_objects_that_are_patched_later_are_seen():
    class Later(nn.Tanh):
        pass

    net = make(activation=Later)
    assert compiles(net)
    Later.backward = lambda self, dLdA: dLdA
    assert not compiles(net) and _kinds.kind(net.modules[1]) is None
    net = make()
    net.modules[0].step = lambda lrate: None
    assert not compiles(net)


def test_an_inner_subclass_of_sequential_is_compiled_with_the_rest():
    np.random.seed(0)
    net = nn.Sequential(
        [Net([nn.Linear(5, 7), nn.Tanh()]), nn.Linear(7, 3), nn.SoftMax()], nn.NLL()
    )
    assert compiles(net)
    net.modules[0].backward = net.modules[0].backward
    assert not compiles(net)


# ----------------------------------------------------------------------------------- print_accuracy


def course_loop(net, X, Y, iters, lrate, seen):
    for it in range(iters):
        i = np.random.randint(X.shape[1])
        x, y = X[:, i : i + 1], Y[:, i : i + 1]
        loss = net.loss.forward(net.forward(x), y)
        net.backward(net.loss.backward())
        net.sgd_step(lrate)
        seen(net, it, X, Y, loss)


@pytest.mark.parametrize("how", ["subclass", "object"])
def test_print_accuracy_of_ones_own_is_called_after_each_step(backend, how):
    calls = []

    def seen(net, it, X, Y, cur_loss):
        calls.append(
            (it, cur_loss, net.modules[0].W.copy(), net.modules[0].A.copy(), X is X_, Y is Y_)
        )

    class Recording(nn.Sequential):
        def print_accuracy(self, it, X, Y, cur_loss, every=250):
            seen(self, it, X, Y, cur_loss)

    X_, Y_ = X, Y
    net, twin = make(net=Recording if how == "subclass" else nn.Sequential), make()
    if how == "object":
        net.print_accuracy = lambda it, X, Y, cur_loss: seen(net, it, X, Y, cur_loss)
    np.random.seed(2)
    net.sgd(X, Y, 30, 0.1)
    own, calls = calls, []
    np.random.seed(2)
    course_loop(twin, X, Y, 30, 0.1, seen)
    assert [c[0] for c in own] == list(range(30)) and all(c[4] and c[5] for c in own)
    for mine, course in zip(own, calls, strict=True):
        assert all(
            np.allclose(a, b, rtol=1e-12, atol=1e-15)
            for a, b in zip(mine[1:4], course[1:4], strict=True)
        )


def test_the_librarys_own_progress_is_printed_when_asked_for(capsys):
    net, quiet, course = make(), make(), make()
    for one in (net, quiet):
        np.random.seed(2)
        one.sgd(X, Y, 600, 0.05, progress=one is net)
    printed = capsys.readouterr().out.splitlines()
    np.random.seed(2)
    course_loop(course, X, Y, 600, 0.05, lambda net, *args: net.print_accuracy(*args))
    wanted = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[:2] for line in printed] == [
        line.split("\t")[:2] for line in wanted
    ] and len(printed) == 3
    assert printed[0].startswith("Iteration = 1 \tAcc = ")
    losses = [[float(line.split("Loss = ")[1]) for line in lines] for lines in (printed, wanted)]
    assert np.allclose(*losses, rtol=1e-9)
    assert all(
        np.allclose(a, b, rtol=1e-9, atol=1e-12)
        for a, b in zip(weights(net), weights(quiet), strict=True)
    )
    with pytest.raises(TypeError, match="progress must be True, False or None, got str"):
        net.sgd(X, Y, 3, progress="yes")


# ------------------------------------------------------------------------------ losses of one's own


class Odd:
    """A loss whose forward returns given values, with the gradient of Squared."""

    def __init__(self, give):
        self.give = give

    def forward(self, Ypred, Y):
        self.Ypred, self.Y = Ypred, Y
        return self.give((Ypred - Y) ** 2)

    def backward(self):
        return 2 * (self.Ypred - self.Y)


@pytest.mark.parametrize(
    "give, numbers",
    [
        (lambda e: e.sum(axis=0), True),
        (lambda e: e, True),
        (lambda e: None, False),
        (lambda e: "text", False),
        (lambda e: e.sum(axis=0).tolist(), True),
        (lambda e: [[1.0], [1.0, 2.0]], False),
        (lambda e: 1j, False),
    ],
)
def test_a_loss_that_is_no_number_is_ignored_as_in_the_course_and_refused_by_fit(
    backend, give, numbers
):
    def network(loss):
        np.random.seed(0)
        return nn.Sequential([nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)], loss)

    for train in (
        lambda net: net.sgd(X, Y, 20, 0.01),
        lambda net: net.mini_gd(X, Y, 20, 0.01, K=5),
    ):
        net, plain = network(Odd(give)), network(nn.Squared())
        for one in (net, plain):
            np.random.seed(1)
            train(one)
        assert all(
            np.allclose(a, b, rtol=1e-10, atol=1e-13)
            for a, b in zip(weights(net), weights(plain), strict=True)
        )
    before = [w.copy() for w in weights(net)]
    for call in (net.fit, net.partial_fit):
        with pytest.raises(
            ValueError,
            match="loss.forward must return one number, the loss summed over the batch, got",
        ):
            call(X, Y)
    assert all(map(np.array_equal, weights(net), before))
    if numbers:  # one per sample, or per entry
        assert np.isclose(net.evaluate(X, Y)[0], plain.evaluate(X, Y)[0])
    else:
        with pytest.raises(ValueError, match="loss.forward must return numbers, got "):
            net.evaluate(X, Y)
    one = network(Odd(lambda e: e.sum(keepdims=True)))
    assert one.fit(X, Y, lrate=0.01)["loss"][0] > 0
