"""Raw rows for a trained model: read as training read them, its look-up tables joined."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rechub_cli.errors import DataError, NoInput, UsageError
from rechub_cli.run.folder import locate
from rechub_cli.run.signals import waiting

if TYPE_CHECKING:
    import pyarrow as pa

    from rechub_cli.data.source import Source
    from rechub_cli.workflows.load import Trained

FORMATS = ("auto", "parquet", "csv", "tsv", "jsonl", "arrow")


def check_request(run: str, data: str | None, input_format: str) -> str:
    """The data's path, after what needs no file to be opened.

    Raises:
        UsageError: no data is named; ``-`` with nothing piped in, since a command never waits on a terminal.
        NoInput: the run is not there.
    """
    if data is None:
        raise UsageError("--data is required (a file, or - for standard input)")
    if data == "-" and (sys.stdin is None or sys.stdin.closed or sys.stdin.isatty()):
        raise UsageError("--data - reads standard input, and nothing is piped in")
    if input_format not in FORMATS:
        raise UsageError(f"--input-format is {input_format!r}; it can be {', '.join(FORMATS)}")
    if not locate(run).exists():
        raise NoInput(f"{run} does not exist; RUN is a run directory, made by train-ctr, train-match or train-mtl")
    return data


def open_data(
    trained: Trained,
    data: str,
    input_format: str,
    *,
    condition: str | None = None,
    needed: Sequence[str] | None = None,
) -> Source:
    """The user's rows, joined as in training; ``needed`` are the columns to be had, by default all of the model's.

    Text has no types: a column that was text in training is text here, even where all of these rows look
    like numbers. Standard input, which can be read but once, has the types of training.
    """
    from rechub_cli.data.source import Source

    trained_types = types_of(trained)

    def opened(types: dict[str, pa.DataType] | None) -> Source:
        stdin = waiting(sys.stdin.buffer, trained.scorer.watcher.stop_requested) if data == "-" else None
        source = Source.open([data], base=Path(), format=input_format, filter=condition, stdin=stdin, types=types)
        source.joins = trained.look_ups(source.column_kinds(), needed)
        return source

    if data == "-":
        return opened(trained_types)
    source = opened(None)
    if source.seekable:
        return source
    texts = {name: type for name, type in trained_types.items() if str(type) == "string"}
    return opened({column.name: texts.get(column.name, column.type) for column in source.schema})


def with_newer(trained: Trained, history: Sequence[str], input_format: str, labelled: Source | None = None) -> Trained:
    """The run with the events of ``--history``, and those of labelled rows: each is the past of later ones.

    Raises:
        UsageError: the run has no histories; or its labelled rows, which are read twice, come from a pipe.
        DataError: a column that tells the events is missing.
    """
    newer = [(path, open_data(trained, path, input_format, condition=trained.spec.data.filter)) for path in history]
    if labelled is not None and trained.encoder.plan.histories:
        if any(file.pipe is not None for file in labelled.files):
            raise UsageError("--data -: this run's histories need the rows twice; give a file")
        newer.append(("--data", labelled))
    if not newer:
        return trained
    from rechub_cli.data.events import event_columns

    for name, source in newer:
        check_columns(name, source, event_columns(trained.encoder))
    return trained.with_history(*(source for _, source in newer))


def types_of(trained: Trained) -> dict[str, pa.DataType]:
    """The columns' types in training, of those that text can hold."""
    import pyarrow as pa

    known: list[pa.DataType] = [pa.int64(), pa.uint64(), pa.float64(), pa.string(), pa.bool_(), pa.date32()]
    known += [pa.timestamp(unit, zone) for unit in ("s", "ms", "us", "ns") for zone in (None, "UTC")]
    by_name = {str(type): type for type in known}
    columns = trained.run.info.get("columns", {})
    if not isinstance(columns, dict):
        raise DataError(f"{trained.run.path / 'run.json'} is damaged: its columns are {columns!r}; restore it")
    return {name: by_name[text] for name, text in columns.items() if isinstance(text, str) and text in by_name}


def text_type(type: pa.DataType) -> str:
    """The name under which a run keeps a column's type: the widest of its kind."""
    import pyarrow as pa

    from rechub_cli.data.types import is_text, plain

    type = plain(type)
    if is_text(type):
        return "string"
    if pa.types.is_unsigned_integer(type) and type.bit_width == 64:
        return "uint64"
    if pa.types.is_integer(type):
        return "int64"
    return "double" if pa.types.is_floating(type) or pa.types.is_decimal(type) else str(type)


def check_columns(data: str, source: Source, needed: Sequence[str]) -> None:
    """Raises DataError if the rows lack a column that the model needs."""
    there = source.column_kinds()
    missing = [name for name in needed if name not in there]
    if missing:
        columns, are = ("columns", "are") if len(missing) > 1 else ("column", "is")
        raise DataError(
            f"{data} lacks the {columns} {', '.join(missing)}, which {are} needed; columns there: {', '.join(there)}"
        )


def prepare_threads(threads: int | None) -> None:
    """Set how many threads torch may use."""
    from rechub_cli.trainers import runtime

    runtime.prepare(threads)
