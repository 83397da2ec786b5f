"""Target attention over jagged histories."""

import copy

import pytest
import torch

from rechub_cli.batch import Jagged
from rechub_cli.errors import SpecError
from rechub_cli.nn.attention import TargetAttention


def test_each_value_is_weighed_by_the_mlp_of_target_and_value():
    attention = TargetAttention(2, [3], activation="relu")
    torch.nn.init.normal_(attention.first.bias)
    target = torch.randn(3, 2)
    histories = [torch.randn(2, 2), torch.randn(0, 2), torch.randn(4, 2)]
    jagged = Jagged(torch.cat(histories), torch.tensor([0, 2, 2, 6]))
    expected = torch.zeros(3, 2)
    for row, history in enumerate(histories):
        for value in history:
            t = target[row]
            hidden = attention.first(torch.cat([t, value, t - value, t * value])[None]).relu()
            expected[row] += attention.rest(hidden)[0] * value
    torch.testing.assert_close(attention(target, jagged), expected)


def test_an_empty_history_gives_zeros_and_learns_nothing():
    attention = TargetAttention(2, [3])
    output = attention(torch.randn(2, 2), Jagged(torch.empty(0, 2), torch.zeros(3, dtype=torch.long)))
    output.sum().backward()
    assert torch.equal(output, torch.zeros(2, 2))


def test_attention_needs_a_hidden_layer():
    with pytest.raises(SpecError, match="attention_hidden_dims"):
        TargetAttention(2, [])


@pytest.mark.parametrize("activation", ["dice", "sigmoid"])
def test_what_belongs_to_no_row_changes_nothing(activation):
    torch.manual_seed(0)
    attention = TargetAttention(2, [4, 3], activation=activation)
    target, values, offsets = torch.randn(3, 2), torch.randn(6, 2), torch.tensor([0, 2, 2, 6])
    found = []
    for extra in (0, 3):
        again = copy.deepcopy(attention)
        filled = torch.cat([values, torch.full((extra, 2), 7.0)]).requires_grad_()
        output = again(target, Jagged(filled, offsets, filled=extra > 0))
        output.square().sum().backward()
        statistics = [buffer.float() for buffer in again.buffers()]
        found.append([output, *(p.grad for p in again.parameters()), *statistics, filled.grad[:6], filled.grad[6:]])
    *plain, _ = found[0]
    *masked, of_others = found[1]
    torch.testing.assert_close(masked, plain)
    assert not of_others.any()
