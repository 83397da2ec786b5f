"""Shared bottom, Caruana, Machine Learning 1997, https://doi.org/10.1023/A:1007379606734"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from rechub_cli.batch import Batch, Output
from rechub_cli.nn.activation import Activation
from rechub_cli.nn.mlp import MLP
from rechub_cli.nn.tasks import TaskInputs, Towers
from rechub_cli.schema import Schema


class SharedBottom(nn.Module):
    """Shared bottom: one network over all features, then a tower for each task.

    Caruana, Multitask Learning, 1997, https://doi.org/10.1023/A:1007379606734
    Shape: Batch of B rows -> logits (B, T).
    """

    command = "train-mtl"

    def __init__(
        self,
        schema: Schema,
        *,
        bottom_hidden_dims: Sequence[int] = (128, 64),
        tower_hidden_dims: Sequence[int] = (32,),
        task_features: Mapping[str, Sequence[str]] | None = None,
        activation: Activation = "relu",
        batch_norm: bool = True,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.schema = schema
        n_tasks = max(1, len(schema.tasks))
        self.inputs = TaskInputs(schema, task_features, "shared_bottom")
        self.bottom = MLP(
            self.inputs.shared_dim, bottom_hidden_dims, activation=activation, batch_norm=batch_norm, dropout=dropout
        )
        self.towers = Towers(
            n_tasks,
            self.bottom.out_dim,
            self.inputs.own_dim,
            tower_hidden_dims,
            activation=activation,
            batch_norm=batch_norm,
            dropout=dropout,
        )

    def last_shared_parameters(self) -> list[nn.Parameter]:
        return [matrix for matrix in self.bottom.parameters() if matrix.dim() == 2][-1:]

    def forward(self, batch: Batch) -> Output:
        shared, own = self.inputs(batch)
        return Output(self.towers(self.bottom(*shared), own))
