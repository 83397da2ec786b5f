"""What a batch asks of an embedding table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rechub_cli.batch import Jagged
from rechub_cli.kernels import loops
from rechub_cli.nn.rows import Grouped, group


@dataclass(slots=True)
class Request:
    """The rows that a batch of B rows asks of a table, as row numbers of the table (int32).

    The answer has B x (S + P) rows, one for each field: S plain ids, then P pooled lists; and one row for each
    ``listed`` id.
    Two tables with the same offsets can answer the same request, and share its grouping.
    """

    ids: Tensor  # (B, S)
    pooled: Sequence[tuple[Jagged, str]] = ()  # ids, "sum" or "mean"
    listed: Tensor | None = None  # (N,)
    _grouped: tuple[Grouped, Tensor, Tensor | None] | None = field(default=None, init=False, repr=False)
    _blank: Tensor | None = field(default=None, init=False, repr=False)

    @property
    def plain(self) -> bool:
        """Whether it asks for nothing but one row of each field."""
        return not self.pooled and self.listed is None

    def grouped(self) -> tuple[Grouped, Tensor, Tensor | None]:
        """The distinct rows; and for each occurrence, in their order: its row of the answer, and its weight there."""
        if self._grouped is None:
            grouped = group(self.occurrences())
            source, weights = self.sources()
            if source is None:
                self._grouped = grouped, grouped.order, None
            else:
                self._grouped = grouped, source[grouped.order], None if weights is None else weights[grouped.order]
        return self._grouped

    def blank(self, padding: Tensor) -> Tensor:
        """Which of the distinct rows are padding, by place: never trained."""
        if self._blank is None:
            self._blank = loops.find_rows(self.grouped()[0].rows, padding)
        return self._blank

    def occurrences(self) -> Tensor:
        """Every row number, (B, S) where nothing else is asked, else (n,): fields, pooled lists, listed ids."""
        parts = [self.ids, *(jagged.values for jagged, _ in self.pooled)]
        if self.listed is not None:
            parts.append(self.listed)
        return parts[0] if self.plain else torch.cat([part.flatten() for part in parts])

    def sources(self) -> tuple[Tensor | None, Tensor | None]:
        """For each occurrence its row of the answer, and its weight there; None where it is its own, and one."""
        if not self.pooled:
            return None, None
        size, sparse = self.ids.shape
        fields = sparse + len(self.pooled)
        answer = torch.arange(size * fields, device=self.ids.device).view(size, fields)
        sources = [answer[:, :sparse].flatten()]
        weights = [torch.ones(sources[0].numel(), device=self.ids.device)]
        for column, (jagged, mode) in enumerate(self.pooled, start=sparse):
            rows, lengths = jagged.rows, jagged.lengths.float()
            sources.append(answer[:, column][rows])
            weights.append((lengths.reciprocal() if mode == "mean" else torch.ones_like(lengths))[rows])
        if self.listed is not None:
            count = self.listed.numel()
            sources.append(torch.arange(size * fields, size * fields + count, device=self.ids.device))
            weights.append(torch.ones(count, device=self.ids.device))
        only_sums = all(mode == "sum" for _, mode in self.pooled)
        return torch.cat(sources), None if only_sums else torch.cat(weights)
