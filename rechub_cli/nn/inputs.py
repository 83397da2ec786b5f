"""What a model asks of its features and options, checked before any weight is made."""

from __future__ import annotations

from rechub_cli.errors import SpecError
from rechub_cli.schema import Feature, Schema


def require_pooled(schema: Schema, model_name: str) -> None:
    """Raise SpecError where a sequence keeps all its values and the model has no use for them."""
    for feature in schema.sequences:
        if feature.pooling == "none":
            raise SpecError(
                f"features.{feature.name}.pooling: {model_name} takes one vector for each sequence; "
                "use mean, sum or max"
            )


def target_of(schema: Schema, sequence: Feature) -> Feature | None:
    """The sparse feature that is looked up in the sequence's own embedding rows, if there is one.

    Where several are, the owner of the rows comes before those that share them.
    """
    same = [feature for feature in schema.sparse if feature.table == sequence.table]
    return min(same, key=lambda feature: feature.name != sequence.table, default=None)


def at_least_one(**options: int) -> None:
    """Raise SpecError for an option that counts something and is less than one."""
    for name, value in options.items():
        if value < 1:
            raise SpecError(f"{name}: must be at least 1, got {value}")


def shares_less_than_one(**options: float) -> None:
    """Raise SpecError for a share of values that is negative, or is all of them."""
    for name, value in options.items():
        if not 0 <= value < 1:
            raise SpecError(f"{name}: must be at least 0 and less than 1, got {value}")
