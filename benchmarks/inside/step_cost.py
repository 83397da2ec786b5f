"""The products of one training step: floating-point operations and bytes, as the command's own dry run does it.

    python step_cost.py train-ctr SPEC --train DATA [--set ...]

``products`` lists (operations, bytes) of every matrix product of the step, forward and backward: bytes are its
operands and its result, each once.
"""

from __future__ import annotations

import re
import sys
import tempfile
from typing import Any

from prepared import report

import torch  # isort: skip
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from rechub_cli.cli.app import run


def counted(packet: Any) -> Any:
    """How torch counts the operations of a product, in place or not; None of anything else."""
    if packet is torch.ops.mkldnn._linear_pointwise:  # which torch does not count
        return lambda x, weight, *_, out_val: 2 * x.numel() * len(weight)
    return flop_registry.get(packet) or flop_registry.get(getattr(torch.ops.aten, packet.__name__.rstrip("_"), None))


class Products(TorchDispatchMode):
    """Notes what each matrix product costs while it is on."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[int, int]] = []

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = operator(*args, **kwargs)
        count = counted(operator._overloadpacket)
        if count is not None:
            tensors = [part for part in tree_leaves((args, kwargs, result)) if isinstance(part, torch.Tensor)]
            size = sum(part.numel() * part.element_size() for part in tensors)
            self.found.append((int(count(*args, **kwargs, out_val=result)), size))
        return result


with tempfile.NamedTemporaryFile("r") as log, Products() as products:
    sys.argv = ["rechub", *sys.argv[1:], "--dry-run", "-q", "--log-file", log.name]
    code = run()
    said = re.search(r"one step over ([\d,]+) rows", log.read())
if code or said is None:
    sys.exit(code or 1)
rows = int(said[1].replace(",", ""))
report(rows=rows, products=products.found, gflop=sum(operations for operations, _ in products.found) / 1e9)
