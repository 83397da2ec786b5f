"""ESMM, Ma et al., SIGIR 2018, https://arxiv.org/abs/1804.07931"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from rechub_cli.batch import Batch, Output
from rechub_cli.errors import SpecError
from rechub_cli.nn.activation import Activation
from rechub_cli.nn.tasks import TaskInputs, Towers, require_chain
from rechub_cli.schema import Schema


class ESMM(nn.Module):
    """Entire space multi-task model: conversions are learnt from all impressions, as click times conversion.

    Ma et al., Entire Space Multi-Task Model, SIGIR 2018, https://arxiv.org/abs/1804.07931. The labels are the click and
    the conversion (0 where there was no click), in this order; pCTCVR = pCTR * pCVR, and pCVR has no loss of its own.
    DIFF: the product is taken in log space, so that its loss keeps its gradient where a sigmoid saturates.
    Shape: Batch of B rows -> logits (B, 2) of click and of click and conversion; extras ``ctr``, ``cvr``, ``ctcvr``
    (B,): probabilities.
    """

    command = "train-mtl"
    given: ClassVar = {"cvr": (1, 0)}  # this extra predicts the label at place 1, of rows whose label at 0 is 1

    def __init__(
        self,
        schema: Schema,
        *,
        tower_hidden_dims: Sequence[int] = (256, 128),
        activation: Activation = "relu",
        batch_norm: bool = True,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        require_chain(schema.tasks, "esmm")
        if len(schema.tasks) != 2:
            raise SpecError(f"model esmm needs two labels, the click and the conversion; there are {len(schema.tasks)}")
        self.schema = schema
        self.inputs = TaskInputs(schema, None, "esmm")
        self.towers = Towers(
            2,
            self.inputs.shared_dim,
            0,
            tower_hidden_dims,
            activation=activation,
            batch_norm=batch_norm,
            dropout=dropout,
        )

    def last_shared_parameters(self) -> list[nn.Parameter]:
        return list(self.inputs.parameters())

    def forward(self, batch: Batch) -> Output:
        shared, _ = self.inputs(batch)
        ctr, cvr = self.towers(torch.cat(shared, dim=1)).unbind(1)
        both = logit_of_product(ctr, cvr)
        extras = {"ctr": ctr.sigmoid(), "cvr": cvr.sigmoid(), "ctcvr": both.sigmoid()}
        return Output(torch.stack([ctr, both], dim=1), extras=extras)


def logit_of_product(a: Tensor, b: Tensor) -> Tensor:
    """The logit of sigmoid(a) * sigmoid(b): p / (1 - p) = 1 / (exp(-a) + exp(-b) + exp(-a - b))."""
    return -torch.logsumexp(torch.stack([-a, -b, -a - b]), dim=0)
