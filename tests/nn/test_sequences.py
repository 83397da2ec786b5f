"""Layers over jagged histories give what a row by itself gives."""

import math

import pytest
import torch
from torch.nn.utils.rnn import pack_sequence

from rechub_cli.batch import Jagged
from rechub_cli.nn import prefix_attention
from rechub_cli.nn.events import Prefixes
from rechub_cli.nn.prefix_attention import PrefixAttention
from rechub_cli.nn.recurrent import JaggedGRU, by_time
from rechub_cli.nn.transformer import NARROW, CausalBlock, CausalEncoder

LENGTHS = [2, 0, 5, 1, 5]


def offsets():
    return torch.tensor([0, *LENGTHS]).cumsum(0)


def events(dim, requires_grad=False):
    torch.manual_seed(1)
    return torch.randn(sum(LENGTHS), dim, requires_grad=requires_grad)


def test_prefixes_name_the_events_before_each_target():
    targets = Jagged(torch.tensor([[1, 9], [2, 9], [5, 9]], dtype=torch.int32), torch.tensor([0, 2, 2, 3, 3, 3]))
    prefixes = Prefixes.before_targets(offsets(), targets)
    assert prefixes.events().values.tolist() == [0, 0, 1, 2, 3, 4, 5, 6]
    assert prefixes.last(torch.arange(13.0)[:, None]).tolist() == [[0], [1], [6]]
    assert Prefixes.whole(offsets()).last(torch.arange(13.0)[:, None] + 1).tolist() == [[2], [0], [7], [8], [13]]


def test_events_are_ordered_by_time_for_a_recurrent_layer():
    steps, places = by_time(offsets())
    rows = [row for row in events(3).split(LENGTHS) if len(row)]
    packed = pack_sequence(sorted(rows, key=len, reverse=True))
    assert steps.tolist() == packed.batch_sizes.tolist()
    assert torch.equal(torch.empty(13, 3).index_copy(0, places, events(3)), packed.data)


@pytest.mark.parametrize("n_layers", [1, 2])
def test_a_jagged_gru_is_a_gru_of_each_row(n_layers):
    layer, plain = JaggedGRU(3, 4, n_layers), torch.nn.GRU(3, 4, n_layers)
    plain.load_state_dict(layer.state_dict())
    expected = torch.cat([plain(row)[0] for row in events(3).split(LENGTHS) if len(row)])
    torch.testing.assert_close(layer(events(3), offsets()), expected)


@pytest.mark.parametrize("norm_first", [True, False])
def test_an_event_attends_to_itself_and_those_before_it(norm_first):
    block = CausalBlock(4, 2, 8, dropout=0.0, norm_first=norm_first)
    encoder = CausalEncoder(4, 6, n_blocks=1, n_heads=2, hidden_dim=8, dropout=0.0, norm_first=norm_first, std=0.1)
    encoder.blocks[0] = block

    def alone(row):
        x = row + encoder.positions[: len(row)]
        seen = block.norm_attention(x) if norm_first else x
        queries, keys, values = block.queries_keys_values(seen).view(len(row), 3, 2, 2).permute(1, 2, 0, 3)
        scores = queries @ keys.transpose(1, 2) / math.sqrt(2)
        scores = scores.masked_fill(torch.ones(len(row), len(row)).triu(1).bool(), -torch.inf)
        attended = block.attended((scores.softmax(2) @ values).transpose(0, 1).flatten(1))
        if norm_first:
            x = x + attended
            return encoder.norm(x + block.pointwise(block.norm_pointwise(x)))
        x = block.norm_attention(x + attended)
        return encoder.norm(block.norm_pointwise(x + block.pointwise(x)))

    expected = torch.cat([alone(row) for row in events(4).split(LENGTHS) if len(row)])
    torch.testing.assert_close(encoder(events(4), offsets()), expected)


def test_gradients_of_many_events_repeat_to_the_bit_on_several_threads():
    """Many events have the same place: no two threads may add to its gradient in whichever order they come."""
    torch.manual_seed(0)
    encoder = CausalEncoder(16, 4, n_blocks=1, n_heads=1, hidden_dim=16, dropout=0.2, norm_first=True, std=0.02)
    many, places = torch.randn(8000, 16), torch.arange(2001) * 4

    def gradients():
        torch.manual_seed(1)
        return torch.autograd.grad(encoder(many, places).square().sum(), list(encoder.parameters()))

    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        first, *others = (gradients() for _ in range(5))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, other) for again in others for one, other in zip(first, again, strict=True))


def test_long_histories_are_attended_a_block_at_a_time(monkeypatch):
    layer, found = PrefixAttention(3), []
    targets = Jagged(torch.tensor([[n, 0] for n in (1, 2, 1, 3, 5)]), torch.tensor([0, 2, 2, 5, 5, 5]))
    prefixes = Prefixes.before_targets(offsets(), targets)
    for pairs in (1000, 4):
        monkeypatch.setattr(prefix_attention, "BLOCK_PAIRS", pairs)
        values, queries = events(3, requires_grad=True), torch.ones(5, 3, requires_grad=True)
        layer.zero_grad()
        output = layer(queries, values * 2, values, prefixes)
        output.square().sum().backward()
        found.append((output, values.grad, queries.grad, layer.weight.grad))
    for whole, blocks in zip(*found, strict=True):
        torch.testing.assert_close(whole, blocks)
    row = events(3)[2:7]
    expected = (torch.sigmoid(1 + 2 * row[:3]) @ layer.weight) @ row[:3]
    torch.testing.assert_close(found[0][0][3], expected)


@pytest.mark.parametrize("dim", [NARROW - 64, NARROW])
def test_narrow_products_of_a_transformer_stay_in_fp32_on_a_cpu(dim):
    torch.manual_seed(0)
    encoder = CausalEncoder(
        dim, 4, n_blocks=1, n_heads=2, hidden_dim=dim, dropout=0.0, norm_first=True, std=0.02
    ).eval()
    events, offsets = torch.randn(6, dim), torch.tensor([0, 4, 6])
    with torch.no_grad():
        exact = encoder(events, offsets)
        with torch.autocast("cpu", torch.bfloat16):
            asked = encoder(events, offsets)
    assert asked.dtype == torch.float32
    assert torch.equal(exact, asked) == (dim < NARROW)
    assert torch.allclose(exact, asked, atol=0.1)
