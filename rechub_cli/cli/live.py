"""What a person at a terminal sees: one line a fact, a table row an epoch, a bar for the loop now running."""

from __future__ import annotations

import sys
from typing import Any

from rechub_cli.cli.console import DIM, GREEN, RED, YELLOW, paint, say
from rechub_cli.run.events import Event, Progress
from rechub_cli.run.safe_text import one_line, printable
from rechub_cli.run.table import cell, heading

HIDDEN = {"progress", "epoch.start", "checkpoint.saved"}  # the bar and the table say it
LABELS = {
    "spec.resolved": "spec",
    "data.ready": "data",
    "eval.result": "test",
    "output.written": "output",
    "run.end": "best",
}
ARROWS = {"run.start", "message"}
BESIDE = ("train_loss_", "weight_")  # of several labels: too many for a line, and in the log table


class Live:
    """The terminal view of one command."""

    def __init__(self, *, color: bool, utf8: bool, bar: bool, verbose: int) -> None:
        self.color = color
        self.utf8 = utf8
        self.verbose = verbose
        self._bar = bar
        self._progress: Any = None
        self._task: Any = None
        self._phase: tuple[str, int | None] | None = None
        self._columns: list[str] = []

    def event(self, event: Event) -> None:
        if event.event == "epoch.end":
            self._row(event)
        elif event.event not in HIDDEN or self.verbose:
            self._say(self._line(event))

    def _line(self, event: Event) -> str:
        glyph, word, code = "✔", "ok", GREEN
        if event.level in ("warn", "error"):
            glyph, word, code = ("⚠", "warn", YELLOW) if event.level == "warn" else ("✘", "error", RED)
        elif event.event in ARROWS or event.level == "debug":
            glyph, word, code = "→", "--", DIM
        sign = paint(glyph if self.utf8 else f"{word:<5}", code, self.color)
        kind = event.event.partition(".")[0]
        label = LABELS.get(event.event, kind) if event.level == "info" else kind
        return f"{sign} {label:<9} {printable(event.msg)}"

    def _row(self, event: Event) -> None:
        data = {one_line(name): value for name, value in event.data.items()}
        names = [name for name in data if name not in ("best", "lr") and not name.startswith(BESIDE)]
        widths = [max(len(heading(name)), 8 if name.startswith(("train_", "val_")) else 7) for name in names]
        if names != self._columns:
            self._columns = names
            head = "  ".join(f"{heading(name):>{width}}" for name, width in zip(names, widths, strict=True))
            self._say(paint(head, DIM, self.color))
        line = "  ".join(f"{cell(name, data):>{width}}" for name, width in zip(names, widths, strict=True))
        self._say(paint(line, GREEN, self.color) if data.get("best") else line)

    def tick(self, progress: Progress) -> None:
        if not self._bar:
            return
        if self._progress is None:
            self._start()
        phase = (progress.phase, progress.epoch)
        title = f"epoch {progress.epoch}/{progress.n_epoch}  train" if progress.epoch else progress.phase
        loss = "" if progress.loss is None else f"loss {progress.loss:.4f}"
        if phase != self._phase:
            if self._task is not None:
                self._progress.remove_task(self._task)
            self._task = self._progress.add_task(title, total=progress.total, loss=loss, unit=progress.unit)
            self._phase = phase
        self._progress.update(self._task, completed=progress.done, total=progress.total, loss=loss)

    def _start(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        console = Console(file=sys.stderr, no_color=not self.color, highlight=False, force_terminal=True)
        self._progress = Bar(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}  {task.fields[loss]}", markup=False),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._progress.start()

    def _say(self, line: str) -> None:
        if self._progress is None:
            say(line)
        else:  # above the bar; our own escapes pass through untouched
            from rich.text import Text

            self._progress.console.print(Text.from_ansi(line), soft_wrap=True)

    def close(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
            self._task = self._phase = None
