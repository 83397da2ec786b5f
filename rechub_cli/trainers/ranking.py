"""A model over its whole catalogue: scores, the best items of each user, and exact full-ranking metrics."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from rechub_cli.batch import Batch, Jagged
from rechub_cli.errors import DataError, Interrupted, SpecError
from rechub_cli.nn import search
from rechub_cli.nn.ranks import Ranking, ranks
from rechub_cli.trainers.batches import take
from rechub_cli.trainers.past import once, places_of, with_past
from rechub_cli.trainers.precision import usable_precision
from rechub_cli.trainers.ranked import Ranked
from rechub_cli.trainers.watch import LogWatcher, Watcher

ITEM_ROWS = 16_384  # items embedded at a time

Sampled = tuple[Literal["uniform", "popularity"], int]


class Catalogue(Protocol):
    """Items by place."""

    batch: Batch  # I rows, laid out by schema.item
    counts: Any  # int64 (I,): training interactions


class Ranker:
    """Scores all items of a catalogue for users.

    A model says ``embed_users`` and ``embed_items``, or, one that counts (``counting = True``),
    ``score_catalogue(batch) -> (B, I)``.

    Shape legend: B users, I items, E the vectors' width.

    Args:
        catalogue: the items that can be found.
        items: their vectors (I, E), where they are known already.
        absent: places of the catalogue that cannot be found now; for models that count.
        precision: ``bf16`` runs the towers under autocast where the device has it; vectors and scores are float32.
    """

    def __init__(
        self,
        model: nn.Module,
        catalogue: Catalogue,
        *,
        device: torch.device | str = "cpu",
        precision: str = "fp32",
        watcher: Watcher | None = None,
        items: Tensor | None = None,
        absent: Tensor | None = None,
    ) -> None:
        self.model, self.catalogue = model, catalogue
        self.device = torch.device(device)
        self.bf16 = usable_precision(precision, self.device) == "bf16"
        self.watcher = LogWatcher() if watcher is None else watcher
        self.counts = torch.as_tensor(catalogue.counts).to(self.device)
        self.counting = bool(getattr(model, "counting", False))
        self.absent = absent
        self._items = None if items is None else items.to(self.device)
        self._told = False
        self._places: dict[str, Tensor] | None = None  # of models that count, by table of ids

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def items(self) -> Tensor:
        """float32 (I, E): the vectors of the catalogue, computed once; see ``refresh``."""
        if self._items is None:
            with self._at_rest():
                parts = [self.embed_items(part) for part in _slices(self.catalogue.batch, ITEM_ROWS)]
            self._items = torch.cat(parts)
        return self._items

    @property
    def temperature(self) -> float:
        """What relevance is divided by to be the model's logit."""
        return torch.as_tensor(getattr(self.model, "temperature", 1.0)).item()

    def refresh(self) -> None:
        """Embed the items anew when they are next needed: the model has learnt since."""
        self._items = None

    def embed_items(self, batch: Batch) -> Tensor:
        """float32 (B, E)"""
        with self._at_rest():
            return self.model.embed_items(batch.to(self.device)).float()  # type: ignore[operator]

    def embed_users(self, batch: Batch) -> Tensor:
        """float32 (B, E), or (B, K, E) of K interests."""
        with self._at_rest():
            return self.model.embed_users(batch.to(self.device)).float()  # type: ignore[operator]

    def scores(self, batch: Batch) -> Tensor:
        """float32 (B, I): the model's logits, or what a counting model counts."""
        return torch.cat([scores for _, scores in self._blocks(batch.to(self.device))]) / self.temperature

    def top(self, batch: Batch, k: int, *, exclude_seen: bool = False) -> tuple[Tensor, Tensor]:
        """The k best items of each user: logits (B, min(k, I)), falling, and places; -inf and -1 where none is left.

        Raises:
            DataError: the seen items are to be left out, and the batch has none.
        """
        batch = batch.to(self.device)
        left_out = _seen(batch) if exclude_seen else None
        if not self.counting:
            scores, places = search.top_k(self.embed_users(batch), self.items, k, left_out)
            return scores / self.temperature, places
        found = []
        for part, scores in self._blocks(batch):
            found.append(search.best(search.exclude(scores, _seen(part)) if exclude_seen else scores, k))
        return torch.cat([scores for scores, _ in found]), torch.cat([places for _, places in found])

    def measure(self, loader: Iterable[Any], metrics: Mapping[str, Any], **options: Any) -> dict[str, float]:
        """Metrics over all rows with targets; see ``collect``, which takes the options, and ``Ranked.metrics``."""
        return self.collect(loader, metrics, **options).metrics(metrics)

    def collect(
        self,
        loader: Iterable[Any],
        metrics: Mapping[str, Any],
        *,
        exclude_seen: bool = False,
        sampled: Sampled | None = None,
        popular: bool = False,
        seed: int = 0,
    ) -> Ranked:
        """How the rows with targets are ranked, for metrics: every row is a query, its targets are the relevant items.

        Equal scores are ranked as unluckily as they can fall, and a score that is no number is the lowest. A target
        outside the catalogue is a miss. The items are embedded anew.

        Args:
            metrics: see ``load_metrics``.
            exclude_seen: rank without the other items of ``Batch.seen``. A row's own target stays a candidate: a run
                that is measured on its own validation rows has seen those too.
            sampled: rank each query's targets among so many others only, drawn without repetition evenly or by their
                training counts. The results are named ``ndcg@10[u100]`` or ``[p100]``, for they say little of
                the full ranking (Krichene and Rendle, https://dl.acm.org/doi/10.1145/3394486.3403226).
                Metrics of whole lists have no such variant and are left out.
            popular: add ``popular_<metric>``: what the items' training counts would reach as scores.
            seed: of the sample.

        Raises:
            DataError: no row has a target, or the seen items are needed and not there.
            Interrupted: a signal asked to stop.
        """
        self.refresh()
        mark = "" if sampled is None else f"[{sampled[0][0]}{sampled[1]}]"
        wanted = {name: metric for name, metric in metrics.items() if sampled is None or not metric.needs_top}
        lists = max((metric.k for metric in wanted.values() if metric.needs_top), default=0)
        generator = torch.Generator(self.device).manual_seed(seed)
        own, by_count, numbers, tops = [], [], [], []
        unknown = 0
        for item in loader:
            batch = _with_targets(take(item, self.device).inputs)
            unknown += int((batch.targets.values < 0).sum())  # type: ignore[union-attr]
            for part, scores in self._blocks(batch):
                targets = part.targets
                assert targets is not None
                if exclude_seen:
                    _leave_out(scores, _seen(part), targets)
                if lists:
                    tops.append(search.best(scores, lists)[1].cpu().numpy())
                if sampled is not None:
                    _sample(scores, targets, sampled, self.counts, generator)
                own.append(ranks(scores, targets))
                if popular:
                    as_scores = self.counts.float().masked_fill(scores == -torch.inf, -torch.inf)
                    by_count.append(ranks(as_scores, targets))
                numbers.append(targets.lengths.cpu().numpy())
            signal = self.watcher.stop_requested()
            if signal is not None:
                raise Interrupted(signal)
        if not own or not sum(map(len, numbers)):
            raise DataError("there are no rows to evaluate: none has a target")
        self._tell(unknown, sum(map(len, own)))

        starts = np.r_[0, np.concatenate(numbers).cumsum()]
        counts = self.counts.cpu().numpy()
        ranking = Ranking(np.concatenate(own), starts, counts, np.concatenate(tops) if lists else None)
        return Ranked(ranking, Ranking(np.concatenate(by_count), starts, counts) if popular else None, mark)

    def _blocks(self, batch: Batch) -> Iterator[tuple[Batch, Tensor]]:
        """Slices of a batch with their scores (b, I), which are the caller's to change."""
        users = None if self.counting else self.embed_users(batch)
        interests = users.shape[1] if users is not None and users.dim() == 3 else 1
        for start, stop in search.blocks(len(batch), len(self) * interests):
            part = batch.slice(start, stop)
            yield part, self._count(part) if users is None else search.relevance(users[start:stop], self.items)

    def _count(self, batch: Batch) -> Tensor:
        with self._at_rest():
            scores: Tensor = self.model.score_catalogue(self._with_past(batch))  # type: ignore[operator]
        scores = scores.float().nan_to_num(search.LOWEST)
        if self.absent is not None:
            scores[:, self.absent] = -torch.inf
        return scores

    def _with_past(self, batch: Batch) -> Batch:
        """``seen`` also holds the items of the histories: of users that training never met that is all there is."""
        schema = getattr(self.model, "schema", None)
        if schema is None:
            return batch
        if self._places is None:
            sparse = self.catalogue.batch.sparse.to(self.device)
            self._places = {f.table: places_of(sparse[:, column]) for column, f in enumerate(schema.item.sparse)}
        past = [
            (batch.sequences[feature.name], self._places[feature.table])
            for feature in schema.sequences
            if feature.history is not None and feature.table in self._places and feature.name in batch.sequences
        ]
        return with_past(batch, past) if past else batch

    @contextlib.contextmanager
    def _at_rest(self) -> Iterator[None]:
        """The model in evaluation mode, nothing recorded for gradients."""
        training = self.model.training
        self.model.eval()
        autocast = torch.autocast(self.device.type, torch.bfloat16) if self.bf16 else contextlib.nullcontext()
        try:
            with torch.no_grad(), autocast:
                yield
        finally:
            self.model.train(training)

    def _tell(self, unknown: int, targets: int) -> None:
        if unknown and not self._told:
            self._told = True
            text = f"{unknown:,} of {targets:,} targets are not in the catalogue: they count as misses"
            self.watcher.on_message("warn", "data.warning", text, {"not_in_catalogue": unknown, "targets": targets})


def _slices(batch: Batch, rows: int) -> Iterator[Batch]:
    for start in range(0, max(1, len(batch)), rows):
        yield batch.slice(start, min(start + rows, len(batch)))


def _seen(batch: Batch) -> Jagged:
    if batch.seen is None:
        raise DataError("the batches do not hold the items that each user has already seen: they cannot be left out")
    return batch.seen


def _leave_out(scores: Tensor, seen: Jagged, targets: Jagged) -> None:
    """Take the seen items out of the ranking, in place, but for the row's own targets."""
    known = targets.values >= 0
    rows, places = targets.rows[known], targets.values[known].long()
    own = scores[rows, places]
    search.exclude(scores, seen)
    scores[rows, places] = own


def _with_targets(batch: Any) -> Batch:
    """The rows that have targets, with their places alone as targets, each once."""
    if not isinstance(batch, Batch) or batch.targets is None:
        raise DataError("the batches have no targets: the loader must yield a Batch with them")
    targets = batch.targets
    lengths = targets.lengths
    if bool((lengths == 0).any()):
        batch = batch.take((lengths > 0).nonzero()[:, 0])
        targets = batch.targets
        assert targets is not None
    places = Jagged(targets.values[:, 1], targets.offsets)
    return replace(
        batch, targets=places if bool((places.lengths == 1).all()) else once(places.rows, places.values, len(places))
    )


def _sample(scores: Tensor, targets: Jagged, sampled: Sampled, counts: Tensor, generator: torch.Generator) -> None:
    """Leave only a row's targets and a sample of its other candidates, in place.

    The highest of ``log weight + Gumbel noise`` are a draw by weight without repetition:
    Kool et al., Stochastic Beams and Where to Find Them (ICML 2019), https://arxiv.org/abs/1903.06059.
    """
    how, n = sampled
    noise = torch.empty_like(scores).exponential_(generator=generator).log_().neg_()
    if how == "popularity":
        noise += counts.float().log()
    elif how != "uniform":
        raise SpecError(f"samples are drawn by uniform or popularity, not by {how!r}")
    known = targets.values >= 0
    rows, places = targets.rows[known], targets.values[known].long()
    noise[rows, places] = -torch.inf
    noise.masked_fill_(scores == -torch.inf, -torch.inf)
    drawn, columns = noise.topk(min(n, scores.shape[1]), 1)
    left = torch.full_like(scores, -torch.inf)
    values = scores.gather(1, columns).masked_fill_(drawn == -torch.inf, -torch.inf)
    left.scatter_(1, columns, values)
    left[rows, places] = scores[rows, places]
    scores.copy_(left)
