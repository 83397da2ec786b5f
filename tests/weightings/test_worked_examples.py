"""Every weighting against a worked example of its paper, step by step, to 1e-9."""

import pytest
import torch
from weighting_toys import EXAMPLES, Point, Toy, linear, make

near = {"rtol": 0, "atol": 1e-9}


@pytest.fixture(autouse=True)
def _float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def same(found, expected):
    torch.testing.assert_close(found.detach(), torch.tensor(expected), **near)


class Heard:
    """A Shared that keeps the total it is given."""

    def backward(self, total):
        self.total = total.detach()
        total.backward()


def test_uwl_with_constant_losses():
    example = EXAMPLES["uwl_constant_losses"]
    weighting = make("uwl", example["task_types"])
    for row in example["trace"]:
        same(weighting.log_variance, row["s"])
        same(weighting.weights, row["weight"])
        if "dtotal_ds" in row:
            heard = Heard()
            weighting.log_variance.grad = None
            weighting.backward(torch.tensor(example["losses"]), heard)
            same(heard.total, row["total_loss"])
            same(weighting.log_variance.grad, row["dtotal_ds"])
            with torch.no_grad():
                weighting.log_variance -= 0.1 * weighting.log_variance.grad


def test_uwl_settles_where_the_paper_says():
    example = EXAMPLES["uwl_constant_losses"]
    weighting = make("uwl", example["task_types"])
    optimizer = torch.optim.SGD(weighting.parameters(), lr=0.5)
    for _ in range(400):
        optimizer.zero_grad()
        weighting.backward(torch.tensor(example["losses"]), Heard())
        optimizer.step()
    same(weighting.log_variance, example["fixed_point"]["s"])


def test_uwl_while_the_model_learns():
    toy, weighting = Toy(), make("uwl")
    for row in EXAMPLES["uwl_coupled_toy"]["trace"]:
        same(toy.W, row["W"])
        same(weighting.log_variance, row["s"])
        same(torch.stack(toy.losses()), row["L"])
        toy.step(weighting, toy.losses(), lr=0.05, lr_weights=0.1)


@pytest.mark.parametrize("alpha", [0.16, 1.5])
def test_gradnorm(alpha):
    toy, weighting = Toy(), make("gradnorm", alpha=alpha)
    for row in EXAMPLES[f"gradnorm_alpha_{alpha}"]["trace"]:
        same(toy.W, row["W"])
        same(weighting.weights, row["w"])
        toy.step(weighting, toy.losses(), lr=0.1, lr_weights=0.05)
        if "dLgrad_dw" in row:
            same(weighting.task_weights.grad, row["dLgrad_dw"])
            same(weighting.weights, row["w_next"])


def test_gradnorm_gives_each_task_a_target_of_its_own():
    example = EXAMPLES["gradnorm_sign_discriminator"]
    grads = [[example["grad_norm"][0], 0.0], [0.0, example["grad_norm"][1]]]
    weighting, point = make("gradnorm", alpha=example["alpha"]), Point([0.0, 0.0])
    point.step(weighting, linear(point, grads, example["L0"]))
    point.step(weighting, linear(point, grads, example["L"]), lr_weights=0.1)
    same(weighting.task_weights.grad, example["dLgrad_dw_paper"])
    same(weighting.weights, example["w_next_paper_lr0_1"])


@pytest.mark.parametrize("strategy", ["both", "reduce", "enlarge"])
def test_metabalance(strategy):
    example = EXAMPLES[f"metabalance_{strategy}"]
    params = example["params"]
    options = {"target": params["target_task"], "relax_factor": params["r"], "beta": params["beta"]}
    weighting = make("metabalance", strategy=strategy, **options)
    toy = Toy()
    for row in example["trace"]:
        same(toy.W, row["W"])
        grad = toy.step(weighting, toy.losses(), lr=params["lr"])
        if "grad_total" in row:
            same(grad, row["grad_total"])
            same(weighting.means[:, 0], row["m"])


def test_dwa():
    example = EXAMPLES["dwa"]
    weighting = make("dwa", temperature=example["T"])
    for losses, expected in zip(example["epoch_mean_losses"], example["lambda_per_epoch"], strict=False):
        same(weighting.weights, expected)
        weighting.epoch_end(torch.tensor(losses))
    same(weighting.weights, example["lambda_per_epoch"][-1])


@pytest.mark.parametrize("name", ["surgery_conflict", "surgery_conflict2", "surgery_aligned"])
def test_pcgrad(name):
    example = EXAMPLES[name]
    weighting, point = make("pcgrad"), Point([0.0, 0.0])
    grad = point.step(weighting, linear(point, [example["g1"], example["g2"]]))
    same(grad, example["pcgrad"]["update"])


def test_stch():
    example = EXAMPLES["stch"]
    weighting = make("stch", mu=example["mu"])
    weighting.epoch_end(torch.tensor(example["nadir"]))
    losses = torch.tensor(example["L"], requires_grad=True)
    heard = Heard()
    weighting.backward(losses.unbind(), heard)
    same(heard.total, example["loss"])
    same(losses.grad, example["weight_on_grad"])
    same(weighting.weights, example["weight_on_grad"])
