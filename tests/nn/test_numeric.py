import math

import torch

from rechub_cli.nn.numeric import NumberEmbedding, Periodic, PiecewiseLinear
from rechub_cli.schema import Feature, Schema


def identity(embedding: PiecewiseLinear) -> PiecewiseLinear:
    """The encoding itself: a linear layer that changes nothing."""
    with torch.no_grad():
        embedding.weight.copy_(torch.eye(embedding.weight.shape[1]).expand_as(embedding.weight))
        embedding.bias.zero_()
    return embedding


def test_a_number_fills_the_bins_below_it_and_its_own_in_part() -> None:
    embedding = identity(PiecewiseLinear([[0.0, 1.0, 3.0, 4.0]], dim=3))
    numbers = torch.tensor([[0.5], [2.0], [3.0]])
    assert embedding(numbers)[:, 0].tolist() == [[0.5, 0.0, 0.0], [1.0, 0.5, 0.0], [1.0, 1.0, 0.0]]


def test_the_outer_bins_go_on_beyond_their_edges() -> None:
    embedding = identity(PiecewiseLinear([[0.0, 1.0, 3.0]], dim=2))
    assert embedding(torch.tensor([[-2.0], [5.0]]))[:, 0].tolist() == [[-2.0, 0.0], [1.0, 2.0]]


def test_features_of_fewer_bins_stand_beside_those_of_more() -> None:
    embedding = identity(PiecewiseLinear([[0.0, 1.0, 2.0, 3.0], [0.0, 10.0], [7.0], []], dim=3))
    encoded = embedding(torch.tensor([[1.5, 5.0, 7.5, 0.25]]))[0]
    assert encoded.tolist() == [[1.0, 0.5, 0.0], [0.5, 0.0, 0.0], [0.5, 0.0, 0.0], [0.25, 0.0, 0.0]]


def test_periodic_embeds_sines_and_cosines_of_each_feature_by_its_own_layer() -> None:
    torch.manual_seed(0)
    embedding = Periodic(2, 3, n_frequencies=4, frequency_std=1.0)
    numbers = torch.randn(5, 2)
    for feature in range(2):
        angle = 2 * math.pi * numbers[:, feature, None] * embedding.frequency[feature]
        inputs = torch.cat([angle.cos(), angle.sin()], dim=1)
        expected = (inputs @ embedding.weight[feature] + embedding.bias[feature]).relu()
        torch.testing.assert_close(embedding(numbers)[:, feature], expected)


def test_a_step_can_be_fitted_that_no_linear_model_can() -> None:
    torch.manual_seed(0)
    numbers = torch.rand(512, 1) * 4
    wanted = ((numbers > 1) & (numbers < 2)).float()
    embedding = PiecewiseLinear([torch.linspace(0, 4, 33).tolist()], dim=1)
    optimizer = torch.optim.Adam(embedding.parameters(), lr=0.1)
    for _ in range(200):
        loss = (embedding(numbers)[:, 0] - wanted).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.02  # a constant leaves 0.19


def test_numbers_of_both_kinds_and_widths_keep_their_columns() -> None:
    schema = Schema(
        (
            Feature("a", "dense", 2, numeric_embedding="piecewise_linear", bins=(0.0, 1.0, 2.0)),
            Feature("v", "vector", width=2),
            Feature("b", "dense", 3, numeric_embedding="periodic"),
            Feature("c", "dense"),
            Feature("d", "dense", 2, numeric_embedding="piecewise_linear", bins=(0.0, 4.0)),
        )
    )
    numbers = NumberEmbedding(schema)
    identity(numbers.embeddings[0])
    vectors, plain = numbers(torch.tensor([[0.5, 10.0, 11.0, 0.3, 12.0, 1.0]]))
    assert numbers.fields == ("a", "b", "d")
    assert {name: vector.shape[1] for name, vector in vectors.items()} == {"a": 2, "b": 3, "d": 2}
    assert plain.tolist() == [[10.0, 11.0, 12.0]]
    assert (vectors["a"].tolist(), vectors["d"].tolist()) == ([[0.5, 0.0]], [[0.25, 0.0]])


def test_first_order_weights_of_a_periodic_number_may_be_negative() -> None:
    torch.manual_seed(0)
    schema = Schema(tuple(Feature(f"x{i}", "dense", 4, numeric_embedding="periodic") for i in range(8)))
    numbers = torch.randn(64, 8)
    weights, _ = NumberEmbedding(schema, dim=1)(numbers)
    assert all(weight.std() > 0 for weight in weights.values())
    assert min(weight.min() for weight in weights.values()) < 0
    vectors, _ = NumberEmbedding(schema)(numbers)
    assert min(vector.min() for vector in vectors.values()) == 0


def test_a_periodic_number_fits_a_wave_within_one_deviation() -> None:
    torch.manual_seed(0)
    numbers = torch.randn(512, 1)
    wanted = (6 * numbers).sin()
    embedding = Periodic(1, 1, relu=False)
    optimizer = torch.optim.Adam(embedding.parameters(), lr=0.02)
    for _ in range(150):
        loss = (embedding(numbers)[:, 0] - wanted).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.02  # a constant leaves 0.5
