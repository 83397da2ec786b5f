"""Which reader reads which file, and what standard input holds."""

from __future__ import annotations

import codecs
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import IO, Any

from rechub_cli import plugins
from rechub_cli.data.inputs import File, Pipe
from rechub_cli.data.readers import Reader
from rechub_cli.errors import NoInput, UsageError


def reader(format: str) -> Reader:
    """The reader of a format by name."""
    made: Reader = plugins.load("readers", format)()
    return made


def readers() -> list[Reader]:
    return [reader(name) for name in plugins.names("readers")]


def suffixes_of(format: str) -> list[str]:
    """The suffixes by which files of a format are found in a directory; of all formats for ``auto``."""
    chosen = readers() if format == "auto" else [reader(format)]
    return [suffix for one in chosen for suffix in one.suffixes]


def reader_of(file: File, format: str) -> Reader:
    """The reader that a file's suffix asks for, unless the format is given."""
    if format != "auto":
        return reader(format)
    for one in readers():
        if file.suffix in one.suffixes:
            return one
    known = " ".join(suffixes_of("auto"))
    raise UsageError(f"{file.name}: the suffix tells no format (known: {known}); say `data.format` or --input-format")


def open_stdin(stdin: IO[bytes] | None, format: str, keep: bool) -> tuple[File, Reader, Any]:
    """Standard input as a file: a pipe, or with ``keep`` (and for Parquet, whose index is at its end) a copy on disk.

    Returns:
        The file, its reader, and the copy to hold on to: it is deleted with the last reference.
    """
    pipe = Pipe(stdin if stdin is not None else sys.stdin.buffer)
    if not pipe.head:
        raise NoInput("standard input is empty")
    name = _sniff(pipe.head) if format == "auto" else format
    if not keep and name != "parquet":
        return File(Path("-"), "standard input", pipe=pipe), reader(name), None
    spool = tempfile.NamedTemporaryFile(prefix="rechub-stdin-")  # noqa: SIM115 (it lives as long as the source)
    shutil.copyfileobj(pipe, spool, 1 << 20)
    spool.flush()
    return File(Path(os.fspath(spool.name)), "standard input"), reader(name), spool


def _sniff(head: bytes) -> str:
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
        return "arrow"
    line = head.removeprefix(codecs.BOM_UTF8).lstrip().split(b"\n", 1)[0]
    if line.startswith(b"{"):
        return "jsonl"
    return "tsv" if b"\t" in line and b"," not in line else "csv"
