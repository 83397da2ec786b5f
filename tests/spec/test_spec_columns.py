"""The spec meets the columns: globs expand, names are checked, all faults are told at once."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from rechub_cli.errors import SpecError
from rechub_cli.spec.columns import resolve_columns
from rechub_cli.spec.model import Spec
from rechub_cli.spec.read import read_spec

COLUMNS = {
    "click": "integer",
    "user_id": "integer",
    "C1": "string",
    "C2": "string",
    "C10": "string",
    "price": "float",
    "hist": "list",
    "tags": "string",
    "ts": "timestamp",
    "a.b c": "string",
    "star*": "integer",
    "rating": "float",
    "verdict": "string",
    "w": "float",
}
LABELS_AND_MODEL = "labels: {click: {}}\nmodel: {name: lr}\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def resolve(text: str, *overrides: str, **options: object) -> Spec:
    Path("spec.yaml").write_text(text)
    read = read_spec("spec.yaml", overrides, **options)  # type: ignore[arg-type]
    return resolve_columns(read, COLUMNS)


def faults(text: str) -> str:
    with pytest.raises(SpecError) as caught:
        resolve(text)
    return str(caught.value)


def test_a_glob_expands_in_column_order_at_its_place() -> None:
    spec = resolve(
        "features: {price: {type: dense}, C*: {type: sparse, embed_dim: 4}, user_id: {type: sparse}}\n"
        + LABELS_AND_MODEL
    )
    assert list(spec.features) == ["price", "C1", "C2", "C10", "user_id"]
    assert [feature.column for feature in spec.features.values()] == ["price", "C1", "C2", "C10", "user_id"]
    assert spec.features["C10"].embed_dim == 4  # type: ignore[union-attr]


def test_an_exact_name_wins_over_a_glob_and_the_first_glob_over_the_next() -> None:
    spec = resolve(
        "features:\n  C1*: {type: sparse, embed_dim: 1}\n  C*: {type: sparse, embed_dim: 2}\n"
        "  C2: {type: sparse, embed_dim: 3}\n" + LABELS_AND_MODEL
    )
    assert {name: f.embed_dim for name, f in spec.features.items()} == {"C1": 1, "C10": 1, "C2": 3}  # type: ignore[union-attr]


def test_a_glob_leaves_labels_weight_group_and_time_alone_unless_they_are_named() -> None:
    text = "features:\n  '*': {type: sparse}\n  hist: {type: sequence}\n  user_id: {type: sparse}\n"
    text += "  hist2: {type: sequence, column: hist}\n"
    spec = resolve(text + LABELS_AND_MODEL + "weight: w\ngroup: user_id\ntime: ts\n")
    found = set(spec.features)
    assert not found & {"click", "w", "ts"}
    assert {"user_id", "hist", "hist2", "price", "star*"} <= found


def test_a_column_whose_name_has_glob_signs_can_be_named() -> None:
    spec = resolve("features: {'star*': {type: sparse}, 'a.b c': {type: sparse}}\n" + LABELS_AND_MODEL)
    assert list(spec.features) == ["star*", "a.b c"]


def test_labels_get_their_column() -> None:
    spec = resolve(
        "features: {C1: {type: sparse}}\nlabels: {like: {column: rating, positive: '>= 4'}}\nmodel: {name: lr}\n"
    )
    assert spec.labels["like"].column == "rating"


def test_options_come_back_in_the_types_of_the_signature() -> None:
    spec = resolve(
        "features: {C1: {type: sparse}}\nlabels: {click: {}}\n"
        "model: {name: DeepFM, params: {hidden_dims: 64, dropout: '0.1'}}\n"
    )
    assert spec.model.params == {"hidden_dims": [64], "dropout": 0.1}


def test_files_for_validation_take_the_place_of_that_part_of_the_split() -> None:
    text = "features: {C1: {type: sparse}}\n" + LABELS_AND_MODEL
    spec = resolve(text + "data: {valid: v.csv, split: {method: random, test: 0.2}}\n")
    assert spec.data.split is not None
    assert (spec.data.split.valid, spec.data.split.test) == (0.0, 0.2)
    split = resolve(text + "data: {split: {valid: 0.2}}\n", sugar={"data.valid": "v.csv"}).data.split
    assert split is not None
    assert split.valid == 0


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("features: {C3: {type: sparse}}", "spec.yaml:1:12: features.C3: column 'C3' is not in the data"),
        ("features: {x: {type: sparse, column: C3}}", "1:38: features.x.column: column 'C3'"),
        ("features: {X*: {type: sparse}}", "no column matches 'X*'"),
        ("features: {}", "names no feature"),
        (
            "features: {C1: {type: dense}}",
            "column 'C1' holds texts, not what a dense feature takes; use {type: sparse}",
        ),
        ("features: {hist: {type: sparse}}", "holds lists, not what a sparse feature takes; use {type: sequence}"),
        ("features: {ts: {type: dense}}", "use {type: datetime}"),
        ("features: {price: {type: vector, dim: 3}}", "holds floats, not what a vector feature takes"),
        ("features: {'C*': {type: dense}}", "features.C1: column 'C1' holds texts"),
        ("features: {hist: {type: sequence, shares: user}}", "there is no feature 'user'"),
        ("features: {hist: {type: sequence, shares: price}, price: {type: dense}}", "'price' is dense"),
        ("features: {hist: {type: sequence, shares: hist}}", "cannot share with itself"),
        (
            "features: {hist: {type: sequence, shares: C1, min_count: 5}, C1: {type: sparse}}",
            "features.hist.min_count: shares the vocabulary of 'C1', whose min_count holds; set it there",
        ),
        ("features: {click: {type: sparse}}", "features.click: is the column of the label 'click', the answer itself"),
        ("features: {x: {type: dense, column: click}}", "features.x.column: is the column of the label 'click'"),
        (
            "features: {hist: {type: sequence, shares: C1, embed_dim: 4}, C1: {type: sparse}}",
            "shares the rows of 'C1', which are 16 wide",
        ),
        (
            "features: {hist: {type: sequence, shares: C2}, C1: {type: sparse}, C2: {type: sparse, shares: C1}}",
            "did you mean 'C1'?",
        ),
        ("features: {price: {type: dense, transform: {bucketize: [2, 1]}}}", "edges that rise"),
        ("features: {C1: {type: sparse, hash_buckets: 10, max_vocab: 5}}", "hash_buckets keeps no vocabulary"),
        ("features: {h: {type: history, of: C1}}", "a history needs 'user:'"),
        ("features: {h: {type: history, of: C1}}", "no sparse feature reads column 'C1'"),
        ("features: {C1: {type: sparse}, h: {type: history, of: [C1, C1]}}", "each once"),
        ("features: {C1: {type: sparse}, h: {type: history, of: C1, lag: 1hr}}", "'1hr' is no lag"),
        ("features: {C1: {type: sparse}, h: {type: history, of: C1, where: {clik: 1}}}", "'clik' is not in"),
        ("features: {C1: {type: sparse}, h: {type: history, of: C1, tower: item}}", "items have none"),
    ],
)
def test_a_faulty_feature_is_told(lines: str, told: str) -> None:
    text = faults(f"{lines}\n{LABELS_AND_MODEL}")
    assert "problem" in text.split("\n")[0]
    assert told in text


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("labels: {clik: {}}", "spec.yaml:3:10: labels.clik: column 'clik' is not in the data"),
        ("labels: {clik: {}}", "did you mean 'click'?"),
        ("labels: {verdict: {}}", "say which value is positive, as in {positive: 'yes'}"),
        ("labels: {hist: {positive: 1}}", "column 'hist' holds lists, not numbers"),
        ("labels: {price: {type: regression, positive: 3}}", "is for classification labels only"),
        ("weight: ww", "3:9: weight: column 'ww' is not in the data"),
        ("weight: C1", "column 'C1' holds texts; it cannot be the weight"),
        ("group: hist", "column 'hist' holds lists; it cannot be the group"),
        ("data: {split: {method: time}}", "a split by time needs 'time:'"),
        ("data: {split: {method: user}}", "a split by user needs 'user:'"),
        ("data: {split: {valid: 0.5, test: 0.5}}", "leave no rows to train on"),
        ("data: {valid: v.csv, split: {valid: 0.5}}", "data.valid names files already"),
        ("trainer: {monitor: aucc}", "unknown metric 'aucc'"),
        ("trainer: {metrics: [auc, gauc]}", "3:26: trainer.metrics.1: 'gauc' is computed within groups"),
        ("trainer: {metrics: ndcg@x}", "after @ comes a whole number"),
        ("trainer: {metrics: auc@5}", "takes no @k"),
        ("trainer: {loss: bcee}", "did you mean 'bce'?"),
        ("trainer: {optimizer: adm}", "did you mean 'Adam'?"),
        ("trainer: {optimizer: lbfgs}", "unknown optimizer 'lbfgs'"),
        ("trainer: {optimizer_params: {lrr: 1}}", "did you mean 'lr'?"),
        ("trainer: {optimizer_params: {lr: fast}}", "lr: expected a number, got 'fast'"),
        ("trainer: {optimizer_params: {lr: 0}}", "lr: must be above 0"),
        ("trainer: {scheduler: StepLRR, scheduler_params: {}}", "did you mean 'StepLR'?"),
        ("trainer: {scheduler: lambdalr}", "unknown scheduler"),
        ("trainer: {device: gpu}", "3:19: trainer.device: unknown device 'gpu'"),
        (
            "trainer: {scheduler: steplr}",
            "3:22: trainer.scheduler: scheduler 'StepLR' needs the option 'step_size' (integer)",
        ),
        ("trainer: {scheduler: StepLR, scheduler_params: {step_size: 2, gama: 1}}", "did you mean 'gamma'?"),
        ("trainer: {scheduler_params: {step_size: 2}}", "there is no 'scheduler:'"),
    ],
)
def test_a_faulty_name_is_told(lines: str, told: str) -> None:
    base = "features: {C1: {type: sparse}}\nmodel: {name: lr}\n"
    text = faults(base + lines + ("\n" if lines.startswith("labels") else "\nlabels: {click: {}}\n"))
    assert text.startswith("1 problem in the spec\n")
    assert told in text


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("{name: deepfmm}", "did you mean 'deepfm'?"),
        ("{name: deepfm, params: {hidden_dim: [1]}}", "did you mean 'hidden_dims'?"),
        ("{name: deepfm, params: {hidden_dims: [1, x]}}", "model.params.hidden_dims.1: expected an integer, got 'x'"),
        ("{name: deepfm, params: {dropout: true}}", "model.params.dropout: expected a number, got true"),
        ("{name: ./none.py:Model}", "there is no file"),
        ("{name: 'a b:c'}", "is neither pkg.mod:Class nor ./file.py:Class"),
    ],
)
def test_a_faulty_model_is_told(model: str, told: str) -> None:
    text = faults(f"features: {{C1: {{type: sparse}}}}\nlabels: {{click: {{}}}}\nmodel: {model}\n")
    assert text.startswith("1 problem in the spec\n\nspec.yaml:3:")
    assert told in text


def test_good_names_in_any_case_pass() -> None:
    resolve(
        "features: {C1: {type: sparse}}\nlabels: {click: {}}\ngroup: user_id\nmodel: {name: LR}\n"
        "trainer: {optimizer: ADAMW, optimizer_params: {lr: 1e-3, betas: [0.9, 0.99]}, monitor: LogLoss,\n"
        "  metrics: [auc, gauc, ndcg@10], loss: BCE, scheduler: reducelronplateau,\n"
        "  scheduler_params: {patience: 1, factor: 0.1}}\n"
    )
    resolve(
        "features: {C1: {type: sparse}}\nlabels: {click: {}}\nmodel: {name: lr}\n"
        "trainer: {scheduler: OneCycleLR, scheduler_params: {max_lr: 1e-2, step: batch}}\n"
    )


def test_names_known_without_torch_are_those_that_torch_can_make() -> None:
    from rechub_cli.optim import names as made
    from rechub_cli.spec.names import OPTIMIZERS, SCHEDULERS

    for name in OPTIMIZERS:
        assert made.optimizer(name).__name__ == name
        assert made.optimizer(name) is getattr(importlib.import_module(f"torch.optim.{OPTIMIZERS[name]}"), name)
    for name in SCHEDULERS:
        assert made.scheduler(name).__name__ == name
