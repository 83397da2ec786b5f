"""Adam and AdamW of ours against torch's."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from rechub_cli.optim.adam import Adam, AdamW
from rechub_cli.optim.lazy_adam import LazyAdam


def trained(make, **options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 1), nn.Linear(1, 1))
    groups = [
        {"params": model[0].parameters(), "lr": 0.02},
        {"params": [*model[2].parameters(), *model[3].parameters()]},
    ]
    optimizer = make(groups, **options)
    for _ in range(5):
        optimizer.zero_grad()
        model[:3](torch.randn(8, 5)).square().sum().backward()  # the last layer has no gradient
        optimizer.step()
    return model, optimizer


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize(("ours", "theirs"), [(Adam, torch.optim.Adam), (AdamW, torch.optim.AdamW)])
def test_weights_and_state_are_those_of_torchs_fused_optimizer(ours, theirs, decay):
    options = {"lr": 0.01, "betas": (0.8, 0.99), "eps": 1e-6, "weight_decay": decay}
    model, mine = trained(ours, **options)
    other_model, other = trained(theirs, fused=True, **options)
    for a, b in zip(model.parameters(), other_model.parameters(), strict=True):
        assert torch.equal(a, b)
    states = mine.state_dict()["state"], other.state_dict()["state"]
    assert states[0].keys() == states[1].keys()
    for number, values in states[0].items():
        assert {name: value.tolist() for name, value in values.items()} == {
            name: value.tolist() for name, value in states[1][number].items()
        }


def test_adamw_decays_as_torchs_does_by_default():
    assert AdamW(nn.Linear(1, 1).parameters()).defaults["weight_decay"] == 0.01


def test_a_state_of_torchs_is_taken_up_again():
    model, other = trained(torch.optim.Adam, fused=True, lr=0.01)
    mine = Adam([{"params": group["params"]} for group in other.param_groups], lr=0.5)
    mine.load_state_dict(other.state_dict())
    assert [group["lr"] for group in mine.param_groups] == [0.02, 0.01]
    assert mine.state[model[0].weight]["step"].item() == 5


def test_training_never_imports_the_compiler():
    script = """
import sys, torch
from rechub_cli.nn.table import EmbeddingTable
from rechub_cli.optim.build import build_optimizers
model = torch.nn.ModuleList([EmbeddingTable({"a": 90_000}, 16), torch.nn.Linear(16, 1)])
optimizers = build_optimizers(model, torch.optim.Adam, {"lr": 0.1})
model[1](model[0](torch.ones(3, dtype=torch.int32))).sum().backward()
for optimizer in optimizers:
    optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
sys.exit("torch._dynamo" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", script], timeout=120).returncode == 0


@pytest.mark.parametrize("make", [Adam, LazyAdam])
def test_hooks_and_profilers_see_every_step(make):
    weight = nn.Parameter(torch.ones(3, 2))
    optimizer, seen = make([weight], lr=0.1), []
    weight.grad = torch.ones(3, 2)
    optimizer.step()
    before = optimizer.register_step_pre_hook(lambda *_: seen.append("before"))
    after = optimizer.register_step_post_hook(lambda *_: seen.append("after"))
    optimizer.step()
    before.remove()
    after.remove()
    optimizer.step()
    assert seen == ["before", "after"]
    with torch.profiler.profile() as profiled:
        optimizer.step()
    assert f"Optimizer.step#{make.__name__}.step" in {event.key for event in profiled.key_averages()}
    assert [state["step"].item() for state in optimizer.state.values()] == [4]
