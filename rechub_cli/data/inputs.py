"""From the paths of a spec to files: directories, globs, lists and hive partitions."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from urllib.parse import unquote

import pyarrow as pa

from rechub_cli.errors import DataError, NoInput

_LOOK = 1 << 20
_BRACES = re.compile(r"\{([^{}]*,[^{}]*)\}")

COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}


class Pipe:
    """A stream that can be read once, and looked at before."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.head = b""
        read = getattr(stream, "read1", stream.read)
        while not _tells(self.head) and (data := read(_LOOK)):
            self.head += data
        self._waiting = self.head
        self.closed = False

    def read(self, size: int = -1) -> bytes:
        if self._waiting:
            size = len(self._waiting) if size < 0 else size
            data, self._waiting = self._waiting[:size], self._waiting[size:]
            return data
        return self._stream.read(size)

    def close(self) -> None:
        self.closed = True


def _tells(head: bytes) -> bool:
    """Whether the start of a stream shows its columns: a line of text, or the schema of Arrow's stream format."""
    if head[:4] == b"\xff\xff\xff\xff":
        return len(head) >= 8 + int.from_bytes(head[4:8], "little")
    return head[:4] in (b"PAR1", b"ARRO") or b"\n" in head


@dataclass(frozen=True)
class File:
    """One file of the data.

    Attributes:
        path: where it is.
        name: what messages call it.
        partition: hive keys in its path, ``day=2026-01-01`` being ``{"day": "2026-01-01"}``.
        pipe: what stands in its place where it can be read only once.
    """

    path: Path
    name: str
    partition: dict[str, str | None] = field(default_factory=dict)
    pipe: Pipe | None = None

    @property
    def suffix(self) -> str:
        """The suffix that tells the format, without that of a compression."""
        suffixes = [suffix.lower() for suffix in self.path.suffixes]
        if suffixes and suffixes[-1] in COMPRESSIONS:
            suffixes.pop()
        return suffixes[-1] if suffixes else ""

    @property
    def compression(self) -> str | None:
        return COMPRESSIONS.get(self.path.suffix.lower()) if self.pipe is None else None

    def open(self) -> pa.NativeFile:
        """The bytes as they are, seekable."""
        with self._reading():
            return pa.OSFile(os.fspath(self.path), "rb")

    def map(self) -> pa.NativeFile:
        """The bytes as they are, in the system's memory instead of ours."""
        with self._reading():
            return pa.memory_map(os.fspath(self.path), "r")

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise NoInput(f"cannot read {self.name}: {os.strerror(error.errno) if error.errno else error}") from error

    def stream(self) -> pa.NativeFile:
        """The bytes from the start, decompressed."""
        if self.pipe is not None:
            return pa.PythonFile(self.pipe, "r")
        return pa.CompressedInputStream(self.open(), self.compression) if self.compression else self.open()

    def head(self) -> bytes:
        """About a megabyte from the start, decompressed; whole lines where it is text."""
        if self.pipe is not None:
            data, whole = self.pipe.head, False
        else:
            try:
                with self.stream() as stream:
                    data = stream.read(_LOOK)
                    whole = len(data) < _LOOK
            except OSError as error:
                raise DataError(f"{self.name}: {error}") from error
        end = data.rfind(b"\n") + 1
        return data[:end] if end and not whole and _is_text(data) else data

    def fingerprint(self) -> str:
        """A hash of size, time of change and content at many places; of a Parquet file's footer too."""
        if self.pipe is not None:
            return secrets.token_hex(32)
        status = self.path.stat()
        size = status.st_size
        digest = hashlib.sha256(f"{size} {status.st_mtime_ns}\n".encode())
        with open(self.path, "rb") as file:
            file.seek(max(0, size - 8))
            tail = file.read(8)
            places = [(size * i // 64, 1 << 12) for i in range(64)]
            if tail[4:] == b"PAR1":
                length = min(size, int.from_bytes(tail[:4], "little") + 8)
                places.append((size - length, length))
            for place, length in places:
                file.seek(place)
                digest.update(file.read(length))
        return digest.hexdigest()


def _is_text(data: bytes) -> bool:
    return not data.startswith((b"ARROW1", b"PAR1", b"\xff\xff\xff\xff"))


def find_files(paths: Sequence[str], base: Path, suffixes: Sequence[str]) -> list[File]:
    """The files that ``paths`` (relative to ``base``) name: each entry's in sorted order, none twice.

    A directory gives the files below it that have one of ``suffixes``; names that begin with ``.`` or ``_`` are left
    out there.

    ``{a,b}`` in a path stands for both, as in a shell; each must be there.

    Raises:
        NoInput: a path names nothing; all such are told.
    """
    found: dict[Path, File] = {}
    missing: list[str] = []
    for text in (one for given in paths for one in ([given] if _is_there(given, base) else _alternatives(given))):
        here = _expand(text, base, suffixes)
        if not here:
            missing.append(text)
        for path in here:
            found.setdefault(path, File(path, _shown(path, base), _partition(path)))
    if missing:
        more = f" and {len(missing) - 20} more" if len(missing) > 20 else ""
        looked = "" if all(map(os.path.isabs, missing)) else f" (looked in {base})"
        raise NoInput(f"no file here: {', '.join(missing[:20])}{more}{looked}")
    return list(found.values())


def _is_there(text: str, base: Path) -> bool:
    return os.path.exists(os.path.join(base, os.path.expanduser(text)))


def _alternatives(text: str) -> list[str]:
    """``log-{a,b}`` as two paths."""
    braces = _BRACES.search(text)
    if braces is None:
        return [text]
    starts = [text[: braces.start()] + one for one in braces[1].split(",")]
    return [start + end for start in starts for end in _alternatives(text[braces.end() :])]


def _expand(text: str, base: Path, suffixes: Sequence[str]) -> list[Path]:
    pattern = os.path.join(base, os.path.expanduser(text))
    if os.path.exists(pattern):
        matches = [pattern]
    else:  # job markers such as _SUCCESS are no data
        matches = sorted(match for match in glob.glob(pattern, recursive=True) if not _is_hidden(Path(match).name))
    paths: list[Path] = []
    for match in matches:
        if not os.path.isdir(match):
            paths.append(Path(os.path.normpath(match)))
            continue
        below = (Path(folder) / name for folder, _, names in os.walk(match) for name in names)
        paths += sorted(path for path in below if _is_data(path.relative_to(match), suffixes))
    return paths


def _is_data(path: Path, suffixes: Sequence[str]) -> bool:
    return not any(map(_is_hidden, path.parts)) and File(path, "").suffix in suffixes


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "_")) and "=" not in name


def _shown(path: Path, base: Path) -> str:
    try:
        return str(path.relative_to(os.path.normpath(base)))
    except ValueError:
        return str(path)


def _partition(path: Path) -> dict[str, str | None]:
    keys: dict[str, str | None] = {}
    for part in path.parts[:-1]:
        key, equals, value = part.partition("=")
        if equals and key:
            keys[key] = None if value == "__HIVE_DEFAULT_PARTITION__" else unquote(value)
    return keys
