"""Fixtures of all tests: instruction-set levels, types, and the seed of NumPy's global generator
put back."""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(
    0, str(Path(__file__).parent)
)  # the importlib mode of pytest leaves the tests' shared module unfindable

from programs import program  # noqa: E402, F401
from support import DTYPES, LEVELS  # noqa: E402

from nncore import _core  # noqa: E402

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # of a shell's job in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)

collect_ignore = ["typed"]  # programs for type checkers, some with mistakes


@pytest.fixture(params=LEVELS)
def isa(request):
    """Each instruction-set level of this processor in turn; the live one comes back afterwards."""
    if request.param not in _core.isa_levels():
        pytest.skip(f"this processor has no {request.param}")
    before = _core.get_isa()
    _core.set_isa(request.param)
    yield request.param
    _core.set_isa(before)


@pytest.fixture(params=DTYPES, ids=lambda t: t.__name__)
def dtype(request):
    return request.param


@pytest.fixture(params=["numpy", "compiled"])
def kernels(request):
    """The module of kernels of each backend."""
    from nncore.kernels import compiled, numpy_kernels

    return {"numpy": numpy_kernels, "compiled": compiled}[request.param]


@pytest.fixture(params=["numpy", "compiled"])
def backend(request):
    """Each backend in turn, live."""
    import nncore

    with nncore.use_backend(request.param):
        yield request.param


@pytest.fixture
def compile_c(tmp_path):
    """A function that compiles C text into a library, compiled.so in tmp_path, and returns it
    loaded by ctypes."""

    def compile_and_load(text, *flags):
        compiler = os.environ.get("CC") or next(filter(shutil.which, ("cc", "gcc", "clang")), None)
        if compiler is None:
            pytest.skip("no C compiler")
        (tmp_path / "compiled.c").write_text(text)
        command = [*compiler.split(), "-shared", "-fPIC", *flags, "-o", "compiled.so", "compiled.c"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"the compiler cannot do this: {' '.join(command)}")
        return ctypes.CDLL(str(tmp_path / "compiled.so"))

    return compile_and_load


@pytest.fixture(autouse=True)
def _generator_state():
    """No test leaves the global generator other than it found it."""
    state = np.random.get_state()
    yield
    np.random.set_state(state)
