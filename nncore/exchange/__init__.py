"""Networks in other formats and back: ONNX, C, safetensors, PyTorch, arrays of other libraries.

`table.py` has one row per module, with its form in each format. `chain.py` describes a network as
steps and refuses what no format can hold. Files are written whole or not at all.
"""
