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
from rechub_cli.run.signals import notice

if TYPE_CHECKING:
    from rechub_cli.cli.live import Live

CHOICES = {
    "log_format": ("auto", "text", "json"),
    "progress": ("auto", "on", "off"),
    "color": ("auto", "always", "never"),
}
GREEN, YELLOW, RED, DIM = "32", "33", "31", "2"


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
        self.utf8 = bool(sys.stderr) and (sys.stderr.encoding or "").lower().replace("-", "") == "utf8"
        self._live: Live | None = None
        self._bar = output.progress == "on" or (output.progress == "auto" and self.pretty)
        self._log = open_log(output.log_file)
        self._stdout = claim_stdout()

    # results, on standard output

    def result(self, text: str) -> None:
        """A line of the result."""
        self.write((text + "\n").encode("utf-8", "surrogateescape"))

    def document(self, content: Mapping[str, Any]) -> None:
        """The one JSON document of ``--json``."""
        data, nonfinite = finite({"v": 1, **content})
        self.result(json.dumps(data | ({"nonfinite": nonfinite} if nonfinite else {}), indent=2, ensure_ascii=False))

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
        if self._log:
            self._log.write((event.to_json() if self.output.log_format == "json" else event.to_text()) + "\n")
        if event.event == "error" or self.output.quiet or (event.level == "debug" and not self.output.verbose):
            return
        if self.output.log_format == "json":
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
            say(f"  {text}")

    def interrupted(self, number: int) -> None:
        """Called inside a signal handler: one line, straight to the descriptor."""
        if self.output.log_format == "json":
            return
        line = f"\nwarning: {notice(number)}" if self.pretty else Event("signal", notice(number), "warn").to_text()
        os.write(2, f"{line}\n".encode())

    def log(self, text: str) -> None:
        """Output of code that is not ours; seen with -v."""
        if self.output.verbose:
            say(text)

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
        event = Event("error", text, "error", {"code": kind, "exit": exit_code})
        if self.output.log_format == "json":
            say(event.to_json())
        else:
            head = paint("error:", RED, self.color)
            if notes:
                notes = [*notes[:-1], f"{notes[-1]}      (exit {exit_code})"]
            say("\n".join([f"{head} {text.rstrip()}", *([""] if notes else []), *notes]))
        if self.output.verbose >= 2 or os.environ.get("RECHUB_DEBUG") == "1":
            say("".join(traceback.format_exception(error)).rstrip())
        if self._log:
            self._log.write((event.to_json() if self.output.log_format == "json" else event.to_text()) + "\n")

    def close_view(self) -> None:
        if self._live:
            self._live.close()

    def close(self) -> None:
        self.close_view()
        if self._log:
            self._log.close()
        if self._stdout:
            try:
                self._stdout.flush()
            except BrokenPipeError:
                raise
            except OSError as error:
                raise CannotCreate(f"cannot write standard output: {error.strerror}") from error
            self.release()

    def release(self) -> None:
        """Give standard output back."""
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
        return open(path, "a", encoding="utf-8", buffering=1)
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
    return tty and not os.environ.get("NO_COLOR") and not os.environ.get("RECHUB_NO_COLOR")


def paint(text: str, code: str, color: bool) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if color else text
