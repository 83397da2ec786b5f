"""A trained model, opened from its run directory: it takes raw rows and gives scores."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rechub_cli.errors import DataError, NoInput, RunFailed, Unavailable
from rechub_cli.run.directory import Run
from rechub_cli.run.events import Events
from rechub_cli.run.signals import Stop
from rechub_cli.workflows.tables import TableRows, as_arrow, first_line

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from torch import nn

    from rechub_cli.data.catalogue import Catalogue
    from rechub_cli.data.chunk import Rows
    from rechub_cli.data.encoder import Encoder
    from rechub_cli.data.interactions import Interactions
    from rechub_cli.data.join import LookUp
    from rechub_cli.schema import Schema
    from rechub_cli.spec.model import Join, Spec
    from rechub_cli.trainers.scoring import Scorer


@dataclass(frozen=True, slots=True)
class Trained:
    """A run's model with everything it needs to score raw rows."""

    run: Run
    spec: Spec
    encoder: Encoder
    opened: Callable[[], tuple[nn.Module, Scorer]]  # by the first who asks, who imports torch
    catalogue: Catalogue | None = None  # of a retrieval model
    interactions: Interactions | None = None  # of a retrieval model: what each user had in train and valid

    @property
    def model(self) -> nn.Module:
        return self.opened()[0]

    @property
    def scorer(self) -> Scorer:
        return self.opened()[1]

    def predict(self, table: pa.Table | pd.DataFrame, batch_size: int = 8192) -> np.ndarray:
        """Scores of raw rows, in their order, as ``rechub predict`` writes them.

        Args:
            table: an Arrow table or a pandas DataFrame with the columns the model was trained on.

        Returns:
            float32 (n,), or (n, T) of a model with T tasks.

        Raises:
            DataError: a column is missing or of a wrong type.
        """
        import numpy as np

        rows = TableRows(self.joined(as_arrow(table)))
        missing = self.missing_columns(rows.schema.names)
        if missing:
            raise DataError(f"the table lacks the columns {', '.join(missing)}, which the model needs")
        found = [scores for scores, _, _ in self.score(rows, batch_size)]
        if not found:
            return np.empty(
                (0,) if len(self.encoder.schema.tasks) <= 1 else (0, len(self.encoder.schema.tasks)), np.float32
            )
        scores = np.concatenate([part.float().cpu().numpy() for part in found])
        return scores[:, 0] if scores.shape[1] == 1 else scores

    def with_history(self, *newer: pa.Table | pd.DataFrame | Rows) -> Trained:
        """The same, whose histories also hold newer events than those that the run kept.

        An event that the run kept too counts once.

        Raises:
            UsageError: the run has no histories. DataError: a column is missing or does not fit.
        """
        from rechub_cli.workflows.history import with_history

        rows = [one if hasattr(one, "tables") else TableRows(self.joined(as_arrow(one))) for one in newer]
        return replace(self, encoder=with_history(self.encoder, self.run.path, rows))

    def embed(
        self, table: pa.Table | pd.DataFrame | None = None, *, mode: Literal["user", "item"], batch_size: int = 16384
    ) -> pa.Table:
        """Vectors of users or items under their own ids, as ``rechub embed`` writes them.

        Args:
            table: what to embed; items: by default the run's catalogue.

        Returns:
            the ids, the number of the interest where users have several vectors, and ``embedding``: lists of float32.

        Raises:
            DataError: a column is missing or of a wrong type. UsageError: the model has no vectors.
        """
        from rechub_cli.workflows.embed import embed_table

        return embed_table(self, table, mode, batch_size)

    def recommend(
        self,
        users: pa.Table | pd.DataFrame,
        k: int = 50,
        *,
        exclude_seen: bool = False,
        items: pa.Table | pd.DataFrame | None = None,
        history: pa.Table | pd.DataFrame | None = None,
        batch_size: int = 4096,
    ) -> pa.Table:
        """The k best items of each user, as ``rechub recommend`` writes them: user, rank, item, score.

        Args:
            exclude_seen: leave out what a user already had.
            items: today's items, by default the run's catalogue.
            history: rows of the log that are newer than the run.

        Raises:
            DataError: a column is missing or of a wrong type. UsageError: the run is not of train-match.
        """
        from rechub_cli.workflows.recommend import recommend_table

        return recommend_table(self, users, k, exclude_seen, items, history, batch_size)

    def score(self, rows: Rows, batch_size: int, keep: Sequence[str] = ()) -> Iterator[tuple[Any, Any, Any]]:
        """(scores (B, T), extras, kept columns) for each batch of raw rows."""
        from rechub_cli.data.stream_loader import StreamLoader

        encoder = self.encoder.for_columns(rows.schema.names)
        loader = StreamLoader(rows, encoder, batch_size, keep=keep, labels=False)
        for batch in self.scorer.batches(self.model, loader):
            yield batch.scores, batch.extras, batch.rows.carried

    def joined(self, table: pa.Table) -> pa.Table:
        """The table with the columns of the run's look-up tables that it lacks."""
        for look_up in self.look_ups(table.column_names):
            table, _ = look_up.add(table, "the table")
        return table

    def look_ups(self, there: Iterable[str], needed: Iterable[str] | None = None) -> list[LookUp]:
        """The run's look-up tables that rows with the columns ``there`` still need; of all the model's by default."""
        from rechub_cli.data.events import event_columns
        from rechub_cli.data.join import LookUp
        from rechub_cli.data.source import Source
        from rechub_cli.spec.model import Join

        have = set(there)
        found = [LookUp(join, Source.open([join.file], base=Path())) for join in self.joins]
        wanted = set([*self.encoder.columns, *event_columns(self.encoder)] if needed is None else needed)
        if self.catalogue is not None and self.catalogue.item in have:  # histories may follow columns of the items
            items = LookUp(Join(file="the catalogue", on=self.catalogue.item), TableRows(self.catalogue.table))
            items.added = [name for name in items.added if name in wanted - have]
            found.append(items)
        return [look_up for look_up in found if wanted & set(look_up.added) - have]

    @property
    def joins(self) -> list[Join]:
        """The run's look-up tables. Raises DataError for one that is not the run's own."""
        for join in self.spec.data.join:
            if join.file != f"joins/{Path(join.file).name}":
                raise DataError(f"{self.run.path / 'run.json'} is damaged: {join.file} is no look-up table of the run")
        return [join.model_copy(update={"file": str(self.run.path / join.file)}) for join in self.spec.data.join]

    def missing_columns(self, there: Iterable[str]) -> list[str]:
        """The raw columns the model needs and the data lacks."""
        have = set(there)
        return [name for name in self.encoder.for_columns(have).columns if name not in have]


def load(run: str | os.PathLike[str], *, device: str = "auto", plugin: bool = False) -> Trained:
    """Open a run's best weights for use from Python: ``load(RUN).predict(table)``.

    Args:
        run: the run directory, or its name in the runs folder, such as a published one.
        device: auto, cpu, cuda:0, ...
        plugin: allow the run's own model code to be imported and run.

    Raises:
        NoInput: there is no such run, or it has no finished checkpoint.
        DataError: a file of it is damaged.
        Unavailable: the model's code is not allowed or not installed; the device is not there.
    """
    return open_trained(Path(run), device=device, plugin=plugin, events=Events(), stop=Stop())


def open_trained(path: Path, *, device: str | None, plugin: bool, events: Events, stop: Stop) -> Trained:
    """As ``load``; a loop over its scores ends when ``stop`` is asked to."""
    trained = open_run(path, device=device, plugin=plugin, events=events, stop=stop)
    trained.opened()
    return trained


def open_run(path: Path, *, device: str | None, plugin: bool, events: Events, stop: Stop) -> Trained:
    """As ``open_trained``, without the model, which raises what it raises when it is first asked for."""
    run = Run.open(path)
    path = run.path
    if run.info.get("status") == "running":
        events.emit(
            "warning",
            f"{path} has not finished training, or was killed: its best weights so far are used",
            level="warn",
        )
    spec = stored_spec(run)
    check_plugins(run, spec, plugin)

    from rechub_cli.data.encoder import Encoder
    from rechub_cli.workflows.history import with_history

    if not (path / "encoder").is_dir():
        raise NoInput(f"{path / 'encoder'} is missing: the run is incomplete; restore it or train again")
    try:
        encoder = Encoder.load(path / "encoder")
    except RunFailed as error:
        raise DataError(str(error)) from error
    encoder = with_history(encoder, path)
    schema = encoder.schema
    opened = functools.cache(lambda: open_model(run, spec, schema, device, events, stop))
    if run.info.get("command") != "train-match":
        return Trained(run, spec, encoder, opened)
    from rechub_cli.data.catalogue import Catalogue
    from rechub_cli.data.interactions import Interactions

    try:
        catalogue = Catalogue.load(path / "catalogue.parquet", encoder, str(spec.item))
        interactions = Interactions.load(path / "interactions.parquet", catalogue)
    except RunFailed as error:
        raise DataError(str(error)) from error
    return Trained(run, spec, encoder, opened, catalogue, interactions)


def open_model(
    run: Run, spec: Spec, schema: Schema, device: str | None, events: Events, stop: Stop
) -> tuple[nn.Module, Scorer]:
    """The run's best weights, and what calls them."""
    from rechub_cli.run import RunWatcher, read_checkpoint
    from rechub_cli.trainers import runtime
    from rechub_cli.trainers.scoring import Scorer
    from rechub_cli.workflows.rebuild import rebuild

    runtime.prepare()
    model = rebuild(spec, schema, read_checkpoint(run.path, "best"), run.path)
    where = runtime.find_device(device or spec.trainer.device)
    model.to(where).eval()
    return model, Scorer(where, schema.tasks, True, spec.trainer.precision, RunWatcher(events, stop))


def stored_spec(run: Run) -> Spec:
    """The resolved spec that ``run.json`` holds. Raises DataError where it is damaged."""
    from pydantic import ValidationError

    from rechub_cli.spec.model import Spec

    try:
        return Spec.model_validate(run.info["spec"])
    except (KeyError, ValidationError) as error:
        raise DataError(
            f"{run.path / 'run.json'} is damaged: {first_line(error)}; restore it or train again"
        ) from error


def check_plugins(run: Run, spec: Spec, allowed: bool) -> None:
    """Code that a run names is not imported unless the caller allows it.

    Registered names are installed on purpose and need no leave; whatever else of the trainer looks like ``place:name``
    is taken for code, wherever it stands.

    Raises:
        Unavailable: it is not allowed.
        DataError: it is not the file that training used.
    """
    for name in (spec.model.name, *texts(spec.trainer.model_dump(exclude={"device"}))):
        if ":" in name:
            check_plugin(run, name, allowed)


def texts(value: Any) -> Iterator[str]:
    """Every text in plain values, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from texts(key)
            yield from texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from texts(item)


def check_plugin(run: Run, name: str, allowed: bool) -> None:
    listed = [item.strip() for item in os.environ.get("RECHUB_PLUGINS", "").split(",") if item.strip()]
    module = name.rpartition(":")[0]
    if not allowed and name not in listed and module not in listed and module.removeprefix("./plugin/") not in listed:
        raise Unavailable(
            f"this run has code of its own, {name}; if you trust it, use --plugin"
            f" (from Python: plugin=True), or set RECHUB_PLUGINS={module.removeprefix('./plugin/')}"
        )
    if module.endswith(".py"):
        file = Path(module).name
        try:
            content = (run.path / "plugin" / file).read_bytes()
            same = hashlib.sha256(content).hexdigest() == run.info["plugins"][file]
        except (OSError, KeyError, TypeError) as error:
            raise NoInput(f"the run's plugin {module} is missing: {error}; restore it or train again") from error
        if not same or module != f"./plugin/{file}":
            raise DataError(f"{run.path / module} is not the file that training used; restore it or train again")
