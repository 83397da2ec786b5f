"""A saved state is a file that anyone may have changed: it fits, or it is a DataError before a step is taken."""

import random

import numpy as np
import pytest
import torch
from trainer_toys import Native, batches

from rechub_cli.errors import DataError
from rechub_cli.trainers.ctr import CTRTrainer
from rechub_cli.trainers.restore import load_weights
from rechub_cli.trainers.state import flatten, unflatten


class Kept:
    """Remembers the state of the last checkpoint."""

    def save(self, step, epoch, model, state, metrics, best):
        self.state = {
            name: value.clone() if isinstance(value, torch.Tensor) else value for name, value in state.items()
        }

    def load_best(self, model):
        pass


OPTIMIZERS = {
    "adam": torch.optim.Adam,
    "sgd": lambda params, **options: torch.optim.SGD(params, momentum=0.9, **options),
    "adagrad": torch.optim.Adagrad,
    "adafactor": torch.optim.Adafactor,
    "rmsprop": torch.optim.RMSprop,
}


def trainer(optimizer="adam", n_epoch=1):
    return CTRTrainer(
        Native(),
        OPTIMIZERS[optimizer],
        scheduler_fn=torch.optim.lr_scheduler.ReduceLROnPlateau,
        n_epoch=n_epoch,
        checkpoints=Kept(),
    )


def saved(optimizer="adam"):
    trained = trainer(optimizer)
    trained.fit(batches(128), batches(128))
    return trained.checkpoints.state


def go_on(state, optimizer="adam"):
    rest = trainer(optimizer, n_epoch=2)
    rest.load_state(state)
    rest.fit(batches(128), batches(128))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_what_was_saved_fits(optimizer):
    go_on(saved(optimizer), optimizer)


def test_the_state_of_another_optimizer_does_not_fit():
    with pytest.raises(DataError, match="the saved state does not fit this training"):
        go_on(saved("adagrad"), "adam")


def change(name, *keys, to):
    """Put ``to`` at ``keys`` of the part ``name`` of a saved state."""
    state = saved()
    tree = unflatten(name, state)
    here = tree
    for key in keys[:-1]:
        here = here[key]
    if to is None:
        del here[keys[-1]]
    else:
        here[keys[-1]] = to
    return {**state, **flatten(name, tree)}


WRONG = {
    "an epoch of text": ("progress", ("epoch",), "1"),
    "a negative step": ("progress", ("epoch_step",), -1),
    "a step of a half": ("progress", ("step",), 0.5),
    "no stale": ("progress", ("stale",), None),
    "a key too many": ("progress", ("__class__",), "os.system"),
    "records that are none": ("progress", ("records",), [7]),
    "metrics of text": ("progress", ("records", 0, "metrics"), {"auc": "high"}),
    "a moment of another shape": ("optimization", ("optimizers", 0, "state", 0, "exp_avg"), torch.zeros(3)),
    "a moment of another type": ("optimization", ("optimizers", 0, "state", 0, "exp_avg"), torch.zeros(8, 3).double()),
    "no moment": ("optimization", ("optimizers", 0, "state", 0, "exp_avg_sq"), None),
    "a moment of text": ("optimization", ("optimizers", 0, "state", 0, "step"), "many"),
    "a parameter too many": ("optimization", ("optimizers", 0, "state", 99), {}),
    "a learning rate of text": ("optimization", ("optimizers", 0, "param_groups", 0, "lr"), "fast"),
    "no optimizers": ("optimization", ("optimizers",), []),
    "a scheduler's method": ("optimization", ("schedulers", 0, "step"), "print"),
    "a scheduler of another": ("optimization", ("schedulers", 0), {"last_epoch": 1}),
    "short random numbers": ("random", ("cpu",), torch.zeros(3, dtype=torch.uint8)),
    "random numbers of another kind": ("random", ("numpy", 0), "PCG64"),
    "random text": ("random", ("python",), "chance"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_changed_state_is_a_data_error(case):
    name, keys, to = WRONG[case]
    with pytest.raises(DataError, match="the saved state does not fit this training"):
        go_on(change(name, *keys, to=to))


@pytest.mark.parametrize("missing", ["progress", "optimization", "random", "loss_sum"])
def test_a_missing_part_is_named(missing):
    state = saved()
    del state[missing]
    with pytest.raises(DataError, match=f"'{missing}' is missing"):
        go_on(state)


def test_weights_of_another_type_or_shape_are_not_cast():
    weights = Native().state_dict()
    load_weights(Native(), weights, "w")
    for changed in ({**weights, "out.weight": weights["out.weight"].double()}, {"out.weight": weights["out.weight"]}):
        with pytest.raises(DataError, match="w does not fit"):
            load_weights(Native(), changed, "w")


def test_every_generator_goes_on_where_it_was():
    state = saved()
    go_on(state)
    first = random.random(), np.random.rand(), torch.rand(1).item()
    go_on(state)
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == first
