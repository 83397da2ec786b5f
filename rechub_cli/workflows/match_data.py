"""From the parts of a log to what a retrieval model learns from and is measured by, and back from a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rechub_cli.errors import SpecError
from rechub_cli.run.events import Events
from rechub_cli.run.signals import Stop
from rechub_cli.spec.model import History
from rechub_cli.workflows.history import KEPT, tell_log
from rechub_cli.workflows.match_spec import is_sequential, mode_of
from rechub_cli.workflows.sources import Parts, Sources, reading, warn_unseen

if TYPE_CHECKING:
    from rechub_cli.data.catalogue import Catalogue
    from rechub_cli.data.chunk import Rows
    from rechub_cli.data.encoder import Encoder
    from rechub_cli.data.history import EventStore
    from rechub_cli.data.interactions import Columns, Interactions
    from rechub_cli.data.loader import Loader
    from rechub_cli.spec.model import Spec
    from rechub_cli.workflows.warm_start import Start

ORDER = ("train", "valid", "test")
SEEN = "interactions.parquet"  # in a run


@dataclass(frozen=True, slots=True)
class MatchData:
    """The items, who had which of them, and what happened before what."""

    spec: Spec
    encoder: Encoder  # of both towers
    catalogue: Catalogue
    columns: Columns
    parts: Parts
    rows: dict[str, Rows]  # the same, by name; `past` before them, where there is one
    of_train: Interactions
    seen: dict[str, Interactions]  # by part: what its users had before it; `later`: before what comes next
    events: EventStore | None  # of all parts, where there are histories

    @property
    def n_rows(self) -> dict[str, int | None]:
        """By part, where it is known."""
        fitted = self.encoder.reference
        counts = {name: rows.count_rows() for name, rows in self.rows.items()}
        return counts if fitted is None else {**counts, "train": fitted.rows}

    def encoder_of(self, part: str) -> Encoder:
        """The user tower's, whose histories end before the part's rows do."""
        user = self.encoder.of_tower("user")
        if self.events is None:
            return user
        return user.with_events(self.events.first(list(self.rows).index(part) + 1))

    def queries(self, part: str, batch_size: int, cache: Path, events: Events, stop: Stop) -> Loader:
        """Batches of a part's chosen rows with targets and the items seen before."""
        from rechub_cli.data.match import MatchEncoder, TargetRows

        user = self.spec.user
        encoder = MatchEncoder(
            self.encoder_of(part), self.catalogue, self.columns.item, user, self.seen[part] if user else None
        )
        rows = TargetRows(self.rows[part], self.columns, self.catalogue, known=False)
        return self._cached(rows, encoder, batch_size, cache, f"encoding {part}", events, stop, shuffle=False)

    def training(self, batch_size: int, base: Path, cache: Path, events: Events, stop: Stop) -> Any:
        """Shuffled batches of the training rows; of whole users where the model learns sequences."""
        if is_sequential(self.spec, base) and self.events is not None:
            from rechub_cli.data.user_loader import UserLoader

            seed = self.spec.trainer.seed
            log = self.events.first(list(self.rows).index("train") + 1)
            windows = [feature.windows for feature in self.spec.features.values() if isinstance(feature, History)]
            return UserLoader(log, batch_size, windows=windows[0], shuffle=True, seed=seed)
        from rechub_cli.data.match import MatchEncoder, TargetRows

        labelled = mode_of(self.spec, base) == 0 and self.columns.label is not None
        encoder = MatchEncoder(self.encoder_of("train"), self.catalogue, self.columns.item)
        rows = TargetRows(self.rows["train"], self.columns, self.catalogue, chosen=not labelled)
        return self._cached(rows, encoder, batch_size, cache, "encoding train", events, stop, shuffle=True)

    def learn_by_counting(self, model: Any) -> int:
        """Hand a counting model who had what in training; returns how many user-item pairs those are.

        Raises:
            SpecError: the spec names no user.
        """
        if self.spec.user is None:
            raise SpecError("user is missing: name the column of the users, as in `user: user_id`")
        matrix = self.of_train.matrix
        model.count(matrix, len(self.catalogue))
        return int(matrix.values.numel())

    def _cached(
        self,
        rows: Any,
        encoder: Any,
        batch_size: int,
        cache: Path,
        phase: str,
        events: Events,
        stop: Stop,
        *,
        shuffle: bool,
    ) -> Loader:
        from rechub_cli.data.cache import build_or_open
        from rechub_cli.data.loader import Loader

        blocks = build_or_open(cache, rows, encoder, reading(events, stop, phase, rows.count_rows()))
        if not shuffle:
            warn_unseen(phase.removeprefix("encoding "), blocks.stats.unseen, blocks.n_rows, events)
        return Loader(blocks, batch_size, shuffle=shuffle, seed=self.spec.trainer.seed)

    def save(self, folder: Path) -> None:
        """Keep in the run what embed, recommend and evaluate need beside the encoder and the weights."""
        self.catalogue.save(folder / "catalogue.parquet")
        self.seen["later"].save(folder / SEEN, self.catalogue)
        if self.events is not None:
            from rechub_cli.data.kept import keep

            keep(self.events, self.encoder, list(self.rows.values()), folder / KEPT)


def prepare(
    spec: Spec,
    sources: Sources,
    parts: Parts,
    encoder: Encoder,
    events: Events,
    stop: Stop,
    start: Start | None = None,
) -> MatchData:
    """Place the items, count the training rows, sort the log.

    The items and their counts are of these rows; what users had, and their histories, go on from those of ``start``.

    Raises:
        SpecError, DataError, NoInput: as ``fit_catalogue`` and ``EventStore.build``.
    """
    from rechub_cli.data.history import EventStore
    from rechub_cli.data.interactions import Columns, Interactions
    from rechub_cli.data.match import fit_catalogue

    rows = {name: part for name in ORDER if (part := getattr(parts, name)) is not None}
    total = parts.train.count_rows()
    told = reading(events, stop, "counting items", total)
    catalogue, of_train, tally = fit_catalogue(spec, encoder, parts.train, sources.items, told)
    tell_catalogue(catalogue, tally, events)
    columns = Columns.of(spec)
    last = of_train
    if start is not None and spec.user:
        last = Interactions.load(start.run.path / SEEN, catalogue).union(of_train)
    seen = {"valid": last} if "valid" in rows else {}
    if "valid" in rows and spec.user:
        last = last.union(Interactions.build([rows["valid"]], columns, catalogue)[0])
    if "test" in rows:
        seen["test"] = last
    seen["later"] = last
    store = None
    if encoder.plan.histories:
        item, places = columns.item, catalogue.places
        past = start.past(encoder) if start else None
        if past is not None:
            rows = {"past": past, **rows}
        reads, n_past = list(rows.values()), int(past is not None)
        told = reading(events, stop, "sorting the log", None)
        store = EventStore.build(
            encoder, reads, item=item, places=places, n_past=n_past, distinct=n_past > 0, progress=told
        )
        tell_log(store, events)
    return MatchData(spec, encoder, catalogue, columns, parts, rows, of_train, seen, store)


def tell_catalogue(catalogue: Catalogue, tally: Any, events: Events) -> None:
    """Say how many items there are, and what of the log is not among them."""
    n_items, n_rows = len(catalogue), tally.chosen
    facts = {"items": n_items, "interactions": n_rows, "left_out": catalogue.left_out, "dropped": tally.dropped}
    events.emit("data.ready", f"catalogue {n_items:,} items · {n_rows:,} interactions", facts)
    if tally.dropped:
        share = tally.dropped / max(tally.n_rows, 1)
        text = f"{tally.dropped:,} training rows ({share:.1%}) have an item that the catalogue lacks: left out"
        events.emit("data.warning", text, {"dropped": tally.dropped}, level="warn")
    if catalogue.left_out:
        text = f"{catalogue.left_out:,} items have no value that training ever had: they cannot be recommended"
        events.emit("data.warning", text, {"left_out": catalogue.left_out}, level="warn")
