import json
import time

from rechub_cli.run import Event, Events, Progress, Run, events
from rechub_cli.run.status import Status, environment, peak_rss


def test_a_run_tells_its_phase_and_how_long_each_took(tmp_path):
    run = Run.create(str(tmp_path / "run"), "lr")
    status = Status(run)

    def told() -> dict:
        return json.loads((tmp_path / "run" / "run.json").read_text())

    for phase, expected in (
        ("reading", "reading"),
        ("sorting the log", "reading"),
        ("checking test", "reading"),
        ("encoding valid", "encoding"),
    ):
        status.tick(Progress(phase, 1, 2))
        assert told()["phase"] == expected
        time.sleep(0.01)
    before = told()
    status.tick(Progress("train", 1, 2))
    status.event(Event("progress", ""))
    after = told()
    run.finish("done", 0, **status.now())
    assert (after["phase"], after["status"]) == ("training", "running")
    assert after["phases"].keys() == {"starting", "reading", "encoding", "training"}
    assert after["phases"]["reading"] >= 0.02
    assert after["memory"]["peak_rss"] >= 10_000_000
    assert before["heartbeat"] <= after["heartbeat"]
    assert told()["status"] == "done"


def test_the_environment_is_known_and_holds_no_secret(monkeypatch, tmp_path):
    monkeypatch.setenv("RECHUB_TOKEN", "hunter2")
    monkeypatch.setenv("OTHER", "x")
    run = Run.create(str(tmp_path / "run"), "lr")
    run.update(environment=environment())
    run.close()
    kept = json.loads((tmp_path / "run" / "run.json").read_text())["environment"]
    assert kept["variables"]["RECHUB_TOKEN"] == "***"
    assert "OTHER" not in kept["variables"]
    assert kept["cores"] >= 1
    assert peak_rss() > 10_000_000


def test_a_silent_step_still_gives_a_sign_of_life_and_a_chatty_one_no_more_than_it_may(monkeypatch):
    monkeypatch.setattr(events, "PROGRESS_SECONDS", 0.05)
    monkeypatch.setattr(events, "SILENT_SECONDS", 0.2)
    seen: list[Event] = []

    class Kept:
        def event(self, event: Event) -> None:
            seen.append(event)

        def tick(self, progress: Progress) -> None: ...

    with Events(Kept()) as told:
        time.sleep(0.3)  # before any loop
        told.tick(Progress("reading", 7, None))
        time.sleep(0.7)  # inside a long step
        began = time.monotonic()
        for done in range(300):
            told.tick(Progress("train", done, 300, "steps"))
            time.sleep(0.001)
    lasted, n = time.monotonic() - began, len(seen)
    assert {event.data["phase"] for event in seen} == {"starting", "reading", "train"}
    assert 1 <= sum(event.data["phase"] == "train" for event in seen) <= lasted / 0.05 + 1
    assert sum(event.data["phase"] == "reading" for event in seen) >= 3
    time.sleep(0.3)
    assert len(seen) == n  # the thread has ended
    assert [event.seq for event in seen] == list(range(1, n + 1))
