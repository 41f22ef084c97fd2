"""Write networks to files that other programs read: ONNX, C source code, safetensors.

Each function writes the file at `path` whole or not at all. The way back is `import_onnx`,
`import_safetensors` and `from_arrays`; `to_torch` and `from_torch` exchange live objects.
"""

from __future__ import annotations

from nncore import _names
from nncore.exchange.c_source import c
from nncore.exchange.tensors import safetensors
from nncore.exchange.to_onnx import onnx

__all__ = ["c", "onnx", "safetensors"]


def __dir__() -> list[str]:
    return _names.shown(globals())
