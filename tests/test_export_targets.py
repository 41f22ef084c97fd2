"""Exported C on other processors, by cross compilers and QEMU: `make test-export-targets`.

Each test is skipped, with the reason, if its tools are not installed.
"""

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from exchange_nets import WARNINGS, digits, network, samples, ulps

import nncore as nn

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parent.parent / "examples"
REAL = {np.float32: "float", np.float64: "double"}
ARM64 = ("aarch64-linux-gnu-gcc", "qemu-aarch64")
PRINT = """\
#include <stdio.h>
#define NET_HEADER
#include "net.c"
static const %(real)s x[][NET_INPUTS] = {%(x)s};
int main(void)
{
    %(result)s y[NET_OUTPUTS];
    for (unsigned k = 0; k < sizeof x / sizeof *x; k++) {
        net(x[k], y);
        for (int i = 0; i < NET_OUTPUTS; i++)
            printf("%(format)s\\n", (%(printed)s)y[i]);
    }
    return net_self_test();
}
"""
BOARD = """\
#include <stdint.h>
#include <string.h>
#define NET_HEADER
#include "net.c"
void put(const char *text);
void put_number(int32_t number);
static const %(real)s x[][NET_INPUTS] = {%(x)s};
int main(void)
{
    %(result)s y[NET_OUTPUTS];
    for (unsigned k = 0; k < sizeof x / sizeof *x; k++) {
        net(x[k], y);
        for (int i = 0; i < NET_OUTPUTS; i++) {
            int32_t bits[2] = {0, 0};
            memcpy(bits, &y[i], sizeof y[i]);
            put_number(bits[0]);
            put(" ");
            put_number(bits[1]);
            put(" ");
        }
    }
    return net_self_test();
}
"""


def board():
    """examples/cortex_m.py."""
    spec = importlib.util.spec_from_file_location("cortex_m", EXAMPLES / "cortex_m.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def program(text, X, real, result, format=""):
    """A program that prints the outputs for the columns of X."""
    ending = "f" if real == "float" else ""
    rows = ("{" + ", ".join(f"{v!r}{ending}" for v in column.tolist()) + "}" for column in X.T)
    printed = "int" if format == "%d" else "double"
    words = {"real": real, "result": result, "format": format, "printed": printed}
    return text % {"x": ", ".join(rows), **words}


NETS = {
    "everything, GELU": lambda dtype: (network("GELU", dtype), samples(20, 7, dtype)),
    "everything, SiLU": lambda dtype: (network("SiLU", dtype), samples(20, 7, dtype)),
    "digits": lambda dtype: (
        digits([32], dtype),
        (nn.datasets.load_digits("test")[0][:, :20] / 16).astype(dtype),
    ),
}


@pytest.fixture(params=NETS)
def case(request, dtype):
    return NETS[request.param](dtype)


@pytest.fixture
def arm64(tmp_path):
    """A function that compiles net.c and main.c for arm64 and returns what the program prints."""
    for tool in ARM64:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is missing (Debian: gcc-aarch64-linux-gnu, qemu-user)")

    def run():
        command = [ARM64[0], *WARNINGS, "-O2", "-DNET_SELF_TEST", "-static", "net.c", "main.c"]
        done = subprocess.run([*command, "-lm", "-o", "net"], cwd=tmp_path, capture_output=True)
        assert done.returncode == 0 and not done.stderr, done.stderr
        done = subprocess.run([ARM64[1], tmp_path / "net"], capture_output=True, text=True)
        assert done.returncode == 0, f"the self-test fails: {done}"
        return done.stdout

    return run


@pytest.fixture(params=["Cortex-M3", "Cortex-M4"])
def cortex(request, tmp_path):
    """A function that builds net.c and main.c for a board and returns the numbers printed; its
    attribute `size` gives the bytes of net.c compiled alone."""
    tools = board()
    if tools.missing():
        pytest.skip(tools.missing())
    flags = ["-DNET_SELF_TEST", *WARNINGS[1:]]

    def run():
        sources = [tmp_path / "net.c", tmp_path / "main.c"]
        made = tools.build(tmp_path, sources, request.param, flags)
        status, printed = tools.run(made, request.param)
        assert status == 0, f"the self-test fails: {status} {printed}"
        return np.array(printed.split(), np.int64).astype(np.int32)

    def compiled(options=("-Os",)):
        command = [tools.GCC, *WARNINGS, *options, "-mthumb", *tools.BOARDS[request.param][1]]
        made = tmp_path / "net.o"
        subprocess.run([*command, "-c", tmp_path / "net.c", "-o", made], check=True)
        return made

    run.compiled, run.size = compiled, lambda *options: tools.code_size(compiled(*options))
    return run


def test_arm64(case, dtype, tmp_path, arm64):
    net, X = case
    nn.export.c(net, tmp_path / "net.c", "net")
    real = REAL[dtype]
    (tmp_path / "main.c").write_text(program(PRINT, X, real, real, format="%.17g"))
    got = np.array(arm64().split(), dtype).reshape(X.shape[1], -1).T
    P = net.predict_proba(X)
    assert ulps(got, P) <= 64
    assert np.array_equal(got.argmax(axis=0), net.predict(X))


def test_cortex_m(case, dtype, tmp_path, cortex):
    net, X = case
    nn.export.c(net, tmp_path / "net.c", "net")
    real = REAL[dtype]
    (tmp_path / "main.c").write_text(program(BOARD, X, real, real))
    bits = cortex()
    numbers = bits.view(np.int32).reshape(-1, 2)
    got = (
        (
            numbers[:, 0].copy().view(np.float32)
            if dtype == np.float32
            else np.ascontiguousarray(numbers).view(np.float64)
        )
        .reshape(X.shape[1], -1)
        .T
    )
    P = net.predict_proba(X)
    assert ulps(got, P) <= 64
    assert np.array_equal(got.argmax(axis=0), net.predict(X))


def int8_of_the_digits(tmp_path):
    """Write net.c; return the quantised test samples and their classes in float."""
    train, test = (nn.datasets.load_digits(part)[0] for part in ("train", "test"))
    net = digits([32], np.float32, steps=20000)
    nn.export.c(net, tmp_path / "net.c", "net", int8=train / 16)
    text = (tmp_path / "net.c").read_text()
    scale = float.fromhex(re.search(r"define NET_INPUT_SCALE (\S+)", text)[1])
    return np.rint(test / 16 / scale).astype(np.int8), net.predict(test / 16)


def test_int8_on_arm64(tmp_path, arm64):
    X, classes = int8_of_the_digits(tmp_path)
    (tmp_path / "main.c").write_text(program(PRINT, X, "int8_t", "int32_t", format="%d"))
    got = np.array(arm64().split(), int).reshape(X.shape[1], -1).argmax(axis=1)
    assert np.mean(got == classes) >= 0.98


def test_int8_on_cortex_m(tmp_path, cortex):
    X, classes = int8_of_the_digits(tmp_path)
    (tmp_path / "main.c").write_text(program(BOARD, X, "int8_t", "int32_t"))
    got = cortex().reshape(-1, 2)[:, 0].reshape(X.shape[1], -1).argmax(axis=1)
    assert np.mean(got == classes) >= 0.98
    symbols = subprocess.run(
        ["arm-none-eabi-nm", cortex.compiled()], check=True, capture_output=True, text=True
    ).stdout
    needed = set(re.findall(r" U (\S+)", symbols))
    assert needed <= {"__aeabi_lmul"}, f"integer arithmetic only: {needed}"


def test_code_size_on_cortex_m(tmp_path, cortex):
    np.random.seed(0)
    f = np.float32
    parts = [nn.Linear(4, 8, dtype=f), nn.Tanh(), nn.Linear(8, 3, dtype=f), nn.SoftMax()]
    nn.export.c(nn.Sequential(parts, nn.NLL()), tmp_path / "net.c", "net")
    for level in ("-Os", "-O2"):
        assert cortex.size((level,)) <= 1024
