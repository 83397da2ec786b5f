"""The only code that prints.

Standard output carries the result and nothing else; standard error carries progress, log, warnings and
errors. While a command runs, anything else that writes to file descriptor 1 (model code, C libraries)
lands on standard error.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from rechub_cli.errors import CannotCreate, RechubError, UsageError
from rechub_cli.run.events import Event, Progress, finite
from rechub_cli.run.safe_text import printable, redacted
from rechub_cli.run.signals import notice

if TYPE_CHECKING:
    from rechub_cli.cli.live import Live

CHOICES = {
    "log_format": ("auto", "text", "json"),
    "progress": ("auto", "on", "off"),
    "color": ("auto", "always", "never"),
}
LEVELS = ("debug", "info", "warn", "error")
GREEN, YELLOW, RED, DIM = "32", "33", "31", "2"
SHOW_CURSOR = "\x1b[?25h"


@dataclass(frozen=True, slots=True)
class Output:
    """What the user asked of the output, the same flags for every command."""

    json: bool = False
    quiet: int = 0
    verbose: int = 0
    log_format: str = "auto"
    log_file: str | None = None
    progress: str = "auto"
    color: str = "auto"

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                flag = "--" + name.replace("_", "-")
                raise UsageError(f"{flag} is {getattr(self, name)!r}; it can be {', '.join(known)}")


class Console:
    """Prints one command's result, events and errors."""

    def __init__(self, output: Output) -> None:
        self.output = output
        tty = is_terminal(sys.stderr)
        self.pretty = tty and output.log_format == "auto"
        self.color = wants_color(output.color, tty)
        self.least = LEVELS.index(least_level(output.verbose))
        self.utf8 = bool(sys.stderr) and (sys.stderr.encoding or "").lower().replace("-", "") == "utf8"
        self._live: Live | None = None
        bar = output.progress == "on" or (output.progress == "auto" and self.pretty and not os.environ.get("CI"))
        self._bar = bar and sys.stderr is not None
        self._seq, self._run, self._told = 0, "", False
        self._log = open_log(output.log_file)
        self._stdout = claim_stdout()

    # results, on standard output

    def result(self, text: str) -> None:
        """A line of the result, or several; what a terminal would obey is escaped."""
        self.write((printable(text) + "\n").encode("utf-8", "surrogateescape"))

    def document(self, content: Mapping[str, Any]) -> None:
        """The one JSON document of ``--json``."""
        data, nonfinite = finite({"v": 1, **content})
        self.result(json.dumps(data | ({"nonfinite": nonfinite} if nonfinite else {}), indent=2))

    def write(self, data: bytes) -> None:
        if self.output.quiet >= 2:
            return
        stream = self.stdout
        try:
            stream.write(data)
            stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise CannotCreate(f"cannot write standard output: {error.strerror}") from error

    @property
    def stdout(self) -> IO[bytes]:
        """Standard output for rows, as bytes."""
        if self._stdout is None:
            raise CannotCreate("cannot write standard output: it is closed")
        return self._stdout

    # events, on standard error

    def event(self, event: Event) -> None:
        self._keep(event)
        self._seq, self._run = event.seq, event.run or ""
        if event.event == "error":  # told at the end, for a person in other words
            self._told = True
            if self.output.log_format == "json":
                say(event.to_json())
        elif self.output.quiet or LEVELS.index(event.level) < self.least:
            pass
        elif self.output.log_format == "json":
            say(event.to_json())
        elif event.event == "signal":
            pass  # printed by `interrupted`, at once
        elif self.pretty or self._bar:
            self._live_view().event(event)
        else:
            say(event.to_text())

    def tick(self, progress: Progress) -> None:
        if self._bar and not self.output.quiet and self.output.log_format != "json":
            self._live_view().tick(progress)

    def hint(self, text: str) -> None:
        """What to do next: for a person at a terminal only."""
        if self.pretty and not self.output.quiet:
            say(f"  {printable(text)}")

    def interrupted(self, number: int) -> None:
        """Called inside a signal handler: one line, straight to the descriptor."""
        if self.output.log_format == "json":
            return
        head = SHOW_CURSOR if self._live else ""  # a second signal ends the process as it stands
        line = (
            f"{head}\nwarning: {notice(number)}" if self.pretty else Event("signal", notice(number), "warn").to_text()
        )
        os.write(2, f"{line}\n".encode())

    def log(self, text: str) -> None:
        """Output of code that is not ours; seen with -v."""
        if self.output.verbose:
            say(printable(text))

    def _keep(self, event: Event) -> None:
        if self._log:
            self._log.write((event.to_json() if self.output.log_format == "json" else event.to_text()) + "\n")

    def _live_view(self) -> Live:
        if self._live is None:
            from rechub_cli.cli.live import Live

            self._live = Live(color=self.color, utf8=self.utf8, bar=self._bar, verbose=self.output.verbose)
        return self._live

    # the end

    def error(self, error: BaseException, exit_code: int) -> None:
        """The one message of a failed command."""
        self.close_view()
        text, notes = str(error) or type(error).__name__, getattr(error, "__notes__", [])
        if isinstance(error, RechubError):
            kind = error.kind
        else:
            kind, text = "internal", f"internal error: {type(error).__name__}: {text}"
            text += "\nThis is a bug in rechub; please report it. For the traceback run again with -vv."
        text = redacted(text)
        event = Event("error", text, "error", {"code": kind, "exit": exit_code}, self._seq + 1, self._run or None)
        if not self._told:
            self._keep(event)
        if self.output.log_format == "json":
            if not self._told:
                say(event.to_json())
        else:
            head = paint("error:", RED, self.color)
            notes = [printable(redacted(note)) for note in notes]
            if notes:
                notes = [*notes[:-1], f"{notes[-1]}      (exit {exit_code})"]
            say("\n".join([f"{head} {printable(text.rstrip())}", *([""] if notes else []), *notes]))
        story = printable(redacted("".join(traceback.format_exception(error)).rstrip()))
        if self.output.verbose >= 2 or os.environ.get("RECHUB_DEBUG") == "1":
            say(story)
        if self._log and kind == "internal" and self.output.log_format != "json":
            self._log.write(story + "\n")

    def close_view(self) -> None:
        if self._live:
            self._live.close()

    def close(self) -> None:
        self.close_view()
        if self._stdout:
            try:
                self._stdout.flush()
            except BrokenPipeError:
                raise
            except OSError as error:
                raise CannotCreate(f"cannot write standard output: {error.strerror}") from error
            self.release()

    def release(self) -> None:
        """Give standard output back, and the log."""
        if self._log:
            with contextlib.suppress(OSError):
                self._log.close()
        if self._stdout:
            with contextlib.suppress(OSError):
                os.dup2(self._stdout.fileno(), 1)
            with contextlib.suppress(OSError):
                self._stdout.close()
            self._stdout = None


def say(line: str) -> None:
    """One line on standard error; there may be nobody left to read it."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        pass


def hold_descriptors() -> None:
    """A standard stream that the caller closed stays closed to us, but no file we open may get its number."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def claim_stdout() -> IO[bytes] | None:
    """Keep the real standard output for results and send everybody else's writes to standard error."""
    try:
        sys.stdout.flush()
        real = os.fdopen(os.dup(1), "wb")
    except (OSError, AttributeError):
        return None
    try:
        os.dup2(2, 1)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return real


def hush_stdout(console: Console | None) -> None:
    """The reader of standard output has gone: nothing may fail on it again."""
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    if console and console._stdout:
        os.dup2(silence, console._stdout.fileno())


def open_log(path: str | None) -> IO[str] | None:
    if path is None:
        return None
    try:
        return open(path, "a", encoding="utf-8", errors="backslashreplace", buffering=1)
    except OSError as error:
        raise CannotCreate(f"cannot write --log-file {path}: {error.strerror}") from error


def is_terminal(stream: IO[str] | None) -> bool:
    try:
        return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"
    except ValueError:
        return False


def wants_color(choice: str, tty: bool) -> bool:
    if choice != "auto":
        return choice == "always"
    if os.environ.get("NO_COLOR") or os.environ.get("RECHUB_NO_COLOR"):
        return False
    return tty or os.environ.get("FORCE_COLOR", "0") not in ("", "0")


def least_level(verbose: int) -> str:
    """The lowest level of events to show."""
    level = os.environ.get("RECHUB_LOG_LEVEL", "").lower() or "info"
    if level not in LEVELS:
        raise UsageError(f"RECHUB_LOG_LEVEL is {level!r}; it can be {', '.join(LEVELS)}")
    return "debug" if verbose else level


def paint(text: str, code: str, color: bool) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if color else text
