"""A polite end: the first signal asks the loop to stop after its batch, the second stops at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

from rechub_cli.errors import Interrupted
from rechub_cli.run.events import Events


class Stop:
    """While entered, SIGINT, SIGTERM and SIGHUP only set a flag that loops poll.

    A hang-up that the parent ignores (``nohup``) stays ignored. ``announce`` is called at once, from
    the handler, so it must do no more than write one line.
    """

    def __init__(self, announce: Callable[[int], None] = lambda number: None) -> None:
        self._announce = announce
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
