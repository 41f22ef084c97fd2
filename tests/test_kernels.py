"""Compiled kernels against the NumPy ones: sizes, layouts, types, out=, refusals, values that are
not numbers."""

import numpy as np
import pytest
from kernel_cases import KERNELS, arguments, shape_of
from support import (
    LAYOUTS,
    SIZES,
    TOLERANCE,
    TYPES,
    assert_close,
    guarded,
    guards_whole,
    pairwise,
    unchanged,
)

from nncore import _core
from nncore.kernels import compiled, numpy_kernels

IN_PLACE = [
    k for k, (_, results, _) in KERNELS.items() if results == ("nb",) and not k.startswith("linear")
]
LOSSES = ("softmax_nll", "sigmoid_nll", "squared_loss", "hinge_loss")


def results_of(kernel, value):
    """The arrays a kernel returned, the loss among them as one of its own type."""
    if kernel in LOSSES:
        assert type(value[0]) is float
        return [np.asarray(value[0], value[1].dtype), value[1]]
    return list(value) if isinstance(value, tuple) else [value]


def scales(kernel, args, expected):
    """What rounding errors are relative to: sums to the sum of the magnitudes of their terms, which
    may cancel; derivatives to the gradient they are applied to; gradients of the losses to the
    probabilities and labels they are the difference of."""
    if kernel == "linear_forward":
        return [numpy_kernels.linear_forward(*map(np.abs, args))]
    if kernel == "linear_backward":
        return list(numpy_kernels.linear_backward(*map(np.abs, args)))
    if kernel == "nll_backward":
        return [np.maximum(1, np.sum(args[1], axis=0)) * np.ones_like(expected[0])]
    if kernel.endswith("_backward"):
        return [args[0]]
    if kernel == "softmax_nll":
        return [expected[0], np.maximum(1, np.sum(args[1], axis=0)) * np.ones_like(expected[1])]
    return [expected[0], np.ones_like(expected[1])] if kernel in LOSSES else expected


def compare(kernel, actual, plain, what):
    """actual against the NumPy kernel's answer to the same arguments as plain arrays."""
    expected = results_of(kernel, getattr(numpy_kernels, kernel)(*plain))
    given = results_of(kernel, actual)
    for i, (a, e, s) in enumerate(
        zip(given, expected, scales(kernel, plain, expected), strict=True)
    ):
        assert_close(a, e, f"{what} result {i}", s)


@pytest.mark.parametrize("kernel", KERNELS)
def test_sizes_and_layouts(kernel, isa, dtype):
    """Every size meets every other, and every layout of each argument; poison around and between is
    neither read nor written."""
    args, _, leader = KERNELS[kernel]
    kinds = [list(LAYOUTS) if i == leader else [*LAYOUTS, *TYPES] for i in range(len(args))]
    make = {**LAYOUTS, **TYPES}
    for m, n, b, *layouts in pairwise(SIZES, SIZES, SIZES, *kinds):
        given = [
            make[how](a) for how, a in zip(layouts, arguments(kernel, m, n, b, dtype), strict=True)
        ]
        plain = [
            np.array(a, dtype).reshape(shape_of(s, m, n, b))
            for a, (_, s) in zip(given, args, strict=True)
        ]
        if any(np.shape(a) != p.shape for a, p in zip(given, plain, strict=True)):
            continue  # an empty nested list has lost its shape
        with unchanged(*given):
            value = getattr(compiled, kernel)(*given)
        compare(kernel, value, plain, f"{kernel} m={m} n={n} b={b} {layouts}")


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(
    "sizes",
    [
        (784, 128, 37),
        (100, 101, 131),
        (784, 10, 1),
        (5, 1030, 3),
        (3, 4, 1031),
        (40, 1030, 41),
        (1030, 516, 19),  # panels of a B beyond the cache, copied by the first of two tiles
        (1030, 70, 130),  # copied by the first of ten, several sums, rows in parts
        (64, 1100, 130),  # short sums
    ],
    ids=str,
)
def test_larger_sizes(kernel, sizes, isa, dtype):
    plain = arguments(kernel, *sizes, dtype)
    for order in "CF":
        compare(
            kernel,
            getattr(compiled, kernel)(*[np.array(a, order=order) for a in plain]),
            plain,
            f"{kernel} {sizes} {order}",
        )


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_numpy_kernels_take_the_same_layouts(kernel, dtype):
    args, _, leader = KERNELS[kernel]
    make = {**LAYOUTS, **TYPES}
    for layouts in pairwise(
        *[list(LAYOUTS) if i == leader else list(make) for i in range(len(args))], ["C"]
    ):
        given = [
            make[how](a) for how, a in zip(layouts, arguments(kernel, 5, 4, 3, dtype), strict=False)
        ]
        plain = [np.array(a, dtype) for a in given]
        with unchanged(*given):
            value = getattr(numpy_kernels, kernel)(*given)
        compare(kernel, value, plain, f"{kernel} {layouts}")


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("kind", TYPES)
def test_the_computing_type(kernel, kind):
    """Whatever is neither float32 nor float64 computes in float64, except that relu keeps whole
    numbers; on both backends."""
    args, _, leader = KERNELS[kernel]
    given = [TYPES[kind](a) for a in arguments(kernel, 4, 3, 2, np.float64)]
    expected = results_of(kernel, getattr(numpy_kernels, kernel)(*given))
    actual = results_of(kernel, getattr(compiled, kernel)(*given))
    kept = (
        np.float32
        if kind == "other float"
        else given[leader].dtype
        if "int" in kind and "relu" in kernel
        else np.float64
    )
    for a, e in zip(actual, expected, strict=True):
        assert a.dtype == e.dtype == kept
        np.testing.assert_allclose(
            a.astype(np.float64),
            e.astype(np.float64),
            rtol=1e-5 if kept == np.float32 else 1e-13,
            atol=1e-6,
        )


def test_foreign_byte_order_computes_alike_on_both_backends(dtype):
    Z = np.linspace(-2, 2, 6, dtype=dtype).reshape(3, 2)
    foreign = Z.astype(Z.dtype.newbyteorder(">"))
    assert compiled.tanh_forward(foreign).dtype == numpy_kernels.tanh_forward(foreign).dtype
    assert_close(compiled.tanh_forward(foreign), numpy_kernels.tanh_forward(foreign))


def test_relu_keeps_whole_numbers(kernels):
    Z = np.array([[-2, 0, 3]], np.int16)
    assert kernels.relu_forward(Z).dtype == np.int16 and kernels.relu_forward(Z).tolist() == [
        [0, 0, 3]
    ]
    assert kernels.relu_backward(np.array([[5, 6, 7]]), Z).tolist() == [[0, 0, 7]]


# --------------------------------------------------------------------------------------------- out=


def outs(kernel, m, n, b, dtype, order):
    made = tuple(guarded(shape_of(s, m, n, b), dtype, order) for s in KERNELS[kernel][1])
    return made if len(made) > 1 else made[0]


def arrays_of(out):
    return out if isinstance(out, tuple) else (out,)


@pytest.mark.parametrize("kernel", KERNELS)
def test_out_is_filled_returned_and_nothing_else_written(kernel, isa, dtype):
    for m, n, b, order, layout in pairwise(
        SIZES, SIZES, SIZES, "CF", ["C", "F", "spread", "rows reversed", "misaligned"]
    ):
        plain = arguments(kernel, m, n, b, dtype)
        out = outs(kernel, m, n, b, dtype, order)
        given = [LAYOUTS[layout](a) for a in plain]
        with unchanged(*given):
            value = getattr(compiled, kernel)(*given, out=out)
        what = f"{kernel} m={m} n={n} b={b} {layout} into {order}"
        returned = value[1:] if kernel in LOSSES else arrays_of(value)
        assert all(r is o for r, o in zip(returned, arrays_of(out), strict=True)), (
            f"{what}: not the very out"
        )
        assert all(map(guards_whole, arrays_of(out))), f"{what}: wrote around out"
        compare(kernel, value, plain, what)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("order", "CF")
def test_out_of_the_numpy_kernels(kernel, order, dtype):
    plain = arguments(kernel, 5, 4, 3, dtype)
    out = outs(kernel, 5, 4, 3, dtype, order)
    value = numpy_kernels.__dict__[kernel](*plain, out=out)
    returned = value[1:] if kernel in LOSSES else arrays_of(value)
    assert all(r is o for r, o in zip(returned, arrays_of(out), strict=True)) and all(
        map(guards_whole, arrays_of(out))
    )
    compare(kernel, value, plain, kernel)


@pytest.mark.parametrize("kernel", IN_PLACE)
@pytest.mark.parametrize("order", "CF")
def test_out_may_be_the_first_argument(kernel, order, kernels, isa, dtype):
    for n, b in ((1, 1), (3, 2), (8, 1), (17, 9), (33, 5), (65, 64)):
        plain = arguments(kernel, 2, n, b, dtype)
        first, *others = [np.array(a, order=order) for a in plain]
        with unchanged(*others):
            value = getattr(kernels, kernel)(first, *others, out=first)
        assert (value[1] if kernel in LOSSES else value) is first
        compare(kernel, value, plain, f"{kernel} {n}x{b} in place")


def swapped(a):
    return a.astype(a.dtype.newbyteorder(">"))


BAD_OUTS = {  # how to spoil a good out of two columns, and what that raises
    "list": (lambda a: a.tolist(), TypeError),
    "other type": (
        lambda a: a.astype(np.float32 if a.dtype == np.float64 else np.float64),
        TypeError,
    ),
    "whole numbers": (lambda a: a.astype(np.int64), TypeError),
    "byte order": (swapped, TypeError),
    "a row too many": (lambda a: np.zeros((a.shape[0] + 1, *a.shape[1:]), a.dtype), ValueError),
    "transposed": (lambda a: np.zeros((*a.shape[:-1], a.shape[-1] + 2), a.dtype), ValueError),
    "flat": (lambda a: np.zeros(a.size + 1, a.dtype), ValueError),
    "spread": (LAYOUTS["spread"], ValueError),
    "reversed": (LAYOUTS["reversed"], ValueError),
    "misaligned": (LAYOUTS["misaligned"], ValueError),
    "read-only": (LAYOUTS["read-only"], ValueError),
}


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("bad", BAD_OUTS)
def test_out_that_cannot_be_written_is_refused(kernel, bad, kernels, dtype):
    spoil, error = BAD_OUTS[bad]
    args = arguments(kernel, 5, 4, 3, dtype)
    good = tuple(np.zeros(shape_of(s, 5, 4, 3), dtype) for s in KERNELS[kernel][1])
    for i in range(len(good)):
        out = tuple(spoil(o) if j == i else o for j, o in enumerate(good))
        with unchanged(*args, *out), pytest.raises(error, match=rf"^out(\[{i}\])? must "):
            getattr(kernels, kernel)(*args, out=out if len(out) > 1 else out[0])


@pytest.mark.parametrize("kernel", KERNELS)
def test_out_that_overlaps_an_input_is_refused(kernel, kernels, dtype):
    """Onto each input in turn, exactly and shifted by an element; the first argument of an
    element-wise kernel may be the out."""
    m = n = b = 4
    for victim in range(len(KERNELS[kernel][0])):
        for result, letters in enumerate(KERNELS[kernel][1]):
            for shift in (0, 1):
                if shift == 0 and victim == 0 and kernel in IN_PLACE:
                    continue
                args = arguments(kernel, m, n, b, dtype)
                shape = shape_of(letters, m, n, b)
                room = np.zeros(args[victim].size + 20, dtype)
                room[2 : 2 + args[victim].size] = args[victim].ravel()
                args[victim] = room[2 : 2 + args[victim].size].reshape(args[victim].shape)
                start = 2 + shift
                out = [np.zeros(shape_of(s, m, n, b), dtype) for s in KERNELS[kernel][1]]
                out[result] = room[start : start + out[result].size].reshape(shape)
                with (
                    unchanged(*args, *out),
                    pytest.raises(ValueError, match="must not share memory"),
                ):
                    getattr(kernels, kernel)(*args, out=tuple(out) if len(out) > 1 else out[0])


def test_the_outs_of_linear_backward_must_be_three_different_arrays(kernels, dtype):
    args = arguments("linear_backward", 4, 4, 4, dtype)
    square, column = np.zeros((4, 4), dtype), np.zeros((4, 1), dtype)
    for bad, error in [
        (square, TypeError),
        ((square, square.copy()), TypeError),
        ([square, square.copy(), column], TypeError),
        ((square, square, column), ValueError),
        ((square, square.copy(), square[:, :1]), ValueError),
    ]:
        with unchanged(*args), pytest.raises(error, match="^out"):
            kernels.linear_backward(*args, out=bad)
        assert not square.any() and not column.any()


# ----------------------------------------------------------------------------------------- refusals

BAD_VALUES = {
    "complex": (lambda a: a.astype(np.complex128), TypeError),
    "objects": (lambda a: a.astype(object), TypeError),
    "text": (lambda a: a.astype(str), TypeError),
    "None": (lambda a: None, TypeError),
    "ragged": (lambda a: [[1.0], [1.0, 2.0]], TypeError),
    "dates": (lambda a: a.astype(int).astype("datetime64[s]"), TypeError),
    "three dimensions": (lambda a: a[None], ValueError),
    "a row too many": (lambda a: np.zeros((a.shape[0] + 1, a.shape[1]), a.dtype), ValueError),
    "one dimension": (lambda a: a[:, 0], ValueError),
}


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("bad", BAD_VALUES)
def test_bad_arguments_are_refused_alike_and_leave_everything_unchanged(kernel, bad, dtype):
    spoil, error = BAD_VALUES[bad]
    specs, results, _ = KERNELS[kernel]
    for i, (name, _) in enumerate(specs):
        if (
            error is ValueError
            and len(specs) == 1
            and not (kernel == "softmax_forward" and bad != "a row too many")
        ):
            continue  # element by element any shape is right
        args = arguments(kernel, 5, 4, 3, dtype)
        args[i] = spoil(args[i])
        out = outs(kernel, 5, 4, 3, dtype, "C")
        said = []
        for module in (numpy_kernels, compiled):
            with (
                unchanged(*args, *arrays_of(out)),
                pytest.raises(error, match=r"^\w+ must .*, got ") as caught,
            ):
                getattr(module, kernel)(*args, out=out)
            said.append(str(caught.value))
        assert said[0] == said[1]
        if error is TypeError:
            assert said[0].startswith(f"{name} must be a real array, got ")


# ------------------------------------------------------------------------------------- not a number


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf], ids=str)
def test_nan_and_infinity_go_where_numpy_sends_them(kernel, special, isa, dtype):
    for m, n, b in ((1, 1, 1), (3, 4, 5), (8, 16, 1), (17, 9, 2), (33, 31, 19)):
        for victim in range(len(KERNELS[kernel][0])):
            plain = arguments(kernel, m, n, b, dtype)
            where = np.unravel_index(plain[victim].size // 2, plain[victim].shape)
            plain[victim][where] = special
            for order in "CF":
                value = getattr(compiled, kernel)(*[np.array(a, order=order) for a in plain])
                expected = results_of(kernel, getattr(numpy_kernels, kernel)(*plain))
                for a, e in zip(results_of(kernel, value), expected, strict=True):
                    what = f"{kernel} m={m} n={n} b={b} {order}, {special} in argument {victim}"
                    assert np.array_equal(np.isnan(a), np.isnan(e)), what
                    assert (
                        np.array_equal(a[np.isinf(e)], e[np.isinf(e)])
                        and not np.isinf(a[~np.isinf(e)]).any()
                    ), what


def test_a_nan_shows_even_where_the_other_factor_is_zero(kernels, isa, dtype):
    """Zero inputs and zero gradients must not hide a weight, or an input, that is not a number."""
    for m, n, b in ((9, 17, 1), (9, 17, 5)):
        A, W, W0 = np.zeros((m, b), dtype), np.ones((m, n), dtype), np.zeros((n, 1), dtype)
        W[4, 7] = np.nan
        Z = kernels.linear_forward(A, W, W0)
        assert np.isnan(Z[7]).all() and np.isfinite(np.delete(Z, 7, 0)).all()
        dLdA, _, _ = kernels.linear_backward(np.zeros((n, b), dtype), A, W)
        assert np.isnan(dLdA[4]).all() and np.isfinite(np.delete(dLdA, 4, 0)).all()
        A[3, 0] = np.nan
        _, dLdW, _ = kernels.linear_backward(np.zeros((n, b), dtype), A, W)
        assert np.isnan(dLdW[3]).all() and np.isfinite(np.delete(dLdW, 3, 0)).all()


def test_zero_times_log_zero_is_zero_and_an_impossible_truth_is_infinite(kernels, isa, dtype):
    P = np.array([[1, 0, 0], [0, 1, 0.5]], dtype)
    Y = np.array([[1, 1, 0], [0, 0, 1]], dtype)
    assert kernels.nll(P, Y).tolist()[:2] == [0, np.inf]
    assert kernels.binary_nll(
        np.array([[0, 1, 0, 1]], dtype), np.array([[0, 1, 1, 0]], dtype)
    ).tolist() == [0, 0, np.inf, np.inf]


# --------------------------------------------------------------------------------------- the update


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "read-only"])
def test_sgd_step_updates_the_weights_own_memory(layout, isa, dtype):
    make = {**LAYOUTS, **TYPES}
    for m, n, how in pairwise(SIZES, SIZES, [k for k in make if k != "list"]):
        rng = np.random.default_rng(m * 100 + n)
        start, step = rng.normal(size=(2, m, n)).astype(dtype)
        W, dLdW = LAYOUTS[layout](start), make[how](step)
        expected = start.copy()
        numpy_kernels.sgd_step(expected, np.array(dLdW, dtype), 0.3)
        memory = W.__array_interface__["data"]
        with unchanged(dLdW):
            assert compiled.sgd_step(W, dLdW, 0.3) is None
        assert W.__array_interface__["data"] == memory
        assert_close(
            np.array(W),
            expected,
            f"{m}x{n} {layout} minus {how}",
            np.abs(start).max(initial=1) + np.abs(step).max(initial=1),
        )


def test_sgd_step_takes_its_own_weights_as_gradient(kernels, dtype):
    W = np.arange(1, 7, dtype=dtype).reshape(2, 3)
    kernels.sgd_step(W, W, 0.5)
    assert W.tolist() == [[0.5, 1, 1.5], [2, 2.5, 3]]
    W = np.arange(1, 10, dtype=dtype).reshape(3, 3)
    kernels.sgd_step(W, W.T, 1.0)
    assert W.tolist() == [[0, -2, -4], [2, 0, -2], [4, 2, 0]]
    room = np.arange(41, dtype=dtype) ** 2
    expected = room[1:] - room[:-1]
    kernels.sgd_step(room[1:], room[:-1], 1.0)
    assert room[1:].tolist() == expected.tolist()


@pytest.mark.parametrize(
    "bad, error",
    [
        (lambda: LAYOUTS["read-only"](np.ones((2, 3))), ValueError),
        (lambda: np.ones((2, 3), int), TypeError),
        (lambda: np.ones((2, 3), np.float16), TypeError),
        (lambda: np.ones((2, 3), ">f8"), TypeError),
        (lambda: np.ones((2, 3), complex), TypeError),
        (lambda: [[1.0, 2.0, 3.0]] * 2, TypeError),
        (lambda: np.ones((3, 2)), ValueError),
    ],
    ids=["read-only", "int", "float16", "big-endian", "complex", "list", "shape"],
)
def test_weights_that_cannot_be_updated_are_refused(bad, error, kernels):
    W, dLdW = bad(), np.ones((2, 3))
    with unchanged(W, dLdW), pytest.raises(error, match=r"^(W|dLdW) must .*, got "):
        kernels.sgd_step(W, dLdW, 0.1)


@pytest.mark.parametrize("rate", ["0.1", None, 1j, [0.1, 0.2]], ids=str)
def test_a_rate_that_is_no_number_is_refused(rate, kernels):
    W = np.ones((2, 3))
    with unchanged(W), pytest.raises(TypeError):
        kernels.sgd_step(W, np.ones((2, 3)), rate)


# ----------------------------------------------------------------------- the comparisons themselves


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_comparison_fails_for_an_error_of_twice_the_tolerance(kernel, dtype):
    args = arguments(kernel, 6, 5, 4, dtype)
    good = results_of(kernel, getattr(numpy_kernels, kernel)(*args))
    for result, scale in zip(good, scales(kernel, args, good), strict=True):
        spoilt = result.copy()
        spoilt.flat[spoilt.size // 2] += dtype(2 * TOLERANCE[result.dtype] * np.abs(scale).max())
        assert_close(result, result, scale=scale)
        with pytest.raises(AssertionError, match="off by"):
            assert_close(spoilt, result, scale=scale)


@pytest.mark.parametrize(
    "classes", [63, 64, 127, 128, 255, 256, 511, 512, 545, 1000, 1553, 20_001, 40_003]
)
@pytest.mark.parametrize("labels", ["one hot", "shares"])
def test_softmax_of_many_classes(classes, labels, isa, dtype):
    """Samples in work together, in rows at any offset: some saturated, so that all but one
    exponential are small, some with ties and with logits that underflow."""
    rng = np.random.default_rng(classes)
    for batch in (1, 2, 3, 4):
        for offset in (0, 1, 5):
            Z = np.zeros(batch * classes + offset, dtype)[offset:].reshape(batch, classes)
            Z[...] = rng.normal(0, 3, Z.shape)
            Z[::2, classes // 3] = 40
            Z[1::2, [0, classes - 1]] = Z.max()
            Z[-1, classes // 2] = -2000
            Y = (
                rng.dirichlet(np.ones(classes), batch)
                if labels == "shares"
                else np.eye(1, classes, classes // 3).repeat(batch, 0)
            )
            wide = np.float64 if dtype == np.float32 else np.longdouble
            powers = np.exp(Z.astype(wide) - Z.max(axis=1, keepdims=True))
            P = powers / powers.sum(axis=1, keepdims=True)
            largest = np.arange(classes) == Z.argmax(axis=1)[:, None]
            logs = (
                Z.astype(wide)
                - Z.max(axis=1, keepdims=True)
                - np.log1p(np.where(largest, 0, powers).sum(axis=1, keepdims=True))
            )
            loss, gradient = compiled.softmax_nll(Z.T, Y.astype(dtype).T)
            label = Y.astype(dtype).astype(wide)
            assert_close(gradient.T, (P - label).astype(dtype), "gradient", 1.0)
            # rounding Z - max Z alone, some 40, may change small exponentials by as many units
            assert (
                abs(loss + (label * logs).sum()) <= 50 * np.finfo(dtype).eps * -(label * logs).sum()
            )
            assert_close(compiled.softmax_forward(Z.T).T, P.astype(dtype), "probabilities", 1.0)
            again = Z.copy()
            assert_close(
                compiled.softmax_forward(again.T, out=again.T).T, P.astype(dtype), "in place", 1.0
            )
            loss_in_place, gradient = compiled.softmax_nll(Z.T, Y.astype(dtype).T, out=Z.T)
            assert_close(gradient.T, (P - label).astype(dtype), "gradient in place", 1.0)
            assert loss_in_place == pytest.approx(loss, rel=float(50 * np.finfo(dtype).eps))


@pytest.mark.parametrize("batch, classes", [(1, 200_003), (3, 5_000), (1_061, 1_009), (2_600, 515)])
@pytest.mark.parametrize(
    "logits",
    [
        "rising",
        "falling",
        "impossible at first",
        "all but one impossible",
        "the largest behind all others",
    ],
)
def test_softmax_of_rows_whose_largest_logit_is_found_late_or_early(
    batch, classes, logits, isa, dtype
):
    rng = np.random.default_rng(classes)
    Z = rng.normal(0, 1, (batch, classes)).astype(dtype)
    if logits == "rising":
        Z += np.linspace(-100, 100, classes, dtype=dtype)
    elif logits == "falling":
        Z += np.linspace(100, -100, classes, dtype=dtype)
    elif logits == "impossible at first":
        Z[:, : 4 * classes // 5] = -np.inf
    elif logits == "all but one impossible":
        Z[...] = -np.inf
        Z[:, -2] = 3
    else:
        Z[:, -1] = 30
    Y = np.zeros_like(Z)
    Y[:, -2] = 1
    loss, gradient = compiled.softmax_nll(Z.T, Y.T)
    wanted_loss, wanted = numpy_kernels.softmax_nll(Z.T.astype(np.float64), Y.T.astype(np.float64))
    assert_close(gradient, wanted.astype(dtype), "gradient", 1.0)
    assert loss == pytest.approx(
        wanted_loss, rel=float(100 * np.finfo(dtype).eps), abs=float(np.finfo(dtype).eps)
    )
    assert_close(compiled.softmax_forward(Z.T), (wanted + Y.T).astype(dtype), "probabilities", 1.0)


@pytest.mark.parametrize("classes", [40, 1_000, 9_000])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("at", [0, 17, -1])
def test_softmax_of_a_row_with_what_is_not_finite(classes, bad, at, isa, dtype):
    """Its probabilities and loss are NaN, as NumPy's; those of the other rows are not
    touched."""
    Z = np.random.default_rng(0).normal(0, 1, (5, classes)).astype(dtype)
    Y = np.eye(1, classes, dtype=dtype).repeat(5, 0)
    good = compiled.softmax_nll(Z.T, Y.T)[1]
    Z[2, at] = bad
    with np.errstate(invalid="ignore"):
        loss, gradient = compiled.softmax_nll(Z.T, Y.T)
    assert np.isnan(loss)
    assert np.isnan(gradient[:, 2]).all()
    others = [0, 1, 3, 4]
    assert_close(gradient[:, others], good[:, others], "the others", 1.0)
    assert np.isnan(compiled.softmax_nll(np.full((classes, 3), -np.inf, dtype), Y[:3].T)[1]).all()


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 15, 16, 17, 33, 1100])
def test_nan_is_found_anywhere(n, isa, dtype):
    """Infinity is none, though it is not finite either."""
    x = np.ones(n, dtype)
    assert not _core.has_nan(x)
    for place in {0, n // 2, *range(max(0, n - 17), n)}:
        for value in (np.nan, np.inf):
            x[place] = value
            assert _core.has_nan(x) == np.isnan(value)
        x[place] = 1
