"""What a person at a terminal sees."""

import re
import sys

import pexpect
from real_command import environment

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def see(arguments: list[str], cwd, **env: str) -> tuple[int, str]:
    """The exit code and everything that was shown, escapes included."""
    child = pexpect.spawn(
        sys.executable,
        ["-m", "rechub_cli", *arguments],
        cwd=str(cwd),
        env={**environment(TERM="xterm-256color", LANG="C.UTF-8"), **env},
        dimensions=(30, 110),
        timeout=100,
        encoding="utf-8",
    )
    child.expect(pexpect.EOF)
    child.close()
    return child.exitstatus, child.before


def test_training_shows_facts_a_table_a_bar_and_what_to_do_next(data, tmp_path):
    code, shown = see(["train-ctr", str(data / "spec.yaml"), "-o", "run"], tmp_path)
    text = ANSI.sub("", shown)
    assert code == 0
    for expected in ("✔ spec      spec.yaml, deepfm", "→ run       run", "EPOCH", "VAL_AUC",
                     "✔ best      epoch 2, val_auc 0.", "next      rechub evaluate run", "━"):  # fmt: skip
        assert expected in text
    assert text.rstrip().splitlines()[-1] == "run"
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h")  # the cursor is back


def test_no_color_means_no_color(data, tmp_path):
    code, shown = see(["evaluate", "nix", "-d", "x"], tmp_path, NO_COLOR="1")
    assert code == 66
    assert "\x1b" not in shown
    _, shown = see(["evaluate", "nix", "-d", "x"], tmp_path)
    assert "\x1b[31merror:" in shown


def test_control_c_in_training_saves_and_says_so(data, tmp_path):
    child = pexpect.spawn(
        sys.executable,
        ["-m", "rechub_cli", "train-ctr", str(data / "spec.yaml"), "-o", "run", "--set", "trainer.n_epoch=100000",
         "--set", "trainer.earlystop_patience=100000"],
        cwd=str(tmp_path),
        env=environment(TERM="xterm-256color", LANG="C.UTF-8"),
        dimensions=(30, 110),
        timeout=60,
        encoding="utf-8",
    )  # fmt: skip
    child.expect("VAL_AUC")
    child.expect("epoch 2/")
    child.sendintr()
    child.expect("SIGINT received: finishing the batch, saving")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 130
