"""How gradients become new weights: regularisation, clipping, optimizers, schedulers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR, ReduceLROnPlateau

from rechub_cli.errors import RunFailed, SpecError
from rechub_cli.nn.table import EmbeddingTable
from rechub_cli.optim.build import build_optimizers
from rechub_cli.optim.clip import clip_grad_norm_
from rechub_cli.optim.regularization import add_regularization_grads
from rechub_cli.trainers.restore import check_like, load_optimizer

PER_BATCH = (OneCycleLR, CyclicLR)


class Optimization:
    """The optimizers of a model and all that acts on them, one step at a time.

    Args:
        scheduler_fn: any torch scheduler, or a callable that makes one from ``(optimizer, **params)``.
        scheduler_params: its parameters, and ``step``: ``"batch"`` or ``"epoch"`` says when it moves. By
            default OneCycleLR and CyclicLR move at every batch, the others at the end of each epoch;
            ReduceLROnPlateau follows the monitored metric, in its direction. Where embeddings have an lr of their
            own, the bounds of OneCycleLR and CyclicLR keep its proportion to the others'.
        regularization_params: ``embedding_l1, embedding_l2, dense_l1, dense_l2``: the penalty added to the
            loss is ``l1 * sum(abs(w)) + l2 * sum(w ** 2)``.
        clip_norm: the gradients' norm is at most this.

    Raises:
        SpecError: an optimizer or a scheduler does not take these parameters.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer_fn: Callable[..., Optimizer],
        optimizer_params: Mapping[str, Any],
        embedding_optimizer: Mapping[str, Any] | None = None,
        scheduler_fn: Callable[..., Any] | None = None,
        scheduler_params: Mapping[str, Any] | None = None,
        regularization_params: Mapping[str, float] | None = None,
        clip_norm: float | None = None,
    ) -> None:
        self.model = model
        try:
            self.optimizers = build_optimizers(model, optimizer_fn, dict(optimizer_params), embedding_optimizer)
        except (TypeError, ValueError) as error:
            raise SpecError(f"optimizer_params: {error}") from error
        self.parameters = [p for optimizer in self.optimizers for g in optimizer.param_groups for p in g["params"]]
        self.regularization = {name: value for name, value in (regularization_params or {}).items() if value}
        unknown = self.regularization.keys() - {"embedding_l1", "embedding_l2", "dense_l1", "dense_l2"}
        if unknown:
            raise SpecError(
                f"regularization_params: {sorted(unknown)[0]!r} is not known;"
                " known: embedding_l1, embedding_l2, dense_l1, dense_l2"
            )
        self.clip_norm = clip_norm
        self.beside: list[nn.Parameter] = []
        self.scheduler_fn = scheduler_fn
        self.scheduler_params = dict(scheduler_params or {})
        self.moment = self.scheduler_params.pop("step", None)
        if self.moment not in (None, "batch", "epoch"):
            raise SpecError(f"scheduler_params: step must be 'batch' or 'epoch', not {self.moment!r}")
        self.schedulers: list[Any] = []
        self.per_batch = False
        self.starts = 0

    @property
    def lr(self) -> float:
        """The learning rate of the first parameters."""
        return float(self.optimizers[0].param_groups[0]["lr"])

    def add(self, parameters: Iterable[nn.Parameter], lr: float | None = None) -> None:
        """Learn what is not of the model, such as weights of losses: never decayed, regularised or clipped."""
        self.beside = list(parameters)
        if not self.beside:
            return
        group: dict[str, Any] = {"params": self.beside, "weight_decay": 0.0}
        if "weight_decay" not in self.optimizers[0].defaults:
            del group["weight_decay"]
        self.optimizers[0].add_param_group(group | ({} if lr is None else {"lr": lr}))

    def start(self, n_epoch: int, steps_per_epoch: int | None, higher_is_better: bool) -> None:
        """Begin a training. The schedulers, which need its length, are made once."""
        self.starts += 1
        if self.scheduler_fn is None or self.schedulers:
            return
        params = dict(self.scheduler_params)
        if self.scheduler_fn is ReduceLROnPlateau:
            params.setdefault("mode", "max" if higher_is_better else "min")
        if self.scheduler_fn is OneCycleLR and not params.keys() & {"total_steps", "epochs", "steps_per_epoch"}:
            steps = 1 if self.moment == "epoch" else steps_per_epoch
            if steps is None:
                raise SpecError(
                    "scheduler_params: OneCycleLR needs total_steps, for the loader does not know its length"
                )
            params["total_steps"] = n_epoch * steps
        lr = self.lr
        for optimizer in self.optimizers:
            self.schedulers.append(self._scheduler(optimizer, params, lr))
        self.per_batch = self.moment == "batch" or (self.moment is None and isinstance(self.schedulers[0], PER_BATCH))

    def _scheduler(self, optimizer: Optimizer, params: dict[str, Any], lr: float) -> Any:
        assert self.scheduler_fn is not None
        no_momentum = not optimizer.defaults.keys() & {"momentum", "betas"}
        if no_momentum and self.scheduler_fn in PER_BATCH:
            params = {**params, "cycle_momentum": False}
        if self.scheduler_fn in PER_BATCH and lr:
            ratios = [group["lr"] / lr for group in optimizer.param_groups]
            bounds = {key: params[key] for key in ("base_lr", "max_lr") if isinstance(params.get(key), int | float)}
            params = {**params, **{key: [bound * ratio for ratio in ratios] for key, bound in bounds.items()}}
        try:
            return self.scheduler_fn(optimizer, **params)
        except (TypeError, ValueError) as error:
            name = getattr(self.scheduler_fn, "__name__", "the scheduler")
            raise SpecError(f"scheduler_params of {name}: {error}") from error

    def settings(self) -> list[Any]:
        """What the next update goes by, besides gradients: learning rates and the like, and which training it is of."""
        groups = (group for optimizer in self.optimizers for group in optimizer.param_groups)
        return [self.starts, *(value for group in groups for name, value in group.items() if name != "params")]

    def zero_grad(self) -> None:
        for parameter in (*self.parameters, *self.beside):
            parameter.grad = None

    def update(self) -> None:
        """One step from the gradients that are there."""
        if self.regularization:
            add_regularization_grads(self.model, **self.regularization)
        if self.clip_norm is not None:
            clip_grad_norm_(self.parameters, self.clip_norm)
        for optimizer in self.optimizers:
            optimizer.step()
        if self.per_batch:
            self._advance(None)

    def end_epoch(self, value: float) -> None:
        """Move the schedulers that count epochs; ``value`` is what a plateau is judged by."""
        if not self.per_batch:
            self._advance(value)

    def _advance(self, value: float | None) -> None:
        try:
            for scheduler in self.schedulers:
                if not isinstance(scheduler, ReduceLROnPlateau):
                    scheduler.step()
                elif value is not None and not math.isnan(value):
                    scheduler.step(value)
        except ValueError as error:  # OneCycleLR past its end
            raise RunFailed(f"scheduler {type(scheduler).__name__}: {error}") from error

    def names(self) -> list[list[str]]:
        """The names of each optimizer's parameters, in the order in which its state numbers them."""
        known = {id(parameter): name for name, parameter in self.model.named_parameters()}
        known |= {id(parameter): f"beside.{place}" for place, parameter in enumerate(self.beside)}
        return [
            [known.get(id(p), "") for g in optimizer.param_groups for p in g["params"]] for optimizer in self.optimizers
        ]

    def state(self) -> dict[str, Any]:
        """All that a resumed training needs, and by what names; tensors are shared, not copied."""
        return {
            "names": self.names(),
            "kinds": [type(optimizer).__name__ for optimizer in self.optimizers],
            "tables": tables_of(self.model),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "schedulers": [_plain_state(scheduler) for scheduler in self.schedulers],
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Raises ValueError, KeyError or TypeError where it is not the state of these."""
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            load_optimizer(optimizer, saved)
        for scheduler, saved in zip(self.schedulers, state["schedulers"], strict=True):
            check_like(_plain_state(scheduler), saved, type(scheduler).__name__)
            scheduler.load_state_dict(saved)


def _plain_state(scheduler: Any) -> dict[str, Any]:
    return {name: value for name, value in scheduler.state_dict().items() if not callable(value)}


def tables_of(model: nn.Module) -> dict[str, dict[str, int]]:
    """The embedding tables by the name of their weight: the features whose rows they hold, in order, and how many."""
    tables = {name: module for name, module in model.named_modules() if isinstance(module, EmbeddingTable)}
    return {f"{name}.weight".lstrip("."): dict(table.sizes) for name, table in tables.items()}
