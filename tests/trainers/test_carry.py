"""What a grown training starts from is what the training before it would have gone on with."""

from __future__ import annotations

import copy

import pytest
import torch

from rechub_cli.batch import Batch, Jagged
from rechub_cli.models.ranking.deepfm import DeepFM
from rechub_cli.schema import Feature, Schema, Task
from rechub_cli.trainers.carry import carry_optimizers, carry_weights
from rechub_cli.trainers.ctr import CTRTrainer
from rechub_cli.trainers.state import flatten, unflatten

SMALL, LARGE = {"a": 5, "b": 4}, {"a": 8, "b": 6}


def schema(sizes):
    return Schema(
        (
            Feature("a", "sparse", 4, sizes["a"]),
            Feature("b", "sparse", 4, sizes["b"]),
            Feature("x", "dense"),
            Feature("h", "sequence", 4, sizes["a"], shares="a", max_len=3),
        ),
        (Task("y"),),
    )


def batches(sizes, seed, n=6):
    """Some ids of every feature, its largest among them."""
    random = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(n):
        columns = [torch.randint(2, size, (16,), generator=random) for size in sizes.values()]
        columns[0][0], columns[1][0] = sizes["a"] - 1, sizes["b"] - 1
        found.append(
            Batch(
                sparse=torch.stack(columns, 1).int(),
                dense=torch.randn(16, 1, generator=random),
                sequences={
                    "h": Jagged(
                        torch.randint(2, sizes["a"], (32,), generator=random).int(),
                        torch.arange(0, 33, 2),
                    )
                },
                labels=torch.randint(0, 2, (16, 1), generator=random).float(),
                targets=None,
                weights=None,
                group=None,
            )
        )
    return found


def trainer(model, optimizer, options, embedding):
    return CTRTrainer(model, optimizer, options, embedding_optimizer=embedding, n_epoch=1)


def learn(one, data):
    one.model.train()
    for batch in data:
        one.step(batch)


def kept(one):
    """Weights and optimizer state, through the form in which a run keeps them."""
    weights = {key: value.clone() for key, value in one.model.state_dict().items()}
    state = flatten("optimization", one.optimization.state())
    return weights, copy.deepcopy(unflatten("optimization", state))


ADAM = (torch.optim.Adam, {"lr": 1e-2})
CASES = {
    "adam": (*ADAM, {"name": "same"}),
    "lazy_adam": (*ADAM, {"name": "lazy_adam"}),
    "rowwise_adagrad": (*ADAM, {"name": "rowwise_adagrad"}),
    "amsgrad": (torch.optim.AdamW, {"lr": 1e-2, "amsgrad": True, "weight_decay": 0.0}, {"name": "same"}),
    "adagrad": (torch.optim.Adagrad, {"lr": 1e-2, "initial_accumulator_value": 0.1}, {"name": "same"}),
    "sgd": (torch.optim.SGD, {"lr": 1e-2, "momentum": 0.9}, {"name": "same"}),
}


@pytest.mark.parametrize("case", CASES)
def test_after_growth_every_row_learns_as_if_training_had_gone_on(case):
    torch.manual_seed(1)
    straight = DeepFM(schema(LARGE), hidden_dims=(8,), dropout=0.0)  # had room for all ids from the start
    grown = copy.deepcopy(straight)
    first = DeepFM(schema(SMALL), hidden_dims=(8,), dropout=0.0)
    rows = {
        name: torch.cat([torch.arange(SMALL[name]), torch.full((LARGE[name] - SMALL[name],), -1)]) for name in SMALL
    }
    back = {name: torch.arange(size) for name, size in SMALL.items()}
    assert carry_weights(first, straight.state_dict(), back) == []

    one, two = trainer(first, *CASES[case]), trainer(straight, *CASES[case])
    learn(one, batches(SMALL, 1))
    learn(two, batches(SMALL, 1))
    weights, state = kept(one)
    three = trainer(grown, *CASES[case])
    assert carry_weights(grown, weights, rows) == []
    assert carry_optimizers(three.optimization, state, rows) == []
    learn(two, batches(LARGE, 2))
    learn(three, batches(LARGE, 2))
    # The ends of a tensor are rounded by another kernel than its middle, and here ends are in other places.
    close = {"rtol": 1e-4, "atol": 1e-6}
    torch.testing.assert_close(grown.state_dict(), straight.state_dict(), **close)
    mine, theirs = three.optimization.state(), two.optimization.state()
    torch.testing.assert_close(mine["optimizers"], theirs["optimizers"], **close)


def test_a_row_goes_where_its_value_went_and_what_left_is_gone():
    torch.manual_seed(1)
    first = DeepFM(schema(SMALL), hidden_dims=(8,), dropout=0.0)
    one = trainer(first, *CASES["lazy_adam"])
    learn(one, batches(SMALL, 1))
    weights, state = kept(one)
    second = DeepFM(schema({"a": 5, "b": 4}), hidden_dims=(8,), dropout=0.0)
    two = trainer(second, *CASES["lazy_adam"])
    fresh = second.state_dict()["embedding.tables.4.rows.a"].clone()
    rows = {"a": torch.tensor([0, 1, 2, 4, -1]), "b": torch.arange(4)}  # id 3 left, and 4 moved up
    carry_weights(second, weights, rows)
    carry_optimizers(two.optimization, state, rows)
    now = second.state_dict()["embedding.tables.4.rows.a"]
    was = weights["embedding.tables.4.rows.a"]
    assert torch.equal(now[[0, 1, 2, 3]], was[[0, 1, 2, 4]])
    assert torch.equal(now[4], fresh[4])
    moments = two.optimization.optimizers[1].state[second.embedding.tables["4"].weight]["exp_avg"]
    before = one.optimization.optimizers[1].state[first.embedding.tables["4"].weight]["exp_avg"]
    assert torch.equal(moments[[2, 3, 5, 6, 7, 8]], before[[2, 4, 5, 6, 7, 8]])
    assert moments[4].count_nonzero() == 0
    assert before[3].count_nonzero() > 0


def test_the_same_rows_go_on_under_the_other_adam_and_fresh_under_another_optimizer():
    torch.manual_seed(1)
    first = DeepFM(schema(SMALL), hidden_dims=(8,), dropout=0.0)
    one = trainer(first, *CASES["adam"])
    learn(one, batches(SMALL, 1))
    weights, state = kept(one)
    rows = {name: torch.arange(size) for name, size in SMALL.items()}
    for case, left in (("lazy_adam", 0), ("rowwise_adagrad", 2), ("sgd", 10)):
        second = DeepFM(schema(SMALL), hidden_dims=(8,), dropout=0.0)
        two = trainer(second, *CASES[case])
        carry_weights(second, weights, rows)
        anew = carry_optimizers(two.optimization, state, rows)
        tables = [name for name in anew if "tables" in name]
        assert len(tables) == min(left, 2)
        assert len(anew) >= left - 2
        learn(two, batches(SMALL, 2))
        if case == "lazy_adam":
            assert float(two.optimization.optimizers[1].state[second.embedding.tables["4"].weight]["step"]) == 12


def test_layers_of_another_shape_and_those_named_stay_fresh():
    first = DeepFM(schema(SMALL), hidden_dims=(8,), dropout=0.0)
    one = trainer(first, *CASES["adam"])
    learn(one, batches(SMALL, 1))
    weights, state = kept(one)
    rows = {name: torch.arange(size) for name, size in SMALL.items()}
    second = DeepFM(schema(SMALL), hidden_dims=(16,), dropout=0.0)
    two = trainer(second, *CASES["adam"])
    left = carry_weights(second, weights, rows, {"deep.output.bias"})
    assert "deep.hidden.0.weight" in left
    assert "deep.output.bias" in left
    assert not any("rows" in name for name in left)
    anew = carry_optimizers(two.optimization, state, rows, left)
    assert {"deep.hidden.0.weight", "deep.output.bias"} <= set(anew)
    learn(two, batches(SMALL, 2))
