"""Negatives that stand in the data."""

from __future__ import annotations

from torch import Tensor

from rechub_cli.batch import Batch
from rechub_cli.errors import SpecError
from rechub_cli.nn.candidates import Candidates
from rechub_cli.schema import Schema


class Given:
    """The items of a column of role ``negatives``: shown and not chosen, say. Each row has its own.

    How they were chosen is not known, so scores are not corrected for it.

    Args:
        feature: that column; the only one by default.
        hard: of these, each query keeps the ``hard`` that score highest.
    """

    def __init__(self, *, feature: str | None = None, hard: int | None = None) -> None:
        self.feature, self.hard = feature, hard

    def bind(self, counts: Tensor, seed: int, schema: Schema) -> None:
        """Find the column.

        Raises:
            SpecError: the schema has no such column, or has several and none was named.
        """
        there = [feature.name for feature in schema.sequences if feature.role == "negatives"]
        if self.feature is None and len(there) == 1:
            self.feature = there[0]
        if self.feature not in there:
            raise SpecError(
                "negatives: 'given' takes the items of a sequence with `role: negatives`; "
                + (f"say which with `feature:`, of {', '.join(there)}" if there else "the features have none")
            )

    def draw(self, positives: Tensor, batch: Batch, *, epoch: int, step: int) -> Candidates:
        """Candidates for queries whose own items are ``positives`` (Q,)."""
        assert self.feature is not None
        return Candidates(batch.sequences[self.feature].padded(pad=-1).long())
