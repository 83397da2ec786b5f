"""The contract of a multi-task model: that of a ranking model, and what several labels add to it.

import pytest
from rechub_cli.testing.multi_task import MULTI_TASK_CHECKS

@pytest.mark.parametrize("check", MULTI_TASK_CHECKS, ids=lambda check: check.__name__)
def test_contract(check):
    check(MyModel, expert_hidden_dims=[16])
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from rechub_cli.testing.ranking import CHECKS, _built, _rows, _scores, _shake


def learns_each_label(model_class: Callable[..., nn.Module], **options: Any) -> None:
    """A click where user and item agree, a purchase where besides item and hour do: two interactions at once."""
    with _built(model_class, options) as model:
        batch = _rows(256)
        user, item, hour = (batch.sparse % 2).unbind(1)
        click = (user == item).float()
        labels = torch.stack([click, click * (item == hour)], dim=1)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        for _ in range(150):
            optimizer.zero_grad()
            F.binary_cross_entropy_with_logits(model(batch).logits, labels).backward()
            optimizer.step()
        right = ((_scores(model, batch) > 0) == labels.bool()).float().mean(0)
    assert right.min() > 0.95, f"after training, {right.tolist()} of the rows are on the right side, label by label"


def names_a_layer_that_tasks_share(model_class: Callable[..., nn.Module], **options: Any) -> None:
    """``last_shared_parameters()``, where the model has it, are parameters of its that each task trains."""
    with _built(model_class, options) as model:
        if not hasattr(model, "last_shared_parameters"):
            return
        _shake(model)
        name_last: Any = model.last_shared_parameters
        last, known = list(name_last()), {id(parameter) for parameter in model.parameters()}
        assert last, "last_shared_parameters() names nothing"
        assert all(id(parameter) in known for parameter in last), "last_shared_parameters() are not the model's"
        logits = model(_rows(64)).logits
        for task in range(logits.shape[1]):
            grads = torch.autograd.grad(logits[:, task].sum(), last, retain_graph=True, allow_unused=True)
            assert all(grad is not None for grad in grads), f"task {task} does not train the last shared layer"


def writes_its_gates(model_class: Callable[..., nn.Module], **options: Any) -> None:
    """With ``write_gates``, the gates of each mixture are extras of one value a row, and add up to 1."""
    if "write_gates" not in signature(model_class).parameters:
        return
    with _built(model_class, {**options, "write_gates": True}) as model:
        extras = model(_rows(5)).extras
    mixtures: dict[str, list[torch.Tensor]] = {}
    for name, values in extras.items():
        assert name.startswith("gate"), f"the extra {name} is no gate"
        assert values.shape == (5,), f"{name} has shape {tuple(values.shape)} for 5 rows"
        mixtures.setdefault(name.rpartition("_")[0], []).append(values)
    assert mixtures, "write_gates gives no extras"
    for name, gates in mixtures.items():
        assert torch.allclose(torch.stack(gates).sum(0), torch.ones(5)), f"the gates {name} do not add up to 1"


MULTI_TASK_CHECKS: tuple[Callable[..., None], ...] = (
    *CHECKS,
    learns_each_label,
    names_a_layer_that_tasks_share,
    writes_its_gates,
)
