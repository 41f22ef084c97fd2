"""Accuracy of the vector exp, log, log1p, tanh and sigmoid inside the compiled kernels, in units in
the last place (ulp).

float32: every representable input with `-m slow`, a sample of the bit patterns otherwise, against
float64. float64: sampled, against fifty digits.
"""

import functools

import mpmath
import numpy as np
import pytest

from nncore import _core
from nncore.kernels import compiled

FUNCTIONS = {
    "exp": functools.partial(_core.apply, "exp"),
    "log": functools.partial(_core.apply, "log"),
    "log1p": functools.partial(_core.apply, "log1p"),
    "tanh": compiled.tanh_forward,
    "sigmoid": compiled.sigmoid_forward,
}
ALLOWED = {  # largest error in ulp
    np.float32: {"exp": 1.5, "log": 1.5, "log1p": 2.5, "tanh": 2.5, "sigmoid": 2.5},
    np.float64: {"exp": 1.0, "log": 1.0, "log1p": 2.0, "tanh": 2.0, "sigmoid": 2.0},
}
MONOTONE = ("exp", "log", "tanh", "sigmoid")  # log1p serves sums of losses only
LEAST = {"log": 0.0, "log1p": -1.0}  # below it not a number


def in_float64(name, x):
    x = x.astype(np.float64)
    if name == "sigmoid":
        e = np.exp(-np.abs(x))
        return np.where(x < 0, e, 1) / (1 + e)
    return getattr(np, name)(x)


def exactly(name, x):
    return 1 / (1 + mpmath.exp(-x)) if name == "sigmoid" else getattr(mpmath, name)(x)


def worst_float32(name, x):
    """(largest error in ulp, where) over finite x in the domain whose result is a normal number."""
    with np.errstate(all="ignore"):
        exact = in_float64(name, x)
        spacing = np.spacing(np.abs(exact.astype(np.float32))).astype(np.float64)
        error = np.abs(FUNCTIONS[name](x).astype(np.float64) - exact) / spacing
    usable = (
        np.isfinite(exact)
        & (np.abs(exact) < np.finfo(np.float32).max)
        & (np.abs(exact) >= np.finfo(np.float32).smallest_normal)
    )
    error = np.where(usable, error, 0)
    at = int(np.argmax(error)) if x.size else 0
    return float(error[at]), x[at]


def bit_patterns(first, last, step):
    """float32 numbers whose bits, read as a number, are first, first + step, ... below last;
    ascending for positive numbers."""
    return np.arange(first, last, step, dtype=np.uint64).astype(np.uint32).view(np.float32)


NAN_BITS = 0x7F800001  # positive numbers, and infinity, come before


@pytest.mark.parametrize("name", FUNCTIONS)
def test_float32_sampled(name, isa):
    for sign in (0, 1 << 31):
        x = bit_patterns(sign, sign + NAN_BITS, 1511)
        error, where = worst_float32(name, x)
        assert error <= ALLOWED[np.float32][name], f"{error} ulp at {where!r}"


@pytest.mark.slow
@pytest.mark.parametrize("name", FUNCTIONS)
def test_float32_everywhere(name, isa):
    block, last = 1 << 22, None
    for sign in (1 << 31, 0):
        for first in range(sign, sign + NAN_BITS, block):
            x = bit_patterns(first, min(first + block, sign + NAN_BITS), 1)
            error, where = worst_float32(name, x)
            assert error <= ALLOWED[np.float32][name], f"{error} ulp at {where!r}"
            if name not in MONOTONE:
                continue
            y = FUNCTIONS[name](x)
            assert_monotone(name, x, y)
            if last is not None and first > sign and not np.isnan(last[1]):
                assert_monotone(name, np.array([last[0], x[0]]), np.array([last[1], y[0]]))
            last = x[-1], y[-1]


def assert_monotone(name, x, y):
    inside = x >= LEAST.get(name, -np.inf)
    x, y = x[inside].astype(np.float64), y[inside]
    order = np.argsort(x, kind="stable")
    with np.errstate(invalid="ignore"):
        falls = np.flatnonzero(np.diff(y[order].astype(np.float64)) < 0)
    assert not falls.size, f"{name} falls at {x[order][falls[:3]]}"


@pytest.mark.parametrize("name", MONOTONE)
def test_float32_is_monotone(name, isa):
    """Coarsely everywhere, and over runs of neighbouring numbers where the formulas change."""
    everywhere = np.concatenate(
        [bit_patterns(sign, sign + NAN_BITS - 1, 4093) for sign in (0, 1 << 31)]
    )
    assert_monotone(name, everywhere, FUNCTIONS[name](everywhere))
    for middle in (
        0.0,
        2.0**-12,
        0.17,
        0.35,
        0.5,
        0.70710678,
        1.0,
        1.41421356,
        2.0,
        9.01,
        10.0,
        20.0,
        44.0,
        87.3,
        88.7,
        103.9,
    ):
        bits = int(np.float32(middle).view(np.uint32))
        for sign in (0, 1 << 31):
            x = bit_patterns(sign + max(bits - 40000, 0), sign + bits + 40000, 1)
            assert_monotone(name, x, FUNCTIONS[name](x))


@functools.cache
def float64_sample(name):
    """(x, exact values): all magnitudes, a dense middle, and neighbours of the points where
    formulas change."""
    rng = np.random.default_rng(5)
    x = np.concatenate(
        [
            rng.uniform(-708, 709, 400),
            rng.normal(0, 1, 600),
            rng.normal(0, 1, 300) * 2.0 ** rng.integers(-300, 8, 300),
            np.ravel(
                [
                    np.nextafter(v, d)
                    for v in (0.34657359, 0.5, 2**-0.5, 1.0, 2**0.5, 2.0, 19.06, 20.0, 36.7)
                    for d in (-9, 99)
                ]
            ),
            [
                -160.44843513757488,
                -29.441527142355,
                126.55079638693442,
                25.344460480541969,
            ],  # the worst of 3 million for exp,
            [-0.51244209998775503, -0.54109756780868379, -0.52009546171069232],  # for tanh
            [
                -36.747338518012064,
                -36.3,
                -35.99,
                -37.2,
                -1.1022100411273739,
                -1.1093170312932528,
            ],  # and for sigmoid
        ]
    )
    if name in LEAST:
        x = np.concatenate(
            [
                np.abs(x),
                1 + rng.normal(0, 1e-3, 200),
                1 + rng.normal(0, 1e-9, 100),
                2.0 ** rng.uniform(-1070, 1020, 200),
            ]
        )
    if name == "log1p":
        x = np.concatenate(
            [
                x,
                -rng.uniform(0, 1, 300),
                -(2.0 ** rng.uniform(-60, 0, 100)),
                2.0 ** -np.arange(1, 53) - 1,
            ]
        )
    with mpmath.workdps(50):
        return x, [exactly(name, mpmath.mpf(v)) for v in x.tolist()]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_float64_sampled(name, isa):
    x, exact = float64_sample(name)
    worst = (0.0, 0.0)
    for given, value, true in zip(x.tolist(), FUNCTIONS[name](x).tolist(), exact, strict=True):
        if abs(true) >= np.finfo(np.float64).smallest_normal:
            worst = max(
                worst,
                (float(abs(mpmath.mpf(value) - true) / float(np.spacing(abs(float(true))))), given),
            )
    assert worst[0] <= ALLOWED[np.float64][name], f"{worst[0]} ulp at {worst[1]!r}"


@pytest.mark.skipif(
    np.finfo(np.longdouble).nmant < 60, reason="needs a longdouble of more digits than float64"
)
@pytest.mark.parametrize("name", ["exp", "tanh", "sigmoid"])
def test_float64_densely(name, isa):
    """Against longdouble, whose own error is about 0.001 ulp of float64."""
    rng = np.random.default_rng(6)
    x = np.concatenate(
        [
            rng.uniform(-708, 709, 40000),
            rng.uniform(-40, 40, 150000),
            rng.uniform(-1.2, 1.2, 150000),
        ]
    )
    e = np.exp(-np.abs(x.astype(np.longdouble)))
    exact = (
        np.where(x < 0, e, 1) / (1 + e)
        if name == "sigmoid"
        else getattr(np, name)(x.astype(np.longdouble))
    )
    error = np.abs(FUNCTIONS[name](x) - exact) / np.spacing(np.abs(exact.astype(np.float64)))
    at = int(np.argmax(error))
    assert error[at] <= ALLOWED[np.float64][name], f"{error[at]} ulp at {x[at]!r}"


@pytest.mark.parametrize("name", ["exp", "sigmoid"])
def test_results_below_the_least_normal_number(name, isa, dtype):
    """At most one unit of the subnormal numbers off."""
    info = np.finfo(dtype)
    x = np.linspace(
        np.log(float(info.smallest_normal)), np.log(float(info.smallest_subnormal)) + 0.1, 300
    ).astype(dtype)
    y, unit = FUNCTIONS[name](x), float(info.smallest_subnormal)
    assert (y > 0).all()
    for given, value in zip(x.tolist(), y.tolist(), strict=True):
        assert abs(value / unit - float(mpmath.exp(given) / mpmath.mpf(unit))) <= 1


@pytest.mark.parametrize("name", ["exp", "tanh", "sigmoid"])
def test_float64_is_monotone_among_neighbours(name, isa):
    """Where the whole part n of x / log 2 changes, where the formulas do, and anywhere."""
    steps = np.arange(-500, 501)
    whole = np.concatenate([np.arange(-60, 60), np.arange(-1074, 1023, 50)])
    points = [
        (whole + 0.5) * np.log(2),
        (whole[:120] + 0.5) * np.log(2) / 2,
        np.random.default_rng(7).normal(0, 2, 100),
    ]
    for x in np.concatenate(
        [*points, [-36.0, -40.0, -20.0, 19.06, 20.0, 36.0, 40.0, 709.7, 1e-3, -1e-3]]
    ):
        neighbours = (np.float64(x).view(np.int64) + (steps if x > 0 else steps[::-1])).view(
            np.float64
        )
        assert (np.diff(neighbours) > 0).all()
        assert_monotone(name, neighbours, FUNCTIONS[name](neighbours))


def test_special_values(isa, dtype):
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan], dtype)

    def of(name):
        return FUNCTIONS[name](x).tolist()

    np.testing.assert_array_equal(of("exp"), [1, 1, np.inf, 0, np.nan])
    np.testing.assert_array_equal(of("tanh"), [0, 0, 1, -1, np.nan])
    np.testing.assert_array_equal(of("sigmoid"), [0.5, 0.5, 1, 0, np.nan])
    np.testing.assert_array_equal(of("log"), [-np.inf, -np.inf, np.inf, np.nan, np.nan])
    np.testing.assert_array_equal(of("log1p"), [0, 0, np.inf, np.nan, np.nan])
    assert (
        np.signbit(of("tanh")[1]) and np.signbit(of("log1p")[1]) and not np.signbit(of("tanh")[0])
    )
    assert FUNCTIONS["log"](np.ones(1, dtype))[0] == 0
    assert FUNCTIONS["log1p"](np.full(1, -1, dtype))[0] == -np.inf
    assert np.isnan(FUNCTIONS["log"](np.full(1, -1e-3, dtype))[0]) and np.isnan(
        FUNCTIONS["log1p"](np.full(1, -1.5, dtype))[0]
    )


def test_results_stay_in_range(isa, dtype):
    """No rounding carries tanh beyond ±1, sigmoid outside [0, 1] or e^ of a negative number above
    1."""
    info = np.finfo(dtype)
    x = np.concatenate(
        [
            np.geomspace(float(info.smallest_subnormal), float(info.max) / 2, 20011),
            [float(info.max)],
        ]
    ).astype(dtype)
    with np.errstate(over="ignore"):
        x = np.concatenate([x, -x])
        assert np.abs(compiled.tanh_forward(x)).max() <= 1
        s = compiled.sigmoid_forward(x)
        assert s.min() >= 0 and s.max() <= 1
        e = FUNCTIONS["exp"](-np.abs(x))
        assert e.min() >= 0 and e.max() <= 1


def test_tiny_arguments_survive(isa, dtype):
    """tanh x = x and log1p x = x to the last digit where x is tiny, subnormal numbers included."""
    info = np.finfo(dtype)
    tiny = float(info.smallest_normal)
    x = np.array([float(info.smallest_subnormal), tiny / 2, tiny, float(info.eps) ** 2], dtype)
    for name in ("tanh", "log1p"):
        assert FUNCTIONS[name](x).tolist() == x.tolist(), name
        assert FUNCTIONS[name](-x).tolist() == (-x).tolist(), name


def test_the_yardstick_sees_an_error():
    """A result two units off fails the bound that exact results pass."""
    x = np.linspace(0.5, 3, 1000, dtype=np.float32)
    off = np.exp(x.astype(np.float64)).astype(np.float32)
    good = FUNCTIONS["exp"]
    try:
        FUNCTIONS["exp"] = lambda x: off
        assert worst_float32("exp", x)[0] <= 0.5001
        FUNCTIONS["exp"] = lambda x: off + 2 * np.spacing(off)
        assert worst_float32("exp", x)[0] > ALLOWED[np.float32]["exp"]
    finally:
        FUNCTIONS["exp"] = good
