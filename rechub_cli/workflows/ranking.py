"""A retrieval run on new rows: how its catalogue ranks for them, and the scores of given pairs."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rechub_cli.errors import DataError, Interrupted, SpecError, UsageError
from rechub_cli.workflows.match_spec import metrics_of
from rechub_cli.workflows.retrieval import ranker_of

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor

    from rechub_cli.batch import Batch
    from rechub_cli.data.chunk import Rows
    from rechub_cli.data.stream_loader import StreamLoader
    from rechub_cli.trainers.ranked import Ranked
    from rechub_cli.trainers.ranking import Ranker
    from rechub_cli.workflows.evaluate import EvaluateRequest
    from rechub_cli.workflows.load import Trained

_SAMPLED = re.compile(r"(uniform|popularity):(\d+)")


def parse_candidates(text: str | None) -> tuple[Any, int] | None:
    """``uniform:100``: rank each target among so many sampled items only. Raises UsageError for anything else."""
    if text is None or text == "all":
        return None
    found = _SAMPLED.fullmatch(text)
    if not found or not int(found[2]):
        raise UsageError(f"--candidates is {text!r}; it can be all, uniform:N or popularity:N")
    return found[1], int(found[2])


@dataclass(slots=True)
class Judge:
    """Metrics of the whole catalogue's ranking for rows with an item; see ``evaluate.Judge``."""

    trained: Trained
    metrics: dict[str, Any] = field(default_factory=dict)
    exclude_seen: bool = False
    candidates: tuple[Any, int] | None = None

    @property
    def columns(self) -> list[str]:
        from rechub_cli.data.interactions import Columns

        found = [*self.trained.encoder.of_tower("user").columns, *Columns.of(self.trained.spec).names]
        return list(dict.fromkeys(found))

    def choose(self, request: EvaluateRequest, gated: Sequence[str]) -> None:
        from rechub_cli.trainers.ranked import load_metrics

        self.exclude_seen = request.exclude_seen or self.trained.spec.trainer.exclude_seen
        self.candidates = parse_candidates(request.candidates)
        plain = [name.partition("[")[0].removeprefix("popular_") for name in gated]
        try:
            self.metrics = load_metrics([*metrics_of(self.trained.spec), *request.metrics, *plain])
        except SpecError as error:
            raise UsageError(str(error)) from error

    @property
    def cluster(self) -> str | None:
        return self.trained.spec.user

    def loader(self, rows: Rows, batch_size: int, keep: Sequence[str]) -> StreamLoader:
        return queries(self.trained, rows, batch_size, keep=keep)

    def collect(self, batches: Iterable[Any]) -> Ranked:
        """Exact ranks over the run's whole catalogue, and beside each what popularity alone would reach."""
        ranker = ranker_of(self.trained, self.trained.catalogue)
        seed = self.trained.spec.trainer.seed
        return ranker.collect(
            batches, self.metrics, exclude_seen=self.exclude_seen, sampled=self.candidates, popular=True, seed=seed
        )


def queries(
    trained: Trained, rows: Rows, batch_size: int, *, chosen: bool = True, keep: Sequence[str] = ()
) -> StreamLoader:
    """Batches of rows with their item's place, and what their user already had.

    Args:
        chosen: only the rows whose label says yes, where there is a label.

    Raises:
        DataError: a column that the model needs is not there.
    """
    from rechub_cli.data.interactions import Columns
    from rechub_cli.data.match import MatchEncoder, TargetRows
    from rechub_cli.data.stream_loader import StreamLoader

    assert trained.catalogue is not None
    columns = Columns.of(trained.spec)
    user = columns.user if columns.user in rows.schema.names else None
    encoder = MatchEncoder(
        trained.encoder.of_tower("user").for_columns(rows.schema.names),
        trained.catalogue,
        columns.item,
        user,
        trained.interactions if user else None,
    )
    needed = [*encoder.columns, *([columns.label[0]] if chosen and columns.label else [])]
    missing = [name for name in dict.fromkeys(needed) if name not in rows.schema.names]
    if missing:
        there = ", ".join(rows.schema.names)
        raise DataError(f"the data lacks the column {missing[0]}, which is needed; columns there: {there}")
    wanted = TargetRows(rows, columns, trained.catalogue, known=False) if chosen else rows
    return StreamLoader(wanted, encoder, batch_size, keep=keep, labels=False)


@dataclass(frozen=True, slots=True)
class PairScores:
    """The model's logit of each row's user and item; null where the item is not in the catalogue."""

    trained: Trained

    @property
    def names(self) -> list[str]:
        return ["score"]

    def columns(self, there: Collection[str]) -> list[str]:
        user = self.trained.encoder.of_tower("user").for_columns(there)
        needs_user = getattr(self.trained.model, "counting", False)
        roles = [self.trained.spec.item, self.trained.spec.user if needs_user else None]
        return list(dict.fromkeys([*user.columns, *filter(None, roles)]))

    def loader(self, rows: Rows, batch_size: int, keep: Sequence[str]) -> StreamLoader:
        return queries(self.trained, rows, batch_size, chosen=False, keep=keep)

    def tables(self, loader: StreamLoader) -> Iterator[pa.Table]:
        import pyarrow as pa
        import torch

        from rechub_cli.trainers.batches import take

        scorer, counting = self.trained.scorer, None
        if getattr(self.trained.model, "counting", False):
            counting = ranker_of(self.trained, self.trained.catalogue)
        for item in loader:
            rows = take(item, scorer.device)
            with torch.inference_mode():
                scores = self._scores(rows.inputs, counting)
            unknown = rows.inputs.targets.values[:, 1].cpu() < 0
            kept = {} if rows.carried is None else {name: rows.carried[name] for name in rows.carried.column_names}
            yield pa.table({**kept, "score": pa.array(scores.float().cpu().numpy(), mask=unknown.numpy())})
            signal = scorer.watcher.stop_requested()
            if signal is not None:
                raise Interrupted(signal)

    def _scores(self, batch: Batch, counting: Ranker | None) -> Tensor:
        model, catalogue = self.trained.model, self.trained.catalogue
        assert catalogue is not None
        assert batch.targets is not None
        places = batch.targets.values[:, 1].long().clamp(min=0)
        if counting is not None:
            return counting.scores(batch).gather(1, places[:, None])[:, 0]
        items = catalogue.batch.take(places.cpu()).to(batch.sparse.device)
        return model(batch, items).logits[:, 0]
