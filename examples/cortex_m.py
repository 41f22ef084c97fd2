"""Build C files for a Cortex-M and run them on a board that QEMU simulates; used by
take_it_with_you.py.

The program reads nothing and prints by semihosting, so it needs neither an operating system nor the
C library's input and output.
"""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

GCC, QEMU = "arm-none-eabi-gcc", "qemu-system-arm"
PACKAGES = {GCC: "gcc-arm-none-eabi libnewlib-arm-none-eabi", QEMU: "qemu-system-arm"}
# QEMU's board, and the compiler's flags for its processor
BOARDS = {
    "Cortex-M3": ("mps2-an385", ["-mcpu=cortex-m3"]),
    "Cortex-M4": (
        "mps2-an386",
        ["-mcpu=cortex-m4", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"],
    ),
}
MEMORY = """
MEMORY { CODE (rx) : ORIGIN = 0, LENGTH = 4M
         RAM (rwx) : ORIGIN = 0x20000000, LENGTH = 4M }
ENTRY(reset)
SECTIONS {
    .text : { KEEP(*(.vectors)) *(.text* .rodata*) } > CODE
    .ARM.exidx : { *(.ARM.exidx*) } > CODE
    .data : { *(.data*) } > RAM
    .bss : { *(.bss* COMMON) } > RAM
}
"""
STARTUP = """
#include <stdint.h>

int main(void);
void put(const char *text);
void put_number(int32_t number);
void reset(void);

__attribute__((section(".vectors"), used))
static const uintptr_t vectors[2] = {0x20400000, (uintptr_t)reset};

static int semihosting(int operation, const void *argument)
{
    register int r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

void put(const char *text)
{
    semihosting(4, text);
}

void put_number(int32_t number)
{
    char text[12], *at = text + 11;
    uint32_t rest = number < 0 ? 0u - (uint32_t)number : (uint32_t)number;
    for (*at = 0; at == text + 11 || rest; rest /= 10)
        *--at = (char)('0' + rest % 10);
    if (number < 0)
        *--at = '-';
    put(at);
}

void reset(void)
{
    uint32_t done[2] = {0x20026, 0};
    /* the processor's floating point, if it has any */
    *(volatile uint32_t *)0xe000ed88 |= 0xfu << 20;
    __asm__ volatile("dsb\\n\\tisb");
    done[1] = (uint32_t)main();
    semihosting(0x20, done);
    for (;;)
        ;
}
"""


def missing() -> str | None:
    """Return a sentence about the first tool that is missing, or None."""
    for tool, packages in PACKAGES.items():
        if shutil.which(tool) is None:
            return f"{tool} is missing (Debian: apt install {packages})"
    return None


def build(
    folder: Path,
    sources: Sequence[str | Path],
    board: str = "Cortex-M3",
    options: Sequence[str] = (),
) -> Path:
    """Compile C files and link them with the start of the board; return the program's path."""
    folder = Path(folder)
    (folder / "startup.c").write_text(STARTUP)
    (folder / "memory.ld").write_text(MEMORY)
    program = folder / "program.elf"
    command = [GCC, "-std=c99", "-Os", "-mthumb", *BOARDS[board][1], "-ffunction-sections"]
    command += ["-Wall", "-Wextra", *options, "-nostartfiles", "--specs=nosys.specs"]
    command += ["-T", str(folder / "memory.ld"), "-Wl,--gc-sections", "-o", str(program)]
    command += [str(folder / "startup.c"), *map(str, sources), "-lm"]
    subprocess.run(command, check=True)
    return program


def run(program: str | Path, board: str = "Cortex-M3") -> tuple[int, str]:
    """Run a program on the simulated board; return (exit status, what it has printed)."""
    command = [QEMU, "-M", BOARDS[board][0], "-nographic", "-monitor", "none", "-serial", "none"]
    command += ["-semihosting-config", "enable=on,target=native", "-kernel", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


def code_size(program: str | Path) -> int:
    """Return the bytes of code and constants in a program or object file."""
    done = subprocess.run(
        ["arm-none-eabi-size", str(program)], check=True, capture_output=True, text=True
    )
    return int(done.stdout.splitlines()[1].split()[0])
