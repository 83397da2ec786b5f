import errno
import fcntl

import pytest

from rechub_cli.errors import Busy, Interrupted
from rechub_cli.run.lock import Lock, holder_of


def test_a_lock_is_one_process_s_until_it_lets_go(tmp_path):
    held = Lock.take(tmp_path, argv=["rechub", "train-ctr", "spec.yaml"])
    assert held.trusted
    assert "rechub train-ctr spec.yaml" in str(holder_of(tmp_path))
    with pytest.raises(Busy, match=r"in use by pid .* \(rechub train-ctr spec.yaml\); use --wait 600"):
        Lock.take(tmp_path)
    held.release()
    assert holder_of(tmp_path) is None
    Lock.take(tmp_path).release()


def test_waiting_ends_when_a_signal_came(tmp_path):
    held = Lock.take(tmp_path)

    def check():
        raise Interrupted(15)

    with pytest.raises(Interrupted):
        Lock.take(tmp_path, wait=60, check=check)
    held.release()


def test_a_folder_that_is_moved_away_while_one_waits_is_not_the_one_that_is_locked(tmp_path):
    folder = tmp_path / "run"
    held = Lock.take(folder)

    def move():
        if folder.exists():
            folder.rename(tmp_path / "aside")
            held.release()

    taken = Lock.take(folder, wait=60, check=move)
    assert holder_of(folder)
    assert holder_of(tmp_path / "aside") is None
    taken.release()


def test_a_file_system_without_locks_is_gone_on_with_and_not_trusted(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    held = Lock.take(tmp_path)
    assert not held.trusted
    held.release()
