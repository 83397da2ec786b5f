"""HoME, Wang et al., KDD 2025, https://arxiv.org/abs/2408.05430"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rechub_cli.batch import Batch, Output
from rechub_cli.errors import SpecError
from rechub_cli.nn.activation import Activation
from rechub_cli.nn.experts import Gates, ParallelLinear, ParallelMLP, mix
from rechub_cli.nn.inputs import at_least_one
from rechub_cli.nn.tasks import TaskInputs, Towers
from rechub_cli.schema import Schema


class FeatureGates(nn.Module):
    """For each of N experts, its own view of the input: x * 2 sigmoid(low-rank linear of x).

    Shape: (B, C) -> (B, N, C).
    """

    def __init__(self, n: int, dim: int, rank: int) -> None:
        super().__init__()
        self.down = ParallelLinear(n, dim, rank, bias=False)
        self.up = ParallelLinear(n, rank, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x[:, None, :] * (2 * torch.sigmoid(self.up(self.down(x))))


class SelfGated(nn.Module):
    """Mixtures of experts that also pass a mixture's own experts on, past the competition with the others.

    Shape: what the experts see (B, N, C), what the gates see (B, M, G) or parts (B, G1), ... -> (B, M, H).

    Args:
        sees: bool (M, N): the experts that each mixture takes from.
        own: bool (M, N): its own among them, as many for each mixture.
    """

    def __init__(
        self,
        in_dim: int,
        gate_dim: int,
        hidden_dims: Sequence[int],
        sees: Tensor,
        own: Tensor,
        layers: Mapping[str, Any],
    ) -> None:
        super().__init__()
        n = sees.shape[1]
        self.experts = ParallelMLP(n, in_dim, hidden_dims, **layers)
        self.gates = Gates(len(sees), gate_dim, n, mask=sees)
        self.own_gates = Gates(len(sees), gate_dim, n, mask=own, alone=bool(own.sum(1).max() == 1))
        self.out_dim = self.experts.out_dim

    def forward(self, seen: Tensor, *gate_inputs: Tensor) -> Tensor:
        return mix(self.gates(*gate_inputs) + self.own_gates(*gate_inputs), self.experts(seen))


class HoME(nn.Module):
    """Hierarchy of multi-gate experts: experts of all, of groups of tasks, and of each task, kept from collapsing.

    Wang et al., HoME: Hierarchy of Multi-Gate Experts for Multi-Task Learning at Kuaishou, 2024,
    https://arxiv.org/abs/2408.05430. Experts end in batch norm and Swish, so that none dies. Each sees the input
    through a gate of its own. A first level makes one representation for all tasks and one for each group, the second
    one for each task. Self-gates pass a mixture's own experts on.
    DIFF: where ``groups`` is not given, all tasks are one group.
    Shape: Batch of B rows -> logits (B, T).
    """

    command = "train-mtl"
    sources: Tensor
    groups: Tensor

    def __init__(
        self,
        schema: Schema,
        *,
        groups: Mapping[str, Sequence[str]] | None = None,
        n_experts: int = 2,
        expert_hidden_dims: Sequence[int] = (64,),
        feature_gate_rank: int = 8,
        tower_hidden_dims: Sequence[int] = (32,),
        task_features: Mapping[str, Sequence[str]] | None = None,
        activation: Activation = "silu",
        batch_norm: bool = True,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        at_least_one(n_experts=n_experts, feature_gate_rank=feature_gate_rank)
        self.schema = schema
        n_tasks = max(1, len(schema.tasks))
        layers: dict[str, Any] = {"activation": activation, "batch_norm": batch_norm, "dropout": dropout}
        self.group = group_of(groups, schema.labels) if schema.tasks else [0]  # of each task
        n_groups = max(self.group) + 1
        self.inputs = TaskInputs(schema, task_features, "home")
        width = self.inputs.shared_dim

        # Experts: n of each group, then n of all. Mixtures: one of each group, then one of all.
        one_each = torch.eye(n_groups + 1, dtype=torch.bool)
        sees = one_each.clone()
        sees[:, -1] = True
        spread = one_each.repeat_interleave(n_experts, dim=1)
        self.views = FeatureGates(spread.shape[1], width, feature_gate_rank)
        self.meta = SelfGated(
            width, width, expert_hidden_dims, sees.repeat_interleave(n_experts, dim=1), spread, layers
        )

        # Experts: n of each task, n of each group, n of all. Mixtures: one of each task.
        tasks = torch.eye(n_tasks, dtype=torch.bool)
        belongs = torch.tensor(self.group)[:, None] == torch.arange(n_groups)
        sees = torch.cat([tasks, belongs, torch.ones(n_tasks, 1, dtype=torch.bool)], dim=1)
        own = torch.cat([tasks, torch.zeros(n_tasks, n_groups + 1, dtype=torch.bool)], dim=1)
        sources = [*self.group, *range(n_groups), n_groups]  # the mixture that each kind of expert sees
        self.register_buffer("sources", torch.tensor(sources).repeat_interleave(n_experts), persistent=False)
        self.register_buffer("groups", torch.tensor(self.group), persistent=False)  # that each task sees
        width = self.meta.out_dim
        self.task = SelfGated(
            width,
            2 * width,
            expert_hidden_dims,
            sees.repeat_interleave(n_experts, dim=1),
            own.repeat_interleave(n_experts, dim=1),
            layers,
        )
        self.towers = Towers(n_tasks, self.task.out_dim, self.inputs.own_dim, tower_hidden_dims, **layers)

    def forward(self, batch: Batch) -> Output:
        shared, own = self.inputs(batch)
        values = torch.cat(shared, dim=1)
        meta = self.meta(self.views(values), values)  # (B, groups + 1, H)
        seen = meta.index_select(1, self.sources)
        ours, all_ = meta.index_select(1, self.groups), meta[:, -1:].expand(-1, len(self.group), -1)
        return Output(self.towers(self.task(seen, torch.cat([ours, all_], dim=2)), own))


def group_of(groups: Mapping[str, Sequence[str]] | None, labels: Sequence[str]) -> list[int]:
    """The place of each label's group.

    Raises:
        SpecError: a label is in no group or in several, or a group names what is no label.
    """
    if not groups:
        return [0] * len(labels)
    wrong = [name for names in groups.values() for name in names if name not in labels]
    if wrong:
        raise SpecError(f"model home: groups names no label {wrong[0]}; there are {', '.join(labels)}")
    found = []
    for label in labels:
        places = [place for place, names in enumerate(groups.values()) if label in names]
        if len(places) != 1:
            raise SpecError(f"model home: label {label} must be in one of the groups, and is in {len(places)}")
        found.append(places[0])
    return found
