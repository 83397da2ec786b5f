"""What every command has in common: the output flags, a console, and how it ends.

A command is a plain function whose first parameter is a Console; the decorator adds the output flags to
its signature, so that they work after every subcommand, and turns whatever is raised into an exit code.
"""

from __future__ import annotations

import difflib
import errno
import functools
import inspect
import os
import sys
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import typer

from rechub_cli.cli import options
from rechub_cli.cli.console import Console, Output, hush_stdout, say
from rechub_cli.errors import CannotCreate, RechubError
from rechub_cli.run.events import Event
from rechub_cli.run.safe_text import printable, redacted

BROKEN_PIPE, INTERRUPTED, INTERNAL = 141, 130, 70
VARIABLES = (
    "RUNS_DIR",
    "DATA",
    "DEVICE",
    "LOG_FORMAT",
    "LOG_LEVEL",
    "PROGRESS",
    "PLUGINS",
    "DEBUG",
    "NO_COLOR",
    "KERNELS",
)
OUT_OF_MEMORY = "out of memory; use a smaller trainer.batch_size, embed_dim or max_vocab"

_FLAGS: dict[str, Any] = {
    "json": options.Json,
    "quiet": options.Quiet,
    "verbose": options.Verbose,
    "log_format": options.LogFormat,
    "log_file": options.LogFile,
    "progress": options.Progress,
    "color": options.Color,
}


def command(app: typer.Typer, name: str, **settings: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function ``(console, ...)`` as the command ``name``."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(function, eval_str=True)
        own = list(signature.parameters.values())[1:]
        defaults = {field.name: field.default for field in fields(Output)}
        flags = [
            inspect.Parameter(flag, inspect.Parameter.KEYWORD_ONLY, default=defaults[flag], annotation=annotation)
            for flag, annotation in _FLAGS.items()
        ]

        @functools.wraps(function)
        def run(**arguments: Any) -> None:
            output = {flag: arguments.pop(flag) for flag in _FLAGS}
            raise typer.Exit(finish(lambda console: function(console, **arguments), output))

        parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own] + flags
        run.__signature__ = signature.replace(parameters=parameters, return_annotation=None)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        del run.__wrapped__
        app.command(name, **settings)(run)
        return function

    return register


def finish(body: Callable[[Console], None], output: dict[str, Any]) -> int:
    """Run the body of a command; every way it can end becomes its documented exit code."""
    console: Console | None = None
    try:
        console = Console(Output(**output))
        for text in unknown_variables():
            console.event(Event("warning", text, "warn"))
        body(console)
        console.close()
    except BrokenPipeError:
        hush_stdout(console)
        return BROKEN_PIPE
    except KeyboardInterrupt as error:
        return _fail(console, error, INTERRUPTED)
    except RechubError as error:
        return _fail(console, error, error.exit_code)
    except MemoryError as error:
        return _fail(console, RechubError(OUT_OF_MEMORY), 1, error)
    except RuntimeError as error:
        if type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error):  # torch's own
            return _fail(console, RechubError(OUT_OF_MEMORY), 1, error)
        return _fail(console, error, INTERNAL)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return _fail(console, CannotCreate(f"the disk is full: {error}"), CannotCreate.exit_code, error)
        return _fail(console, error, INTERNAL)
    except Exception as error:
        return _fail(console, error, INTERNAL)
    finally:
        if console is not None:
            console.release()
    return 0


def _fail(console: Console | None, error: BaseException, exit_code: int, cause: BaseException | None = None) -> int:
    if cause is not None:
        error.__cause__ = cause
    if isinstance(error, KeyboardInterrupt):
        error = RechubError("interrupted")
    if console is None:
        say(f"error: {printable(redacted(str(error)))}")
    else:
        console.error(error, exit_code)
    return exit_code


def unknown_variables() -> list[str]:
    """A remark on each environment variable that looks like one of ours and is none."""
    known = [f"RECHUB_{name}" for name in VARIABLES]
    found = []
    for name in sorted(os.environ):
        if name.startswith("RECHUB_") and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            found.append(f"unknown environment variable {name}" + (f"; did you mean {near[0]}?" if near else ""))
    return found


def flush_stdout() -> int:
    """Before the interpreter does it and complains: 0, or the exit code of a closed pipe or a full disk."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        hush_stdout(None)
        return BROKEN_PIPE
    except OSError as error:
        say(f"error: cannot write standard output: {error.strerror}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return CannotCreate.exit_code
    except (AttributeError, ValueError):
        pass  # standard output is closed, and nothing was written to it
    return 0
