"""P8: the import of nncore compared with that of NumPy alone, each in a fresh interpreter, whose
start is in both figures."""

import footprint
import pytest


@pytest.mark.benchmark(group="p8: import in a fresh interpreter")
@pytest.mark.parametrize("module", ["nncore", "numpy"])
def test_import(benchmark, module):
    benchmark.extra_info.update(footprint.measure(module))
    benchmark.pedantic(footprint.measure, (module,), rounds=5, warmup_rounds=1)
