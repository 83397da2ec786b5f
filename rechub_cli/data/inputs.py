"""From the paths of a spec to files: directories, globs, lists and hive partitions."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa

from rechub_cli.errors import NoInput

COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}


@dataclass(frozen=True)
class File:
    """One file of the data.

    Attributes:
        path: where it is.
        name: what messages call it.
        partition: hive keys in its path, ``day=2026-01-01`` being ``{"day": "2026-01-01"}``.
        pipe: an open binary stream that stands in its place; it can be read once.
    """

    path: Path
    name: str
    partition: dict[str, str | None] = field(default_factory=dict)
    pipe: Any = None

    @property
    def suffix(self) -> str:
        """The suffix that tells the format, without that of a compression."""
        suffixes = [suffix.lower() for suffix in self.path.suffixes]
        if suffixes and suffixes[-1] in COMPRESSIONS:
            suffixes.pop()
        return suffixes[-1] if suffixes else ""

    @property
    def compression(self) -> str | None:
        return COMPRESSIONS.get(self.path.suffix.lower())

    def open(self) -> pa.NativeFile:
        """The bytes as they are, seekable."""
        return pa.OSFile(os.fspath(self.path), "rb")

    def stream(self) -> pa.NativeFile:
        """The bytes from the start, decompressed."""
        source = pa.PythonFile(self.pipe, "r") if self.pipe is not None else self.open()
        return pa.CompressedInputStream(source, self.compression) if self.compression else source

    def fingerprint(self, seekable: bool) -> str:
        """A hash of size and content: of the footer where the format keeps one there, else of sampled places."""
        size = self.path.stat().st_size
        digest = hashlib.sha256(f"{size}\n".encode())
        with open(self.path, "rb") as file:
            if seekable:
                file.seek(max(0, size - 8))
                tail = file.read(8)
                length = int.from_bytes(tail[:4], "little") + 8 if tail[4:] in (b"PAR1", b"PARE") else 1 << 16
                places = [(max(0, size - length), length)]
            else:
                block, count = 1 << 16, 64
                places = [(size * i // count, block) for i in range(count)] + [(max(0, size - block), block)]
            for place, length in places:
                file.seek(place)
                digest.update(file.read(length))
        return digest.hexdigest()


def find_files(paths: Sequence[str], base: Path, suffixes: Sequence[str]) -> list[File]:
    """The files that ``paths`` (relative to ``base``) name: each entry's in sorted order, none twice.

    A directory gives the files below it that have one of ``suffixes``; names that begin with ``.`` or ``_`` are left
    out there.

    Raises:
        NoInput: a path names nothing.
    """
    found: dict[Path, File] = {}
    for text in paths:
        here = _expand(text, base, suffixes)
        if not here:
            raise NoInput(f"no file here: {text}" + ("" if os.path.isabs(text) else f" (looked in {base})"))
        for path in here:
            found.setdefault(path, File(path, _shown(path, base), _partition(path)))
    return list(found.values())


def _expand(text: str, base: Path, suffixes: Sequence[str]) -> list[Path]:
    pattern = os.path.join(base, os.path.expanduser(text))
    matches = [pattern] if os.path.exists(pattern) else sorted(glob.glob(pattern, recursive=True))
    paths: list[Path] = []
    for match in matches:
        if not os.path.isdir(match):
            paths.append(Path(os.path.normpath(match)))
            continue
        below = (Path(folder) / name for folder, _, names in os.walk(match, followlinks=True) for name in names)
        paths += sorted(path for path in below if _is_data(path.relative_to(match), suffixes))
    return paths


def _is_data(path: Path, suffixes: Sequence[str]) -> bool:
    hidden = any(part.startswith((".", "_")) and "=" not in part for part in path.parts)
    return not hidden and File(path, "").suffix in suffixes


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
