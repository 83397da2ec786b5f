"""AITM, Xi et al., KDD 2021, https://arxiv.org/abs/2105.08489"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from rechub_cli.batch import Batch, Output
from rechub_cli.nn.activation import Activation
from rechub_cli.nn.experts import ParallelMLP
from rechub_cli.nn.linear import ConcatLinear
from rechub_cli.nn.tasks import TaskInputs, Towers, require_chain
from rechub_cli.schema import Schema


class Transfer(nn.Module):
    """What one step of the funnel takes over from the one before it, weighed against its own features.

    Attention over the two: softmax of <K u, Q u> / sqrt(k), then the sum of V u (the paper's AIT module).
    Shape: (B, H) of the step before, (B, H) of the step's own -> (B, H).
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.info = nn.Sequential(ConcatLinear(dim, dim), nn.ReLU())
        self.projections = ConcatLinear(dim, 3 * dim, bias=False)

    def forward(self, before: Tensor, own: Tensor) -> Tensor:
        both = torch.stack([self.info(before), own], dim=1)  # (B, 2, H)
        key, query, value = self.projections(both.flatten(0, 1)).view(-1, 2, 3, self.dim).unbind(2)
        share = ((key * query).sum(2, keepdim=True) / math.sqrt(self.dim)).softmax(dim=1)
        return (share * value).sum(1)


class AITM(nn.Module):
    """Adaptive information transfer: each step of a funnel learns what to take over from the step before it.

    Xi et al., Modeling the Sequential Dependence among Audience Multi-step Conversions, KDD 2021,
    https://arxiv.org/abs/2105.08489. The labels are the steps, in their order. A step that is likelier than the one
    before it is penalised: ``calibrator`` times the mean of max(p_t - p_{t-1}, 0), 0.6 as in the authors' code.
    Shape: Batch of B rows -> logits (B, T).
    """

    command = "train-mtl"

    def __init__(
        self,
        schema: Schema,
        *,
        bottom_hidden_dims: Sequence[int] = (128, 64, 32),
        calibrator: float = 0.6,
        task_features: Mapping[str, Sequence[str]] | None = None,
        activation: Activation = "relu",
        batch_norm: bool = True,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        require_chain(schema.tasks, "aitm")
        self.schema, self.calibrator = schema, calibrator
        n_tasks = len(schema.tasks)
        self.inputs = TaskInputs(schema, task_features, "aitm")
        self.bottoms = ParallelMLP(
            n_tasks,
            self.inputs.shared_dim,
            bottom_hidden_dims,
            activation=activation,
            batch_norm=batch_norm,
            dropout=dropout,
        )
        self.transfers = nn.ModuleList(Transfer(self.bottoms.out_dim) for _ in range(n_tasks - 1))
        self.towers = Towers(n_tasks, self.bottoms.out_dim, self.inputs.own_dim, ())

    def forward(self, batch: Batch) -> Output:
        shared, own = self.inputs(batch)
        steps = list(self.bottoms(*shared).unbind(1))
        for place, transfer in enumerate(self.transfers, start=1):
            steps[place] = transfer(steps[place - 1], steps[place])
        logits = self.towers(torch.stack(steps, dim=1), own)
        return Output(logits, self.calibrator * excess(logits))


def excess(logits: Tensor) -> Tensor:
    """Scalar: how much likelier a step is than the one before it, the sum over steps of the mean over rows."""
    return logits.sigmoid().diff(dim=1).relu().mean(0).sum()
