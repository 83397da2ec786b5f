"""A polite end: the first signal asks the loop to stop after its batch, the second stops at once."""

from __future__ import annotations

import io
import os
import select
import signal
from collections.abc import Callable
from types import FrameType
from typing import IO, Any

from rechub_cli.errors import Interrupted
from rechub_cli.run.events import Events

POLL_SECONDS = 0.2


class Stop:
    """While entered, SIGINT, SIGTERM and SIGHUP only set a flag that loops poll.

    A hang-up that the parent ignores (``nohup``) stays ignored.

    Args:
        announce: called at once, from the handler, so it must do no more than write one line.
        at_once: for commands that are short and have nothing to save: the handler raises Interrupted.
    """

    def __init__(self, announce: Callable[[int], None] = lambda number: None, *, at_once: bool = False) -> None:
        self._announce = announce
        self._at_once = at_once
        self._received: int | None = None
        self.events: Events | None = None  # told by the loop that polls: a handler must not write to files
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            before = signal.getsignal(number)
            if number == signal.SIGHUP and before == signal.SIG_IGN:
                continue
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            number = signal.SIGTERM
        if self._received is not None:
            os._exit(128 + number)
        self._received = number
        if self._at_once:
            raise Interrupted(number)
        self._announce(number)

    def requested(self) -> int | None:
        """The number of the signal that came, if one did."""
        if self._received is not None and self.events is not None:
            self.events.emit("signal", notice(self._received), {"signal": self._received}, level="warn")
            self.events = None
        return self._received

    def check(self) -> None:
        """Raises Interrupted if a signal came: for loops that have nothing to save."""
        number = self.requested()
        if number is not None:
            raise Interrupted(number)


def notice(number: int) -> str:
    return f"{signal.Signals(number).name} received: finishing the batch, saving (send again to stop at once)"


def waiting(stream: IO[bytes], requested: Callable[[], int | None]) -> IO[bytes]:
    """The same stream, such as standard input, whose reads end when a signal came, though nothing else does.

    Raises:
        Interrupted: from a read.
    """
    try:
        handle = stream.fileno()
    except (OSError, AttributeError):  # bytes in memory
        return stream
    return io.BufferedReader(_Waiting(handle, requested), 1 << 16)


class _Waiting(io.RawIOBase):
    """Reads a descriptor only when there is something to be read, and looks for a signal meanwhile."""

    def __init__(self, handle: int, requested: Callable[[], int | None]) -> None:
        self.handle, self.requested = handle, requested

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.handle

    def readinto(self, buffer: Any) -> int:
        while not select.select([self.handle], [], [], POLL_SECONDS)[0]:
            number = self.requested()
            if number is not None:
                raise Interrupted(number)
        data = os.read(self.handle, len(buffer))
        buffer[: len(data)] = data
        return len(data)
