"""The targets of each row, relative to the peers and to the machine's limits.

A label is a row of `workloads.WORKLOADS`, with "-t2" behind it for two threads. `Target.against`
says what is measured:

- a contestant's name, or "best peer": how many times longer it took than nncore, at least `value`
- "limit": the share of the machine's peak that nncore reached, at least `value`
- another label, which a row of odd sizes is compared with: the share of the peak it lost, at most
`value`
- "µs", "ms", "MiB", "MB": nncore's own figure, at most `value`
"""

from typing import NamedTuple


class Target(NamedTuple):
    """against, value: see above. ours: which form of nncore, if it is not the row's own.

    >>> Target("JAX", 10).value
    10
    """

    against: str
    value: float
    ours: str | None = None


NEVER_SLOWER = Target("nncore, 1 thread", 0.97)  # more threads than one; the rest is noise
_AT_MOST = ("µs", "ms", "MiB", "MB")


def is_ceiling(target):
    """Whether the measured figure must not exceed the target's value.

    >>> is_ceiling(Target("µs", 0.3)), is_ceiling(Target("JAX", 10))
    (True, False)
    """
    return target.against in (*_AT_MOST, *TARGETS)


def _faster(best_peer, share):
    return [Target("best peer", best_peer), Target("limit", share)]


def _online(learner):
    return [
        Target("µs", learner),
        Target("µs", 8, "nncore partial_fit"),
        Target("µs", 6, "nncore by hand"),
        Target("µs", 15, "nncore sgd(iters=1)"),
    ]


TARGETS = {
    "p1-f64": [Target("course loop", 300), Target("JAX", 10), Target("numba", 2.3)],
    "p1-f32": [Target("course loop", 500), Target("JAX", 14), Target("numba", 3.5)],
    "p1-f32-t2": [NEVER_SLOWER],
    "p2-f32": [Target("course loop", 120), Target("JAX", 4.5), Target("numba", 2.2)],
    "p2-f64": [Target("course loop", 80), Target("JAX", 4.5), Target("numba", 3)],
    "p2-f32-t2": [NEVER_SLOWER],
    "p3-dense-f32": [Target("best peer", 2.5)],
    "p3-dense-f64": [Target("best peer", 2)],
    "p3-mnist-f32": [Target("best peer", 3.5)],
    "p4-b32-f32": _faster(1.25, 0.88),
    "p4-b128-f32": _faster(1.2, 0.92),
    "p4-b512-f32": _faster(1.2, 0.90),
    "p4-b32-f64": _faster(1.25, 0.85),
    "p4-b128-f64": _faster(1.1, 0.85),
    "p4-b512-f64": _faster(1.2, 0.85),
    "p4-b37-f32": [Target("p4-b32-f32", 0.03)],
    "p4-b131-f32": [Target("p4-b128-f32", 0.03)],
    "p4-out26-f32": [Target("p4-b128-f32", 0.03)],
    "p4-out101-f32": [Target("p4-b128-f32", 0.03)],
    # Zeros are skipped in the first layer alone, so that a larger last layer changes the share on
    # its own; on dense data it does not.
    "p4-dense-f32": [],
    "p4-dense-b131-f32": [Target("p4-dense-f32", 0.03)],
    "p4-dense-out26-f32": [Target("p4-dense-f32", 0.03)],
    "p4-dense-out101-f32": [Target("p4-dense-f32", 0.03)],
    "p4-narrow-f32": [Target("limit", 0.85)],
    "p4-b32-f32-t2": [NEVER_SLOWER],
    "p4-b128-f32-t2": _faster(2, 0.85),
    "p4-b512-f32-t2": _faster(1.5, 0.85),
    "p4-b32-f64-t2": [NEVER_SLOWER],
    "p4-b128-f64-t2": [NEVER_SLOWER],
    "p4-b512-f64-t2": [NEVER_SLOWER],
    "p4-small-f32-t2": [NEVER_SLOWER],
    "p5-b256": _faster(1.15, 0.90),
    "p5-b256-t2": _faster(1.35, 0.82),
    "p5-b1024": _faster(1.15, 0.87),
    "p5-b1024-t2": _faster(1.2, 0.82),
    "p6-tiny-one": [
        Target("µs", 0.3),
        Target("ONNX Runtime", 20),
        Target("µs", 1, "nncore forward"),
    ],
    "p6-digits-one": [Target("µs", 0.6), Target("ONNX Runtime", 10)],
    "p6-mnist-one": [Target("ONNX Runtime", 2.5)],
    "p6-digits-10k": [Target("ONNX Runtime", 1.3)],
    "p6-mnist-10k": [Target("ONNX Runtime", 1.2)],
    "p7-128x10": [Target("NumPy", 10), Target("plain C", 2, "nncore out=")],
    "p7-1024x1000": [Target("best peer", 1.8)],
    "p7-64x50000": [Target("best peer", 1.5)],
    "p8": [Target("ms", 10), Target("MiB", 4), Target("MB", 3)],
    "p9": [Target("best peer", 3)],
    "p10-tiny": _online(0.8),
    "p10-deep": _online(1),
    "p10-digits": _online(1),
    "p10-mnist": [Target("µs", 7)],
    "p11-2-3-3-squared-f32": [Target("numba", 3)],
    "p11-2-3-3-binary-f32": [Target("numba", 3)],
    "p11-2-3-3-squared-f64": [Target("numba", 3)],
    "p11-30-16-binary-f32": [Target("numba", 3)],
    "p11-30-16-hinge-f32": [Target("numba", 3)],
    "p11-4-64-64-squared-f32": [Target("numba", 3)],
    "p11-4-64-64-squared-f64": [Target("numba", 3)],
    "p11-64-32-10-squared-f32": [Target("numba", 3)],
    "p11-30-16-binary-b256-f32": [Target("JAX", 1.5)],
    "p11-10-20-squared-b1024-f32": [Target("JAX", 1.5)],
    **{
        f"p12-{name}": [Target("best peer", 1.3)]
        for name in (
            "4-64-64-2-adam-f32",
            "4-64-64-2-momentum-f32",
            "4-64-64-2-adamw-f32",
            "64-32-10-adam-f32",
            "64-32-10-momentum-f32",
            "64-32-10-adamw-f32",
            "64-32-10-adam-f64",
            "784-128-10-adam-f32",
            "784-128-10-momentum-f32",
            "784-128-10-adamw-f32",
            "784-128-10-adam-f64",
        )
    },
    "p13-4-64-64-2-f32": [Target("numba", 3)],
    "p13-fit-2-3-3-2-f32": [Target("nncore sgd", 0.91)],
    "p13-fit-64-32-10-f32": [Target("nncore sgd", 0.91)],
    "p13-fit-64-32-10-zeros-f32": [Target("nncore sgd", 0.91)],
    "p13-fit-784-128-10-f32": [Target("nncore sgd", 0.91)],
    "p13-2-3-3-2-b64-f32": [Target("µs", 0.008)],
    "p13-4-16-3-b1024-f32": [Target("JAX", 1.5)],
    "p13-2-3-3-2-10k": [Target("ONNX Runtime", 3)],
    "p13-3072-512-100-b48-f32": [Target("JAX", 1.25)],
    "p13-128-64-5000-b128-f32": [Target("JAX", 1.2)],
    "p13-784-32-784-squared-b128-f32": [Target("JAX", 1.2)],
    "p13-784-32-784-binary-b128-f32": [Target("JAX", 1.2)],
    **{
        f"p14-1024-1024-1024-10-b{batch}": [Target("ONNX Runtime", 1.1)]
        for batch in (4, 16, 256, 1024)
    },
    "p14-784-128-10-b256": [Target("ONNX Runtime", 1.1)],
    "p15-10000-32-2-f32": [Target("µs", 0.6)],
    "p15-10000-32-2-b128-f32": [Target("JAX", 5)],
    "p16-digits-b32-avx2": [Target("limit", 0.5)],
    "p16-deep-b128-avx2": _faster(1.2, 0.85),
    "p16-deep-b128-generic": [Target("limit", 0.6)],
}

# Below 512 bits the loads of a large batch's operands take a larger part of the time.
AVX2_SHARES = {"p4-b512-f32": 0.88}


def of(label, level="avx512"):
    """The targets of a labelled row at an instruction-set level; [] if none is set.

    >>> of("p4-b512-f32", "avx2")[1]
    Target(against='limit', value=0.88, ours=None)
    """
    found = TARGETS.get(label, [])
    if level == "avx2" and label in AVX2_SHARES:
        return [
            target._replace(value=AVX2_SHARES[label]) if target.against == "limit" else target
            for target in found
        ]
    return found
