"""What the hot loops of the arm64 level reach in LLVM's models of processors; nothing is run.

    python benchmarks/arm64_loops.py [--compiler aarch64-linux-gnu-gcc] [--mca llvm-mca-19]

Compiles the kernels with the build's own flags, takes from each function its innermost loop with
the most floating-point vector instructions, and prints how many llvm-mca completes per cycle, with
all data in the L1 cache. Debian: gcc-aarch64-linux-gnu, libc6-dev-arm64-cross, llvm-19.
"""

import argparse
import importlib.util
import pathlib
import re
import subprocess
import sysconfig
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROCESSORS = ("neoverse-n1", "neoverse-v1", "apple-m1")
# row: (name of the function, how its instructions are recognised)
BY_LANE, ANY = r"\s+fmla\s.*\]$", r"\s+f(?!mov)[a-z]+\s"
LOOPS = {
    "product, tile of 8 x 2": ("tile_two_8", BY_LANE),
    "the same, copying its panel": ("tile_packing_8", BY_LANE),
    "update, tile of 8 x 2": ("tile_two_transposed_8", BY_LANE),
    "one sample, W by rows": ("gemv", BY_LANE),
    "one sample, W by columns": ("gemv_wt", ANY),
    "its update": ("rank1_update", ANY),
    "activations, the longest (GELU)": ("activation_forward", ANY),
    "exp, of softmax": ("softmax_alone", ANY),
    "exp, of softmax by columns": ("columns_alone", ANY),
    "batches by columns": ("column_product", ANY),
    "fused SGD": ("fused_sgd_vectors", ANY),
    "fused mini-batches, product": ("fused_product", ANY),
    "sparse rows": ("spmm", ANY),
    "optimizer, with square roots": ("optimizer_step", ANY),
}


def assembly(compiler):
    """The level's assembly, by the flags of setup.py."""
    spec = importlib.util.spec_from_file_location("nncore_setup", ROOT / "setup.py")
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    with tempfile.TemporaryDirectory() as folder:
        output = pathlib.Path(folder, "level.s")
        flags = [*build.flags("unix", "linux")[0], f"-I{ROOT / 'src'}"]
        flags.append(f"-I{sysconfig.get_path('include')}")
        source = ROOT / "src" / "kernels" / "level_generic.c"
        subprocess.run([compiler, *flags, "-S", str(source), "-o", str(output)], check=True)
        return output.read_text()


def functions(text):
    """{name: lines} of the functions in an assembly file."""
    found, lines = {}, []
    for line in text.splitlines():
        name = re.fullmatch(r"(\w[\w.]*):", line)
        if name:
            lines = found.setdefault(name[1], [])
        else:
            lines.append(line)
    return found


def loops(lines):
    """The innermost loops: from a label to the first branch back to it, with no label between that
    a later branch goes back to."""
    at = {line[:-1]: i for i, line in enumerate(lines) if re.fullmatch(r"\.L\d+:", line)}
    spans = []
    for i, line in enumerate(lines):
        branch = re.match(r"\s+(?:b\.?\w*|cbn?z|tbn?z)\s+(?:.*,\s*)?(\.L\d+)$", line)
        if branch and at.get(branch[1], i) < i:
            spans.append((at[branch[1]], i))
    inner = [s for s in spans if not any(s[0] <= o[0] and o[1] <= s[1] and o != s for o in spans)]
    return [[line for line in lines[a : b + 1] if re.match(r"\s+[a-z]", line)] for a, b in inner]


def count(loop, pattern):
    return sum(bool(re.match(pattern, line)) for line in loop)


def per_cycle(loop, pattern, mca, processor):
    """The counted instructions per cycle, without the branch back."""
    command = [mca, "-mtriple=aarch64", f"-mcpu={processor}", "-iterations=200"]
    text = "\n".join(loop[:-1]) + "\n"
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
    return 200 * count(loop, pattern) / int(re.search(r"Total Cycles:\s+(\d+)", done.stdout)[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--compiler", default="aarch64-linux-gnu-gcc")
    parser.add_argument("--mca", default="llvm-mca-19")
    options = parser.parse_args()
    found = functions(assembly(options.compiler))
    print("| loop | type | instructions | counted | stack | " + " | ".join(PROCESSORS) + " |")
    print("|---|---|---|---|---|" + "---|" * len(PROCESSORS))
    for title, (start, pattern) in LOOPS.items():
        for real in ("float", "double"):
            names = [n for n in found if n.startswith(f"{start}_generic") and real in n]
            candidates = [loop for name in names for loop in loops(found[name])]
            if not candidates:
                print(f"| {title} | {real} | not found |")
                continue
            loop = max(candidates, key=lambda loop: count(loop, pattern))
            stack = count(loop, r".*\[sp\b")
            rates = (per_cycle(loop, pattern, options.mca, p) for p in PROCESSORS)
            figures = [f"{rate:.2f}" for rate in rates]
            counts = [len(loop), count(loop, pattern), stack]
            print("|", " | ".join(map(str, [title, real, *counts, *figures])), "|")


if __name__ == "__main__":
    main()
