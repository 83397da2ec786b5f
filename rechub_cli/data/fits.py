"""Fitted encoders in the cache: what a pass over the same rows would find again is not looked for again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from rechub_cli import __version__
from rechub_cli.data.cache_locks import key_lock
from rechub_cli.data.encoder import Encoder
from rechub_cli.data.reference import Reference
from rechub_cli.errors import CannotCreate, DataError, RunFailed
from rechub_cli.files import remove, write_text

if TYPE_CHECKING:
    from rechub_cli.data.chunk import Rows
    from rechub_cli.spec.model import Spec

_HEADER = "header.json"  # written last


def fit_key(spec: Spec, rows: Rows, today: date) -> str:
    """Of all that decides what ``Encoder.fit`` finds, from its beginning: the rows, the spec, this version.

    The day counts where ids expire.
    """
    asked = spec.model_dump(mode="json", exclude={"data", "model", "trainer"})
    expires = any(getattr(feature, "expire", None) for feature in spec.features.values())
    day = today.isoformat() if expires else None
    text = json.dumps([__version__, rows.fingerprint(), asked, day], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def recall(folder: Path, key: str) -> Encoder | None:
    """The encoder that was kept under a key. What is damaged is removed."""
    entry = folder / key
    if not (entry / _HEADER).exists():
        return None
    try:
        encoder = replace(Encoder.load(entry), reference=Reference.load(entry))
        os.utime(entry / _HEADER)  # when it was last used
        return encoder
    except (RunFailed, DataError, OSError):
        shutil.rmtree(entry, ignore_errors=True)
        return None


def keep(folder: Path, key: str, saved: Path, n_rows: int) -> None:
    """Keep the encoder that was saved in a folder, of so many rows: its files get a second name where that can be.

    It is a gain of time only, so what goes wrong with the files is passed over.
    """
    target = folder / key
    temporary = target.with_suffix(".tmp")
    with contextlib.suppress(OSError, CannotCreate), contextlib.ExitStack() as stack:
        folder.mkdir(parents=True, exist_ok=True)
        stack.enter_context(key_lock(target.with_suffix(".lock")))
        if (target / _HEADER).exists():
            return
        remove(temporary)
        try:
            temporary.mkdir()
            for file in saved.iterdir():
                try:
                    os.link(file, temporary / file.name)
                except OSError:  # a file system without links, or another one
                    shutil.copy2(file, temporary / file.name)
            write_text(temporary / _HEADER, json.dumps({"header": {"n_rows": n_rows}}))
            remove(target)
            temporary.rename(target)
        finally:
            remove(temporary)
