"""What a run was asked for, in its ``request.json``: overrides, the spec's values, a fingerprint of the data."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rechub_cli.errors import DataError, SpecError
from rechub_cli.files import write_text
from rechub_cli.run.directory import Run
from rechub_cli.run.reading import stored_json
from rechub_cli.run.safe_text import redacted_data
from rechub_cli.spec import overrides
from rechub_cli.workflows.dates import day_of
from rechub_cli.workflows.request import TrainRequest

if TYPE_CHECKING:
    from rechub_cli.spec.read import ReadSpec
    from rechub_cli.workflows.sources import Sources

FILE = "request.json"


def code_set(read: ReadSpec) -> Iterator[tuple[str, str, str]]:
    """(override, dotted key, name) of all code that a ``--set`` names, as ``./file.py:Class``."""
    from rechub_cli.workflows.load import texts

    model, trainer = read.spec.model, read.spec.trainer
    named = {"model": {"name": model.name, "params": {}}, "trainer": trainer.model_dump(exclude={"device"})}
    for place, origin in read.origins.items():
        if origin.kind != "set" or place[0] not in named:
            continue
        value: Any = named
        for part in place:
            if not isinstance(value, dict) or part not in value:
                break  # of a list, all of it
            value = value[part]
        for name in texts(value):
            if ":" in name:
                yield origin.piece, ".".join(map(str, place)), name


def keep_request(
    run: Run, command: str, request: TrainRequest, read: ReadSpec, sources: Sources, init_from: str | None
) -> None:
    """Write down what the run is asked for, so that it can go on; ``init_from`` as it was given."""
    try:
        pieces = [overrides.standing_alone(piece) for piece in request.overrides]
    except overrides.BadOverride as error:  # its file went away since it was read
        raise SpecError(f"--set: {error}") from error
    pieces += [f"{key}={_as_override(key, value, read)}" for key, value in request.sugar().items()]
    last = {piece: place for place, piece in enumerate(pieces)}
    pieces = [piece for place, piece in enumerate(pieces) if last[piece] == place or appends(piece)]
    asked = {
        "format": 1,
        "command": command,
        "overrides": [piece for piece in pieces if redacted_data([piece]) == [piece]],  # secrets: ask again
        "limit_rows": request.limit_rows,
        "date": str(day_of(request.date)),
        "init_from": _whole(request.init_from),
        "init_from_given": init_from,
        "allow_fresh": request.allow_fresh,
        "spec": read.spec.model_dump(mode="json"),
        "data": describe(sources),
    }
    write_text(run.path / FILE, json.dumps(redacted_data(asked), indent=1))


def read_request(run: Run) -> dict[str, Any]:
    """What ``keep_request`` wrote; empty where it did not. Raises DataError where it is damaged."""
    path = run.path / FILE
    if not path.exists():
        return {}
    asked = stored_json(path)
    if not isinstance(asked, dict) or asked.get("format") != 1:
        raise DataError(f"{path} is damaged, or of another rechub; restore it or train again")
    pieces, limit = asked.get("overrides"), asked.get("limit_rows")
    fine = isinstance(pieces, list) and all(isinstance(piece, str) and _stands_alone(piece) for piece in pieces)
    fine = fine and isinstance(asked.get("date"), str) and isinstance(asked.get("allow_fresh"), bool)
    fine = fine and all(isinstance(asked.get(key, 0), str | None) for key in ("init_from", "init_from_given"))
    fine = fine and (limit is None or (isinstance(limit, int) and limit > 0)) and isinstance(asked.get("spec"), dict)
    data = asked.get("data")
    if not fine or not isinstance(data, dict) or not all(isinstance(part, dict) for part in data.values()):
        raise DataError(f"{path} is damaged: it is not what training wrote; restore it or train again")
    return asked


def describe(sources: Sources) -> dict[str, Any]:
    """The files of each part as they are, with a fingerprint of all that decides its rows."""
    parts = {"train": sources.train, "valid": sources.valid, "test": sources.test, "items": sources.items}
    return {
        name: {"files": [file.name for file in source.files], "fingerprint": source.fingerprint()}
        for name, source in parts.items()
        if source is not None
    }


def command_to_resume(command: str, spec: str, run: Run, read: ReadSpec) -> str:
    """What to type to go on with a run; code that it was asked for by ``--set`` must be said again."""
    again = [word for piece in dict.fromkeys(piece for piece, _, _ in code_set(read)) for word in ("--set", piece)]
    return shlex.join(["rechub", command, spec, *again, "-o", str(run.path), "--resume", "must"])


def local_code(read: ReadSpec) -> list[tuple[str, str]]:
    """(kind, name) of everything that the spec names in place, as ``./file.py:Class``."""
    trainer, model = read.spec.trainer, read.spec.model
    named = [("models", model.name), ("losses", trainer.loss), ("metrics", trainer.monitor)]
    named += [("metrics", name) for name in trainer.metrics or ()]
    return [(kind, name) for kind, name in named if isinstance(name, str) and ":" in name]


def _whole(path: str | None) -> str | None:
    """Where the run is that a name or a link points to now: both may point elsewhere when training goes on."""
    return None if path is None else str(Run.open(path).path.resolve())


def appends(piece: str) -> bool:
    return overrides.split(piece).append


def _stands_alone(piece: str) -> bool:
    """Whether it is an override that reads no file."""
    with contextlib.suppress(overrides.BadOverride):
        return not overrides.split(piece).text.startswith("@")
    return False


def _as_override(key: str, value: Any, read: ReadSpec) -> str:
    """The value of a flag as text for ``--set``; paths as the spec has them, from wherever the command was started."""
    if key in ("data.train", "data.valid", "data.test", "data.items"):
        return json.dumps(getattr(read.spec.data, key.removeprefix("data.")), ensure_ascii=False)
    return str(value)
