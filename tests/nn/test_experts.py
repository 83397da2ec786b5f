"""Several networks as one product are the same networks."""

import pytest
import torch
from torch import nn

from rechub_cli.errors import SpecError
from rechub_cli.nn.experts import Gates, ParallelLinear, ParallelMLP, mix
from rechub_cli.nn.linear import NormedLinear
from rechub_cli.nn.mlp import MLP

torch.manual_seed(0)
ROWS = torch.randn(6, 5)


def one_of(parallel: ParallelMLP, place: int, in_dim: int, hidden: list[int], out: int | None) -> MLP:
    """The network at ``place`` as an MLP of its own."""
    alone = MLP(in_dim, hidden, out, activation="relu", batch_norm=parallel.layers[0].norm is not None)
    plain = [layer for layer in alone.hidden if isinstance(layer, nn.Linear)]
    layers = [*parallel.layers, *([parallel.output] if out else [])]
    for single, many in zip([*plain, *([alone.output] if out else [])], layers, strict=True):
        with torch.no_grad():
            single.weight.copy_(many.weight[place])
            if many.bias is not None:
                single.bias.copy_(many.bias.view(many.n, -1)[place])
            if isinstance(single, NormedLinear):
                units = slice(place * many.out_dim, (place + 1) * many.out_dim)
                for name in ("weight", "bias", "running_mean", "running_var"):
                    getattr(single.norm, name).copy_(getattr(many.norm, name)[units])
    return alone


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("own_inputs", [False, True])
def test_parallel_networks_are_the_networks_one_by_one(batch_norm, training, own_inputs):
    parallel = ParallelMLP(3, 5, [4, 3], 2, batch_norm=batch_norm)
    with torch.no_grad():
        for parameter in (*parallel.parameters(), *parallel.buffers()):
            if parameter.is_floating_point():
                parameter.add_(torch.rand_like(parameter))
    parallel.train(training)
    rows = torch.randn(6, 3, 5) if own_inputs else ROWS
    alone = [one_of(parallel, place, 5, [4, 3], 2).train(training) for place in range(3)]
    found = parallel(rows)
    expected = torch.stack([net(rows[:, place] if own_inputs else rows) for place, net in enumerate(alone)], dim=1)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_inputs_in_parts_are_one_concatenated_input():
    layer = ParallelLinear(2, 5, 3)
    torch.testing.assert_close(layer(ROWS[:, :2], ROWS[:, 2:]), layer(ROWS))


def test_each_network_starts_with_the_deviation_of_its_own_size():
    weight = ParallelLinear(8, 300, 100).weight
    assert weight.std(dim=(1, 2)).tolist() == pytest.approx([(2 / 400) ** 0.5] * 8, rel=0.05)


def test_the_last_layer_is_float32_under_autocast():
    net = ParallelMLP(2, 5, [4], 1)
    with torch.autocast("cpu", torch.bfloat16):
        assert net(ROWS).dtype == torch.float32


def test_gates_are_the_softmax_of_a_plain_product():
    """The published gate by hand: logits 0, ln 2, 2 ln 2 -> 1/7, 2/7, 4/7."""
    gates = Gates(1, 2, 3)
    ln2 = torch.log(torch.tensor(2.0)).item()
    with torch.no_grad():
        gates.linear.weight.copy_(torch.tensor([[[0.0, 0.0], [ln2, 0.0], [0.0, ln2]]]))
    found = gates(torch.tensor([[1.0, 2.0]]))
    assert found.flatten().tolist() == pytest.approx([1 / 7, 2 / 7, 4 / 7])
    experts = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]])
    assert mix(found, experts).flatten().tolist() == pytest.approx([5 / 7, 6 / 7])
    assert [name for name, _ in gates.named_parameters()] == ["linear.weight"]  # no bias, no norm


def test_a_masked_expert_gets_nothing_and_a_lone_one_a_sigmoid():
    mask = torch.tensor([[True, False, True], [False, True, False]])
    gates = Gates(2, 5, 3, mask=mask)(ROWS)
    assert (gates[:, ~mask] == 0).all()
    torch.testing.assert_close(gates.sum(2), torch.ones(6, 2))
    alone = Gates(2, 5, 3, mask=torch.eye(3, dtype=torch.bool)[:2], alone=True)(ROWS)
    assert ((alone > 0) == torch.eye(3, dtype=torch.bool)[:2]).all()
    assert (alone.sum(2) < 1).all()


@pytest.mark.parametrize(("hidden", "dropout", "said"), [([4, 0], 0.0, "hidden_dims"), ([4], 1.0, "dropout")])
def test_a_network_without_units_is_refused(hidden, dropout, said):
    with pytest.raises(SpecError, match=said):
        ParallelMLP(2, 5, hidden, dropout=dropout)
