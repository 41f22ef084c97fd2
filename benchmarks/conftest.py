"""One core and one thread for everything measured here, fixed before NumPy is imported."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from pinning import pin  # noqa: E402

pin(1)


def pytest_benchmark_update_machine_info(config, machine_info):
    """Every saved figure carries the processor and the versions."""
    import machine

    machine_info.update(machine.describe())
