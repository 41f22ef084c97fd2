"""Pieces of C: names, numbers, arrays, and the text around the functions of a network."""

import re
import textwrap

import numpy as np

__all__ = ["array", "check_name", "comment", "header", "number", "order_of", "self_test"]

KEYWORDS = set(
    "auto break case char const continue default do double else enum extern float for goto if "
    "inline int long main register restrict return short signed sizeof static struct switch "
    "typedef union unsigned void volatile while asm fortran nan".split()
)
# Each also with f and l behind it.
MATH = (
    "acos asin atan atan2 cos sin tan acosh asinh atanh cosh sinh tanh exp exp2 expm1 frexp ilogb "
    "ldexp log log10 log1p log2 logb modf scalbn scalbln cbrt fabs hypot pow sqrt erf erfc lgamma "
    "tgamma ceil floor nearbyint rint lrint llrint round lround llround trunc fmod remainder "
    "remquo copysign nextafter nexttoward fdim fmax fmin fma"
).split()
KEYWORDS.update(name + ending for name in MATH for ending in ("", "f", "l"))
KEYWORDS.update("x y z i k got largest".split())  # of the functions here
TYPES = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}


def check_name(name):
    """Return the name of a C function; ValueError unless it is a free identifier."""
    if not isinstance(name, str):
        raise TypeError(f"name must be a text, got {type(name).__name__}")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,50}", name) or name in KEYWORDS:
        raise ValueError(
            f"name must be a C identifier of at most 51 ASCII letters, digits and underscores that "
            f"starts with a letter and is no word of C or <math.h>, got {name[:80]!r}"
        )
    return name


def number(x, dtype):
    """Return a constant with the bits of x in dtype, in hexadecimal."""
    value = float(np.asarray(x).astype(dtype))
    if not np.isfinite(value):
        raise ValueError(f"numbers must be within the range of {np.dtype(dtype)}, got {x:.3g}")
    return _constant(value, "f" if dtype == np.float32 else "")


def _constant(value, ending):
    if value == int(value) and abs(value) < 1000:
        return f"{value:.1f}{ending}"
    digits, power = value.hex().split("p")
    return f"{digits.rstrip('0').rstrip('.')}p{power}{ending}"


def array(kind, name, values, dtype=None, indent="    "):
    """Return the declaration of a constant array of one or two dimensions."""
    values = np.asarray(values)
    sizes = "".join(f"[{n}]" for n in values.shape)
    rows = [_row(row, dtype, indent + "    ") for row in (values if values.ndim == 2 else [values])]
    if values.ndim == 2:
        body = ",\n".join(f"{indent}    {{\n{row}\n{indent}    }}" for row in rows)
    else:
        body = rows[0]
    return f"{indent}static const {kind} {name}{sizes} = {{\n{body}\n{indent}}};\n"


def _row(values, dtype, indent):
    """Return the numbers in lines of at most 100 characters."""
    if dtype is None:
        texts = map(str, values.tolist())
    else:
        ending = "f" if dtype == np.float32 else ""
        texts = [_constant(x, ending) for x in values.astype(dtype).tolist()]
    lines, line = [], indent
    for text in texts:
        if len(line) + len(text) > 98:
            lines.append(line[:-1])
            line = indent
        line += f"{text}, "
    return "\n".join([*lines, line[:-2]])


def comment(lines):
    """Return a block comment; nothing in it can end it."""
    text = "\n".join(lines).replace("*/", "* /").encode("ascii", "replace").decode("ascii")
    wrapped = []
    for line in text.split("\n"):
        wrapped += textwrap.wrap(line, 94) or [""]
    return "/* " + "\n * ".join(wrapped).replace(" * \n", " *\n") + "\n */\n"


def order_of(classes):
    """Return the lines of a comment that list a network's classes."""
    if classes is None:
        return []
    return [f"Classes 0, 1, ...: {', '.join(map(ascii, classes.tolist()))}"[:4000]]


def header(name, macros, prototypes):
    """Return the part that other files of C see, when they define NAME_HEADER."""
    upper = name.upper()
    lines = [f"#ifndef {upper}_INPUTS"]
    lines += [f"#define {upper}_{macro} {value}" for macro, value in macros.items()]
    lines += prototypes
    lines += [f"#ifdef {upper}_SELF_TEST", f"int {name}_self_test(void);", "#endif"]
    return "\n".join([*lines, "#endif\n\n"])


def self_test(name, declarations, body):
    """Return the self-test: 0, or the number of the first sample that fails."""
    return f"""
#ifdef {name.upper()}_SELF_TEST
int {name}_self_test(void)
{{
{declarations}
    for (int k = 0; k < 3; k++) {{
{body}    }}
    return 0;
}}
#endif
"""
