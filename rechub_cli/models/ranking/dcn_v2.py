"""DCN-V2, Wang et al., WWW 2021, https://arxiv.org/abs/2008.13535"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import nn

from rechub_cli.batch import Batch, Output
from rechub_cli.errors import SpecError
from rechub_cli.nn.activation import Activation
from rechub_cli.nn.cross import CrossNetV2, LowRankCrossNet
from rechub_cli.nn.embedding import FeatureEmbedding
from rechub_cli.nn.inputs import require_pooled
from rechub_cli.nn.linear import LogitHead
from rechub_cli.nn.mlp import MLP
from rechub_cli.schema import Schema


class DCNv2(nn.Module):
    """DCN-V2: matrix feature crosses, beside (parallel) or before (stacked) a deep network.

    Wang et al., WWW 2021, https://arxiv.org/abs/2008.13535. ``low_rank`` replaces each cross matrix by one of
    that rank; ``num_experts`` > 1 by a gated mixture of such.
    DIFF: smaller layers than the paper's (up to 3 of 1024), with batch norm and dropout.
    Shape: Batch of B rows -> logits (B, T).
    """

    def __init__(
        self,
        schema: Schema,
        *,
        structure: Literal["parallel", "stacked", "crossnet_only"] = "parallel",
        n_cross_layers: int = 3,
        low_rank: int | None = None,
        num_experts: int = 1,
        hidden_dims: Sequence[int] = (256, 128),
        activation: Activation = "relu",
        batch_norm: bool = True,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.schema = schema
        require_pooled(schema, "dcn_v2")
        if num_experts > 1 and low_rank is None:
            raise SpecError("num_experts: a mixture is of low-rank experts; give low_rank too, e.g. 32")
        self.structure = structure
        self.embedding = FeatureEmbedding(schema)
        width = self.embedding.width + self.embedding.n_dense
        self.cross: nn.Module
        if low_rank is None:
            self.cross = CrossNetV2(width, n_cross_layers)
        else:
            self.cross = LowRankCrossNet(width, n_cross_layers, rank=low_rank, n_experts=num_experts)
        self.deep: MLP | None = None
        out_width = width
        if structure != "crossnet_only":
            self.deep = MLP(width, hidden_dims, activation=activation, batch_norm=batch_norm, dropout=dropout)
            out_width = self.deep.out_dim + (width if structure == "parallel" else 0)
        self.output = LogitHead(out_width, max(1, len(schema.tasks)))

    def forward(self, batch: Batch) -> Output:
        x = self.embedding(batch).all
        crossed = self.cross(x)
        if self.deep is None:
            return Output(self.output(crossed))
        if self.structure == "stacked":
            return Output(self.output(self.deep(crossed)))
        return Output(self.output(crossed, self.deep(x)))
