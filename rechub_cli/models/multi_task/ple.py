"""PLE, Tang et al., RecSys 2020, https://doi.org/10.1145/3383313.3412236"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rechub_cli.batch import Batch, Output
from rechub_cli.nn.activation import Activation
from rechub_cli.nn.experts import Gates, ParallelMLP, mix, named_gates
from rechub_cli.nn.inputs import at_least_one
from rechub_cli.nn.tasks import TaskInputs, Towers
from rechub_cli.schema import Schema


class CGC(nn.Module):
    """One level: experts of each task's own and experts that all share, mixed by gates that see the level's inputs.

    A task mixes its own experts and the shared ones; the shared path, which the last level lacks, mixes all.
    Shape: parts (B, C1), ... that all see at the first level, then (B, T + 1, C), the shared path last
    -> (B, T + 1, H), or (B, T, H) at the last level; and the gates (B, T or T + 1, experts).
    """

    mask: Tensor

    def __init__(
        self,
        n_tasks: int,
        in_dim: int,
        hidden_dims: Sequence[int],
        *,
        n_specific: int,
        n_shared: int,
        gate_hidden_dims: Sequence[int],
        last: bool,
        layers: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.n_specific, self.n_shared = n_specific, n_shared
        own = torch.arange(n_tasks).repeat_interleave(n_specific)  # the task of each specific expert
        mask = torch.cat([own == torch.arange(n_tasks)[:, None], torch.ones(n_tasks, n_shared, dtype=torch.bool)], 1)
        if not last:
            mask = torch.cat([mask, torch.ones_like(mask[:1])])
        self.specific = ParallelMLP(n_tasks * n_specific, in_dim, hidden_dims, **layers)
        self.shared = ParallelMLP(n_shared, in_dim, hidden_dims, **layers)
        self.gates = Gates(len(mask), in_dim, mask.shape[1], hidden_dims=gate_hidden_dims, mask=mask)
        self.out_dim = self.shared.out_dim

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        if inputs[0].dim() == 2:
            specific, shared, gates = self.specific(*inputs), self.shared(*inputs), self.gates(*inputs)
        else:
            tasks, path = inputs[0][:, :-1], inputs[0][:, -1]
            specific = self.specific(tasks.repeat_interleave(self.n_specific, dim=1))
            shared = self.shared(path)
            gates = self.gates(inputs[0][:, : self.gates.linear.n])
        return mix(gates, torch.cat([specific, shared], dim=1)), gates


class PLE(nn.Module):
    """Progressive layered extraction: levels of experts, some of each task's own, some shared by all.

    Tang et al., Progressive Layered Extraction (PLE), RecSys 2020, https://doi.org/10.1145/3383313.3412236.
    With ``n_levels`` 1 it is the paper's CGC.
    Shape: Batch of B rows -> logits (B, T). With ``write_gates`` the extras ``gate<level>_<task>_<expert>`` (B,), a
    task's own experts and those of others (always 0) before the shared ones; ``gate<level>_shared_<expert>``.
    """

    command = "train-mtl"

    def __init__(
        self,
        schema: Schema,
        *,
        n_levels: int = 1,
        n_specific_experts: int = 2,
        n_shared_experts: int = 2,
        expert_hidden_dims: Sequence[int] = (64,),
        gate_hidden_dims: Sequence[int] = (),
        tower_hidden_dims: Sequence[int] = (32,),
        task_features: Mapping[str, Sequence[str]] | None = None,
        activation: Activation = "relu",
        batch_norm: bool = True,
        dropout: float = 0.1,
        write_gates: bool = False,
    ) -> None:
        super().__init__()
        at_least_one(n_levels=n_levels, n_specific_experts=n_specific_experts, n_shared_experts=n_shared_experts)
        self.schema, self.write_gates = schema, write_gates
        n_tasks = max(1, len(schema.tasks))
        layers: dict[str, Any] = {"activation": activation, "batch_norm": batch_norm, "dropout": dropout}
        self.inputs = TaskInputs(schema, task_features, "ple")
        self.levels = nn.ModuleList()
        width = self.inputs.shared_dim
        for level in range(n_levels):
            made = CGC(
                n_tasks,
                width,
                expert_hidden_dims,
                n_specific=n_specific_experts,
                n_shared=n_shared_experts,
                gate_hidden_dims=gate_hidden_dims,
                last=level == n_levels - 1,
                layers=layers,
            )
            self.levels.append(made)
            width = made.out_dim
        self.towers = Towers(n_tasks, width, self.inputs.own_dim, tower_hidden_dims, **layers)

    def last_shared_parameters(self) -> list[nn.Parameter]:
        last = self.levels[-1]
        assert isinstance(last, CGC)
        return last.shared.last_parameters()

    def forward(self, batch: Batch) -> Output:
        values, own = self.inputs(batch)
        extras: dict[str, Tensor] = {}
        names = [*self.schema.labels, "shared"]
        for place, level in enumerate(self.levels):
            mixed, gates = level(*values)
            values = (mixed,)
            if self.write_gates:
                extras |= named_gates(f"gate{place}", names[: gates.shape[1]], gates)
        return Output(self.towers(values[0], own), extras=extras)
