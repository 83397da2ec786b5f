"""``--resume``: go on with a run that ended before its time, as if it had not."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rechub_cli import plugins
from rechub_cli.errors import DataError, NoInput, SpecError, Unavailable, UsageError
from rechub_cli.run.checkpoints import Checkpoints
from rechub_cli.run.directory import Run
from rechub_cli.run.events import Events
from rechub_cli.run.reading import stored_json
from rechub_cli.run.record import epochs_told
from rechub_cli.run.safe_text import redacted_data
from rechub_cli.run.signals import Stop
from rechub_cli.workflows.asked import FILE, appends, code_set, describe, keep_request, local_code, read_request
from rechub_cli.workflows.dates import dated_read
from rechub_cli.workflows.request import TrainOutcome, TrainRequest

if TYPE_CHECKING:
    from rechub_cli.run import RunWatcher
    from rechub_cli.spec.read import ReadSpec
    from rechub_cli.workflows.sources import Sources

CHOICES = ("never", "auto", "must")
MAY_CHANGE = ("trainer.n_epoch", "trainer.earlystop_patience", "trainer.device")


@dataclass(frozen=True, slots=True)
class Kept:
    """A run that is there already, locked.

    Attributes:
        request: what is asked now, on top of what was asked when the run began.
        point: the checkpoint to go on from; None: the run died before its first, and starts over.
        asked: what ``request.json`` holds.
    """

    run: Run
    request: TrainRequest
    point: str | None
    asked: dict[str, Any]
    complete: bool = False

    def outcome(self) -> TrainOutcome:
        """Of a run that is done."""
        info = self.run.info
        rows = list(epochs_told(self.run.path).values())
        return TrainOutcome(self.run.path, info.get("best") or {}, info.get("test") or {}, rows)

    def check(self, read: ReadSpec, sources: Sources, allow_new_data: bool) -> None:
        """Raises SpecError if code or data are not those that the run learnt from."""
        if self.point is None:
            return
        known = set((self.run.info.get("plugins") or {}).values())
        for kind, name in local_code(read):
            file = plugins.find(kind, name, read.base).file
            if file is not None and hashlib.sha256(file.read_bytes()).hexdigest() not in known:
                raise SpecError(f"{file} is not the code that {self.run.path} was started with; use another -o")
        if not allow_new_data:
            self._check_data(describe(sources))

    def _check_data(self, now: dict[str, Any]) -> None:
        before = self.asked["data"]
        for part in dict.fromkeys([*before, *now]):
            was, is_now = before.get(part, {}), now.get(part, {})
            if was.get("fingerprint") != is_now.get("fingerprint"):
                raise SpecError(
                    f"the {part} data is not what {self.run.path} was started with:"
                    f" {_told(was)} then, {_told(is_now)} now; --allow-new-data goes on with what is there now"
                )

    def begin(self, read: ReadSpec, sources: Sources) -> None:
        """Write down that the run goes on, or starts over."""
        if self.point is None:
            self.run.clear(self.request.argv)
            return
        Checkpoints(self.run.path).go_back_to(self.point)
        keep_request(self.run, str(self.asked["command"]), self.request, read, sources, self.asked["init_from_given"])
        self.run.resume(self.request.argv)


@contextlib.contextmanager
def reopened(command: str, request: TrainRequest, events: Events, stop: Stop) -> Iterator[Kept | None]:
    """The run at ``-o`` that ``--resume`` means, locked within; None where a new one is to be made.

    Raises:
        UsageError: flags that do not go together.
        NoInput: there is nothing to go on with, and ``must`` was said.
        SpecError: something else is asked than the run was started with.
        DataError: the run, or every checkpoint of it, is damaged.
        Busy: a live process writes it.
    """
    if not wants_resume(request):
        yield None
        return
    path = Path(str(request.output))
    if not (path / "run.json").exists():
        if request.resume == "must":
            there = "holds no run" if path.exists() else "does not exist"
            raise NoInput(f"nothing to resume: {path} {there}; --resume auto starts one")
        yield None
        return
    run = Run.reopen(path, wait=request.wait, argv=request.argv, check=stop.check)
    try:
        run.sweep()
        yield find(run, command, request, events)
    finally:
        run.close()


def wants_resume(request: TrainRequest) -> bool:
    """Raises UsageError for flags that do not go together."""
    if request.resume not in CHOICES:
        raise UsageError(f"--resume is {request.resume!r}; it can be {', '.join(CHOICES)}")
    if request.resume == "never":
        if request.allow_new_data:
            raise UsageError("--allow-new-data is for a run that goes on: use it with --resume auto or must")
        return False
    if request.output is None:
        raise UsageError(f"--resume {request.resume} needs -o DIR: the run to go on with")
    if request.overwrite:
        raise UsageError(f"--resume {request.resume} and --overwrite want different things; leave one out")
    return not request.dry_run


def find(run: Run, command: str, request: TrainRequest, events: Events) -> Kept:
    """Where a run stands, and what is asked of it now. Raises as ``reopened``."""
    own = run.info.get("command")
    if own not in (None, command):
        raise SpecError(f"{run.path} was made by rechub {own}; use that, or another -o")
    done = run.info.get("status") == "done"
    asked = read_request(run)
    if not asked and done:  # by a rechub that kept no requests
        return Kept(run, request, None, asked, complete=True)
    checkpoints = Checkpoints(run.path)
    point = checkpoints.newest(lambda text: events.emit("warning", text, level="warn"))
    if point is not None:
        state = stored_json(checkpoints.folder / point / "state.json")
        if isinstance(state, dict) and "progress" not in state:
            point = None  # of a model that counts: that is done again
    if point is None and not done:
        return Kept(run, request, None, asked)
    if not asked:
        raise DataError(f"{run.path / FILE} is missing: the run cannot go on; restore it, or train again")
    check_start(run, asked, request)
    said = request.overrides
    again = {piece for piece in asked["overrides"] if appends(piece)}  # said again, they would append twice
    new = [piece for piece in request.overrides if piece not in again]
    request = replace(
        request, overrides=(*asked["overrides"], *new), date=asked["date"], allow_fresh=asked["allow_fresh"]
    )
    changed = check_changes(run, asked, request, said)
    request = replace(request, limit_rows=asked["limit_rows"], init_from=asked["init_from"])
    return Kept(run, request, point, asked, complete=done and not changed & set(MAY_CHANGE[:2]))


def check_start(run: Run, asked: dict[str, Any], request: TrainRequest) -> None:
    """Raises SpecError where another day or another run to start from is named than then."""
    for flag, now, was in (
        ("--date", request.date, asked["date"]),
        ("--init-from", request.init_from, asked["init_from_given"]),
    ):
        if now is not None and now != was:
            raise SpecError(f"{flag} is {now} now, and {run.path} was started with {was or 'none'}; use another -o")


def check_changes(run: Run, asked: dict[str, Any], request: TrainRequest, said: Sequence[str]) -> set[str]:
    """The keys that are asked to be other than they were; ``said`` are the overrides given now.

    Raises:
        SpecError: one of them may not change.
        Unavailable: as ``check_code``.
    """
    from rechub_cli.spec.read import read_spec

    read = dated_read(read_spec(request.spec, request.overrides, request.sugar()), request.date)
    check_code(run, said, read)
    found = dict(differences(redacted_data(asked["spec"]), redacted_data(read.spec.model_dump(mode="json"))))
    if "trainer.n_epoch" in found and (read.spec.trainer.scheduler or "").lower() == "onecyclelr":
        read.fail([("trainer.n_epoch", "cannot change in a resumed run: OneCycleLR was planned for all epochs")])
    wrong = [
        (key, f"is {_shown(now)} now, and {run.path} was started with {_shown(was)}; use another -o")
        for key, (was, now) in found.items()
        if key not in MAY_CHANGE
    ]
    if request.limit_rows is not None and request.limit_rows != asked["limit_rows"]:
        started = f"{run.path} was started with {asked['limit_rows'] or 'all rows'}"
        raise SpecError(f"--limit-rows is {request.limit_rows} now, and {started}; use another -o")
    if wrong:
        read.fail([*wrong])
    return set(found)


def check_code(run: Run, said: Sequence[str], read: ReadSpec) -> None:
    """Raises Unavailable where the run's own request names code: whoever made it would choose what is imported."""
    for piece, key, name in code_set(read):
        if piece not in said:
            raise Unavailable(f"{run.path} asks for code, {name}; if you trust it, say it again: --set {key}={name}")


def differences(was: Any, now: Any, path: str = "") -> Iterator[tuple[str, tuple[Any, Any]]]:
    """(dotted key, (value then, value now)) of the keys at which two specs differ."""
    if isinstance(was, dict) and isinstance(now, dict):
        for key in dict.fromkeys([*was, *now]):
            yield from differences(was.get(key), now.get(key), f"{path}.{key}" if path else str(key))
    elif was != now:
        yield path, (was, now)


def restore(run: Run, point: str, trainer: Any, watcher: RunWatcher) -> None:
    """Put weights and state of a checkpoint into a trainer, and its epochs into the record.

    Raises:
        DataError: they are damaged, or not those of this training.
    """
    from rechub_cli.run.reading import read_state
    from rechub_cli.trainers.parallel import bare
    from rechub_cli.trainers.restore import load_weights

    weights, state = read_state(run.path, point)
    load_weights(bare(trainer.model), weights, str(run.path / "checkpoints" / point / "model.safetensors"))
    trainer.load_state(state)
    at, watcher.n_epoch = trainer.loop.at, trainer.loop.n_epoch
    text = f"goes on from {point}: {at.epoch} epochs and {at.epoch_step} steps were done"
    watcher.restore(at.epochs(), text, {"checkpoint": point, "epoch": at.epoch, "step": at.step})


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."


def _told(part: dict[str, Any]) -> str:
    if not part:
        return "none"
    files = [str(name) for name in part.get("files", [])]
    more = f" and {len(files) - 3} more" if len(files) > 3 else ""
    return f"{', '.join(files[:3])}{more} ({str(part.get('fingerprint'))[:8]})"
