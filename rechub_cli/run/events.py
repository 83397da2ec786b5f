"""Every fact a command reports, once, to whoever listens: the run's files, the console, a log file."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

from rechub_cli.run.safe_text import one_line, redacted, redacted_data

Level = Literal["debug", "info", "warn", "error"]
PROGRESS_SECONDS = 10.0  # between two `progress` events, at least
SILENT_SECONDS = 45.0  # after which one is sent from inside a step that tells nothing


@dataclass(frozen=True, slots=True)
class Event:
    """One line of ``events.jsonl``."""

    event: str  # run.start, data.ready, epoch.end, ...
    msg: str  # a sentence for a person
    level: Level = "info"
    data: Mapping[str, Any] = field(default_factory=dict)
    seq: int = 0
    run: str | None = None
    ts: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def timestamp(self) -> str:
        return self.ts.strftime("%Y-%m-%dT%H:%M:%S.") + f"{self.ts.microsecond // 1000:03d}Z"

    def to_json(self) -> str:
        """Strict JSON in ASCII: a number that is not finite becomes null and is named in ``nonfinite``."""
        head = {"v": 1, "seq": self.seq, "ts": self.timestamp, "run": self.run}
        data, nonfinite = finite(self.data)
        line = {**head, "level": self.level, "event": self.event, "msg": self.msg, "data": data}
        return json.dumps(line | ({"nonfinite": nonfinite} if nonfinite else {}), allow_nan=False)

    def to_text(self) -> str:
        """One plain line: time, level, event, then ``key=value`` pairs, or the sentence where there are none."""
        pairs = [f"{key}={short(value)}" for key, value in self.data.items() if isinstance(value, str | int | float)]
        said = self.level == "info" and pairs and self.event != "message"
        body = " ".join(pairs) if said else self.msg
        return one_line(f"{self.ts:%Y-%m-%dT%H:%M:%SZ} {self.level:<5} {self.event} {body}".rstrip())


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a loop has come."""

    phase: str  # "read", "encode", "train", "evaluate", "predict"
    done: int
    total: int | None  # None: not known beforehand
    unit: str = "rows"
    epoch: int | None = None
    n_epoch: int | None = None
    loss: float | None = None


class Listener(Protocol):
    """Something that shows or keeps what happens."""

    def event(self, event: Event) -> None: ...

    def tick(self, progress: Progress) -> None:
        """Called often; must be cheap. The slow stream of progress arrives as events."""


class Events:
    """Numbers events and hands each to every listener, in order; secrets are taken out at this door.

    While it is entered, a thread sends ``progress`` when a step has told nothing for long: a scheduler sees that the
    process lives.
    """

    def __init__(self, *listeners: Listener) -> None:
        self.listeners = list(listeners)
        self.run: str | None = None
        self.record: Any = None  # of the run, where there is one
        self.warnings = 0
        self._seq = 0
        self._before: list[Event] | None = []  # what happened before the run's record was there
        self._told = time.monotonic()  # of the last `progress`
        self._latest: Progress | None = None
        self._turn = threading.RLock()  # of the thread and of those who tell
        self._ended = threading.Event()

    def __enter__(self) -> Events:
        self._ended.clear()
        threading.Thread(target=self._keep_alive, name="rechub-heartbeat", daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()

    def _keep_alive(self) -> None:
        started = time.monotonic()
        while not self._ended.wait(max(self._told + SILENT_SECONDS - time.monotonic(), 0.01)):
            with self._turn:
                if time.monotonic() - self._told < SILENT_SECONDS or self._ended.is_set():
                    continue
                try:
                    self._progress(self._latest or Progress("starting", round(time.monotonic() - started), None, "s"))
                except Exception:
                    return  # a full disk: the next event of the command itself meets it, and tells

    def emit(self, event: str, msg: str, data: Mapping[str, Any] | None = None, *, level: Level = "info") -> None:
        with self._turn:
            self._seq += 1
            self.warnings += level == "warn"
            made = Event(event, redacted(msg), level, redacted_data(data or {}, text=redacted), self._seq, self.run)
            if self._before is not None:
                self._before.append(made)
            for listener in self.listeners:
                listener.event(made)

    def attach(self, listener: Listener, run: str) -> None:
        """Add the record of a run; it is told what happened so far. Numbers go on from those that it holds."""
        with self._turn:
            earlier = getattr(listener, "seq", 0)
            for event in self._before or ():
                listener.event(replace(event, run=run, seq=event.seq + earlier))
            self._seq += earlier
            self._before = None
            self.record = listener
            self.run = run
            self.listeners.append(listener)

    def detach(self, *listeners: Listener) -> None:
        """They are told nothing more."""
        with self._turn:
            self.listeners = [listener for listener in self.listeners if listener not in listeners]

    def tick(self, progress: Progress) -> None:
        """Progress of the loop now running; becomes a ``progress`` event every ten seconds."""
        with self._turn:
            self._latest = progress
            for listener in self.listeners:
                listener.tick(progress)
            if time.monotonic() - self._told >= PROGRESS_SECONDS:
                self._progress(progress)

    def _progress(self, progress: Progress) -> None:
        self._told = time.monotonic()
        done = f"{progress.done}/{progress.total}" if progress.total else str(progress.done)
        data: dict[str, Any] = {"phase": progress.phase, progress.unit: done}
        if progress.epoch is not None:
            data["epoch"] = f"{progress.epoch}/{progress.n_epoch}"
        if progress.loss is not None:
            data["loss"] = round(progress.loss, 6)
        self.emit("progress", f"{progress.phase} {done} {progress.unit}", data)


def short(value: Any) -> str:
    """A value in a log line: six significant digits, quoted where it holds a space."""
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if " " in text or not text else text


def finite(data: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The same data with null for NaN and infinity, and the (dotted) names of those."""
    nonfinite: list[str] = []

    def clean(value: Any, name: str) -> Any:
        if isinstance(value, Mapping):
            return {str(key): clean(item, f"{name}.{key}" if name else str(key)) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [clean(item, name) for item in value]
        if isinstance(value, float) and not math.isfinite(value):
            nonfinite.append(name)
            return None
        return value

    return clean(data, ""), nonfinite
