"""nncore compared with the course loop on the rows of workloads.py, on one core; each is checked
before it is timed."""

import os

import contestants
import pytest
import workloads

HERE_TIMED = ("nncore", "nncore predictor", "nncore forward", "nncore out=", "course loop")
UNITS = {
    "sgd": "steps",
    "online": "calls",
    "batch": "samples",
    "train": "samples",
    "predict": "samples",
    "loss": "batch",
}

CASES = [
    pytest.param(workload, build, id=f"{row}-{name.replace(' ', '-')}")
    for row, workload in workloads.WORKLOADS.items()
    if not (workload.extra or contestants.large(workload) or workload.kind == "accuracy")
    for name, build in contestants.of(workload).items()
    if name in HERE_TIMED
]


@pytest.mark.benchmark(max_time=0.3, min_rounds=3)
@pytest.mark.parametrize(("workload", "build"), CASES)
def test_workload(benchmark, workload, build):
    if workload.images and not os.environ.get(workloads.MNIST):
        pytest.skip(f"no images: {workloads.MNIST} names no folder of MNIST-format idx files")
    contest = build(workload)
    benchmark.extra_info["deviation"] = workloads.check(workload, contest.answer)
    benchmark.extra_info["units"] = contest.units
    benchmark.group = (
        f"{workload.row}: {workload.title}; one call: {contest.units} {UNITS[workload.kind]}"
    )
    benchmark(contest.run)
