import json
import math

from rechub_cli.run import Event, Events, Progress, Record


class Kept:
    def __init__(self) -> None:
        self.events: list[Event] = []
        self.ticks: list[Progress] = []

    def event(self, event: Event) -> None:
        self.events.append(event)

    def tick(self, progress: Progress) -> None:
        self.ticks.append(progress)


def test_an_event_is_one_line_of_strict_json():
    line = Event("epoch.end", "epoch 1", data={"loss": math.nan, "auc": {"valid": math.inf}, "n": 3}).to_json()
    found = json.loads(line, parse_constant=lambda name: pytest_fail(name))
    assert found["data"] == {"loss": None, "auc": {"valid": None}, "n": 3}
    assert found["nonfinite"] == ["loss", "auc.valid"]
    assert found["v"] == 1
    assert found["ts"].endswith("Z")
    assert "\n" not in line


def pytest_fail(name: str) -> None:
    raise AssertionError(f"{name} is not strict JSON")


def test_a_log_line_shows_pairs_for_facts_and_the_sentence_for_warnings():
    assert (
        Event("data.ready", "7 rows", data={"train": 7, "path": "a b"})
        .to_text()
        .endswith('info  data.ready train=7 path="a b"')
    )
    assert Event("warning", "look out", "warn", {"n": 1}).to_text().endswith("warn  warning look out")


def test_events_are_numbered_and_the_record_hears_what_came_before_it(tmp_path):
    seen = Kept()
    events = Events(seen)
    events.emit("run.start", "one")
    record = Record(tmp_path)
    events.attach(record, "my-run")
    events.emit("run.end", "two")
    record.close()
    lines = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [(line["seq"], line["event"], line["run"]) for line in lines] == [
        (1, "run.start", "my-run"),
        (2, "run.end", "my-run"),
    ]
    assert [event.seq for event in seen.events] == [1, 2]


def test_progress_reaches_listeners_at_once_and_the_log_every_ten_seconds(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("rechub_cli.run.events.time.monotonic", lambda: now[0])
    seen = Kept()
    events = Events(seen)
    for second in range(25):
        now[0] = float(second)
        events.tick(Progress("train", second, 100, "steps"))
    assert len(seen.ticks) == 25
    assert [event.data["steps"] for event in seen.events] == ["10/100", "20/100"]


def epoch(number: int, auc: float, best: bool) -> dict[str, object]:
    return {
        "epoch": number,
        "step": number * 10,
        "train_loss": 0.5 / number,
        "val_auc": auc,
        "rows_per_s": 12345,
        "seconds": 61.0,
        "best": best,
    }


def test_the_tables_hold_every_epoch(tmp_path):
    record = Record(tmp_path)
    events = Events()
    events.attach(record, "r")
    events.emit("epoch.end", "", epoch(1, 0.7, True))
    events.emit("epoch.end", "", epoch(2, 0.6, False))
    record.close()
    rows = (tmp_path / "metrics.csv").read_text().splitlines()
    assert rows[0].startswith("epoch,step,train_loss,val_auc")
    assert rows[2].startswith("2,20,0.25,0.6")
    table = (tmp_path / "log_table.txt").read_text()
    assert "VAL_AUC" in table
    assert "1 *" in table
    assert "1:01" in table


def test_the_page_shows_a_curve_for_each_loss_and_metric_and_escapes_names(tmp_path):
    from rechub_cli.run.curves import page

    found = page("<run>", [epoch(1, 0.7, True), epoch(2, math.nan, False), epoch(3, 0.8, True)])
    assert found.count("<svg") == 2
    assert "&lt;run&gt;" in found
    assert "nan" not in found.split("<table>")[0]
    assert found.count("<circle") == 3 + 2
    assert "http" not in found.replace("http-equiv", "")


def test_the_loss_of_batches_is_drawn_behind_that_of_epochs_and_only_the_last_best_epoch_is_marked(tmp_path):
    record = Record(tmp_path)
    for done in range(1, 10_001):
        record.tick(Progress("train", done, 10_000, "steps", 1, 2, 1 / done))
    record.tick(Progress("read", 5, 10))
    assert 500 < len(record.losses) < 2000
    assert record.losses[-1][0] > 9_900
    record.event(Event("epoch.end", "", data=epoch(1, 0.7, True)))
    record.event(Event("epoch.end", "", data=epoch(2, 0.8, True)))
    record.close()
    page = (tmp_path / "log_table.html").read_text()
    assert page.count("<polyline") == 3
    assert "each batch" in page
    assert page.count("<tr class=best>") == 1
    assert "2 epochs; best: epoch 2, val_auc 0.8000" in page
    assert (tmp_path / "log_table.txt").read_text().count("*") == 1


def test_a_record_goes_on_where_another_process_left_it(tmp_path):
    record, events = Record(tmp_path), Events()
    events.attach(record, "r")
    events.emit("run.start", "")
    events.emit("epoch.end", "", epoch(1, 0.7, True))
    record.close()
    with open(tmp_path / "events.jsonl", "a") as file:
        file.write('{"seq": 3, "event": "pro')  # the disk was full
    record, events = Record(tmp_path), Events()
    events.emit("run.start", "")
    events.attach(record, "r")
    assert record.recall([epoch(1, 0.7, True), epoch(2, 0.8, True)], 20) == [2]
    events.emit("epoch.end", "", epoch(2, 0.8, True))
    events.emit("epoch.end", "", epoch(3, 0.6, False))
    record.close()
    lines = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [line["seq"] for line in lines] == [1, 2, 3, 4, 5]
    assert [row.split(",")[0] for row in (tmp_path / "metrics.csv").read_text().splitlines()[1:]] == ["1", "2", "3"]
