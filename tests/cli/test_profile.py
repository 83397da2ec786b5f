"""``--profile``: a trace of some steps, and where their time went."""

import json

PARTS = ("waiting for the batch", "forward and loss", "backward", "embedding update", "dense update")


def test_a_trace_is_written_and_summed_up_and_training_is_the_same(data, tmp_path, here):
    train = ("train-ctr", data / "spec.yaml", "--epochs", "1", "--color", "never")
    plain = here(*train, "-o", "plain", cwd=tmp_path)
    lazy = ("--set", "trainer.embedding_optimizer.name=lazy_adam")
    ended = here(*train, "-o", "traced", "--profile", "trace.json", cwd=tmp_path)
    assert (plain.code, ended.code) == (0, 0), ended.err
    assert "profile of 20 steps" in ended.err
    assert "USDT" not in ended.err  # torch's own lines
    assert all(part in ended.err for part in PARTS)
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert any(event.get("name") == "aten::addmm_" or event.get("name") == "aten::mm" for event in events)
    metrics = [(tmp_path / run / "predictions" / "test.parquet").read_bytes() for run in ("plain", "traced")]
    assert metrics[0] == metrics[1]
    again = here(*train, *lazy, "-o", "again", "--profile", "trace.json", cwd=tmp_path)
    assert again.code == 73
    assert "trace.json exists" in again.err
    assert not (tmp_path / "again").exists()


def test_a_training_that_is_too_short_says_so(data, tmp_path, here):
    ended = here(
        *("train-ctr", data / "spec.yaml", "--epochs", "1", "--limit-rows", "100", "-o", "run", "--profile", "t.json"),
        cwd=tmp_path,
    )
    assert ended.code == 0
    assert "fewer than 6 steps" in ended.err
    assert not (tmp_path / "t.json").exists()
