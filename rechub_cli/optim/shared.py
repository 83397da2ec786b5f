"""The parameters that several tasks train together, and the backward passes through them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from rechub_cli.errors import SpecError
from rechub_cli.optim.gradients import Grad, lengths, weighted_sum


class Shared:
    """What a weighting sees of a model: its shared parameters, and one step's backward passes.

    Shared are the parameters that the prediction of every task depends on. A model names them with
    ``shared_parameters()``, and those of its last shared layer with ``last_shared_parameters()``. Of a model that does
    not, they are found at the first step: for each task the gradient of its predictions starts as NaN, which reaches
    what they depend on, dead units and weights that start at zero notwithstanding; a gate that is 0 lets NaN through,
    so an ordinary gradient must arrive too, if any does. The last layer is then the last shared matrix in the order of
    ``model.parameters()``.

    Args:
        model: what is trained.
        parameters: the shared ones, instead.
        last: those of the last shared layer, instead.

    Raises:
        SpecError: a parameter that is named is not one of the model's.
    """

    def __init__(
        self, model: nn.Module, parameters: Iterable[Tensor] | None = None, last: Iterable[Tensor] | None = None
    ) -> None:
        self.all: list[Tensor] = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._parameters = self._named(model, "shared_parameters", parameters)
        self._last = self._named(model, "last_shared_parameters", last)
        self._values: Tensor | None = None
        self._aux_loss: Tensor | None = None
        self._aux: list[Grad] = []  # its gradients of `parameters`

    def observe(self, values: Tensor, aux_loss: Tensor | None = None) -> None:
        """One step's predictions (B, T), and a loss beside the tasks' that is added as it stands."""
        self._values, self._aux_loss = values, aux_loss

    @property
    def parameters(self) -> list[Tensor]:
        """The shared parameters."""
        if self._parameters is None:
            self._parameters = self._find()
        return self._parameters

    @property
    def last(self) -> list[Tensor]:
        """Those of the last shared layer."""
        if self._last is None:
            matrices = [parameter for parameter in self.parameters if parameter.dim() >= 2]
            self._last = (matrices or self.parameters)[-1:]
        return self._last

    def backward(self, total: Tensor) -> None:
        """One pass: leave the gradient of ``total`` and of the loss beside it in every parameter."""
        if self._aux_loss is not None:
            total = total + self._aux_loss
        total.backward()

    def norms(self, losses: Sequence[Tensor]) -> Tensor:
        """(T,): length of each loss's gradient of the last shared layer. Passes that end there; nothing is left."""
        grads = [torch.autograd.grad(loss, self.last, retain_graph=True, allow_unused=True) for loss in losses]
        return torch.stack([torch.linalg.vector_norm(lengths(grad)).to(losses[0]) for grad in grads])

    def gradients(self, losses: Sequence[Tensor]) -> list[list[Grad]]:
        """Each loss's gradient of ``parameters``, to be combined and given to ``leave``: one pass for each loss.

        The other parameters are left the sum over the losses on the way.
        """
        shared = {id(parameter) for parameter in self.parameters}
        others = [parameter for parameter in self.all if id(parameter) not in shared]
        passes = [*losses] if self._aux_loss is None else [*losses, self._aux_loss]
        found: list[list[Grad]] = []
        for place, loss in enumerate(passes):
            last = place == len(passes) - 1
            grads = torch.autograd.grad(loss, [*self.parameters, *others], retain_graph=not last, allow_unused=True)
            found.append(list(grads[: len(shared)]))
            for parameter, grad in zip(others, grads[len(shared) :], strict=True):
                parameter.grad = _laid_out(_sum([parameter.grad, grad]), parameter)
        self._aux = found.pop() if self._aux_loss is not None else []
        return found

    def leave(self, grads: Sequence[Grad]) -> None:
        """Leave the combined gradient of ``parameters``."""
        aux = self._aux or [None] * len(grads)
        for parameter, grad, beside in zip(self.parameters, grads, aux, strict=True):
            parameter.grad = _laid_out(_sum([parameter.grad, grad, beside]), parameter)

    def _named(self, model: nn.Module, method: str, given: Iterable[Tensor] | None) -> list[Tensor] | None:
        if given is None and hasattr(model, method):
            given = getattr(model, method)()
        if given is None:
            return None
        known = {id(parameter) for parameter in model.parameters()}
        named = list(given)
        if not named or any(id(parameter) not in known for parameter in named):
            raise SpecError(f"{method} must name parameters of the model")
        return [parameter for parameter in named if parameter.requires_grad]

    def _dyed(self, task: int, nan: bool) -> Sequence[Grad]:
        """The gradient of every parameter, from one of one task's predictions: NaN, or a number for each row."""
        assert self._values is not None
        dye = torch.zeros_like(self._values)
        dye[:, task] = torch.nan if nan else torch.arange(1.0, len(dye) + 1).sin().to(dye)
        return torch.autograd.grad(self._values, self.all, dye, retain_graph=True, allow_unused=True)

    def _find(self) -> list[Tensor]:
        assert self._values is not None
        reached: list[list[Tensor | None]] = []
        for task in range(self._values.shape[1]):
            reached.append(
                [_reached(*pair) for pair in zip(self._dyed(task, True), self._dyed(task, False), strict=True)]
            )
        found = []
        for parameter, *marks in zip(self.all, *reached, strict=True):
            common = [mark for mark in marks if mark is not None]
            # Experts or towers that lie in one tensor are told apart by its entries.
            if len(common) == len(marks) and bool(torch.stack(common).all(0).any()):
                found.append(parameter)
        if not found:
            raise SpecError("no parameter is shared by all tasks: this weighting has nothing to balance; use `equal`")
        return found


def _reached(nans: Grad, numbers: Grad) -> Tensor | None:
    """The entries of a parameter that a task depends on."""
    if nans is None or numbers is None:
        return None
    there = (numbers._values() if numbers.is_sparse else numbers) != 0
    dyed = (nans._values() if nans.is_sparse else nans).isnan()
    return dyed & (there | ~there.any())


def _sum(grads: Sequence[Grad]) -> Grad:
    there = [grad for grad in grads if grad is not None]
    if len(there) == 1:
        return there[0]
    return weighted_sum(there, [torch.ones(())] * len(there))


def _laid_out(grad: Grad, parameter: Tensor) -> Grad:
    """The gradient with the parameter's strides, which ``backward`` would give it and fused optimizers ask for."""
    if grad is None or grad.is_sparse or grad.stride() == parameter.stride():
        return grad
    return torch.empty_like(parameter).copy_(grad)
