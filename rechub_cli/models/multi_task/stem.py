"""STEM, Su et al., AAAI 2024, https://arxiv.org/abs/2308.13537"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rechub_cli.batch import Batch, Output
from rechub_cli.nn.activation import Activation
from rechub_cli.nn.embedding import Embedded, FeatureEmbedding
from rechub_cli.nn.experts import Gates, ParallelMLP, mix, named_gates
from rechub_cli.nn.inputs import at_least_one, require_pooled
from rechub_cli.nn.tasks import Towers
from rechub_cli.schema import Schema


class STEM(nn.Module):
    """Shared and task-specific embeddings: an embedding table for each task beside the shared one.

    Su et al., STEM: Unleashing the Power of Embeddings for Multi-task Recommendation, AAAI 2024,
    https://arxiv.org/abs/2308.13537. Experts of each task read its own table, shared experts the shared one. A task's
    gate, which reads the sum of the two, mixes the experts of all tasks, but its gradient stops at those of the others
    ("all forward, task-specific backward"). It takes one more embedding table for each task.
    Shape: Batch of B rows -> logits (B, T). With ``write_gates`` the extras ``gate_<task>_<expert>`` (B,), experts in
    the order of the tasks, then the shared ones.
    """

    command = "train-mtl"
    mine: Tensor

    def __init__(
        self,
        schema: Schema,
        *,
        n_specific_experts: int = 2,
        n_shared_experts: int = 2,
        expert_hidden_dims: Sequence[int] = (64,),
        gate_hidden_dims: Sequence[int] = (),
        tower_hidden_dims: Sequence[int] = (32,),
        activation: Activation = "relu",
        batch_norm: bool = True,
        dropout: float = 0.1,
        write_gates: bool = False,
    ) -> None:
        super().__init__()
        at_least_one(n_specific_experts=n_specific_experts, n_shared_experts=n_shared_experts)
        require_pooled(schema, "stem")
        self.schema, self.write_gates = schema, write_gates
        n_tasks = max(1, len(schema.tasks))
        layers: dict[str, Any] = {"activation": activation, "batch_norm": batch_norm, "dropout": dropout}
        self.embeddings = nn.ModuleList(FeatureEmbedding(schema) for _ in range(n_tasks + 1))  # the shared one last
        first = self.embeddings[0]
        assert isinstance(first, FeatureEmbedding)
        width = first.width + first.n_dense
        self.n_specific = n_specific_experts
        self.specific = ParallelMLP(n_tasks * n_specific_experts, width, expert_hidden_dims, **layers)
        self.shared = ParallelMLP(n_shared_experts, width, expert_hidden_dims, **layers)
        owner = torch.arange(n_tasks).repeat_interleave(n_specific_experts)
        mine = owner == torch.arange(n_tasks)[:, None]
        mine = torch.cat([mine, torch.ones(n_tasks, n_shared_experts, dtype=torch.bool)], dim=1)
        self.register_buffer("mine", mine.float(), persistent=False)
        self.gates = Gates(n_tasks, width, mine.shape[1], hidden_dims=gate_hidden_dims)
        self.towers = Towers(n_tasks, self.shared.out_dim, 0, tower_hidden_dims, **layers)

    def last_shared_parameters(self) -> list[nn.Parameter]:
        return self.shared.last_parameters()

    def forward(self, batch: Batch) -> Output:
        embedded: list[Embedded] = []
        for embedding in self.embeddings:
            embedded.append(embedding(batch, embedded[0] if embedded else None))
        shared = embedded[-1]
        own = torch.stack([one.all for one in embedded[:-1]], dim=1)  # (B, T, C)
        both = torch.stack([torch.cat([one.flat + shared.flat, one.dense], dim=1) for one in embedded[:-1]], dim=1)
        gates = self.gates(both)
        specific = self.specific(own.repeat_interleave(self.n_specific, dim=1))
        experts = torch.cat([specific, self.shared(shared.flat, shared.dense)], dim=1)
        mixed = mix(gates * self.mine, experts) + mix(gates * (1 - self.mine), experts.detach())
        return Output(
            self.towers(mixed), extras=named_gates("gate", self.schema.labels, gates) if self.write_gates else {}
        )
