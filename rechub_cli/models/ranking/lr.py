"""Logistic regression."""

from __future__ import annotations

from torch import nn

from rechub_cli.batch import Batch, Output
from rechub_cli.nn.inputs import require_pooled
from rechub_cli.nn.linear import FirstOrder
from rechub_cli.schema import Schema


class LR(nn.Module):
    """Logistic regression: one weight for each id and each number; the baseline of every model.

    Shape: Batch of B rows -> logits (B, T).
    """

    linear_only = True  # no interaction of features can be learned

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        self.schema = schema
        require_pooled(schema, "lr")
        self.first_order = FirstOrder(schema, max(1, len(schema.tasks)))

    def forward(self, batch: Batch) -> Output:
        return Output(self.first_order(batch))
