"""train-mtl, and what the other commands make of a run with several labels."""

import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

SPEC = """\
data: {train: train.parquet, valid: valid.parquet, test: test.parquet}
embed_dim: 4
features:
  user_id: {type: sparse}
  item_id: {type: sparse}
  price: {type: dense}
labels:
  click: {type: classification}
  buy: {type: classification, after: click}
  minutes: {type: regression, after: click}
model:
  name: mmoe
  params: {n_experts: 3, expert_hidden_dims: [8], tower_hidden_dims: [4], dropout: 0.0}
trainer:
  n_epoch: 2
  batch_size: 64
  optimizer_params: {lr: 3e-2}
  adaptive_params: {method: uwl}
  monitor: {auc_click: 0.5, auc_buy: 0.5}
  device: cpu
"""
FUNNEL = ("-s", "labels={click: {}, buy: {after: click}}", "-s", "model.name=esmm", "-s", "trainer.monitor=auc_buy")


def log(n, seed):
    rng = np.random.default_rng(seed)
    user, item = rng.integers(0, 12, n), rng.integers(0, 12, n)
    click = (user + item) % 3 == 0
    buy = click & (user % 2 == 0)
    return pa.table(
        {
            "user_id": [f"u{one}" for one in user],
            "item_id": [f"i{one}" for one in item],
            "price": rng.normal(size=n),
            "click": click.astype(np.int8),
            "buy": buy.astype(np.int8),
            "minutes": pa.array(item + rng.normal(size=n), mask=~click),
            "care": np.ones(n),
        }
    )


def epochs_of(run):
    return list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("several")
    for name, rows in {"train": 1500, "valid": 300, "test": 300}.items():
        pq.write_table(log(rows, rows), place / f"{name}.parquet")
    (place / "spec.yaml").write_text(SPEC)
    return place


@pytest.fixture
def run(folder, here):
    """The run of the spec as it is; trained once."""
    if not (folder / "run").exists():
        ended = here("train-mtl", "spec.yaml", "-o", "run", cwd=folder)
        assert ended.code == 0, ended.err
    return folder / "run"


def test_each_label_has_its_loss_weight_and_metrics_in_the_tables(run):
    rows = epochs_of(run)
    labels = ("click", "buy", "minutes")
    assert len(rows) == 2
    wanted = {f"{part}_{label}" for part in ("train_loss", "weight") for label in labels}
    wanted |= {"val_auc_click", "val_logloss_buy", "val_rmse_minutes", "val_mae_minutes", "val_monitor"}
    assert wanted <= rows[0].keys()
    assert not {"val_rmse_click", "val_auc_minutes"} & rows[0].keys()
    last = {name: float(value) for name, value in rows[-1].items() if name.startswith(("val_", "train_"))}
    assert last["train_loss_minutes"] < float(rows[0]["train_loss_minutes"])
    assert last["val_monitor"] == pytest.approx((last["val_auc_click"] + last["val_auc_buy"]) / 2)
    page = (run / "log_table.html").read_text()
    assert all(title in page for title in ("loss of click", "loss of minutes", "weights of the losses"))


def test_test_rows_have_a_score_for_each_label_beside_the_labels(run):
    table = pq.read_table(run / "predictions" / "test.parquet")
    assert table.column_names == ["click", "buy", "minutes", "score_click", "score_buy", "score_minutes"]
    assert json.loads((run / "run.json").read_text())["command"] == "train-mtl"


def test_predict_writes_a_column_for_each_label_and_the_gates_where_asked(run, folder, here, tmp_path):
    arguments = ("predict", run, "-d", folder / "test.parquet", "-o", "s.parquet", "--keep", "user_id")
    assert here(*arguments, cwd=tmp_path).code == 0
    scores = pq.read_table(tmp_path / "s.parquet")
    assert scores.column_names == ["user_id", "score_click", "score_buy", "score_minutes"]
    assert here(*arguments, "--gates", "--overwrite", cwd=tmp_path).code == 0
    gates = pq.read_table(tmp_path / "s.parquet").to_pandas().filter(like="gate_buy_")
    assert gates.shape == (300, 3)
    np.testing.assert_allclose(gates.sum(axis=1), 1, rtol=1e-5)


def test_gates_on_one_labels_metric(run, folder, here):
    data = ("-d", folder / "test.parquet", "-q")
    assert here("evaluate", run, *data, "--require", "auc_click >= 0.1", cwd=folder).code == 0
    assert here("evaluate", run, *data, "--require", "rmse_minutes < 0.001", cwd=folder).code == 3
    vague = here("evaluate", run, *data, "--require", "auc >= 0.1", cwd=folder)
    assert (vague.code, "auc_click, auc_buy" in vague.err) == (2, True)


def test_esmm_gives_the_three_rates_and_measures_the_one_among_clicks(folder, here, tmp_path):
    ended = here("train-mtl", folder / "spec.yaml", *FUNNEL, "-s", "model.params=null", "-o", "run", cwd=tmp_path)
    assert ended.code == 0, ended.err
    found = json.loads((tmp_path / "run" / "run.json").read_text())["test"]
    assert {"auc_click", "auc_buy", "auc_cvr"} <= found.keys()
    assert here("predict", "run", "-d", folder / "test.parquet", "-o", "s.parquet", cwd=tmp_path).code == 0
    scores = pq.read_table(tmp_path / "s.parquet").to_pandas()
    assert list(scores) == ["score_click", "score_buy", "score_ctr", "score_cvr", "score_ctcvr"]
    np.testing.assert_allclose(scores["score_ctr"] * scores["score_cvr"], scores["score_buy"], rtol=1e-4)
    refused = here("predict", "run", "-d", folder / "test.parquet", "-o", "g.csv", "--gates", cwd=tmp_path)
    assert (refused.code, "no experts" in refused.err) == (2, True)


def test_a_label_of_weight_zero_is_as_if_it_were_not_known(folder, here, tmp_path):
    """Half of the clicks are turned around and given no weight: nothing changes."""
    for name in ("train", "valid", "test"):
        table = pq.read_table(folder / f"{name}.parquet")
        half = np.arange(len(table)) % 2 == 0
        masked = pa.array(table["click"].to_numpy(), mask=half)
        wrong = pa.array(np.where(half, 1 - table["click"].to_numpy(), table["click"].to_numpy()))
        place = table.schema.get_field_index("click")
        table = table.set_column(place, "click", wrong).append_column("masked", masked)
        pq.write_table(table.append_column("sure", pa.array((~half).astype(float))), tmp_path / f"{name}.parquet")
    (tmp_path / "spec.yaml").write_text(SPEC)
    common = ("-s", "trainer.monitor=auc_buy", "-s", "trainer.adaptive_params=null")
    labels = {
        "weight": "{click: {weight: sure}, buy: {}}",
        "null": "{click: {column: masked}, buy: {}}",
    }
    rows = {}
    for name, text in labels.items():
        ended = here("train-mtl", "spec.yaml", *common, "-s", f"labels={text}", "-o", name, cwd=tmp_path)
        assert ended.code == 0, ended.err
        rows[name] = epochs_of(tmp_path / name)[-1]
    for column in ("val_auc_click", "val_logloss_click", "val_auc_buy"):
        assert float(rows["weight"][column]) == pytest.approx(float(rows["null"][column]), rel=1e-4), column


def test_a_dry_run_learns_one_batch(folder, here, tmp_path):
    ended = here("train-mtl", folder / "spec.yaml", "--dry-run", cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert "one step over" in ended.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "changes", "said"),
    [
        ("train-ctr", (), "train-ctr does not train mmoe: it is trained by rechub train-mtl"),
        ("train-mtl", ("-s", "labels={click: {}}"), "needs two labels or more, and the spec has 1: click"),
        ("train-mtl", ("-s", "model.name=dssm", "-s", "model.params=null"), "rechub train-match"),
        ("train-mtl", ("-s", "labels.buy.after=clik"), "there is no label 'clik'; did you mean 'click'?"),
        ("train-mtl", ("-s", "labels.click.after=buy"), "goes in a circle"),
        ("train-mtl", ("-s", "labels.buy.after=minutes"), "'minutes' is a number"),
        ("train-mtl", ("-s", "labels.buy.weight=user_id"), "a weight is a number"),
        ("train-mtl", ("-s", "trainer.monitor=auc_bye"), "did you mean 'auc_buy'?"),
        ("train-mtl", ("-s", "trainer.monitor=auc_minutes"), "'auc' is for classification labels"),
        ("train-mtl", ("-s", "trainer.adaptive_params={method: gradnrm}"), "did you mean 'gradnorm'?"),
        ("train-mtl", ("-s", "trainer.adaptive_params={method: gradnorm, alhpa: 1}"), "alhpa"),
        ("train-mtl", ("-s", "trainer.earlystop_taskid=bye"), "did you mean 'buy'?"),
        ("train-mtl", ("-s", "trainer.earlystop_taskid=3"), "there is no label 3"),
        ("train-mtl", ("-s", "trainer.loss={bye: mse}"), "did you mean 'buy'?"),
    ],
)
def test_a_mistake_is_told_before_anything_is_written(folder, here, tmp_path, command, changes, said):
    ended = here(command, folder / "spec.yaml", *changes, "-o", "run", cwd=tmp_path)
    assert ended.code == 78, ended.err
    assert said in ended.err
    assert list(tmp_path.iterdir()) == []


def test_validate_finds_a_purchase_without_its_click(folder, here, tmp_path):
    fine = here("validate", folder / "spec.yaml", cwd=tmp_path)
    assert fine.code == 0, fine.err
    assert "mean minutes" in fine.out
    assert "(known in 3" in fine.out  # a third of the rows are clicked
    turned = here("validate", folder / "spec.yaml", "-s", "labels={buy: {}, click: {after: buy}}", cwd=tmp_path)
    assert turned.code == 3
    assert "rows have click without buy" in turned.out
    assert "train.parquet, row" in turned.out


def test_a_click_model_learns_several_labels_too(folder, here, tmp_path):
    changes = ("-s", "model={name: deepfm, params: {hidden_dims: [8]}}", "--epochs", "1")
    ended = here("train-mtl", folder / "spec.yaml", *changes, "-o", "run", cwd=tmp_path)
    assert ended.code == 0, ended.err


def test_init_writes_a_spec_of_several_labels_that_trains(folder, here, tmp_path):
    ended = here("init", folder / "train.parquet", "--task", "mtl", "-o", "first.yaml", cwd=tmp_path)
    assert ended.code == 0, ended.err
    text = (tmp_path / "first.yaml").read_text()
    assert "buy: {type: classification, after: click}" in text
    assert "minutes: {type: regression, after: click}" in text
    assert here("train-mtl", "first.yaml", "--dry-run", cwd=tmp_path).code == 0
    lone = here("init", folder / "train.parquet", "--task", "mtl", "--label", "click", cwd=tmp_path)
    assert (lone.code, "--label click,OTHER" in lone.err) == (2, True)
