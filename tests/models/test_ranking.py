"""What each ranking model does beyond the contract that all of them keep."""

from dataclasses import replace

import pytest
import torch

from rechub_cli import plugins
from rechub_cli.batch import Batch, Jagged
from rechub_cli.errors import SpecError
from rechub_cli.schema import Feature, Schema, Task
from rechub_cli.testing import SCHEMA

WIDE = Feature("other", "sparse", embed_dim=5, vocab_size=9)


def built(name, schema=SCHEMA, **options):
    torch.manual_seed(0)
    return plugins.load("models", name)(schema, **options)


def without(*names):
    return SCHEMA.with_features(feature for feature in SCHEMA.features if feature.name not in names)


def with_pooling(pooling):
    return SCHEMA.with_features(replace(f, pooling=pooling) if f.kind == "sequence" else f for f in SCHEMA.features)


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("name", ["lr", "fm", "mlp", "wide_deep", "deepfm", "dcn", "dcn_v2"])
def test_a_sequence_that_keeps_all_its_values_is_refused_with_the_remedy(name):
    with pytest.raises(SpecError, match=rf"features.history.pooling: {name} .* use mean, sum or max"):
        built(name, with_pooling("none"))


@pytest.mark.parametrize("name", ["fm", "deepfm"])
def test_factorization_machines_need_one_width(name):
    with pytest.raises(SpecError, match=rf"{name} needs the same embed_dim.*other"):
        built(name, SCHEMA.with_features([*SCHEMA.features, WIDE]))


@pytest.mark.parametrize("name", ["lr", "mlp", "wide_deep", "dcn", "dcn_v2", "din"])
def test_other_models_take_features_of_different_widths(name):
    model = built(name, SCHEMA.with_features([*SCHEMA.features, WIDE])).eval()
    histories = {
        name: Jagged(torch.tensor([3, 4], dtype=torch.int32), torch.tensor([0, 2])) for name in ("history", "tags")
    }
    batch = Batch(torch.full((1, 4), 3, dtype=torch.int32), torch.ones(1, 2), histories)
    assert model(batch).logits.shape == (1, 1)


@pytest.mark.parametrize("name", ["lr", "mlp", "wide_deep", "dcn", "dcn_v2"])
def test_models_run_on_numbers_alone_and_on_ids_alone(name):
    numbers = Schema(SCHEMA.dense, SCHEMA.tasks)
    nothing = torch.empty(3, 0)
    assert built(name, numbers)(Batch(nothing.int(), torch.randn(3, 2))).logits.shape == (3, 1)
    ids = Schema(SCHEMA.sparse, SCHEMA.tasks)
    assert built(name, ids)(Batch(torch.full((3, 3), 4, dtype=torch.int32), nothing)).logits.shape == (3, 1)


def test_lr_adds_the_weights_of_ids_and_numbers():
    schema = Schema((Feature("a", "sparse", 4, 10), Feature("b", "sparse", 4, 10), Feature("x", "dense")), (Task("y"),))
    model = built("lr", schema)
    table = model.first_order.ids.tables["1"]
    with torch.no_grad():
        table.rows("a")[5] = 2.0
        table.rows("b")[7] = 0.5
        model.first_order.numbers.fill_(3.0)
        model.first_order.bias.fill_(0.25)
    batch = Batch(torch.tensor([[5, 7]], dtype=torch.int32), torch.tensor([[10.0]]))
    torch.testing.assert_close(model(batch).logits, torch.tensor([[2.0 + 0.5 + 30.0 + 0.25]]))


@pytest.mark.parametrize(("structure", "width"), [("parallel", 7 + 42), ("stacked", 7), ("crossnet_only", 42)])
def test_the_structure_of_dcn_v2_says_what_the_output_sees(structure, width):
    model = built("dcn_v2", structure=structure, hidden_dims=[7])  # 5 fields of 8, 2 numbers
    assert model.output.in_features == width


def test_low_rank_needs_fewer_weights_than_full_rank():
    full, low = built("dcn_v2"), built("dcn_v2", low_rank=4)
    assert count(full) - count(low) == 3 * (42 * 42 - 2 * 4 * 42)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("dcn_v2", {"num_experts": 4}, "give low_rank too"),
        ("dcn_v2", {"low_rank": 0}, "low_rank: must be at least 1, got 0"),
        ("dcn", {"n_cross_layers": 0}, "n_cross_layers: must be at least 1, got 0"),
        ("mlp", {"hidden_dims": [8, 0]}, r"hidden_dims: .* got \[8, 0\]"),
        ("deepfm", {"dropout": 1.0}, "dropout: .* got 1.0"),
        ("din", {"attention_hidden_dims": []}, r"attention_hidden_dims: .* got \[\]"),
    ],
)
def test_options_without_a_meaning_are_refused(name, options, message):
    with pytest.raises(SpecError, match=message):
        built(name, **options)


def test_din_without_a_sequence_to_attend_says_how_to_make_one():
    with pytest.raises(SpecError, match="shares: item_id"):
        built("din", without("history"))


def test_din_attends_a_sequence_whatever_its_pooling():
    names = {
        pooling: dict(built("din", with_pooling(pooling)).named_parameters()).keys() for pooling in ("mean", "max")
    }
    assert names["mean"] == names["max"]
    assert any(name.startswith("attention.0.") for name in names["mean"])


def test_din_attends_each_history_by_the_feature_it_shares():
    shop = Feature("shop_id", "sparse", embed_dim=4, vocab_size=9)
    shops = Feature("shops", "sequence", embed_dim=4, vocab_size=9, shares="shop_id")
    model = built("din", SCHEMA.with_features([*SCHEMA.features, shop, shops]))
    assert model.targets == {"history": "item_id", "shops": "shop_id"}
    assert [unit.first.in_features for unit in model.attention] == [4 * 8, 4 * 4]


def test_din_scores_do_not_depend_on_the_order_of_a_history():
    model = built("din").eval()
    sparse, dense = torch.full((1, 3), 4, dtype=torch.int32), torch.zeros(1, 2)

    def score(*history):
        offsets = torch.tensor([0, len(history)])
        lists = {"history": Jagged(torch.tensor(history, dtype=torch.int32), offsets)}
        return model(
            Batch(sparse, dense, {**lists, "tags": Jagged(torch.tensor([3], dtype=torch.int32), torch.tensor([0, 1]))})
        )

    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
        torch.testing.assert_close(score(4, 5, 6).logits, score(6, 4, 5).logits)
        assert not torch.allclose(score(4, 5, 6).logits, score(4, 5, 7).logits)
