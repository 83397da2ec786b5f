"""Deep Interest Network, Zhou et al., KDD 2018, https://arxiv.org/abs/1706.06978"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from rechub_cli.batch import Batch, Output
from rechub_cli.errors import SpecError
from rechub_cli.nn.activation import Activation
from rechub_cli.nn.attention import TargetAttention
from rechub_cli.nn.embedding import FeatureEmbedding
from rechub_cli.nn.inputs import require_pooled, target_of
from rechub_cli.nn.mlp import MLP
from rechub_cli.schema import Schema


class DIN(nn.Module):
    """Deep Interest Network: the user's history, weighed by its match with the candidate item.

    Zhou et al., KDD 2018, https://arxiv.org/abs/1706.06978. Every sequence that ``shares`` a sparse feature
    is attended with that feature as the target, whatever its ``pooling``; other sequences are pooled.
    DIFF: the attention MLP sees target - value besides target * value, as in the authors' code.
    Shape: Batch of B rows -> logits (B, T).
    """

    def __init__(
        self,
        schema: Schema,
        *,
        attention_hidden_dims: Sequence[int] = (36,),
        attention_activation: Activation = "dice",
        hidden_dims: Sequence[int] = (200, 80),
        activation: Activation = "dice",
        batch_norm: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.schema = schema
        self.targets: dict[str, str] = {}  # attended sequence -> its target
        for sequence in schema.sequences:
            target = target_of(schema, sequence)
            if target is not None:
                self.targets[sequence.name] = target.name
        if not self.targets:
            raise SpecError(
                "din attends sequences that share a sparse feature, and there is none; "
                "e.g. features.hist: {type: sequence, shares: item_id}"
            )
        whole = (replace(f, pooling="none") if f.name in self.targets else f for f in schema.features)
        schema = schema.with_features(whole)
        require_pooled(schema.with_features(f for f in schema.features if f.name not in self.targets), "din")
        self.embedding = FeatureEmbedding(schema)
        self.attention = nn.ModuleList(
            TargetAttention(schema[name].embed_dim, attention_hidden_dims, activation=attention_activation)
            for name in self.targets
        )
        interests = sum(schema[name].embed_dim for name in self.targets)
        self.deep = MLP(
            interests + self.embedding.width + self.embedding.n_dense,
            hidden_dims,
            max(1, len(schema.tasks)),
            activation=activation,
            batch_norm=batch_norm,
            dropout=dropout,
        )

    def forward(self, batch: Batch) -> Output:
        embedded = self.embedding(batch)
        interests = [
            attend(embedded.field(target), embedded.sequences[name])
            for attend, (name, target) in zip(self.attention, self.targets.items(), strict=True)
        ]
        return Output(self.deep(*interests, embedded.flat, embedded.dense))
