"""BatchNorm, Dropout, ReLU's dropout_pct, modes and Sequentials inside Sequentials: against
formulas of their own and between backends."""

import copy
import pickle
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import LAYOUTS, LEVELS, SIZES, assert_close, pairwise, shared, unchanged

import nncore as nn
from nncore import _chain, _core, callbacks, registry
from nncore.kernels import compiled, numpy_formulas, numpy_kernels
from nncore.training import predict
from nncore.training.compile import as_program

READABLE = [name for name in LAYOUTS if name != "memmap"]


# --------------------------------------------------------------------- batch normalisation, kernels


def plain_norm(A, G, B, eps):
    """(Z, norm, mus, vars) one row at a time, in long double."""
    A, G, B = (np.asarray(a, np.longdouble) for a in (A, G, B))
    rows = []
    for a, g, b in zip(A, G.ravel(), B.ravel(), strict=True):
        mean = sum(a) / len(a)
        var = sum((a - mean) ** 2) / len(a)
        norm = (a - mean) / np.sqrt(var + np.longdouble(eps))
        rows.append((g * norm + b, norm, [mean], [var]))
    return tuple(np.array(r) for r in zip(*rows, strict=True))


def plain_norm_back(dZ, norm, var, G, eps):
    """(dA, dG, dB) by the Jacobian of each row: dnorm_j / da_i = (δ_ij − 1/K − norm_i norm_j / K) /
    √(var + eps)."""
    dZ, norm, var, G = (np.asarray(a, np.longdouble) for a in (dZ, norm, var, G))
    K, rows = norm.shape[1], []
    for d, h, v, g in zip(dZ, norm, var.ravel(), G.ravel(), strict=True):
        jacobian = (np.eye(K) - 1 / np.longdouble(K) - np.outer(h, h) / K) / np.sqrt(
            v + np.longdouble(eps)
        )
        rows.append((g * (jacobian @ d), [d @ h], [d.sum()]))
    return tuple(np.array(r) for r in zip(*rows, strict=True))


def normal_arrays(n, b, dtype, seed=0):
    rng = np.random.default_rng(seed)
    A, dZ = 1 + 2 * rng.normal(size=(n, b)), rng.normal(size=(n, b))
    G, B = rng.normal(size=(n, 1)), rng.normal(size=(n, 1))
    return [a.astype(dtype) for a in (A, dZ, G, B)]


@pytest.mark.parametrize("eps", [1e-20, 1e-3])
def test_batchnorm_of_every_size_and_layout(kernels, isa, dtype, eps):
    tolerance = 2e-5 if dtype == np.float32 else 1e-13
    sizes = [size for size in SIZES if size]
    for n, b, one, two in pairwise(sizes, [2, 3, 16, 17, 40], READABLE, READABLE):
        A, dZ, G, B = normal_arrays(n, b, dtype)
        with unchanged(A, dZ, G, B):
            got = kernels.batchnorm_forward(LAYOUTS[one](A), LAYOUTS[two](G), LAYOUTS[one](B), eps)
            wanted = plain_norm(A, G, B, eps)
            for name, x, y in zip(("Z", "norm", "mus", "vars"), got, wanted, strict=True):
                assert_close(x, y.astype(dtype), f"{name} of {n} x {b}", tolerance=tolerance)
            back = kernels.batchnorm_backward(
                LAYOUTS[two](dZ), LAYOUTS[one](got[1]), LAYOUTS[two](got[3]), LAYOUTS[one](G), eps
            )
            for name, x, y in zip(
                ("dLdA", "dLdG", "dLdB"),
                back,
                plain_norm_back(dZ, got[1], got[3], G, eps),
                strict=True,
            ):
                scale = np.abs(dZ).max() * (
                    b if name != "dLdA" else np.abs(G / np.sqrt(got[3] + dtype(eps))).max()
                )
                assert_close(
                    x, y.astype(dtype), f"{name} of {n} x {b}", scale=scale, tolerance=tolerance
                )
            Z = kernels.batchnorm_apply(
                LAYOUTS[one](A), LAYOUTS[two](G), B, got[2], LAYOUTS[two](got[3]), eps
            )
            assert_close(Z, got[0], "batchnorm_apply", tolerance=tolerance)


def test_batchnorm_of_one_sample_gives_B_and_of_large_batches_hardly_rounds(kernels, isa, dtype):
    A, dZ, G, B = normal_arrays(5, 1, dtype)
    Z, norm, mus, vars = kernels.batchnorm_forward(A, G, B)
    assert (Z == B).all() and (norm == 0).all() and (mus == A).all() and (vars == 0).all()
    assert (kernels.batchnorm_backward(dZ, norm, vars, G)[0] == 0).all()
    A = np.full((3, 70001), 1.1, dtype)  # a single running sum in float32 would be off by 1e-3
    assert (
        abs(
            kernels.batchnorm_forward(A, np.ones((3, 1), dtype), np.zeros((3, 1), dtype), 1)[2]
            - dtype(1.1)
        ).max()
        < 1e-5
    )


def test_batchnorm_hands_on_what_is_not_finite(kernels, isa, dtype):
    A, dZ, G, B = normal_arrays(3, 8, dtype)
    A[1, 4] = np.nan
    Z = kernels.batchnorm_forward(A, G, B)[0]
    assert np.isnan(Z[1]).all() and np.isfinite(Z[[0, 2]]).all()


def test_batchnorm_refuses(kernels):
    A, dZ, G, B = normal_arrays(3, 4, np.float64)
    for error, message, call in [
        (
            ValueError,
            r"B must have shape \(3, 1\), got \(2, 1\)",
            lambda: kernels.batchnorm_forward(A, G, B[:2]),
        ),
        (
            ValueError,
            r"G must have shape \(n, 1\), got \(3, 4\)",
            lambda: kernels.batchnorm_forward(A, A, B),
        ),
        (
            ValueError,
            r"A must have shape \(3, b\), got \(4, 3\)",
            lambda: kernels.batchnorm_forward(A.T, G, B),
        ),
        (
            ValueError,
            "A must hold at least one sample",
            lambda: kernels.batchnorm_forward(A[:, :0], G, B),
        ),
        (
            ValueError,
            "norm must hold at least one sample",
            lambda: kernels.batchnorm_backward(A[:, :0], A[:, :0], B, G),
        ),
        (
            ValueError,
            r"dLdZ must have shape \(3, 4\)",
            lambda: kernels.batchnorm_backward(dZ[:, :2], A, B, G),
        ),
        (
            ValueError,
            r"vars must have shape \(3, 1\)",
            lambda: kernels.batchnorm_backward(dZ, A, B[:1], G),
        ),
        (
            ValueError,
            r"mus must have shape \(3, 1\)",
            lambda: kernels.batchnorm_apply(A, G, B, A, B),
        ),
        (
            TypeError,
            "A must be a real array, got complex128",
            lambda: kernels.batchnorm_forward(A * 1j, G, B),
        ),
        (
            TypeError,
            "eps must be a real number, got str",
            lambda: kernels.batchnorm_forward(A, G, B, "small"),
        ),
    ]:
        with pytest.raises(error, match=message):
            call()


# ---------------------------------------------------------------------------------- dropout, kernel


def test_dropout_is_the_same_on_both_backends_at_every_level_and_layout(isa, dtype):
    rng = np.random.default_rng(0)
    for n, b, layout, p, key in pairwise(
        SIZES, (1, 2, 17), READABLE, (0.0, 0.1, 0.5, 0.999), (0, 1, 2**32 + 5, 2**64 - 1)
    ):
        A = rng.normal(size=(n, b)).astype(dtype)
        got, wanted = (k.dropout(LAYOUTS[layout](A), p, key, 3) for k in (compiled, numpy_kernels))
        assert got.dtype == dtype and np.array_equal(got, wanted), (n, b, layout, p, key)


@pytest.mark.parametrize("p", [0.05, 0.3, 0.5, 0.9])
def test_dropout_drops_the_share_everywhere_and_independently(p):
    """Means of masks over a whole one, rows, columns; and of products of masks of other counts,
    keys and neighbouring places."""
    n = 1000
    mask = {
        at: compiled.dropout(np.ones((n, n)), p, *at) > 0
        for at in [(0, 1), (0, 2), (1, 1), (1, 2), (2**40, 1)]
    }
    limit = 5 * np.sqrt(p * (1 - p))
    for m in mask.values():
        assert abs(m.mean() - (1 - p)) < limit / n
        assert abs(m.mean(axis=0) - (1 - p)).max() < limit / np.sqrt(n) and abs(
            m.mean(axis=1) - (1 - p)
        ).max() < limit / np.sqrt(n)
        for shift, axis in ((1, 0), (1, 1), (16, 0), (64, 1)):
            assert (
                abs((m & np.roll(m, shift, axis)).mean() - (1 - p) ** 2)
                < 8 * p * (1 - p) / n + 2e-4
            )
    for one in mask:
        for two in mask:
            if one < two:
                assert (
                    abs((mask[one] & mask[two]).mean() - (1 - p) ** 2) < 8 * p * (1 - p) / n + 2e-4
                )
    assert abs(compiled.dropout(np.ones((n, n)), p, 5, 1).mean() - 1) < 5 * np.sqrt(p / (1 - p)) / n


def test_dropout_keeps_an_entry_whose_word_is_the_threshold_itself(kernels, isa):
    """p 2^32 is compared with the entry's random word: the entry is kept up to equality."""
    key, count = 7, 3
    word = numpy_formulas.mix((key + count * 0x9E3779B97F4A7C15) % 2**64)
    places = np.arange(37, dtype=np.uint32)
    words = numpy_formulas.scramble(
        numpy_formulas.scramble(places ^ np.uint32(word % 2**32)) ^ np.uint32(word >> 32)
    )
    for place in range(37):
        for more, kept in ((0, True), (1, False)):
            p = (int(words[place]) + more) / 2**32
            assert (kernels.dropout(np.ones((1, 37)), p, key, count)[0, place] > 0) == kept


def test_dropout_of_special_values_and_refusals(kernels, isa):
    A = np.array([[np.nan, np.inf, -np.inf, 1.0] * 8])
    Z = kernels.dropout(A, 0.5, 0, 1)
    kept = kernels.dropout(np.ones_like(A), 0.5, 0, 1) > 0
    assert np.array_equal(Z, np.where(kept, 2 * A, 0), equal_nan=True) and 0 < kept.sum() < 32
    assert np.array_equal(kernels.dropout(A, 0, 9, 1), A, equal_nan=True)
    for error, message, arguments in [
        (ValueError, "p must be at least 0 and below 1, got 1", (A, 1, 0, 1)),
        (ValueError, "p must be at least 0", (A, np.nan, 0, 1)),
        (TypeError, "p must be a real number, got str", (A, "half", 0, 1)),
        (TypeError, "key must be an integer", (A, 0.5, None, 1)),
        (ValueError, "key must be below", (A, 0.5, 2**64, 1)),
        (ValueError, "count must be at least 0", (A, 0.5, 0, -1)),
        (ValueError, r"A must have shape \(n, b\)", (A[0], 0.5, 0, 1)),
        (TypeError, "A must be a real array", (A.astype(complex), 0.5, 0, 1)),
    ]:
        with pytest.raises(error, match=message):
            kernels.dropout(*arguments)


# ------------------------------------------------------------------------------------------ modules


def test_batchnorm_is_made_as_the_course_makes_it(backend):
    np.random.seed(77)
    norm = nn.BatchNorm(3)
    np.random.seed(0)
    assert (
        (norm.G == np.random.normal(0, 3**-0.5, (3, 1))).all()
        and (norm.B == 0).all()
        and norm.eps == 1e-20
    )
    Z = norm.forward(np.arange(12.0).reshape(3, 4))
    assert (
        norm.K == 4
        and norm.mus.shape == norm.vars.shape == (3, 1)
        and norm.A.shape == norm.norm.shape == Z.shape
    )
    norm.backward(np.ones((3, 4)))
    G, B = norm.G, norm.B
    before = G - 0.5 * norm.dLdG, B - 0.5 * norm.dLdB
    norm.step(0.5)
    assert norm.G is G and norm.B is B and (before[0] == G).all() and (before[1] == B).all()
    assert repr(norm) == "BatchNorm(3)" and repr(
        nn.BatchNorm(2, statistics="running", dtype=np.float32)
    ) == ("BatchNorm(2, statistics='running', dtype=float32)")


def test_only_the_courses_batchnorm_seeds_and_has_the_courses_eps(backend, dtype, tmp_path):
    def network(seed, statistics):
        np.random.seed(seed)
        return nn.Sequential(
            [
                nn.Linear(3, 4, dtype=dtype),
                nn.BatchNorm(4, statistics=statistics, dtype=dtype),
                nn.Tanh(),
                nn.Linear(4, 2, dtype=dtype),
                nn.SoftMax(),
            ],
            nn.NLL(),
        )

    for statistics, eps, same in (("batch", 1e-20, True), ("running", 1e-5, False)):
        first, second = network(1, statistics), network(2, statistics)
        assert (
            first.modules[1].eps == eps
            and nn.BatchNorm(4, statistics=statistics, eps=0.25).eps == 0.25
        )
        assert np.array_equal(first.modules[1].G, second.modules[1].G) is same
        assert np.array_equal(first.modules[3].W, second.modules[3].W) is same
        np.random.seed(1)
        np.random.normal(size=(3, 4))
        if statistics == "running":  # one draw, from the generator as it is
            assert np.array_equal(
                first.modules[1].G, np.random.normal(0, 0.5, (4, 1)).astype(dtype)
            )
        first.modules[1].eps = 1e-20  # as a model that was saved before the default changed
        first.save(tmp_path / "model.npz")
        assert nn.load(tmp_path / "model.npz").modules[1].eps == 1e-20


def test_a_feature_constant_in_training_does_not_blow_up_in_prediction(backend, dtype):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(4, 200)).astype(dtype), np.arange(200) % 2
    X[0] += 4 * y
    X[2] = 0.5
    np.random.seed(0)
    net = nn.Sequential(
        [
            nn.BatchNorm(4, statistics="running", dtype=dtype),
            nn.Linear(4, 5, dtype=dtype),
            nn.Tanh(),
            nn.Linear(5, 2, dtype=dtype),
            nn.SoftMax(),
        ],
        nn.NLL(),
    )
    net.fit(X, y, epochs=100, seed=0)
    assert net.modules[0].running_var[2] < 1e-3
    before = net.evaluate(X, y)[0]
    X[2] += np.asarray(
        1e-3, dtype
    )  # invisible next to the eps of this form; 1e7 standard deviations with the course's
    after = net.evaluate(X, y)[0]
    assert before < 0.2 and abs(after - before) < 0.5


@pytest.mark.parametrize("eps", [1e-20, 1e-5])
def test_a_constant_feature_is_normalised_to_zero(backend, dtype, eps):
    """As the outputs of a Linear behind units that are all off. Its mean must be exact: with the
    course's eps an ulp of difference would count as a standard deviation."""
    constants = np.random.default_rng(0).normal(size=(37, 1)).astype(dtype)
    ones, zeros = np.ones((37, 1), dtype), np.zeros((37, 1), dtype)
    for batch in (1, 2, 3, 5, 7, 8, 13, 40, 100):
        _, norm, mus, variances = nn.kernels.batchnorm_forward(
            np.tile(constants, batch), ones, zeros, eps
        )
        assert np.array_equal(mus, constants) and not variances.any() and not norm.any(), batch


def test_batchnorm_follows_the_statistics(backend, dtype):
    rng = np.random.default_rng(0)
    norm = nn.BatchNorm(2, statistics="running", momentum=0.25, dtype=dtype)
    mean, var = np.zeros((2, 1)), np.ones((2, 1))
    arrays = norm.running_mean, norm.running_var
    for K in (5, 1, 9):
        A = rng.normal(3, 2, (2, K)).astype(dtype)
        norm.forward(A)
        mean = 0.75 * mean + 0.25 * A.mean(axis=1, keepdims=True)
        if K > 1:
            var = 0.75 * var + 0.25 * A.var(axis=1, ddof=1, keepdims=True)
    assert norm.running_mean is arrays[0] and norm.running_var is arrays[1]
    assert_close(
        norm.running_mean, mean.astype(dtype), tolerance=1e-6 if dtype == np.float32 else 1e-14
    )
    assert_close(
        norm.running_var, var.astype(dtype), tolerance=1e-6 if dtype == np.float32 else 1e-14
    )
    before = {name: copy.copy(value) for name, value in vars(norm).items()}
    norm.training = False
    x = np.array([[1.0], [2.0]], dtype)
    Z = norm.forward(x)
    wanted = norm.G * (x - mean) / np.sqrt(var + 1e-5) + norm.B
    assert_close(Z, wanted.astype(dtype), tolerance=1e-5 if dtype == np.float32 else 1e-13)
    assert (norm.predict_forward(x) == Z).all()
    assert all(
        np.array_equal(vars(norm)[name], value)
        for name, value in before.items()
        if name != "training"
    )
    scale, shift = norm.affine()
    assert_close(scale * x + shift, Z, tolerance=1e-5 if dtype == np.float32 else 1e-13)


def test_batchnorm_against_pytorch(backend):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    ours, theirs = (
        nn.BatchNorm(4, statistics="running", momentum=0.1, eps=1e-5),
        torch.nn.BatchNorm1d(4, dtype=torch.float64),
    )
    with torch.no_grad():
        theirs.weight[:], theirs.bias[:] = torch.tensor(ours.G[:, 0]), torch.tensor(ours.B[:, 0])
    for _ in range(3):
        A, dZ = rng.normal(2, 3, (4, 6)), rng.normal(size=(4, 6))
        a = torch.tensor(A.T, requires_grad=True)
        z = theirs(a)
        theirs.weight.grad = theirs.bias.grad = None
        z.backward(torch.tensor(dZ.T))
        np.testing.assert_allclose(ours.forward(A), z.detach().numpy().T, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(ours.backward(dZ), a.grad.numpy().T, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(ours.dLdG[:, 0], theirs.weight.grad.numpy(), rtol=1e-12)
        np.testing.assert_allclose(ours.dLdB[:, 0], theirs.bias.grad.numpy(), rtol=1e-12)
    theirs.eval()
    np.testing.assert_allclose(
        ours.predict_forward(A), theirs(torch.tensor(A.T)).detach().numpy().T, rtol=1e-12
    )


def test_modules_refuse(backend):
    for error, message, call in [
        (ValueError, "m must be at least 1, got 0", lambda: nn.BatchNorm(0)),
        (ValueError, "statistics must be one of", lambda: nn.BatchNorm(2, statistics="moving")),
        (
            ValueError,
            "momentum must be above 0 and at most 1, got 0",
            lambda: nn.BatchNorm(2, momentum=0),
        ),
        (ValueError, "eps must be at least 0, got -1", lambda: nn.BatchNorm(2, eps=-1)),
        (
            ValueError,
            "eps must be at least 0, got nan",
            lambda: nn.BatchNorm(2, statistics="running", eps=float("nan")),
        ),
        (
            TypeError,
            "dtype must be float32 or float64, got int64",
            lambda: nn.BatchNorm(2, dtype=np.int64),
        ),
        (
            RuntimeError,
            "BatchNorm.backward must follow BatchNorm.forward",
            lambda: nn.BatchNorm(2).backward(np.ones((2, 1))),
        ),
        (
            RuntimeError,
            "BatchNorm.step must follow BatchNorm.backward",
            lambda: nn.BatchNorm(2).step(0.1),
        ),
        (ValueError, "p must be at least 0 and below 1, got 1.0", lambda: nn.Dropout(1.0)),
        (TypeError, "seed must be an integer", lambda: nn.Dropout(0.5, seed=0.5)),
        (
            RuntimeError,
            "Dropout.backward must follow Dropout.forward",
            lambda: nn.Dropout(0.5).backward(np.ones((2, 1))),
        ),
        (
            ValueError,
            "dropout_pct must be at least 0 and below 1, got 1",
            lambda: nn.ReLU().forward(np.ones((2, 1)), 1),
        ),
    ]:
        with pytest.raises(error, match=message):
            call()


def test_dropout_drops_in_training_and_scales(backend, dtype):
    drop, A = nn.Dropout(0.25, seed=5), np.ones((40, 50), dtype)
    first, second = drop.forward(A), drop.forward(A)
    assert (
        drop.count == 2
        and set(np.unique(first)) == {0, dtype(1 / 0.75)}
        and (first != second).any()
    )
    assert (drop.backward(A) == second).all(), (
        "the gradient goes through the mask of the last forward"
    )
    assert (nn.Dropout(0.25, seed=5).forward(A) == first).all() and (
        nn.Dropout(0.25, seed=6).forward(A) != first
    ).any()
    again = pickle.loads(pickle.dumps(drop))
    assert (again.forward(A) == drop.forward(A)).all()
    drop.training = False
    assert drop.forward(A) is A and drop.backward(A) is A and drop.count == 3
    np.random.seed(3)
    unseeded = nn.Dropout(0.25)
    state = np.random.get_state()[1:3]
    assert nn.Dropout(0).forward(A) is A and np.array_equal(np.random.get_state()[1], state[0]), (
        "nothing is drawn before it is needed"
    )
    unseeded.forward(A)
    np.random.seed(3)
    same = nn.Dropout(0.25)
    same.forward(A)
    assert same.key == unseeded.key is not None


def test_relu_with_dropout_is_the_courses(backend):
    relu, Z = nn.ReLU(), np.random.default_rng(0).normal(size=(30, 40))
    np.random.seed(4)
    A = relu.forward(Z, 0.4)
    np.random.seed(4)
    mask = np.random.binomial(1, 0.6, Z.shape)
    np.testing.assert_allclose(A, np.maximum(0, Z) * mask / 0.6, rtol=1e-15)
    np.testing.assert_allclose(relu.backward(np.ones_like(Z)), (A > 0) / 0.6, rtol=1e-15)
    state = np.random.get_state()
    assert (relu.forward(Z, dropout_pct=0.0) == np.maximum(0, Z)).all() and (
        relu.backward(Z) == Z * (Z > 0)
    ).all()
    assert np.array_equal(np.random.get_state()[1], state[1])
    single = nn.ReLU()
    assert (
        single.forward(Z.astype(np.float32), 0.4).dtype
        == np.float32
        == single.backward(Z.astype(np.float32)).dtype
    )


# ----------------------------------------------------------------------------------------- networks


def make(
    dtype=np.float64, statistics="running", p=0.3, loss=nn.NLL, output=nn.SoftMax, n=3, seed=0
):
    """6 inputs, two BatchNorms, two Dropouts, one pair of them in a Sequential of its own."""
    np.random.seed(seed)

    def norm(m):
        state = np.random.get_state()
        made = nn.BatchNorm(m, statistics=statistics, dtype=dtype)
        np.random.set_state(state)
        made.G[:] = 0.5 + np.random.random((m, 1))
        return made

    # between Linear and BatchNorm an activation: otherwise the gradient of W0 is zero but for
    # rounding, which Adam makes large
    inner = nn.Sequential(
        [nn.Linear(20, 9, dtype=dtype), nn.Dropout(p, seed=4), nn.Tanh(), norm(9)]
    )
    return nn.Sequential(
        [
            nn.Linear(6, 20, dtype=dtype),
            nn.Sigmoid(),
            norm(20),
            nn.ReLU(),
            nn.Dropout(p, seed=3),
            inner,
            nn.Linear(9, n, dtype=dtype),
            *([output()] if output is not nn.Linear else []),
        ],
        loss(),
    )


def make_data(n=3, samples=70, loss=nn.NLL, dtype=np.float64, seed=1):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(6, samples)).astype(dtype)
    if loss is nn.NLL:
        return X, np.eye(n)[:, rng.integers(n, size=samples)].astype(dtype)
    if loss is nn.Squared:
        return X, rng.normal(size=(n, samples)).astype(dtype)
    return X, rng.integers(2, size=(n, samples)).astype(dtype) * (2 if loss is nn.Hinge else 1) - (
        loss is nn.Hinge
    )


def state_of(net):
    """Copies of everything that training changes, with the Dropouts' counts."""
    arrays = [
        getattr(m, name).copy()
        for m in _chain.modules_of(net)
        for name in (*m.gradients, *getattr(m, "statistics_arrays", ()))
    ]
    arrays += (
        [a.copy() for key in sorted(net.optimizer.state) for a in net.optimizer.state[key]]
        if net.optimizer
        else []
    )
    return [
        *arrays,
        np.array([m.count for m in _chain.modules_of(net) if isinstance(m, nn.Dropout)], float),
    ]


def assert_same(one, two, tolerance):
    for i, (a, b) in enumerate(zip(one, two, strict=True)):
        np.testing.assert_allclose(
            a,
            b,
            rtol=tolerance,
            atol=tolerance * max(1, np.abs(b).max(initial=0)),
            err_msg=f"array {i}",
        )


def tame(name):
    """The optimizer by name, without the division of rounding errors by their own size."""
    cls = registry.OPTIMIZERS[name].cls
    return cls(eps=1e-2) if "eps" in cls().parameters else cls()


WAYS = {
    "sgd": lambda net, X, Y: net.sgd(X, Y, iters=60, lrate=0.01),
    "mini_gd": lambda net, X, Y: net.mini_gd(X, Y, 40, 0.005, K=9),
    "fit": lambda net, X, Y: net.fit(X, Y, epochs=2, batch_size=16, seed=0),
    "fit, batches of one": lambda net, X, Y: net.fit(
        X, Y, epochs=1, batch_size=1, lrate=0.01, seed=0
    ),
    "fit with a function": lambda net, X, Y: net.fit(
        X, Y, epochs=2, batch_size=16, seed=0, lrate=lambda t: 0.1 / t
    ),
    "fit, sums and penalty": lambda net, X, Y: net.fit(
        X, Y, epochs=2, batch_size=16, lrate=0.01, seed=0, l2=0.01, reduction="sum"
    ),
    "partial_fit": lambda net, X, Y: [
        net.partial_fit(X[:, i : i + 9], Y[:, i : i + 9]) for i in range(0, 60, 9)
    ],
    **{
        name: lambda net, X, Y, name=name: net.fit(
            X, Y, epochs=2, batch_size=16, lrate=0.01, optimizer=tame(name), seed=0
        )
        for name in registry.OPTIMIZERS
    },
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("loss", "output"),
    [
        (nn.NLL, nn.SoftMax),
        (nn.BinaryNLL, nn.OutputSigmoid),
        (nn.Squared, nn.Linear),
        (nn.Hinge, nn.Linear),
    ],
    ids=lambda c: c.__name__,
)
def test_both_backends_train_alike(way, loss, output, isa):
    X, Y = make_data(loss=loss)
    results = []
    for backend in ("compiled", "numpy"):
        with nn.use_backend(backend):
            net = make(loss=loss, output=output)
            assert (as_program(net, (X, Y), True) is not None) == (backend == "compiled")
            told = WAYS[way](net, X, Y)
            results.append(
                [
                    *state_of(net),
                    net.predict_proba(X),
                    np.array(net.evaluate(X, Y)),
                    np.array(told["loss"] if isinstance(told, dict) else told or 0.0),
                ]
            )
    assert_same(*results, tolerance=1e-9)


@pytest.mark.parametrize("way", ["sgd", "mini_gd", "fit", "adam"])
def test_both_backends_train_alike_in_float32(way, isa):
    X, Y = make_data(dtype=np.float32)
    results = []
    for backend in ("compiled", "numpy"):
        with nn.use_backend(backend):
            net = make(np.float32)
            WAYS[way](net, X, Y)
            results.append([*state_of(net), net.predict_proba(X)])
    assert_same(*results, tolerance=2e-3)


@st.composite
def chains(draw):
    """(a function that makes a network of random modules, its inputs)."""
    kinds = draw(
        st.lists(
            st.sampled_from(["linear", "tanh", "relu", "sigmoid", "norm", "running", "dropout"]),
            min_size=0,
            max_size=6,
        )
    )
    sizes = draw(st.lists(st.integers(1, 20), min_size=len(kinds) + 2, max_size=len(kinds) + 2))
    cut = sorted(draw(st.lists(st.integers(0, len(kinds)), min_size=2, max_size=2)))
    seed = draw(st.integers(0, 99))

    def build(dtype):
        np.random.seed(seed)
        width, parts = sizes[-1], []
        for i, (kind, size) in enumerate(zip(kinds, sizes, strict=False)):
            if kind == "linear":
                parts.append(nn.Linear(width, size, dtype=dtype))
                width = size
            elif kind in ("norm", "running"):
                parts.append(
                    nn.BatchNorm(
                        width, statistics="batch" if kind == "norm" else kind, eps=1e-2, dtype=dtype
                    )
                )
                parts[-1].G[:] = np.random.random((width, 1))
            else:
                parts.append(
                    {"tanh": nn.Tanh, "relu": nn.ReLU, "sigmoid": nn.Sigmoid}[kind]()
                    if kind != "dropout"
                    else nn.Dropout(0.4, seed=i)
                )
        inner = nn.Sequential(parts[cut[0] : cut[1]])
        parts[cut[0] : cut[1]] = [inner] if inner.modules else []
        return nn.Sequential(
            [*parts, nn.Linear(width, sizes[-2], dtype=dtype), nn.SoftMax()], nn.NLL()
        )

    return build, sizes[-1], sizes[-2]


@given(
    chains(),
    st.sampled_from(LEVELS),
    st.sampled_from([1, 2, 7, 16]),
    st.sampled_from(list(registry.OPTIMIZERS)),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_random_networks_train_and_predict_alike(case, level, batch_size, optimizer, penalty):
    build, inputs, classes = case
    if level not in _core.isa_levels():
        return
    rng, before = np.random.default_rng(0), _core.get_isa()
    X, Y = rng.normal(size=(inputs, 23)), np.eye(classes)[:, rng.integers(classes, size=23)]
    results = []
    _core.set_isa(level)
    try:
        for backend in ("compiled", "numpy"):
            with nn.use_backend(backend):
                net = build(np.float64)
                untrained = net.predict_proba(X)
                net.sgd(X, Y, iters=8, lrate=0.01)
                history = net.fit(
                    X,
                    Y,
                    epochs=2,
                    batch_size=batch_size,
                    lrate=0.003,
                    optimizer=tame(optimizer),
                    l2=0.1 * penalty,
                    seed=0,
                )
                results.append(
                    [
                        untrained,
                        *state_of(net),
                        net.predict_proba(X),
                        np.array(history["loss"]),
                        np.array(net.evaluate(X, Y)),
                    ]
                )
    finally:
        _core.set_isa(before)
    assert_same(*results, tolerance=1e-6)


def test_the_gradient_of_a_network_by_finite_differences(backend):
    net, (X, Y) = make(statistics="batch", p=0.0), make_data(samples=8)

    def loss():
        return net.loss.forward(net.forward(X), Y)

    loss()
    net.backward(net.loss.backward())
    for module in _chain.modules_of(net):
        for name, of_name in module.gradients.items():
            w, gradient = getattr(module, name), getattr(module, of_name)
            for at in [(0, 0), (w.shape[0] - 1, w.shape[1] - 1)]:
                value, h = w[at], 1e-5
                w[at] = value + h
                high = loss()
                w[at] = value - h
                low = loss()
                w[at] = value
                assert gradient[at] == pytest.approx((high - low) / (2 * h), rel=1e-5, abs=1e-7), (
                    module,
                    name,
                    at,
                )


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_weights_of_megabytes(optimizer):
    rng = np.random.default_rng(0)
    X, Y = (
        rng.normal(size=(900, 70)).astype(np.float32),
        np.eye(3, dtype=np.float32)[:, rng.integers(3, size=70)],
    )
    results = []
    for backend in ("compiled", "numpy"):
        with nn.use_backend(backend):
            np.random.seed(0)
            net = nn.Sequential(
                [
                    nn.Linear(900, 1300, dtype=np.float32),
                    nn.BatchNorm(1300, statistics="running", dtype=np.float32),
                    nn.ReLU(),
                    nn.Dropout(0.5, seed=1),
                    nn.Linear(1300, 3, dtype=np.float32),
                    nn.SoftMax(),
                ],
                nn.NLL(),
            )
            history = net.fit(
                X, Y, epochs=2, batch_size=32, lrate=1e-4, optimizer=tame(optimizer), seed=0
            )
            results.append([*state_of(net), np.array(history["loss"])])
    assert_same(*results, tolerance=5e-4)


def test_any_number_of_threads_gives_the_same_bits():
    X, Y = make_data(samples=4096)

    def run():
        net = make()
        net.modules = [m for m in net.modules if not isinstance(m, nn.BatchNorm)]
        net.modules[4].modules.pop()
        net.modules[0].W, net.modules[0].W0 = (
            np.tile(net.modules[0].W, (1, 20)),
            np.tile(net.modules[0].W0, (20, 1)),
        )
        net.modules[4].modules[0].W = np.tile(net.modules[4].modules[0].W, (20, 1)) / 20
        net.fit(X, Y, epochs=2, batch_size=4096, seed=0)
        return [w.tobytes() for w in state_of(net)]

    alone = shared(1, run)
    assert shared(2, run) == alone and shared(3, run) == alone


# ----------------------------------------------------------------------- what goes wrong on the way


@pytest.mark.parametrize("kind", ["program", "by modules", "large"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_divergence_leaves_everything_as_after_the_last_finite_step(backend, kind, optimizer):
    """Steps 1 to 3 are taken, step 4 is far too large."""
    X, Y = make_data(samples=48)

    def net_and_fit(steps, failing):
        net = make()
        if kind == "large":
            net.modules[0].W, net.modules[0].W0 = (
                np.tile(net.modules[0].W, (1, 4000)),
                np.tile(net.modules[0].W0, (4000, 1)),
            )
            net.modules[2] = nn.BatchNorm(80000, statistics="running")
            net.modules[5].modules[0].W = np.tile(net.modules[5].modules[0].W, (4000, 1)) / 4000
        if kind == "by modules":
            net.modules.insert(
                0,
                type(
                    "Own",
                    (nn.Module,),
                    {"forward": lambda self, A: A, "backward": lambda self, d: d},
                )(),
            )
        rate = (
            nn.schedules.Steps([1e-3, 1e-3, 1e-3, 1e308])
            if hasattr(nn.schedules, "Steps")
            else lambda t: 1e308 if t > 3 else 1e-3
        )
        order = slice(0, 8 * steps)
        if failing:
            with (
                pytest.raises(FloatingPointError, match="diverged at step [45]"),
                warnings.catch_warnings(),
            ):
                warnings.simplefilter("ignore")
                net.fit(X, Y, batch_size=8, lrate=rate, optimizer=optimizer, shuffle=False)
        else:
            net.fit(
                X[:, order],
                Y[:, order],
                batch_size=8,
                lrate=rate,
                optimizer=optimizer,
                shuffle=False,
            )
        return net

    failed = net_and_fit(6, True)
    done = failed.optimizer.t
    assert done in (3, 4)
    assert_same(state_of(failed), state_of(net_and_fit(done, False)), 1e-12)


def test_data_that_are_not_finite_change_nothing(backend):
    net, (X, Y) = make(), make_data(samples=40)
    net.fit(X, Y)
    before = state_of(net)
    X[2, 35] = np.nan
    with pytest.raises(ValueError, match="X must be finite"):
        net.fit(X, Y, batch_size=8, shuffle=False)
    after = state_of(net)
    assert all(
        np.array_equal(a, b) for a, b in zip(before[:-1], after[:-1], strict=True)
    ) and np.array_equal(before[-1], after[-1])


def test_widths_that_do_not_fit_are_refused(backend):
    X, Y = make_data()
    net = make()
    net.modules[2] = nn.BatchNorm(19, statistics="running")
    before = state_of(net)
    for call in (
        lambda: net.sgd(X, Y),
        lambda: net.fit(X, Y),
        lambda: net.mini_gd(X, Y, 10, 0.1),
        lambda: net.predictor(),
    ):
        with pytest.raises(
            ValueError, match=r"BatchNorm\(19, .*\) must take the 20 outputs of .*, got 19 inputs"
        ):
            call()
    with pytest.raises(ValueError, match=r"20|19"):
        net.predict(X)
    assert_same(before, state_of(net), 0)


# -------------------------------------------------------------------------------------------- modes


class Watching(nn.Module):
    """Notes in which mode it was called."""

    def __init__(self):
        self.seen = []

    def forward(self, A):
        self.seen.append(self.training)
        return A

    def backward(self, dLdZ):
        return dLdZ


def test_modes_reach_every_module_and_forward_follows(backend):
    net, (X, _) = make(), make_data()
    net.modules[5].modules.append(Watching())
    assert net.training and net.eval() is net and not net.training
    assert not any(m.training for m in _chain.every_module(net))
    assert (net.forward(X) == net.forward(X)).all()
    np.testing.assert_allclose(net.forward(X), net.predict_proba(X), rtol=1e-12)
    assert net.train() is net and all(m.training for m in _chain.every_module(net))
    assert (net.forward(X) != net.forward(X)).any()
    assert net.modules[5].modules[-1].seen == [False, False, False, False, True, True]


@pytest.mark.parametrize("way", ["sgd", "mini_gd", "fit", "partial_fit"])
def test_training_trains_whatever_the_mode_and_leaves_it(backend, way):
    X, Y = make_data()
    nets = make(), make().eval()
    for net in nets:
        np.random.seed(0)
        WAYS[way](net, X, Y)
    assert_same(state_of(nets[0]), state_of(nets[1]), 0)
    assert nets[0].training and all(m.training for m in _chain.every_module(nets[0]))
    assert not nets[1].training and not any(m.training for m in _chain.every_module(nets[1]))
    with pytest.raises(ValueError, match="finite"):
        nets[1].fit(X * np.nan, Y)
    assert not any(m.training for m in _chain.every_module(nets[1]))


@pytest.mark.parametrize("statistics", ["batch", "running"])
@pytest.mark.parametrize("own", [False, True])
def test_prediction_leaves_no_trace_and_ignores_the_mode(backend, statistics, own):
    net, (X, Y) = make(statistics=statistics), make_data()
    if own:
        net.modules.insert(2, Watching())
    net.fit(X, Y, seed=0)

    def attributes():
        return [
            (name, np.copy(value))
            for m in _chain.every_module(net)
            if isinstance(m, (nn.BatchNorm, nn.Dropout))
            for name, value in sorted(vars(m).items())
            if name != "training"
        ]

    before = attributes()
    P = net.predict_proba(X)
    results = [
        net.evaluate(X, Y),
        net.score(X, Y),
        net.log_likelihood(X, Y),
        net.predict(X),
        net.predict_proba(X[:, :1]),
    ]
    net.eval()
    again = [
        net.evaluate(X, Y),
        net.score(X, Y),
        net.log_likelihood(X, Y),
        net.predict(X),
        net.predict_proba(X[:, :1]),
    ]
    assert all(
        np.array_equal(a, b) for a, b in zip(results, again, strict=True)
    ) and np.array_equal(P, net.predict_proba(X))
    assert all(
        a == b and np.array_equal(x, y) for (a, x), (b, y) in zip(before, attributes(), strict=True)
    )
    np.testing.assert_allclose(net.forward(X), P, rtol=1e-12)
    one = net.predict_proba(X[:, :1])
    assert np.allclose(one, P[:, :1]) == (statistics == "running"), (
        "only batch statistics look at the other samples"
    )


def test_batch_statistics_are_of_all_samples_given(backend):
    net, (X, Y) = make(statistics="batch"), make_data(samples=predict.EVALUATE_SLICE + 300)
    P = net.predict_proba(X)
    loss, accuracy = net.evaluate(X, Y)
    assert loss == pytest.approx(net.loss.forward(P, Y) / X.shape[1], rel=1e-12)
    assert accuracy == np.mean(np.argmax(P, axis=0) == np.argmax(Y, axis=0))
    np.testing.assert_allclose(
        P, net.eval().forward(X), rtol=1e-10, atol=1e-14
    )  # not of the blocks that a program predicts by


def test_users_modules_may_predict_by_another_way(backend):
    class Noisy(nn.Module):
        def forward(self, A):
            return A + np.random.normal(size=A.shape)

        def predict_forward(self, A):
            return A

        def backward(self, dLdZ):
            return dLdZ

    net, (X, Y) = make(), make_data()
    wanted = net.predict_proba(X)
    net.modules.insert(3, Noisy())
    np.testing.assert_allclose(net.predict_proba(X), wanted, rtol=1e-12)
    net.fit(X, Y)
    assert np.isfinite(net.evaluate(X, Y)[0])


# ---------------------------------------------------------------------------------------- predictor


@given(chains())
@settings(max_examples=60, deadline=None)
def test_predictors_fold_the_running_statistics_in(case):
    build, inputs, _ = case
    net = build(np.float64)
    rng = np.random.default_rng(0)
    for module in _chain.modules_of(net):
        if isinstance(module, nn.BatchNorm) and module.statistics == "running":
            module.running_mean[:], module.running_var[:] = (
                rng.normal(size=(module.m, 1)),
                0.1 + rng.random((module.m, 1)),
            )
    X = rng.normal(size=(inputs, 40))
    if _chain.depends_on_batch(net):
        with pytest.raises(TypeError, match="BatchNorm that normalises by the batch given"):
            net.predictor()
        return
    with nn.use_backend("numpy"):
        wanted = net.predict_proba(X)
    predictor = net.predictor()
    np.testing.assert_allclose(predictor(X), wanted, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(predictor(X[:, 0]), wanted[:, 0], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(
        pickle.loads(pickle.dumps(predictor))(X), wanted, rtol=1e-9, atol=1e-12
    )
    np.testing.assert_allclose(net.predict_proba(X), wanted, rtol=1e-9, atol=1e-12)


# ------------------------------------------------------------------------- Sequential in Sequential


def test_an_inner_sequential_is_the_same_as_its_modules(backend):
    X, Y = make_data()
    nested, flat = make(), make()
    flat.modules = _chain.modules_of(flat)
    for net in (nested, flat):
        np.random.seed(0)
        net.sgd(X, Y, iters=30, lrate=0.01)
        net.mini_gd(X, Y, 20, 0.01)
        net.fit(X, Y, optimizer="adam", l2=0.01, seed=0)
        assert net.forward(X[:, :8]).shape == (3, 8)
        assert net.backward(Y[:, :8]) is None
        net.sgd_step(0.01)
    assert_same(state_of(nested), state_of(flat), 0)
    assert np.array_equal(nested.predict(X), flat.predict(X))
    assert nested.parameters == flat.parameters == 6 * 20 + 20 + 40 + 20 * 9 + 9 + 18 + 9 * 3 + 3
    assert "  Sequential([\n    Linear(20, 9)" in repr(nested)


def test_an_inner_sequential_of_the_users_own_runs_as_it_is(backend):
    class Residual(nn.Sequential):
        def forward(self, X):
            return X + super().forward(X)

        def backward(self, delta):
            return delta + self._input_gradient(delta)

    def build():
        np.random.seed(0)
        return nn.Sequential(
            [
                nn.Linear(6, 5),
                Residual([nn.Linear(5, 5), nn.Tanh()]),
                nn.Linear(5, 3),
                nn.SoftMax(),
            ],
            nn.NLL(),
        )

    net, (X, Y) = build(), make_data()
    before = net.modules[1].modules[0].W.copy()
    net.fit(X, Y)
    assert (net.modules[1].modules[0].W != before).any()
    with pytest.raises(TypeError, match=r"modules\[1\] must name its gradients"):
        net.fit(X, Y, optimizer="adam")
    with pytest.raises(TypeError, match="the library's own"):
        net.predictor()


def test_an_inner_sequential_without_modules_is_nothing(backend):
    net, (X, Y) = make(), make_data()
    wanted = net.predict_proba(X)
    net.modules.insert(2, nn.Sequential([]))
    assert np.array_equal(net.predict_proba(X), wanted)
    net.fit(X, Y)
    with pytest.raises(ValueError, match="at least one module"):
        nn.Sequential([nn.Sequential([])], nn.NLL()).fit(X, Y)


# -------------------------------------------------------------------------- what goes with networks


def test_early_stopping_restores_the_running_statistics(backend):
    X, Y = make_data()
    net, kept = make(), []

    def keep(net, history):
        history["told"] = [*history.get("told", []), [3.0, 1.0, 2.0, 2.0][len(kept)]]
        kept.append([a for a in state_of(net)[:-1]])

    stop = callbacks.EarlyStopping("told", patience=2)
    net.fit(X, Y, epochs=9, callbacks=[keep, stop], seed=0)
    assert stop.best_epoch == 2 and len(kept) == 4
    assert_same(state_of(net)[:-1], kept[1], 0)


def test_the_keys_of_fit_come_from_its_seed(backend):
    X, Y = make_data()
    keys = []
    for seed in (5, 5, 6, None):
        net = make()
        for module in _chain.modules_of(net):
            if isinstance(module, nn.Dropout):
                module.key = None
        net.fit(X, Y, seed=seed)
        keys.append([m.key for m in _chain.modules_of(net) if isinstance(m, nn.Dropout)])
    assert keys[0] == keys[1] and len({k for pair in keys[1:] for k in pair}) == 6
