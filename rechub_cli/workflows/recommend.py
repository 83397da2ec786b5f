"""``rechub recommend``: the best items of each user, as rows. Nothing is written into the run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from rechub_cli.errors import UsageError
from rechub_cli.run.events import Events, Progress
from rechub_cli.run.signals import Stop
from rechub_cli.workflows import retrieval
from rechub_cli.workflows.candidates import Candidates, candidates
from rechub_cli.workflows.drift import NOTHING, USERS, Allowed, Drift, check_drift
from rechub_cli.workflows.embed import GOOD_RECALL
from rechub_cli.workflows.fitting import blaming_foreign
from rechub_cli.workflows.load import Trained, open_trained
from rechub_cli.workflows.newdata import check_request, open_data, prepare_threads
from rechub_cli.workflows.sources import check_counts, limited

if TYPE_CHECKING:
    import pyarrow as pa

    from rechub_cli.batch import Batch
    from rechub_cli.data.chunk import Rows
    from rechub_cli.data.interactions import Interactions

BATCH_SIZE = 4096
RANK, SCORE = "rank", "score"
_CHECKED = 200  # users for whom the answers of an index are compared with exact ones


@dataclass(frozen=True, slots=True)
class RecommendRequest:
    """What the user asked for."""

    run: str
    users: str | None
    output: str | None
    k: int = 50
    items: str | None = None
    embeddings: str | None = None
    index: str | None = None
    exclude_seen: bool = False
    history: tuple[str, ...] = ()
    input_format: str = "auto"
    output_format: str | None = None
    header: bool = True
    limit_rows: int | None = None
    batch_size: int | None = None
    device: str | None = None
    threads: int | None = None
    plugin: bool = False
    overwrite: bool = False
    allowed: Allowed = NOTHING  # drift


@dataclass(frozen=True, slots=True)
class RecommendOutcome:
    """Where the recommendations are."""

    output: str
    users: int
    rows: int
    drift: Drift

    def to_json(self) -> dict[str, Any]:
        found = {"output": self.output, "users": self.users, "rows": self.rows}
        return {**found, "drift": self.drift.to_json()}


def recommend(
    request: RecommendRequest, events: Events, stop: Stop, stdout: IO[bytes] | None = None
) -> RecommendOutcome:
    """Write the k best items of every user: rows of user, rank (from 1), item and score, the model's logit.

    Raises:
        RechubError: with the exit code of its kind; an output that exists stays as it was.
    """
    from rechub_cli.data.writers import check_target, open_writer

    users = check(request)
    output = str(request.output)
    if output != "-":
        check_target(Path(output), request.overwrite)
    stop.events = events
    trained = open_trained(Path(request.run), device=request.device, plugin=request.plugin, events=events, stop=stop)
    retrieval.catalogue_of(trained)
    request.allowed.check(trained)
    newer = retrieval.open_history(trained, request.history, request.input_format)
    if newer and trained.encoder.plan.histories:
        trained = trained.with_history(*newer)
    elif newer and not (request.exclude_seen or retrieval.is_counting(trained)):
        raise UsageError("--history: this run has no feature of type history, and seen items are not left out")
    prepare_threads(request.threads)
    items = None
    if request.items is not None:
        tower = trained.encoder.of_tower("item")
        items = open_data(trained, request.items, request.input_format, needed=tower.columns)
    found = candidates(trained, items, request.embeddings, request.index)
    encoder = retrieval.user_encoder(trained)
    rows = limited(open_data(trained, users, request.input_format, needed=encoder.columns), request.limit_rows)
    seen = None
    if request.exclude_seen or retrieval.is_counting(trained):
        seen = retrieval.seen_of(trained, found.places, newer)
    answers = Answers(trained, found, rows, request.k, request.exclude_seen, seen, request.batch_size or BATCH_SIZE)
    total, done = rows.count_rows(), 0
    with (
        blaming_foreign(trained.model, trained.spec, "scoring"),
        open_writer(
            output, format=request.output_format, overwrite=request.overwrite, header=request.header, stream=stdout
        ) as writer,
    ):
        for table in answers:
            writer.write(table)
            done += len(table)
            events.tick(Progress("recommend", answers.users, total))
            stop.check()
        if not answers.users:
            writer.write(answers.schema.empty_table())
        drift = check_drift(trained, answers.loader.met, events, request.allowed, USERS)
    retrieval.tell_unknown(answers.unknown, answers.users, "they all get the same items", events)
    if answers.recall is not None:
        tell_recall(answers.recall, request.k, events)
    said = {"path": output, "users": answers.users, "rows": done}
    events.emit("output.written", f"{output}  {done:,} items for {answers.users:,} users", said)
    return RecommendOutcome(output, answers.users, done, drift)


def recommend_table(
    trained: Trained, users: Any, k: int, exclude_seen: bool, items: Any, history: Any, batch_size: int
) -> pa.Table:
    """As ``Trained.recommend``."""
    import pyarrow as pa

    check_counts(k=k, batch_size=batch_size)
    retrieval.catalogue_of(trained)
    newer = [] if history is None else [retrieval.table_rows(trained, history, retrieval.history_columns(trained))]
    if newer and trained.encoder.plan.histories:
        trained = trained.with_history(*newer)
    if items is not None:
        items = retrieval.table_rows(trained, items, trained.encoder.of_tower("item").columns)
    found = candidates(trained, items)
    rows = retrieval.table_rows(trained, users, retrieval.user_encoder(trained).columns)
    seen = None
    if exclude_seen or retrieval.is_counting(trained):
        seen = retrieval.seen_of(trained, found.places, newer)
    answers = Answers(trained, found, rows, k, exclude_seen, seen, batch_size)
    return pa.concat_tables([*answers] or [answers.schema.empty_table()])


def check(request: RecommendRequest) -> str:
    """The users' path, after what needs no file to be opened. Raises UsageError, NoInput."""
    if request.users is None:
        raise UsageError("--users is required (a file, or - for standard input)")
    check_request(request.run, request.users, request.input_format)
    check_counts(k=request.k, limit_rows=request.limit_rows, batch_size=request.batch_size, threads=request.threads)
    given = [f"--{name}" for name in ("items", "embeddings", "index") if getattr(request, name) is not None]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} both say what can be recommended; leave one out")
    if request.output is None:
        raise UsageError("--output is required (a file, or - for standard output)")
    return request.users


class Answers:
    """Tables of recommendations, a batch of users at a time.

    Attributes:
        users: so far.
        unknown: of these, the ones that nothing is known of.
        recall: of an index, for the first users, once they are done: None where the search is exact.
    """

    def __init__(
        self,
        trained: Trained,
        found: Candidates,
        rows: Rows,
        k: int,
        exclude_seen: bool,
        seen: Interactions | None,
        batch_size: int,
    ) -> None:
        import pyarrow as pa

        from rechub_cli.data.types import plain

        self.found, self.k, self.exclude_seen = found, k, exclude_seen
        self.user, self.item = retrieval.user_column(trained), found.catalogue.item
        encoder = retrieval.user_encoder(trained)
        retrieval.check_needed(rows.schema.names, [self.user], "the users")
        self.loader = retrieval.user_loader(trained, encoder, rows, batch_size, found.places, seen)
        types = plain(rows.schema.field(self.user).type), plain(found.catalogue.ids.type)
        columns = [(self.user, types[0]), (RANK, pa.int32()), (self.item, types[1]), (SCORE, pa.float32())]
        self.schema = pa.schema(columns)
        self.counting = retrieval.is_counting(trained)
        self.users = self.unknown = 0
        self.recall: float | None = None

    def __iter__(self) -> Iterator[pa.Table]:
        import pyarrow as pa
        from torch import Tensor

        for batch, kept in self.loader:
            assert kept is not None
            scores, places = self.found.ranker.top(batch, self.k, exclude_seen=self.exclude_seen)
            if not self.users and len(batch):
                self._compare(batch)
            self.users += len(batch)
            self.unknown += retrieval.unknown_users(self.loader.encoder.schema, batch, self.counting)
            rows, ranks = (places >= 0).nonzero(as_tuple=True)

            def array(values: Tensor) -> pa.Array:
                return pa.array(values.cpu().numpy())

            users = kept.column(self.user).take(array(rows))
            items = self.found.catalogue.ids.take(array(places[rows, ranks]))
            columns = [users, array(ranks + 1), items, array(scores[rows, ranks])]
            yield pa.table(
                [column.cast(field.type) for column, field in zip(columns, self.schema, strict=True)],
                schema=self.schema,
            )

    def _compare(self, batch: Batch) -> None:
        """How much of the exact answer an index found, without regard to seen items."""
        from rechub_cli.trainers.index import IndexRanker

        ranker = self.found.ranker
        if not isinstance(ranker, IndexRanker):
            return
        self.recall = ranker.recall(batch.slice(0, min(len(batch), _CHECKED)), self.k)


def tell_recall(recall: float, k: int, events: Events) -> None:
    """Say how much an index finds of what is there, for these users."""
    text = f"index recall@{k} {recall:.4f} against exact search, for the first users"
    low = recall < GOOD_RECALL
    more = f"; below {GOOD_RECALL}: use --embeddings, or a finer index" if low else ""
    events.emit(
        "warning" if low else "eval.result", text + more, {f"index_recall@{k}": recall}, level="warn" if low else "info"
    )
