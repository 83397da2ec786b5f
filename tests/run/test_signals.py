import os
import signal
import subprocess
import sys

import pytest

from rechub_cli.errors import Interrupted
from rechub_cli.run import Stop

TWICE = """
import os, signal
from rechub_cli.run import Stop
with Stop() as stop:
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop.requested() == signal.SIGTERM
    os.kill(os.getpid(), signal.SIGINT)
    print("not reached")
"""


def test_the_first_signal_only_asks(capsys):
    heard = []
    before = signal.getsignal(signal.SIGTERM)
    with Stop(heard.append) as stop:
        assert stop.requested() is None
        stop.check()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested() == signal.SIGTERM
        with pytest.raises(Interrupted) as caught:
            stop.check()
    assert heard == [signal.SIGTERM]
    assert caught.value.exit_code == 143
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_second_signal_ends_the_process_at_once():
    ended = subprocess.run([sys.executable, "-c", TWICE], capture_output=True, text=True, check=False)
    assert ended.returncode == 130
    assert ended.stdout == ""


def test_a_hang_up_that_the_parent_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Stop() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.requested() is None
    finally:
        signal.signal(signal.SIGHUP, before)
