"""What a Batch holds: its columns, their vocabularies and widths, and its labels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

PADDING, MISSING, FIRST_UNSEEN = 0, 1, 2  # reserved ids of every vocabulary; unseen ids fill `oov_buckets`

Kind = Literal["sparse", "dense", "vector", "sequence"]
TaskType = Literal["classification", "regression"]


@dataclass(frozen=True, slots=True)
class Feature:
    """One input of a model, as the encoder delivers it.

    A dense feature fills one column of ``Batch.dense``, a vector ``width`` of them. A feature that
    ``shares`` another's vocabulary has the same ids and uses the same embedding rows.
    """

    name: str
    kind: Kind
    embed_dim: int = 0  # sparse, sequence, and numbers that are embedded
    vocab_size: int = 0  # sparse, sequence: ids are 0 .. vocab_size - 1
    shares: str | None = None  # the sparse (or sequence) feature that owns the embedding rows
    pooling: str = "mean"  # sequence: mean | sum | max | none (the model takes the whole sequence)
    max_len: int = 0  # sequence: no row is longer
    width: int = 1  # dense, vector: columns of Batch.dense
    tower: Literal["user", "item"] | None = None
    numeric_embedding: Literal["none", "piecewise_linear", "periodic"] = "none"
    bins: tuple[float, ...] = ()  # piecewise_linear: rising edges, in the transformed scale
    oov_buckets: int = 1
    id_dropout: float = 0.0  # share of ids that training replaces by an unseen one
    history: str | None = None  # sequence: the `history` it belongs to; those of one history are aligned
    role: Literal["input", "negatives"] = "input"  # negatives: items that the row's user did not choose

    @property
    def table(self) -> str:
        """The feature whose embedding rows this one looks up."""
        return self.shares or self.name


@dataclass(frozen=True, slots=True)
class Task:
    """One label: one column of ``Batch.labels`` and of ``Output.logits``."""

    name: str
    type: TaskType = "classification"
    negative_rate: float = 1.0  # share of the negatives that the training rows kept


@dataclass(frozen=True, slots=True)
class Schema:
    """The columns of a Batch: sparse, dense and sequence features, each in this order."""

    features: tuple[Feature, ...]
    tasks: tuple[Task, ...] = ()

    def of(self, *kinds: Kind) -> tuple[Feature, ...]:
        return tuple(feature for feature in self.features if feature.kind in kinds)

    @property
    def sparse(self) -> tuple[Feature, ...]:
        """Column j of ``Batch.sparse`` is ``sparse[j]``."""
        return self.of("sparse")

    @property
    def dense(self) -> tuple[Feature, ...]:
        """Dense and vector features; each fills ``width`` columns of ``Batch.dense``, in this order."""
        return self.of("dense", "vector")

    @property
    def sequences(self) -> tuple[Feature, ...]:
        return self.of("sequence")

    @property
    def n_dense(self) -> int:
        """Columns of ``Batch.dense``."""
        return sum(feature.width for feature in self.dense)

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(task.name for task in self.tasks)

    def __getitem__(self, name: str) -> Feature:
        for feature in self.features:
            if feature.name == name:
                return feature
        raise KeyError(name)

    @property
    def user(self) -> Schema:
        """The features of the user tower, those without a tower among them."""
        return self.tower("user")

    @property
    def item(self) -> Schema:
        """The features of the item tower: the columns of the catalogue."""
        return self.tower("item")

    def tower(self, tower: Literal["user", "item"]) -> Schema:
        """The features of one tower; those without a tower belong to the user's."""
        return Schema(tuple(f for f in self.features if (f.tower or "user") == tower))

    @property
    def inputs(self) -> Schema:
        """Without what is no input of a model."""
        return self.with_features(f for f in self.features if f.role == "input")

    def to_json(self) -> dict[str, Any]:
        return {
            "features": [asdict(feature) for feature in self.features],
            "tasks": [asdict(task) for task in self.tasks],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Schema:
        features = (Feature(**{**item, "bins": tuple(item["bins"])}) for item in data["features"])
        return cls(tuple(features), tuple(Task(**item) for item in data["tasks"]))

    def with_features(self, features: Iterable[Feature]) -> Schema:
        return replace(self, features=tuple(features))
