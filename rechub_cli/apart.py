"""Work in a process of its own: two threads that compute in Python take turns, two processes do not."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import multiprocessing
import os
import pickle
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Generator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from rechub_cli.errors import RechubError, RunFailed

T = TypeVar("T")
Tell = Callable[..., None]
_PR_SET_PDEATHSIG = 1  # Linux's <sys/prctl.h>
_PATIENCE = 10  # seconds
_LOWER = 5  # of a process that works ahead: the priority of what is waited for is higher


def apart(work: Callable[[Tell], Generator[T]], progress: Tell, ahead: int | None = None) -> Generator[T]:
    """What ``work(progress)`` yields or raises; close it, and the work ends, by an error where it tells of progress.

    On Linux the work begins now, in a copy of this process, which must not run threads of its own yet: it does not
    wait for what it yields to be taken, unless more than ``ahead`` bytes are not. ``progress`` is called here, while
    something is waited for, and what it raises is raised. Elsewhere, and once torch is imported (its threads do not
    survive in a copy), all is done here in turn.

    Raises:
        RunFailed: the process of the work was killed.
    """
    if sys.platform != "linux" or not hasattr(os, "memfd_create") or "torch" in sys.modules:
        return work(progress)
    context = multiprocessing.get_context("fork")
    told, tell = context.Pipe()
    found = os.memfd_create("found")  # a pipe would hand over large things in a thousand pieces
    child = context.Process(target=_run, args=(work, (told, tell), found, os.getpid(), ahead), daemon=True)
    with warnings.catch_warnings():  # of threads: they are Arrow's, which starts its own anew in a copy
        warnings.simplefilter("ignore", DeprecationWarning)
        child.start()
    tell.close()
    taken = _taken(child, told, found, progress)
    next(taken)
    return taken


def _taken(child: BaseProcess, told: Connection, found: int, progress: Tell) -> Generator[Any]:
    try:
        yield None  # from now on the process is ended with this
        while (message := told.recv()) is not None:
            kind, what = message
            if kind == "told":
                progress(*what)
                continue
            value = _read(found, *what)
            with contextlib.suppress(ConnectionError):  # it has ended
                told.send(what[1] - what[0])
            if kind == "raised":
                raise value
            yield value
    except EOFError as error:
        child.join()
        ended = -(child.exitcode or 0)
        reason = signal.strsignal(ended) if ended > 0 else None
        raise RunFailed(
            f"the process that reads the rows ended: {reason or 'no reason known'}; is memory short?"
        ) from error
    finally:
        told.close()  # so that it cannot tell any more
        child.join(_PATIENCE)
        child.kill()
        child.join()
        os.close(found)


def _read(found: int, start: int, end: int) -> Any:
    """What lies there, whose memory is given back."""
    with mmap.mmap(found, end - start, offset=start) as memory:
        value = pickle.loads(memory)
        memory.madvise(mmap.MADV_REMOVE)
    return value


def _run(
    work: Callable[[Tell], Generator[Any]],
    pipe: tuple[Connection, Connection],
    found: int,
    parent: int,
    ahead: int | None,
) -> None:
    """In the copy: signals are the parent's to answer, and its end is the end of this."""
    told, tell = pipe
    waiting = 0  # bytes that are not taken
    told.close()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return
    if ahead is not None:
        os.nice(_LOWER)
    with contextlib.suppress(ConnectionError, EOFError), open(found, "w+b") as file:  # nobody listens any more

        def put(kind: str, value: Any) -> None:
            nonlocal waiting
            start = file.seek(-(-file.tell() // mmap.PAGESIZE) * mmap.PAGESIZE)
            pickle.dump(value, file, pickle.HIGHEST_PROTOCOL)
            file.flush()
            tell.send((kind, (start, file.tell())))
            waiting += file.tell() - start
            while (ahead is not None and waiting > ahead) or tell.poll():
                waiting -= tell.recv()

        try:
            for value in work(lambda *what: tell.send(("told", what))):
                put("found", value)
            tell.send(None)
        except BaseException as error:
            if not isinstance(error, RechubError):
                error.add_note(traceback.format_exc())
            put("raised", error if _travels(error) else RunFailed(f"{type(error).__name__}: {error}"))


def _travels(error: BaseException) -> bool:
    """Whether another process gets what was raised: errors of somebody else's may not be made from their message."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return False
    return True
