"""On a GPU the same model learns the same from the same rows: every registered model, and the commands.

Skipped where there is none: `pytest tests/trainers/test_gpu.py` on a machine with one.
"""

import copy
import csv
import io
import json
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from rechub_cli import CTRTrainer, MatchTrainer, MTLTrainer
from rechub_cli.batch import Batch
from rechub_cli.nn.table import EmbeddingTable
from rechub_cli.testing import match_rows
from rechub_cli.testing.ranking import _rows, schema_of

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")

SAMPLES = Path(__file__).parents[2] / "sample_data"
PLUGINS = list(entry_points(group="rechub.models"))
RANKING = [entry for entry in PLUGINS if entry.module.startswith("rechub_cli.models.ranking.")]
MULTI_TASK = [entry for entry in PLUGINS if entry.module.startswith("rechub_cli.models.multi_task.")]
MATCHING = [
    entry
    for entry in PLUGINS
    if entry.module.startswith("rechub_cli.models.matching.") and entry.name not in ("popular", "item_knn", "ease")
]
SETTINGS = [
    {},
    {"embedding_optimizer": {"name": "lazy_adam", "l2": 1e-3}},
    {"embedding_optimizer": {"name": "rowwise_adagrad"}, "clip_norm": 0.1},
    {"embedding_optimizer": {"name": "lazy_adam"}, "regularization_params": {"embedding_l2": 1e-3, "dense_l1": 1e-4}},
]


def labelled(size, tasks=1):
    batch = _rows(size)
    odd = (batch.sparse[:, 0] % 2 == batch.sparse[:, 1] % 2).float()[:, None]
    labels = torch.cat([odd, 1 - odd], dim=1)[:, :tasks]
    return Batch(batch.sparse, batch.dense, batch.sequences, labels=labels)


def built(entry, **options):
    torch.manual_seed(3)
    model = entry.load()(schema_of(entry.load()), **options)
    with torch.no_grad():  # away from small embeddings, which hide differences
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
        for table in model.modules():
            if isinstance(table, EmbeddingTable):
                table.weight[table.padding] = 0.0  # as it always is
    return model


def without_dropout(model):
    for module in model.modules():
        if "Dropout" in type(module).__name__:
            module.p = 0.0
    return model


def close(name, left, right, tolerance=2e-3):
    left, right = left.detach().cpu(), right.detach().cpu()
    assert torch.allclose(left, right, atol=tolerance, rtol=tolerance), f"{name}: off by {(left - right).abs().max()}"


@pytest.mark.parametrize("entry", [*RANKING, *MULTI_TASK], ids=lambda entry: entry.name)
def test_logits_and_gradients_are_those_of_the_cpu(entry):
    here = without_dropout(built(entry))
    there = copy.deepcopy(here).cuda()
    batch = labelled(64, len(here.schema.tasks))
    for model, rows in ((here, batch), (there, batch.to("cuda"))):
        logits = model(rows).logits
        binary_cross_entropy_with_logits(logits, rows.labels).backward()
        model.logits = logits
    close("logits", here.logits, there.logits, 1e-4)
    for (name, parameter), other in zip(here.named_parameters(), there.parameters(), strict=True):
        assert (parameter.grad is None) == (other.grad is None), name
        if parameter.grad is not None:
            close(name, parameter.grad, other.grad, 1e-4)


@pytest.mark.parametrize("settings", SETTINGS, ids=["same", "lazy_adam", "rowwise_adagrad", "penalty"])
@pytest.mark.parametrize("name", ["deepfm", "din", "dcn_v2"])
def test_steps_lead_where_they_lead_on_a_cpu(name, settings, tmp_path):
    entry = next(entry for entry in RANKING if entry.name == name)
    trained = []
    for device in ("cpu", "cuda"):
        trainer = CTRTrainer(
            without_dropout(built(entry)),
            optimizer_params={"lr": 1e-2},
            n_epoch=2,
            device=device,
            seed=1,
            model_path=str(tmp_path),
            **settings,
        )
        trainer.fit([labelled(64), labelled(32), labelled(33)])
        trained.append(trainer)
    for (name, parameter), other in zip(
        trained[0].model.named_parameters(), trained[1].model.parameters(), strict=True
    ):
        close(name, parameter, other)
    scores = [torch.tensor(trainer.predict(trainer.model, [labelled(20)])) for trainer in trained]
    close("scores", *scores)


def plain(size, tasks=1):
    """Rows without sequences, whose steps are recorded."""
    batch = labelled(size, tasks)
    return Batch(batch.sparse, batch.dense, labels=batch.labels)


RECORDED = [entry for entry in [*RANKING, *MULTI_TASK] if entry.name != "din"]
SCHEDULES = [
    {},
    {"embedding_optimizer": {"name": "lazy_adam", "l2": 1e-3}, "clip_norm": 0.1},
    {"scheduler_fn": torch.optim.lr_scheduler.StepLR, "scheduler_params": {"step_size": 1, "gamma": 0.5}},
]


def learnt_on_both(first, batches, tmp_path, settings):
    """The trainer on the GPU, which recorded a step and learnt what the one on the CPU did."""
    trained = []
    for device in ("cpu", "cuda"):
        trainer = (MTLTrainer if len(first.schema.tasks) > 1 else CTRTrainer)(
            copy.deepcopy(first),
            optimizer_params={"lr": 1e-3},
            n_epoch=2,
            device=device,
            seed=1,
            model_path=str(tmp_path),
            **settings,
        )
        trainer.fit(batches)
        trained.append(trainer)
    here, there = trained
    assert there.replay.recorded is not None
    assert here.history["train_loss"].to_list() == pytest.approx(there.history["train_loss"].to_list(), rel=5e-3)
    for (name, parameter), other in zip(here.model.named_parameters(), there.model.parameters(), strict=True):
        close(name, parameter, other)
    for (name, buffer), other in zip(here.model.named_buffers(), there.model.buffers(), strict=True):
        close(name, buffer.float(), other.float())
    return there


@pytest.mark.parametrize("settings", SCHEDULES, ids=["same", "lazy_adam", "scheduler"])
@pytest.mark.parametrize("entry", RECORDED, ids=lambda entry: entry.name)
def test_recorded_steps_learn_what_steps_learn_on_a_cpu(entry, settings, tmp_path):
    torch.manual_seed(3)
    whole = schema_of(entry.load())
    schema = whole.with_features(feature for feature in whole.features if feature.kind != "sequence")
    first = without_dropout(entry.load()(schema))
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    batches = [plain(size, len(schema.tasks)) for size in (64, 64, 64, 64, 64, 64, 33)]
    learnt_on_both(first, batches, tmp_path, settings)


@pytest.mark.parametrize("settings", SCHEDULES[:2], ids=["same", "lazy_adam"])
@pytest.mark.parametrize("entry", [*RANKING, *MULTI_TASK], ids=lambda entry: entry.name)
def test_recorded_steps_with_sequences_learn_what_steps_learn_on_a_cpu(entry, settings, tmp_path):
    first = without_dropout(built(entry))
    rows = labelled(64 * 7 + 33, len(first.schema.tasks))
    batches = [rows.slice(start, min(start + 64, len(rows))) for start in range(0, len(rows), 64)]
    assert learnt_on_both(first, batches, tmp_path, settings).replay.room


def test_recorded_steps_drop_other_units_each_time(tmp_path):
    whole = schema_of(RANKING[0].load())
    schema = whole.with_features(feature for feature in whole.features if feature.kind != "sequence")
    model = next(entry for entry in RANKING if entry.name == "mlp").load()(schema, dropout=0.5)
    trainer = CTRTrainer(model, optimizer_params={"lr": 0.0}, device="cuda", model_path=str(tmp_path))
    batch, losses = plain(64), []
    trainer.optimization.start(1, None, False)
    model.train()
    for _ in range(12):
        losses.append(float(trainer.step(batch)[0]))
    assert trainer.replay.recorded is not None
    assert len(set(losses)) == len(losses)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("entry", RANKING, ids=lambda entry: entry.name)
def test_every_ranking_model_trains_and_scores(entry, precision, tmp_path):
    trainer = CTRTrainer(
        built(entry), n_epoch=3, device="cuda", precision=precision, seed=1, model_path=str(tmp_path), monitor="auc"
    )
    trainer.fit([labelled(64), labelled(1)], [labelled(40)])
    assert torch.tensor(trainer.predict(trainer.model, [labelled(9)])).isfinite().all()


@pytest.mark.parametrize("weighting", ["equal", "uwl", "gradnorm", "metabalance", "pcgrad", "dwa", "stch"])
@pytest.mark.parametrize("entry", MULTI_TASK, ids=lambda entry: entry.name)
def test_every_multi_task_model_and_weighting_trains(entry, weighting, tmp_path):
    trainer = MTLTrainer(
        built(entry), adaptive_params={"method": weighting}, n_epoch=2, device="cuda", seed=1, model_path=str(tmp_path)
    )
    trainer.fit([labelled(64, 2), labelled(32, 2)], [labelled(40, 2)])
    assert torch.tensor(trainer.predict(trainer.model, [labelled(9, 2)])).isfinite().all()


class Items:
    """The catalogue of the small items, and how often each was chosen."""

    batch = match_rows.catalogue()
    counts = torch.arange(1, match_rows.ITEMS + 1)


@pytest.mark.parametrize("negatives", ["in_batch", "full", ("uniform", {"n": 5})], ids=str)
@pytest.mark.parametrize("entry", MATCHING, ids=lambda entry: entry.name)
def test_every_retrieval_model_learns_what_it_learns_on_a_cpu(entry, negatives, tmp_path):
    vectors = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(3)
        model = without_dropout(entry.load()(match_rows.MATCH_SCHEMA))
        trainer = MatchTrainer(
            model,
            optimizer_params={"lr": 1e-2},
            negatives=negatives,
            n_epoch=2,
            device=device,
            seed=1,
            catalogue=Items(),
            model_path=str(tmp_path),
        )
        batches = [match_rows.some_users(32), match_rows.some_users(17)]
        trainer.fit(batches, batches[1:])
        model.eval()
        with torch.no_grad():
            vectors.append(model.embed_items(match_rows.catalogue().to(device)))
    if isinstance(negatives, str):  # what is drawn on a GPU are other random numbers
        close("items", *vectors, tolerance=1e-2)


def rechub(*words):
    ended = subprocess.run([sys.executable, "-m", "rechub_cli", *map(str, words)], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.parametrize(
    ("command", "spec"),
    [("train-ctr", "ctr/deepfm.yaml"), ("train-mtl", "mtl/mmoe.yaml"), ("train-match", "match/sasrec.yaml")],
)
def test_commands_on_a_gpu_write_what_they_write_on_a_cpu(command, spec, tmp_path):
    path = SAMPLES / spec
    run = tmp_path / "run"
    rechub(command, path, "-o", run, "--device", "cuda", "--epochs", 2, "-q")
    measured = {}
    for device in ("cuda", "cpu"):
        measured[device] = json.loads(
            rechub("evaluate", run, "--data", path.parent / "test.parquet", "--device", device, "--json", "-q")
        )["metrics"]
    for name, value in measured["cpu"].items():
        assert value == pytest.approx(measured["cuda"][name], abs=2e-3), name
    if command == "train-match":
        files = [tmp_path / f"{device}.parquet" for device in ("cuda", "cpu")]
        for device, file in zip(("cuda", "cpu"), files, strict=True):
            rechub("embed", run, "--mode", "item", "--device", device, "-o", file, "-q")
        here, there = (torch.tensor(pq.read_table(file)["embedding"].to_pylist()) for file in files)
        close("embeddings", here, there, 1e-4)


def test_a_resumed_run_ends_where_one_without_a_stop_does(tmp_path):
    spec, common = SAMPLES / "ctr" / "deepfm.yaml", ("--device", "cuda", "--seed", 1, "-q")
    rechub("train-ctr", spec, "-o", tmp_path / "once", "--epochs", 3, *common)
    rechub("train-ctr", spec, "-o", tmp_path / "twice", "--epochs", 2, *common)
    rechub("train-ctr", spec, "-o", tmp_path / "twice", "--epochs", 3, "--resume", "must", *common)
    texts = [(tmp_path / name / "metrics.csv").read_text() for name in ("once", "twice")]
    tables = [list(csv.DictReader(io.StringIO(text))) for text in texts]
    assert len(tables[0]) == len(tables[1]) == 3
    for once, twice in zip(*tables, strict=True):
        assert float(once["train_loss"]) == pytest.approx(float(twice["train_loss"]), abs=1e-3)


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@pytest.mark.parametrize("optimizer", ["same", "lazy_adam"])
def test_no_step_of_a_ranking_model_waits_for_the_gpu(optimizer, tmp_path):
    """What asks the GPU for a number makes the host wait until all is done."""
    trainer = CTRTrainer(
        built(next(entry for entry in RANKING if entry.name == "deepfm")),
        embedding_optimizer={"name": optimizer, "l2": 1e-4},
        clip_norm=1.0,
        regularization_params={"embedding_l1": 1e-5},
        device="cuda",
        model_path=str(tmp_path),
    )
    batches = [labelled(64).to("cuda") for _ in range(4)]
    trainer.train_one_epoch(batches)
    trainer.model.train()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for batch in batches:
            trainer.step(batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
