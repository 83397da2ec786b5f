"""What multi-task models share: their inputs, and the towers that end in one logit for each task.

Shape legend: B rows, T tasks, C columns that all tasks see, S columns that only some see.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rechub_cli.batch import Batch
from rechub_cli.errors import SpecError
from rechub_cli.nn.embedding import Embedded, FeatureEmbedding
from rechub_cli.nn.experts import ParallelMLP
from rechub_cli.nn.inputs import require_pooled
from rechub_cli.schema import Schema, Task


class TaskInputs(nn.Module):
    """A batch as the columns that all tasks see, and those that only some towers do.

    Args:
        schema: the features.
        own: label -> the features that, beside the shared ones, this label's tower sees and the experts do not.
        model: the model's name, for errors.

    Attributes:
        shared_dim: C.
        own_dim: S.

    Raises:
        SpecError: a label or feature of ``own`` is not there, or nothing is left for all.
    """

    shared_columns: Tensor
    own_columns: Tensor
    seen: Tensor

    def __init__(self, schema: Schema, own: Mapping[str, Sequence[str]] | None, model: str) -> None:
        super().__init__()
        require_pooled(schema, model)
        self.embedding = FeatureEmbedding(schema)
        total = self.embedding.width + self.embedding.n_dense
        columns = _columns(self.embedding, schema)
        names = [task.name for task in schema.tasks]
        seen = torch.zeros(max(1, len(names)), total, dtype=torch.bool)
        for label, features in (own or {}).items():
            for feature in features:
                if label not in names or feature not in columns:
                    what, there = ("label", names) if label not in names else ("feature", list(columns))
                    wrong = label if label not in names else feature
                    raise SpecError(
                        f"model {model}: task_features names no {what} {wrong}; there are {', '.join(there)}"
                    )
                seen[names.index(label), columns[feature]] = True
        specific = seen.any(0)
        self.own_dim = int(specific.sum())
        self.shared_dim = total - self.own_dim
        if self.shared_dim == 0:
            raise SpecError(f"model {model}: task_features leaves no feature for all tasks")
        every = torch.arange(total)
        self.register_buffer("shared_columns", every[~specific], persistent=False)
        self.register_buffer("own_columns", every[specific], persistent=False)
        self.register_buffer("seen", seen[:, specific].float(), persistent=False)

    def for_layers(self, batch: Batch) -> tuple[tuple[Tensor, ...], Tensor | None]:
        """As ``forward``, for linear layers alone: ``Embedded.for_layers``."""
        return self(batch) if self.own_dim else (self.embedding(batch, for_linear=True).for_layers, None)

    def forward(self, batch: Batch) -> tuple[tuple[Tensor, ...], Tensor | None]:
        """Parts (B, C1), (B, C2), ... of the shared columns; and (B, T, S), zero where a task does not see a column."""
        embedded: Embedded = self.embedding(batch)
        if self.own_dim == 0:
            return (embedded.flat, embedded.dense), None
        values = embedded.all
        own = values[:, self.own_columns]
        return (values[:, self.shared_columns],), own[:, None, :] * self.seen


def _columns(embedding: FeatureEmbedding, schema: Schema) -> dict[str, slice]:
    """The columns of ``Embedded.all`` of each feature."""
    found = dict(embedding.spans)
    at = embedding.width
    for feature in schema.dense:
        if feature.name not in found:
            found[feature.name] = slice(at, at + feature.width)
            at += feature.width
    return found


class Towers(nn.Module):
    """One network for each task, as one batched product, that ends in its logit.

    Shape: (B, C) of all tasks or (B, T, C), and own columns (B, T, S) or None -> logits (B, T), float32.
    """

    def __init__(self, n_tasks: int, in_dim: int, own_dim: int, hidden_dims: Sequence[int], **options: Any) -> None:
        super().__init__()
        self.n_tasks = n_tasks
        self.layers = ParallelMLP(n_tasks, in_dim + own_dim, hidden_dims, 1, **options)

    def forward(self, values: Tensor, own: Tensor | None = None) -> Tensor:
        if own is not None:
            if values.dim() == 2:
                values = values[:, None, :].expand(-1, self.n_tasks, -1)
            values = torch.cat([values, own.to(values.dtype)], dim=2)
        return self.layers(values).squeeze(2)


def require_chain(tasks: Sequence[Task], model: str) -> None:
    """Raise SpecError unless there are two labels or more, all classifications: each follows the one before it."""
    wrong = [task.name for task in tasks if task.type != "classification"]
    if wrong or len(tasks) < 2:
        have = f"{wrong[0]} is a regression" if wrong else f"there {'is' if tasks else 'are'} {len(tasks)}"
        raise SpecError(f"model {model} needs two labels or more that are steps of one funnel, 0 or 1 each; {have}")
