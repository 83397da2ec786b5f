"""Writing tensors as a safetensors file, https://github.com/huggingface/safetensors

The library's own function wants all tensors contiguous and on the CPU before it writes the first: of moments that lie
side by side, and of a model on a GPU, that would be a copy.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rechub_cli.errors import SpecError

if TYPE_CHECKING:
    from torch import Tensor

PART = 16 << 20  # bytes that are copied at once

_TYPES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "complex64": "C64",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint64": "U64",
    "uint32": "U32",
    "uint16": "U16",
    "uint8": "U8",
    "bool": "BOOL",
}


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write the tensors, wherever they lie, and make sure that they are on the disk.

    Raises:
        SpecError: a model has numbers of a type that the format has not.
        OSError: the file could not be written.
    """
    # The widest first: then each starts at a multiple of its width, as readers that map the file want it
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))
    header, place = {}, 0
    for key, tensor in ordered:
        kind = _TYPES.get(str(tensor.dtype).removeprefix("torch."))
        if kind is None:
            raise SpecError(f"{key} is of {tensor.dtype}, which a checkpoint cannot hold")
        size = tensor.numel() * tensor.element_size()
        header[key] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [place, place + size]}
        place += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, tensor in ordered:
            _write(file.write, tensor.detach())
        file.flush()
        os.fsync(file.fileno())


def _write(write: Callable[[memoryview], object], tensor: Tensor) -> None:
    import torch

    rows = tensor if tensor.dim() else tensor[None]
    width = max(rows[:1].numel() * rows.element_size(), 1)
    for part in rows.split(max(PART // width, 1)):
        write(part.cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
