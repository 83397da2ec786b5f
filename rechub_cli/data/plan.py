"""What a spec's features become: where their ids come from, and the Schema that a model is built on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from rechub_cli.data.cells import PARTS
from rechub_cli.data.vocabulary import Buckets, Vocabulary
from rechub_cli.errors import SpecError
from rechub_cli.schema import FIRST_UNSEEN, Feature, Schema, Task
from rechub_cli.spec.model import AnyFeature, Datetime, Dense, History, Label, Sequence, Sparse, Spec, Tower, Vector

FIRST_FIXED = FIRST_UNSEEN + 1  # the first id of categories that need no vocabulary: parts of a date, buckets


@dataclass(frozen=True, slots=True)
class Plan:
    """The part of a spec that decides how rows are encoded."""

    features: dict[str, AnyFeature]
    labels: dict[str, Label]
    weight: str | None
    group: str | None
    embed_dim: int
    tower: Tower | None = None  # only this tower's features are encoded
    keys: tuple[str, ...] = ()  # of histories: the columns that say who and when, and which of equal times is first

    @property
    def own(self) -> list[str]:
        """The features that are encoded."""
        return [name for name, feature in self.features.items() if self.tower in (None, feature.tower or "user")]

    @classmethod
    def of(cls, spec: Spec) -> Plan:
        plan = cls(spec.features, spec.labels, spec.weight, spec.group, spec.embed_dim)
        for name, feature in plan.features.items():
            if isinstance(feature, History):
                if not spec.user or not spec.time:
                    raise SpecError(
                        f"features.{name}: a history needs `user:` and `time:`, the columns of who and when"
                    )
                plan = replace(plan, keys=(spec.user, spec.time, *([spec.order] if spec.order else [])))
                plan.history_columns(name)
            if isinstance(feature, Sparse | Sequence) and feature.shares is not None:
                width = plan.embed_dim_of(plan.owner(name))
                if feature.embed_dim not in (None, width):
                    raise SpecError(
                        f"features.{name}.embed_dim: {feature.embed_dim} is not {width}, the width of the embedding "
                        f"rows that it shares with {plan.owner(name)}"
                    )
        return plan

    def after(self, earlier: Plan) -> Plan:
        """The same with the features in an earlier plan's order, and those that it lacks behind them."""
        names = [*(name for name in earlier.features if name in self.features), *self.features]
        return replace(self, features={name: self.features[name] for name in names})

    def column(self, name: str) -> str:
        return self.features[name].column or name

    def embed_dim_of(self, name: str) -> int:
        """A feature that shares embedding rows has the width of their owner."""
        feature = self.features[name]
        if isinstance(feature, Sparse | Sequence):
            feature = self.features[self.owner(name)]
        return getattr(feature, "embed_dim", None) or self.embed_dim

    @property
    def feature_columns(self) -> list[str]:
        """Those that features are read from; a history is made of other rows."""
        return list(dict.fromkeys(self.column(name) for name in self.own if name not in self.histories))

    @property
    def histories(self) -> dict[str, History]:
        """The histories that are encoded, by name."""
        return {name: self.features[name] for name in self.own if isinstance(self.features[name], History)}  # type: ignore[misc]

    def history_columns(self, name: str) -> dict[str, str]:
        """The sequences of a history: feature -> the column that it follows. Several columns give `<name>.<column>`."""
        feature = self.features[name]
        assert isinstance(feature, History)
        for column in feature.of:
            self.owner_of_column(column, name)
        if len(feature.of) == 1:
            return {name: feature.of[0]}
        return {f"{name}.{column}": column for column in feature.of}

    def history_of(self, feature: str) -> tuple[str, str]:
        """The history that a sequence belongs to, and the column that it follows."""
        for name in self.histories:
            columns = self.history_columns(name)
            if feature in columns:
                return name, columns[feature]
        raise KeyError(feature)

    def owner_of_column(self, column: str, name: str) -> str:
        """The feature whose vocabulary a column of the history ``name`` uses: that of the feature that reads it."""
        for reader, feature in self.features.items():
            if isinstance(feature, Sparse) and self.column(reader) == column:
                return self.owner(reader)
        raise SpecError(f"features.{name}.of: no sparse feature reads column {column}; add one, whose ids are shared")

    @property
    def label_columns(self) -> list[str]:
        named = [label.column or name for name, label in self.labels.items()]
        return list(dict.fromkeys([*named, *filter(None, (self.weight, self.group)), *self.label_weights.values()]))

    @property
    def label_weights(self) -> dict[str, str]:
        """The columns of the weights that labels have of their own, by label."""
        return {name: label.weight for name, label in self.labels.items() if label.weight}

    def owner(self, name: str) -> str:
        """The feature whose vocabulary this sparse or sequence feature uses."""
        seen = [name]
        while True:
            feature = self.features.get(name)
            if not isinstance(feature, Sparse | Sequence):
                raise SpecError(f"features.{seen[0]}.shares: {name} is no sparse or sequence feature")
            if feature.shares is None:
                return name
            name = feature.shares
            if name in seen:
                raise SpecError(f"features.{seen[0]}.shares: {' shares '.join([*seen, name])}, which is a circle")
            seen.append(name)

    def schema(
        self,
        vocabularies: dict[str, Vocabulary | Buckets],
        bins: dict[str, tuple[float, ...]],
    ) -> Schema:
        features = [made for name in self.own for made in self._features(name, vocabularies, bins)]
        names = [feature.name for feature in features]
        if len(set(names)) < len(names):
            double = next(name for name in names if names.count(name) > 1)
            raise SpecError(f"features.{double}: the name stands for two features; rename one and give its `column`")
        tasks = (Task(name, label.type, label.negative_rate) for name, label in self.labels.items())
        return Schema(tuple(features), tuple(tasks))

    def least_schema(self, bins: dict[str, tuple[float, ...]]) -> Schema:
        """The schema of vocabularies without values: a model of it has all the layers, and next to no rows."""
        owners = {self.owner(name) for name, one in self.features.items() if isinstance(one, Sparse | Sequence)}
        found: dict[str, Vocabulary | Buckets] = {
            name: Vocabulary.empty(self.features[name].oov_buckets)  # type: ignore[union-attr]
            for name in owners
        }
        for name, feature in self.features.items():
            if isinstance(feature, Datetime):
                found |= {f"{name}.{part}": Vocabulary.empty(1) for part in feature.parts if part not in PARTS}
        return self.schema(found, bins)

    def _features(
        self, name: str, vocabularies: dict[str, Vocabulary | Buckets], bins: dict[str, tuple[float, ...]]
    ) -> Iterator[Feature]:
        feature = self.features[name]
        embed_dim, tower = self.embed_dim_of(name), feature.tower
        if isinstance(feature, History):
            for key, column in self.history_columns(name).items():
                owner = self.owner_of_column(column, name)
                vocabulary = vocabularies[owner]
                yield Feature(
                    key,
                    "sequence",
                    self.embed_dim_of(owner),
                    vocabulary.n_ids,
                    shares=owner,
                    oov_buckets=vocabulary.oov_buckets,
                    pooling=feature.pooling,
                    max_len=feature.max_len,
                    tower=tower,
                    history=name,
                )
        if isinstance(feature, Sparse | Sequence):
            owner = self.owner(name)
            vocabulary = vocabularies[owner]
            made = Feature(
                name,
                "sparse",
                embed_dim,
                vocabulary.n_ids,
                shares=owner if owner != name else None,
                oov_buckets=vocabulary.oov_buckets,
                tower=tower,
            )
            if isinstance(feature, Sparse):
                yield replace(made, id_dropout=feature.id_dropout)
            else:
                yield replace(
                    made, kind="sequence", pooling=feature.pooling, max_len=feature.max_len, role=feature.role
                )
        elif isinstance(feature, Datetime):
            for part in feature.parts:
                key = f"{name}.{part}"
                size = FIRST_FIXED + PARTS[part] if part in PARTS else vocabularies[key].n_ids
                yield Feature(key, "sparse", embed_dim, size, tower=tower)
        elif isinstance(feature, Vector):
            yield Feature(name, "vector", width=feature.dim, tower=tower)
        elif isinstance(feature, Dense) and isinstance(feature.transform, dict):
            size = FIRST_FIXED + len(feature.transform["bucketize"]) + 1
            yield Feature(name, "sparse", embed_dim, size, tower=tower)
        elif isinstance(feature, Dense):
            embedding = feature.embedding
            width = embed_dim if embedding != "none" else 0
            yield Feature(name, "dense", width, tower=tower, numeric_embedding=embedding, bins=bins.get(name, ()))
            if feature.flag_missing:
                yield Feature(f"{name}.missing", "dense", tower=tower)
