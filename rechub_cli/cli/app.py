"""The ``rechub`` command: its commands, and how errors before a command's start are shown."""

from __future__ import annotations

import errno
import itertools
import os
import sys
from typing import Annotated

# Typer reads this when it is imported: without a terminal, help is plain text, and quicker by 0.1 s.
if not sys.stdout or not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
    os.environ.setdefault("TYPER_USE_RICH", "0")
import typer

import rechub_cli
from rechub_cli.cli.cache import cache_app
from rechub_cli.cli.command import BROKEN_PIPE, INTERRUPTED, command, finish, flush_stdout
from rechub_cli.cli.console import hold_descriptors, hush_stdout, say
from rechub_cli.cli.doctor import doctor
from rechub_cli.cli.embed import embed
from rechub_cli.cli.environment import settle_environment
from rechub_cli.cli.evaluate import evaluate
from rechub_cli.cli.init import init
from rechub_cli.cli.models import models_app
from rechub_cli.cli.predict import predict
from rechub_cli.cli.publish import publish
from rechub_cli.cli.recommend import recommend
from rechub_cli.cli.runs import runs_app
from rechub_cli.cli.train_ctr import train_ctr
from rechub_cli.cli.train_match import train_match
from rechub_cli.cli.train_mtl import train_mtl
from rechub_cli.cli.validate import validate
from rechub_cli.cli.version import version
from rechub_cli.process import keep_memory, postpone_collection
from rechub_cli.run.events import Event
from rechub_cli.run.safe_text import printable, redacted

EPILOG = """Exit codes: 0 done; 1 run failed; 2 usage; 3 check failed; 65 bad data; 66 no input; 69 device, package
or plugin missing; 70 bug; 73 cannot write; 75 busy; 78 bad spec; 130, 143, 141 stopped by a signal or a closed pipe."""


def make_app() -> typer.Typer:
    """All commands. Their bodies import what they need; their signatures need only typer."""
    app = typer.Typer(
        name="rechub",
        epilog=EPILOG,
        no_args_is_help=True,
        add_completion=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(top)
    command(app, "train-ctr", rich_help_panel="Train")(train_ctr)
    command(app, "train-match", rich_help_panel="Train")(train_match)
    command(app, "train-mtl", rich_help_panel="Train")(train_mtl)
    command(app, "evaluate", rich_help_panel="Use")(evaluate)
    command(app, "predict", rich_help_panel="Use")(predict)
    command(app, "embed", rich_help_panel="Use")(embed)
    command(app, "recommend", rich_help_panel="Use")(recommend)
    command(app, "init", rich_help_panel="Prepare")(init)
    command(app, "validate", rich_help_panel="Prepare")(validate)
    app.add_typer(models_app(), name="models", rich_help_panel="Prepare")
    app.add_typer(runs_app(), name="runs", rich_help_panel="Runs")
    command(app, "publish", rich_help_panel="Runs")(publish)
    app.add_typer(cache_app(), name="cache", rich_help_panel="Runs")
    command(app, "doctor", rich_help_panel="Help")(doctor)
    command(app, "version", rich_help_panel="Help")(version)
    return app


def say_version(wanted: bool) -> None:
    if wanted:
        raise typer.Exit(finish(lambda console: console.result(f"rechub {rechub_cli.__version__}"), {}))


VERSION = typer.Option("--version", is_eager=True, callback=say_version, help="Show the version and exit.")


def top(version: Annotated[bool, VERSION] = False) -> None:
    """Train, evaluate, predict with recommender models, straight from Parquet and CSV files."""


def main() -> None:
    """The console script."""
    sys.exit(run())


def run() -> int:
    """Parse the command line and run it; returns the exit code."""
    hold_descriptors()
    settle_environment()
    postpone_collection()
    keep_memory()
    try:
        code = make_app()(standalone_mode=False, prog_name="rechub")
    except typer.TyperException as error:
        code = usage(error)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except SystemExit as error:  # Typer's answer to a closed pipe, among others
        broken = isinstance(error.__context__, OSError) and error.__context__.errno == errno.EPIPE
        code = BROKEN_PIPE if broken else error.code if isinstance(error.code, int) else 1
        if broken:
            hush_stdout(None)
    except OSError as error:  # help text that cannot be written
        say(f"error: cannot write standard output: {error.strerror}")
        hush_stdout(None)
        code = 73
    return flush_stdout() or int(code or 0)


def usage(error: typer.TyperException) -> int:
    """A wrong flag or argument: one plain message, or one JSON event."""
    code = int(getattr(error, "exit_code", 2))
    text = error.format_message() if hasattr(error, "format_message") else str(error)
    if not text or text.startswith("Usage:"):  # no arguments at all: Typer's help, printed or to be printed
        say(text)
        return code
    if "json" in wanted_log_format():
        say(Event("error", redacted(text), "error", {"code": "usage", "exit": code}).to_json())
        return code
    text = printable(redacted(text))
    context = getattr(error, "ctx", None)
    where = context.command_path if context is not None else "rechub"
    say(f"error: {text[0].lower()}{text[1:]}\nSee: {where} --help")
    return code


def wanted_log_format() -> str:
    """What ``--log-format`` says, found without the parser, which has just failed."""
    words = [*sys.argv[1:], ""]
    for word, after in itertools.pairwise(words):
        if word.startswith("--log-format"):
            return word.partition("=")[2] or after
    return os.environ.get("RECHUB_LOG_FORMAT", "")
