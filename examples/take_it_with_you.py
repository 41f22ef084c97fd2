"""A network of the digits in other places: ONNX Runtime, a C program on this machine, and integers
on a microcontroller that QEMU simulates.

python examples/take_it_with_you.py
python examples/take_it_with_you.py --hidden 16 --folder exported --plot confidence.png

Parts whose tools are missing are skipped with a message. They need onnx and onnxruntime (pip), a C
compiler, arm-none-eabi-gcc and qemu-system-arm (Debian: gcc-arm-none-eabi, libnewlib-arm-none-eabi,
qemu-system-arm).
"""

import argparse
import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import nncore as nn

MAIN = """\
#define DIGITS_HEADER
#include "digits_int8.c"

void put(const char *text);
void put_number(int32_t number);

/* A grey level of 0 to 16 as the network takes it; the compiler computes it. */
#define Q(grey) (int8_t)((grey) / 16.0 / DIGITS_INPUT_SCALE + 0.5)
static const int8_t images[][DIGITS_INPUTS] = {
%s
};

int main(void)
{
    for (unsigned k = 0; k < sizeof images / sizeof *images; k++) {
        int32_t y[DIGITS_OUTPUTS];
        int best = 0;
        digits(images[k], y);
        for (int i = 1; i < DIGITS_OUTPUTS; i++)
            if (y[i] > y[best])
                best = i;
        put_number(best);
        put(" ");
    }
    return 0;
}
"""


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--hidden", type=int, default=32, help="width of the hidden layer (default: 32)"
    )
    parser.add_argument("--epochs", type=int, default=30, help="passes over the data (default: 30)")
    parser.add_argument(
        "--images",
        type=int,
        default=100,
        help="test images for the microcontroller (default: 100)",
    )
    parser.add_argument("--folder", help="keep the files here (default: a temporary one)")
    parser.add_argument(
        "--plot",
        metavar="FILE.png",
        help="draw how sure the network is of its right and wrong answers (needs matplotlib)",
    )
    return parser.parse_args(arguments)


def trained(hidden: int, epochs: int) -> nn.Sequential:
    """A network on the digits as float32; its inputs are grey levels divided by 16."""
    X, labels = nn.datasets.load_digits("train")
    np.random.seed(0)
    first, last = (nn.Linear(m, n, dtype=np.float32) for m, n in ((64, hidden), (hidden, 10)))
    net = nn.Sequential([first, nn.ReLU(), last, nn.SoftMax()], nn.NLL())
    net.fit(X / 16, labels, epochs=epochs, optimizer="adam", lrate=0.005, seed=0)
    return net


def serve(path: Path, X: np.ndarray) -> Any:
    """Outputs (10, N) of ONNX Runtime."""
    import onnxruntime  # type: ignore[import-not-found, import-untyped, unused-ignore]

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"input": X.T.astype(np.float32)})[0]).T


def call(folder: Path, X: np.ndarray) -> np.ndarray:
    """Outputs (10, N) of the C function, compiled for this machine."""
    library = folder / "digits.so"
    command = ["cc", "-std=c99", "-O2", "-shared", "-fPIC", "-o", library, folder / "digits.c"]
    subprocess.run([*map(str, command), "-lm"], check=True)
    function = ctypes.CDLL(str(library)).digits
    X, Y = np.ascontiguousarray(X.T, np.float32), np.empty((X.shape[1], 10), np.float32)
    for x, y in zip(X, Y, strict=True):
        function(x.ctypes.data_as(ctypes.c_void_p), y.ctypes.data_as(ctypes.c_void_p))
    return Y.T


def simulate(folder: Path, X: np.ndarray) -> tuple[np.ndarray, int]:
    """Classes (N,) from the simulated Cortex-M3, and the bytes of its program."""
    import cortex_m

    rows = ["    {" + ", ".join(f"Q({x:.0f})" for x in column) + "}" for column in X.T]
    (folder / "main.c").write_text(MAIN % ",\n".join(rows))
    program = cortex_m.build(folder, [folder / "main.c", folder / "digits_int8.c"])
    status, printed = cortex_m.run(program)
    if status:
        raise SystemExit(f"the simulated program ended with status {status}: {printed}")
    return np.array(printed.split(), int), cortex_m.code_size(program)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    if options.plot:
        import plots  # now: without matplotlib there is no training
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.folder or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        net = trained(options.hidden, options.epochs)
        X, labels = nn.datasets.load_digits("test")
        P = net.predict_proba(X / 16)
        right = P.argmax(axis=0) == labels
        print(f"nncore: test accuracy {right.mean():.4f} ({right.sum()}/{right.size})")
        scaling = {"shift": 0.0, "factor": 1 / 16}  # the exported networks take grey levels
        export(net, folder, scaling, X, P, options.images)
    if options.plot:
        import plots

        draw(plots, P, right).savefig(options.plot, dpi=150)
        print("plotted", options.plot)


def export(
    net: nn.Sequential,
    folder: Path,
    scaling: dict[str, Any],
    X: np.ndarray,
    P: np.ndarray,
    images: np.ndarray,
) -> None:
    """Write the network in each form and compare each with the outputs P."""
    import cortex_m

    path = folder / "digits.onnx"
    try:
        nn.export.onnx(net, path, scaling=scaling)
        compare("ONNX Runtime", serve(path, X), P)
    except ImportError as error:
        print(f"ONNX Runtime: skipped, {error}")
    nn.export.c(net, folder / "digits.c", "digits", scaling=scaling)
    if shutil.which("cc"):
        compare("C, float", call(folder, X), P)
    else:
        print("C, float: skipped, there is no compiler cc")
    train = nn.datasets.load_digits("train")[0]
    nn.export.c(net, folder / "digits_int8.c", "digits", int8=train, scaling=scaling)
    reason = cortex_m.missing()
    if reason:
        print(f"Cortex-M3: skipped, {reason}")
        return
    classes, size = simulate(folder, X[:, :images])
    same = classes == P[:, :images].argmax(axis=0)
    print(
        f"Cortex-M3, int8: the same class for {same.sum()} of {same.size} images; "
        f"{(size - 64 * same.size) / 1000:.1f} kB without the images"
    )


def compare(name: str, Q: np.ndarray, P: np.ndarray) -> None:
    same = Q.argmax(axis=0) == P.argmax(axis=0)
    print(
        f"{name}: the same class for {same.sum()} of {same.size} images, probabilities "
        f"{'within 1e-6' if abs(Q - P).max() <= 1e-6 else 'NOT within 1e-6'}"
    )


def draw(plots: Any, P: np.ndarray, right: np.ndarray) -> Any:
    """How often the largest probability has which value, for right and wrong answers."""
    figure, axes = plots.grid(1, 1, size=4)
    bins = np.linspace(0, 1, 21)
    for which, colour, name in ((right, "navy", "right"), (~right, "darkred", "wrong")):
        axes[0].hist(P.max(axis=0)[which], bins, color=colour, alpha=0.7, label=name)
    axes[0].set(xlabel="largest probability", ylabel="test images", yscale="log")
    axes[0].legend()
    return figure


if __name__ == "__main__":
    main()
