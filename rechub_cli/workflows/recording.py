"""Keeping a run's record while it trains, whatever way it ends."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import subprocess
import traceback
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rechub_cli import plugins
from rechub_cli.errors import Interrupted, NoInput, RechubError
from rechub_cli.files import atomic, creating, write_bytes, write_text
from rechub_cli.run.directory import Run, describe_failure
from rechub_cli.run.events import Events
from rechub_cli.run.reading import read_pointer
from rechub_cli.run.record import Record
from rechub_cli.run.safe_text import redacted_copy
from rechub_cli.run.status import Status, environment
from rechub_cli.spec.render import resolved_yaml
from rechub_cli.workflows.version import versions

if TYPE_CHECKING:
    from rechub_cli.spec.model import Spec
    from rechub_cli.spec.read import ReadSpec
    from rechub_cli.workflows.sources import Parts, Sources


@contextlib.contextmanager
def recording(run: Run, events: Events, resume: str) -> Iterator[Record]:
    """Write down what happens within, and how it ends; ``resume`` is the command that goes on with it.

    A fault of the spec or the data that shows before training undoes the run: nothing was written.
    """
    record, status = Record(run.path), Status(run)
    try:
        events.attach(record, run.name)
        events.listeners.append(status)
        run.update(environment={**environment(), "cwd": str(Path.cwd()), "git": git_commit(Path.cwd())}, **status.now())
        with stray_output(record, events):
            yield record
    except Interrupted as error:
        if last := read_pointer(run.path, "last"):
            events.emit("checkpoint.saved", f"last = {last}", {"last": last})
        ended = {"status": "interrupted", "exit": error.exit_code, "resume": resume}
        events.emit("run.end", f"interrupted; go on with: {resume}", ended, level="warn")
        run.finish("interrupted", error.exit_code, **status.now())
        error.add_note(f"The run is kept. Go on with: {resume}")
        raise
    except BaseException as error:
        if isinstance(error, RechubError) and not run.info.get("training"):
            run.discard()
            error.add_note("Nothing was written.")
            raise
        code = error.exit_code if isinstance(error, RechubError) else 70
        with contextlib.suppress(RechubError, OSError):  # the disk may be full: the first error is the one to tell
            record.log.write(traceback.format_exc())
            events.emit("error", str(error), {"code": getattr(error, "kind", "internal"), "exit": code}, level="error")
            ended = {"status": "failed", "exit": code, "resume": resume}
            events.emit("run.end", f"failed; go on with: {resume}", ended, level="error")
            run.finish("failed", code, error=dict(describe_failure(error)), **status.now())
        error.add_note(f"The log, with the traceback: {run.path / 'train.log'}")
        raise
    else:
        run.finish("done", 0, **status.now())
    finally:
        events.detach(record, status)
        record.close()
        run.close()


@contextlib.contextmanager
def stray_output(record: Record, events: Events) -> Iterator[None]:
    """What other code prints or warns of goes to the log, never to standard output."""

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        events.emit("warning", f"{category.__name__}: {message}", level="warn")

    with contextlib.redirect_stdout(record.log), warnings.catch_warnings():
        warnings.showwarning = show
        yield


def keep_spec(run: Run, read: ReadSpec, spec: Spec) -> Path:
    """Put all that later commands need of the spec into the run; returns the folder that local plugins are in.

    ``run.json`` holds the resolved spec as data, with the local plugin and the look-up tables by their
    place in the run.
    """
    kept = spec.model_dump(mode="json")
    write_bytes(run.path / "spec.yaml", hidden_in(read.text, kept))
    write_text(run.path / "spec.resolved.yaml", redacted_copy(resolved_yaml(read, spec, run.path), kept))
    hashes: dict[str, str] = {}
    trainer = kept["trainer"]
    kept["model"]["name"] = keep_code("models", spec.model.name, read.base, run.path, hashes)
    for role, kind in (("loss", "losses"), ("monitor", "metrics")):
        if trainer[role]:
            trainer[role] = keep_code(kind, trainer[role], read.base, run.path, hashes)
    if trainer["metrics"]:
        trainer["metrics"] = [keep_code("metrics", name, read.base, run.path, hashes) for name in trainer["metrics"]]
    kept["data"]["join"] = [
        {**join.model_dump(mode="json"), "file": copy_look_up(read.base / join.file, run.path, number)}
        for number, join in enumerate(spec.data.join)
    ]
    run.update(
        plugins=hashes,
        spec=kept,
        spec_file=str(read.path.absolute()),
        seed=spec.trainer.seed,
        versions=versions(),
        git=git_commit(read.base),
    )
    return read.base


def hidden_in(document: bytes, data: Mapping[str, Any]) -> bytes:
    """The user's own bytes, less the secrets of ``data``."""
    return redacted_copy(document.decode("utf-8", "surrogateescape"), data).encode("utf-8", "surrogateescape")


def keep_changes(run: Run, read: ReadSpec, spec: Spec) -> None:
    """What a resumed run may change of its trainer, in the run's copies of the spec."""
    kept = run.info["spec"]
    trainer = {**kept["trainer"]}
    for key in ("n_epoch", "earlystop_patience", "device"):
        trainer[key] = getattr(spec.trainer, key)
    run.update(spec={**kept, "trainer": trainer})
    write_text(run.path / "spec.resolved.yaml", redacted_copy(resolved_yaml(read, spec, run.path), run.info["spec"]))


def keep_code(kind: str, name: str, base: Path, run: Path, hashes: dict[str, str]) -> str:
    """Copy a local plugin file into the run, and return the name that means it there; other names stay."""
    if ":" not in name:
        return name
    plugin = plugins.find(kind, name, base)
    if plugin.file is None:
        return name
    content = plugin.file.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    file = plugin.file.name
    if hashes.get(file, digest) != digest:  # another file of the same name
        file = f"{plugin.file.stem}_{digest[:8]}.py"
    hashes[file] = digest
    place = run / "plugin" / file
    with creating(place):
        place.parent.mkdir(exist_ok=True)
    write_bytes(place, content)
    return f"./plugin/{file}:{plugin.attribute}"


def git_commit(folder: Path) -> str | None:
    """The commit that the spec's folder is at, where it is under version control."""
    try:
        said = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return said.stdout.strip()


def describe_data(sources: Sources, parts: Parts, rows: Mapping[str, int | None]) -> dict[str, Any]:
    """Which data a run learnt from: files, rows and a fingerprint of each part."""
    found: dict[str, Any] = {}
    for name, part in (("train", parts.train), ("valid", parts.valid), ("test", parts.test)):
        if part is not None:
            source = getattr(sources, name) or sources.train
            files = [file.name for file in source.files]
            count = rows.get(name)
            count = part.count_rows() if count is None else count
            found[name] = {"files": files, "rows": count, "fingerprint": part.fingerprint()}
    return found


def copy_look_up(file: Path, run: Path, number: int) -> str:
    """A joined table belongs to the model: the run keeps it, under its own name behind a number."""
    target = run / "joins" / f"{number}-{file.name}"
    if not file.is_file():
        raise NoInput(f"{file} is not a file")
    with creating(target):
        target.parent.mkdir(exist_ok=True)
    with atomic(target) as copy, open(file, "rb") as original:
        shutil.copyfileobj(original, copy)
    return f"joins/{target.name}"
