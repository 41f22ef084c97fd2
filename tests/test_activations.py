"""GELU, LeakyReLU and SiLU: values, gradients, and every path of the engine that applies them."""

import mpmath
import numpy as np
import pytest

import nncore as nn
from nncore import reference
from nncore.kernels import compiled, numpy_kernels

mpmath.mp.dps = 60
EXACT = {
    "gelu": lambda z: z * mpmath.erfc(-z / mpmath.sqrt(2)) / 2,
    "gelu_tanh": lambda z: z / (1 + mpmath.exp(-2 * _inner(z))),
    "silu": lambda z: z / (1 + mpmath.exp(-z)),
}
MODULES = {
    "GELU": lambda layers: layers.GELU(),
    "GELU('tanh')": lambda layers: layers.GELU("tanh"),
    "SiLU": lambda layers: layers.SiLU(),
    "LeakyReLU(0.1)": lambda layers: layers.LeakyReLU(0.1),
    "LeakyReLU(2)": lambda layers: layers.LeakyReLU(2),
}
POINTS = [*np.linspace(-9, 9, 73), -0.7518, 1e-8, -1e-8, 1e-30, -14.3, 30.0]
TOLERANCE = {np.float32: 3e-5, np.float64: 1e-12}


def _inner(z):
    return mpmath.sqrt(2 / mpmath.pi) * (z + mpmath.mpf("0.044715") * z**3)


def functions(name, kernels):
    return getattr(kernels, f"{name}_forward"), getattr(kernels, f"{name}_backward")


# ------------------------------------------------------------------------------------------ kernels


@pytest.mark.parametrize("kernels", [compiled, numpy_kernels], ids=["compiled", "numpy"])
@pytest.mark.parametrize("name", EXACT)
def test_values_are_right_to_a_few_ulp(name, kernels, dtype, isa):
    """An error in the argument of an exponential counts as often as the argument is large."""
    Z = np.array([POINTS], dtype)
    A = functions(name, kernels)[0](Z)
    for z, a in zip(Z[0], A[0], strict=True):
        exact = EXACT[name](mpmath.mpf(float(z)))
        grows = 1 + abs(float(2 * _inner(float(z)))) if name == "gelu_tanh" else 1
        numpy = 1 if kernels is compiled else 1 + float(z) ** 2  # of plain formulas
        ulp = max(np.spacing(dtype(abs(float(exact)))), np.finfo(dtype).tiny)
        assert abs(mpmath.mpf(float(a)) - exact) <= 4 * grows * numpy * float(ulp), z


@pytest.mark.parametrize("name", ["gelu", "gelu_tanh", "silu"])
def test_gradients_by_the_complex_step(name, dtype, isa):
    """f'(z) = Im f(z + ih) / h for tiny h, without cancellation."""
    Z = np.array([POINTS], dtype)
    h = mpmath.mpf(10) ** -30
    dA = np.linspace(-2, 2, Z.size, dtype=dtype)[None]
    wanted = [
        float(d) * mpmath.im(EXACT[name](mpmath.mpc(float(z), h))) / h
        for z, d in zip(Z[0], dA[0], strict=True)
    ]
    for kernels in (compiled, numpy_kernels):
        dZ = functions(name, kernels)[1](dA, Z)
        np.testing.assert_allclose(
            dZ[0], np.array([float(w) for w in wanted]), rtol=0, atol=8 * np.finfo(dtype).eps
        )


@pytest.mark.parametrize("slope", [0, 0.01, 1, 3])
def test_leaky_relu(slope, dtype, isa, kernels):
    Z = np.array([[-2, -0.0, 0, 3, np.nan, -np.inf, np.inf]], dtype)
    A = kernels.leaky_relu_forward(Z, slope)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(A, np.where(Z > 0, Z, dtype(slope) * Z))
    dA = np.array([[1, 2, 3, 4, 5, 6, 7]], dtype)
    np.testing.assert_array_equal(
        kernels.leaky_relu_backward(dA, A, slope)[0, :4],
        np.array([slope, 2 * slope, 3 * slope, 4], dtype),
    )


@pytest.mark.parametrize("name", EXACT)
def test_infinite_and_missing_inputs(name, dtype, isa, kernels):
    forward, backward = functions(name, kernels)
    Z = np.array([[-np.inf, -1e30, np.inf, np.nan, -0.0, 0.0]], dtype)
    np.testing.assert_array_equal(forward(Z), [[0, 0, np.inf, np.nan, 0, 0]])
    np.testing.assert_array_equal(backward(np.ones_like(Z), Z), [[0, 0, 1, np.nan, 0.5, 0.5]])
    with pytest.raises(ValueError, match="dLdA must have shape"):
        backward(np.ones((2, 2), dtype), Z)


@pytest.mark.parametrize("name", [*EXACT, "leaky_relu"])
@pytest.mark.parametrize("order", "CF")
def test_out_may_be_the_first_argument(name, order, dtype, kernels, isa):
    forward, backward = functions(name, kernels)
    slope = (0.3,) if name == "leaky_relu" else ()
    rng = np.random.default_rng(0)
    Z, dA = (np.array(rng.normal(size=(5, 7)), dtype, order=order) for _ in range(2))
    A, dZ = forward(Z, *slope), backward(dA, Z, *slope)
    copy, given = Z.copy(order), dA.copy(order)
    assert forward(copy, *slope, out=copy) is copy and copy.tobytes("A") == A.tobytes("A")
    assert backward(given, Z, *slope, out=given) is given
    assert given.tobytes("A") == dZ.tobytes("A")


# ----------------------------------------------------------------------------------------- networks


def networks(what, sizes, dtype, loss="nll", first_alone=False):
    """The same network on the live kernels and on NumPy's."""
    made = []
    for layers in (nn, reference):
        np.random.seed(3)
        chain = [MODULES[what](layers)] if first_alone else []
        for m, n in zip(sizes[:-1], sizes[1:], strict=True):
            chain += [layers.Linear(m, n, dtype=dtype), MODULES[what](layers)]
        chain.pop()
        if loss == "nll":
            chain.append(layers.SoftMax())
        made.append(layers.Sequential(chain, layers.NLL() if loss == "nll" else layers.Squared()))
    return made


def data(sizes, dtype, density=1.0):
    rng = np.random.default_rng(5)
    X = rng.normal(size=(sizes[0], 90)).astype(dtype)
    X[rng.random(X.shape) >= density] = 0
    return np.asfortranarray(X), np.eye(sizes[-1], dtype=dtype)[:, rng.integers(sizes[-1], size=90)]


PATHS = {
    "fused-sgd": ((4, 6, 5, 3), "nll", 1, "sgd", {"iters": 60}),
    "lookahead-sgd": ((90, 150, 20, 3), "nll", 1, "sgd", {"iters": 40}),
    "lookahead-sgd, squared": ((90, 150, 20, 3), "squared", 1, "sgd", {"iters": 40}),
    "lookahead-sgd, sparse": ((90, 150, 20, 3), "nll", 0.1, "sgd", {"iters": 40}),
    "sgd, rate by a function": ((90, 20, 30, 3), "nll", 1, "sgd", {"iters": 40}),
    "fused-minibatch": ((4, 6, 5, 3), "nll", 1, "fit", {"batch_size": 7}),
    "minibatch": ((90, 150, 20, 3), "nll", 1, "fit", {"batch_size": 32}),
    "minibatch, squared": ((90, 150, 20, 3), "squared", 1, "fit", {"batch_size": 32}),
    "minibatch, csr": ((90, 150, 20, 3), "nll", 0.1, "fit", {"batch_size": 32}),
    "minibatch, adam": ((9, 15, 20, 3), "nll", 1, "fit", {"batch_size": 8, "optimizer": "adam"}),
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("what", MODULES)
def test_every_path_trains_as_the_reference(what, path, dtype, isa):
    sizes, loss, density, call, arguments = PATHS[path]
    ours, theirs = networks(what, sizes, dtype, loss)
    X, Y = data(sizes, dtype, density)
    rate = 0.0003 if loss == "squared" else 0.01
    lrate = (lambda t: rate) if "function" in path else rate
    plan = nn.explain(ours, X, Y, call=call, lrate=lrate, **arguments)
    assert plan["compiled"] and plan["path"] == path.partition(",")[0], plan
    assert plan["inputs"] == "csr" or "csr" not in path
    for net in (ours, theirs):
        np.random.seed(1)
        if call == "sgd":
            net.sgd(X, Y, arguments["iters"], lrate)
        else:
            net.fit(X, Y, epochs=2, seed=0, lrate=lrate, **arguments)
    for a, b in zip(ours.modules, theirs.modules, strict=True):
        if hasattr(a, "W"):
            np.testing.assert_allclose(a.W, b.W, rtol=0, atol=200 * TOLERANCE[dtype])
    np.testing.assert_allclose(
        ours.predict_proba(X), theirs.predict_proba(X), rtol=0, atol=200 * TOLERANCE[dtype]
    )
    x = np.ascontiguousarray(X[:, 0])
    np.testing.assert_allclose(
        ours.predictor()(x), theirs.predict_proba(X)[:, 0], rtol=0, atol=200 * TOLERANCE[dtype]
    )
    np.testing.assert_allclose(
        ours.evaluate(X, Y)[0], theirs.evaluate(X, Y)[0], rtol=1000 * TOLERANCE[dtype]
    )


@pytest.mark.parametrize("batch", [1, 6])
@pytest.mark.parametrize("what", MODULES)
def test_an_activation_that_follows_no_linear(what, batch, dtype, isa):
    """First in the network, and after another activation."""
    ours, theirs = networks(what, (5, 4, 3), dtype, first_alone=True)
    for net, layers in ((ours, nn), (theirs, reference)):
        net.modules.insert(3, MODULES[what](layers))
    X, Y = data((5, 4, 3), dtype)
    assert nn.explain(ours, X, Y, batch_size=batch)["compiled"]
    for net in (ours, theirs):
        net.fit(X, Y, epochs=2, batch_size=batch, seed=0, lrate=0.05)
    np.testing.assert_allclose(
        ours.modules[1].W, theirs.modules[1].W, rtol=0, atol=200 * TOLERANCE[dtype]
    )


@pytest.mark.parametrize("what", MODULES)
def test_the_gradient_of_a_network_is_that_of_its_loss(what, dtype):
    net = networks(what, (4, 6, 3), np.float64)[0]
    X, Y = data((4, 6, 3), np.float64)
    net.loss.forward(net.forward(X), Y)
    net.backward(net.loss.backward())
    first = net.modules[0]
    h, numeric = 1e-6, np.empty_like(first.W)
    for i in np.ndindex(first.W.shape):
        value = []
        for step in (h, -h):
            first.W[i] += step
            value.append(net.loss.forward(net.forward(X), Y))
            first.W[i] -= step
        numeric[i] = (value[0] - value[1]) / (2 * h)
    np.testing.assert_allclose(first.dLdW, numeric, rtol=1e-5, atol=1e-6)


# ----------------------------------------------------------------------- around the activations


@pytest.mark.parametrize("what", MODULES)
def test_networks_are_saved_copied_and_shown(what, tmp_path):
    net = networks(what, (3, 4, 2), np.float64)[0]
    net.save(tmp_path / "net.npz")
    loaded = nn.load(tmp_path / "net.npz")
    assert repr(loaded) == repr(net) and what in repr(net)
    X, _ = data((3, 4, 2), np.float64)
    assert loaded.predict_proba(X).tobytes() == net.predict_proba(X).tobytes()


@pytest.mark.parametrize("slope", [-0.1, np.nan, np.inf])
def test_a_slope_that_is_none(slope):
    with pytest.raises(ValueError, match="slope must be at least 0 and finite, got"):
        nn.LeakyReLU(slope)


@pytest.mark.parametrize("slope", ["0.1", None, True])
def test_a_slope_that_is_no_number(slope):
    with pytest.raises(TypeError, match="slope must be a real number"):
        nn.LeakyReLU(slope)


@pytest.mark.parametrize("approximate", ["exact", True, None])
def test_an_approximation_that_is_none(approximate):
    with pytest.raises(ValueError, match="approximate must be one of 'none', 'tanh', got"):
        nn.GELU(approximate)


def test_a_slope_changed_between_calls_is_obeyed():
    ours, theirs = networks("LeakyReLU(0.1)", (4, 6, 3), np.float64)
    X, Y = data((4, 6, 3), np.float64)
    for net in (ours, theirs):
        net.partial_fit(X, Y, lrate=0.1)
        net.modules[1].slope = 0.5
        net.partial_fit(X, Y, lrate=0.1)
    np.testing.assert_allclose(ours.modules[0].W, theirs.modules[0].W, rtol=0, atol=1e-12)


class Written:
    """A user's own activations, as written from the formulas."""

    class Leaky:
        def forward(self, Z):
            self.Z = Z
            return np.where(Z > 0, Z, 0.2 * Z)

        def backward(self, dLdA):
            return dLdA * np.where(self.Z > 0, 1, 0.2)

        def sgd_step(self, lrate):
            pass

    class Swish(Leaky):
        def forward(self, Z):
            self.Z = Z
            with np.errstate(over="ignore"):
                self.s = 1 / (1 + np.exp(-Z))
            return Z * self.s

        def backward(self, dLdA):
            return dLdA * (self.s + self.Z * self.s * (1 - self.s))

    class Gelu(Leaky):
        def forward(self, Z):
            self.Z = Z
            self.P = np.vectorize(lambda z: float(mpmath.ncdf(z)))(Z)
            return Z * self.P

        def backward(self, dLdA):
            density = np.exp(-(self.Z**2) / 2) / np.sqrt(2 * np.pi)
            return dLdA * (self.P + self.Z * density)

    class GeluTanh(Leaky):
        def forward(self, Z):
            self.Z = Z
            self.T = np.tanh(np.sqrt(2 / np.pi) * (Z + 0.044715 * Z**3))
            return 0.5 * Z * (1 + self.T)

        def backward(self, dLdA):
            slope = np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * self.Z**2)
            return dLdA * (0.5 * (1 + self.T) + 0.5 * self.Z * (1 - self.T**2) * slope)


WRITTEN = {
    "LeakyReLU(0.2)": Written.Leaky,
    "SiLU()": Written.Swish,
    "GELU()": Written.Gelu,
    "GELU('tanh')": Written.GeluTanh,
}


@pytest.mark.parametrize("name", WRITTEN)
def test_accelerate_takes_them(name):
    np.random.seed(0)
    net = nn.Sequential([nn.Linear(3, 5), WRITTEN[name](), nn.Linear(5, 2), nn.SoftMax()], nn.NLL())
    fast = nn.accelerate(net)
    assert fast.report.compiled, fast.report
    assert repr(fast.modules[1]) == name


@pytest.mark.parametrize("name", WRITTEN)
def test_check_knows_them(name):
    right = WRITTEN[name]
    assert "ok" in str(nn.check(right()))

    class Wrong(right):
        def backward(self, dLdA):
            return dLdA

    report = str(nn.check(Wrong()))
    assert "WRONG" in report and "backward" in report


def test_check_compares_a_named_activation_with_the_formula():
    class GELU(Written.Swish):
        """Right by finite differences, but another function than its name says."""

    report = str(nn.check(GELU()))
    assert "WRONG" in report and "forward" in report and "Phi" in report
    assert "ok" in str(nn.check(type("GELU", (Written.GeluTanh,), {})()))
