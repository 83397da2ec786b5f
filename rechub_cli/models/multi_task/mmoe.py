"""MMoE, Ma et al., KDD 2018, https://doi.org/10.1145/3219819.3220007"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from rechub_cli.batch import Batch, Output
from rechub_cli.nn.activation import Activation
from rechub_cli.nn.experts import Gates, ParallelMLP, mix, named_gates
from rechub_cli.nn.inputs import at_least_one
from rechub_cli.nn.tasks import TaskInputs, Towers
from rechub_cli.schema import Schema


class MMoE(nn.Module):
    """Multi-gate mixture of experts: every task mixes the same experts in its own way, by a gate that sees the row.

    Ma et al., Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts, KDD 2018,
    https://doi.org/10.1145/3219819.3220007. The gate is softmax(W x), without bias or norm, as there.
    Shape: Batch of B rows -> logits (B, T). With ``write_gates`` the extras ``gate_<task>_<expert>`` (B,).
    """

    command = "train-mtl"

    def __init__(
        self,
        schema: Schema,
        *,
        n_experts: int = 8,
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
        at_least_one(n_experts=n_experts)
        self.schema, self.write_gates = schema, write_gates
        self.linear_inputs = bool(expert_hidden_dims)  # experts and gates start with a linear layer
        n_tasks = max(1, len(schema.tasks))
        layers: dict[str, Any] = {"activation": activation, "batch_norm": batch_norm, "dropout": dropout}
        self.inputs = TaskInputs(schema, task_features, "mmoe")
        self.experts = ParallelMLP(n_experts, self.inputs.shared_dim, expert_hidden_dims, **layers)
        self.gates = Gates(n_tasks, self.inputs.shared_dim, n_experts, hidden_dims=gate_hidden_dims)
        self.towers = Towers(n_tasks, self.experts.out_dim, self.inputs.own_dim, tower_hidden_dims, **layers)

    def last_shared_parameters(self) -> list[nn.Parameter]:
        return self.experts.last_parameters()

    def forward(self, batch: Batch) -> Output:
        shared, own = self.inputs.for_layers(batch) if self.linear_inputs else self.inputs(batch)
        gates = self.gates(*shared)
        logits = self.towers(mix(gates, self.experts(*shared)), own)
        return Output(logits, extras=named_gates("gate", self.schema.labels, gates) if self.write_gates else {})
