"""Errors a user can act on, each with the documented exit code of the command that raises it."""

import signal


class RechubError(Exception):
    """One clear message: what is wrong, where, and the remedy.

    The message is shown as it stands, without a traceback; several lines are fine.
    """

    exit_code = 1
    kind = "run"


class RunFailed(RechubError):
    """The run cannot go on: the loss is not a number, memory ran out, a worker died."""


class UsageError(RechubError):
    """A flag or an argument is wrong."""

    exit_code = 2
    kind = "usage"


class CheckFailed(RechubError):
    """A check the user asked for did not hold."""

    exit_code = 3
    kind = "check"


class DataError(RechubError):
    """Values or rows of the data are bad: mend the data."""

    exit_code = 65
    kind = "data"


class NoInput(RechubError):
    """A file, a run or standard input is missing or empty."""

    exit_code = 66
    kind = "no input"


class Unavailable(RechubError):
    """A device, an optional package or a plugin is not there; the message says what to install."""

    exit_code = 69
    kind = "unavailable"


class CannotCreate(RechubError):
    """Output cannot be written: it exists, permission is missing, the disk is full."""

    exit_code = 73
    kind = "cannot create"


class Busy(RechubError):
    """A live process holds the run."""

    exit_code = 75
    kind = "busy"


class SpecError(RechubError):
    """The spec, or an override of it, is invalid; names that the data lacks are included."""

    exit_code = 78
    kind = "spec"


class Interrupted(RechubError):
    """A signal asked the run to stop; its state was saved."""

    kind = "interrupted"

    def __init__(self, signal_number: int, message: str = "") -> None:
        super().__init__(message or f"stopped by {signal.Signals(signal_number).name}")
        self.exit_code = 128 + signal_number
