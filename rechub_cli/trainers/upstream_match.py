"""Retrieval modules of torch-rechub's convention under MatchTrainer: a dict of tensors in, scores out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rechub_cli.errors import DataError, Interrupted, SpecError
from rechub_cli.nn.similarity import nearest_interest
from rechub_cli.schema import Schema
from rechub_cli.trainers.batches import LoneRow, Rows, take
from rechub_cli.trainers.contrast import Contrast, contrast
from rechub_cli.trainers.ctr import probability_bce
from rechub_cli.trainers.parallel import Replicas, bare
from rechub_cli.trainers.retrieval import LOSSES, make_loss, make_sampler, named
from rechub_cli.trainers.scoring import Scorer, load_metrics, metric_key
from rechub_cli.trainers.towers import resting
from rechub_cli.trainers.watch import Watcher

MONITORS = ("auc", "pair_accuracy", "loss")  # by mode
_RETURNS = (
    "a tensor of probabilities",
    "(positive scores, negative scores)",
    "a tensor of logits, one column for each candidate",
)


@dataclass(frozen=True, slots=True)
class Judged:
    """The queries of a batch and what they were told apart from."""

    positive: Tensor  # (Q,)
    negatives: Tensor  # (Q, N), -inf for none
    counts: Tensor | None = None  # (N,)


class Upstream:
    """What MatchTrainer asks of a foreign module; the arguments are its own.

    In-batch negatives need ``user_tower(x)`` and ``item_tower(x)``; of several items of a row the first is the chosen
    one, and of several user vectors the one that suits it best counts. DIFF: scores are divided by the module's
    ``temperature``; rows of the same item are no negatives of each other; a random choice is the same for all rows.

    Raises:
        SpecError: a name or an option is unknown, or the module has no towers where they are needed.
    """

    def __init__(
        self,
        model: nn.Module,
        watcher: Watcher,
        *,
        mode: int | None,
        loss: Any,
        loss_params: Mapping[str, Any],
        negatives: Any,
        seed: int,
        monitor: Any,
        metrics: Sequence[Any],
        device: torch.device,
        gpus: list[int],
        precision: str,
    ) -> None:
        self.trained: nn.Module = Replicas(model, gpus) if gpus else model
        self.watcher, self.device, self.seed = watcher, device, seed
        self.mode = mode or 0
        self.in_batch = negatives
        if negatives is not None:
            self._check_towers(model, negatives)
        named_loss = LOSSES[2 if self.mode == 0 and negatives is not None else self.mode] if loss is None else loss
        self.loss = make_loss(named_loss, loss_params, 0)
        self.scorer = Scorer(device, (), True, precision, watcher)
        monitor = MONITORS[self.mode] if monitor is None else monitor
        self.monitor = metric_key(monitor)
        self.metrics: dict[str, Any] = {}
        if self.mode == 0:
            self.metrics = load_metrics([monitor, *metrics], ())
            self.higher_is_better = bool(self.metrics[self.monitor].higher_is_better)
            return
        for name in map(metric_key, [monitor, *metrics]):
            if name not in MONITORS[1:]:
                raise SpecError(
                    f"without a catalogue, mode {self.mode} is measured by pair_accuracy or loss, not {name}"
                )
            self.metrics[name] = None
        self.higher_is_better = self.monitor == "pair_accuracy"

    def _check_towers(self, model: nn.Module, negatives: Any) -> None:
        name = type(model).__name__
        if not isinstance(negatives, str | tuple | list | Mapping) or named(negatives)[0].lower() != "in_batch":
            raise SpecError(
                f"{name} has no catalogue to draw negatives from: they come with the data, or from the batch"
            )
        if not hasattr(model, "user_tower") or not hasattr(model, "item_tower"):
            raise SpecError(f"in_batch_neg needs a module with user_tower(x) and item_tower(x): {name} has none")
        make_sampler(negatives, torch.ones(1), self.seed, Schema(()))  # its options are known

    def learn(self, item: Any, epoch: int, step: int) -> tuple[Tensor, int]:
        """The loss of a loader's item, and its rows."""
        rows, y = self._take(item)
        if rows.n == 1:
            with LoneRow(self.trained):
                return self._loss(self.trained, rows, y, epoch, step), 1
        return self._loss(self.trained, rows, y, epoch, step), rows.n

    def _loss(self, model: nn.Module, rows: Rows, y: Tensor | None, epoch: int, step: int) -> Tensor:
        if self.in_batch is not None:
            return self._in_batch(bare(model), rows, epoch, step)
        if self.mode == 0:
            labels = rows.known_labels()
            return probability_bce(self.scorer.call(model, rows).values, labels, None)
        judged = self._called(model, rows, y)
        return self.loss(judged.positive, judged.negatives, None, None)

    def _in_batch(self, model: nn.Module, rows: Rows, epoch: int, step: int) -> Tensor:
        users, items, own = self.towers(model, rows)
        sampler = make_sampler(self.in_batch, torch.ones(len(items)), self.seed, Schema(()))
        drawn = sampler.draw(own, rows.inputs, epoch=epoch, step=step)
        return contrast(users, items, Contrast(self.loss, own, drawn.places, counts=drawn.counts, hard=sampler.hard))

    def towers(self, model: nn.Module, rows: Rows) -> tuple[Tensor, Tensor, Tensor]:
        """Users (B, E), divided by the temperature, distinct items (D, E), and the item of each row (B,)."""
        users, items = model.user_tower(rows.inputs), model.item_tower(rows.inputs)  # type: ignore[operator]
        items = items[0] if isinstance(items, tuple | list) else items
        if not isinstance(users, Tensor) or not isinstance(items, Tensor):
            raise SpecError(f"the towers of {type(model).__name__} must return tensors while its `mode` is None")
        users, items = users[: rows.n].float(), items[: rows.n].float()
        items = items[:, 0] if items.dim() == 3 else items
        if users.dim() == 3:
            users = users[:, 0] if users.shape[1] == 1 else nearest_interest(users, items)
        if users.shape != items.shape:
            raise SpecError(f"the towers return vectors of shapes {tuple(users.shape)} and {tuple(items.shape)}")
        own = _same(model, rows, items)
        first = torch.full((int(own.max()) + 1,), rows.n, device=own.device)
        first.scatter_reduce_(0, own, torch.arange(rows.n, device=own.device), "amin")
        temperature = getattr(model, "temperature", None)
        return users / temperature if temperature else users, items[first], own

    def _called(self, model: nn.Module, rows: Rows, y: Tensor | None) -> Judged:
        """What the module itself scores: pairs in mode 1, a list in mode 2."""
        said = model(rows.inputs)
        if self.mode == 1:
            if not isinstance(said, tuple | list) or len(said) != 2:
                raise self._wrong(said)
            positive, negatives = (part[: rows.n].float() for part in said)
            if positive.shape == negatives.shape:  # pairs, several a row perhaps
                return Judged(positive.reshape(-1), negatives.reshape(-1, 1))
            return Judged(positive.reshape(-1), negatives.reshape(positive.numel(), -1))
        if not isinstance(said, Tensor) or said.dim() != 2:
            raise self._wrong(said)
        logits = said[: rows.n].float()
        right = torch.zeros(rows.n, dtype=torch.int64, device=logits.device) if y is None else y.long().reshape(-1)
        if len(right) != rows.n or bool(((right < 0) | (right >= logits.shape[1])).any()):
            raise DataError(f"in mode 2 y is the column of the right logit, below {logits.shape[1]} here")
        return Judged(logits.gather(1, right[:, None])[:, 0], logits.scatter(1, right[:, None], -torch.inf))

    def _wrong(self, said: Any) -> SpecError:
        what = f"a tensor of shape {tuple(said.shape)}" if isinstance(said, Tensor) else f"a {type(said).__name__}"
        return SpecError(f"the model returns {what}; mode {self.mode} needs {_RETURNS[self.mode]}")

    def _take(self, item: Any) -> tuple[Rows, Tensor | None]:
        """Inputs on the device, and y as it is: an id may be no float32."""
        inputs, y = item if isinstance(item, tuple | list) and len(item) == 2 else (item, None)
        if self.mode == 0 and self.in_batch is None:
            return take(item, self.device), None
        return take((inputs,), self.device), None if y is None else torch.as_tensor(y).to(self.device)

    def measure(self, model: nn.Module, loader: Iterable[Any], names: Sequence[str] | None) -> dict[str, float]:
        """AUC in mode 0, the share of pairs in order in mode 1, the loss in mode 2; all metrics, or those named."""
        names = list(self.metrics) if names is None else names
        if self.mode == 0:
            measured = model if self.in_batch is None else _Pairs(self, bare(model))
            return self.scorer.measure(measured, loader, {name: self.metrics[name] for name in names})
        sums = dict.fromkeys(MONITORS[1:], 0.0)
        size = pairs = 0.0
        with torch.inference_mode(), resting(model):
            for item in loader:
                rows, y = self._take(item)
                if self.in_batch is None:
                    judged = self._called(model, rows, y)
                else:
                    judged = _everyone(*self.towers(bare(model), rows))
                often = (judged.negatives > -torch.inf).double() * (1.0 if judged.counts is None else judged.counts)
                above = (judged.positive[:, None] > judged.negatives) + 0.5 * (
                    judged.positive[:, None] == judged.negatives
                )
                sums["pair_accuracy"] += float((often * above).sum())
                pairs += float(often.sum())
                loss = self.loss(judged.positive, judged.negatives, None, judged.counts)
                sums["loss"] += float(loss) * rows.n
                size += rows.n
                self._stop()
        if not size:
            raise DataError("there are no rows to evaluate")
        means = {"pair_accuracy": sums["pair_accuracy"] / pairs if pairs else float("nan"), "loss": sums["loss"] / size}
        return {name: means[name] for name in names}

    @torch.inference_mode()
    def scores(self, model: nn.Module, loader: Iterable[Any]) -> Iterator[tuple[Tensor, Any]]:
        """For each batch: what the module says of its rows; of pairs, the positive's score."""
        with resting(model):
            for item in loader:
                inputs = item[0] if isinstance(item, tuple | list) and len(item) == 2 else item
                rows = take((inputs,), self.device)
                said = model(rows.inputs)
                said = said[0] if isinstance(said, tuple | list) else said
                said = said.float().reshape(rows.size, -1)[: rows.n]
                yield (said[:, 0] if said.shape[1] == 1 else said), None
                self._stop()

    @torch.inference_mode()
    def embed(self, model: nn.Module, mode: str, loader: Iterable[Any] | None) -> Tensor:
        """The vectors of a loader's rows, which the module returns while its ``mode`` says so.

        Raises:
            SpecError: the module has no such attribute.
        """
        if loader is None or not hasattr(model, "mode"):
            lacks = "a data_loader is needed" if loader is None else f"{type(model).__name__} has no attribute `mode`"
            raise SpecError(f"{lacks}: a foreign module embeds the inputs of a loader while its `mode` is {mode!r}")
        before, parts = model.mode, []
        with resting(model):
            try:
                model.mode = mode  # type: ignore[assignment]
                for item in loader:
                    inputs = item[0] if isinstance(item, tuple | list) and len(item) == 2 else item
                    rows = take((inputs,), self.device)
                    parts.append(model(rows.inputs)[: rows.n].float())
                    self._stop()
            finally:
                model.mode = before
        if not parts:
            raise DataError("the loader yields no rows to embed")
        return torch.cat(parts)

    def _stop(self) -> None:
        signal = self.watcher.stop_requested()
        if signal is not None:
            raise Interrupted(signal)


class _Pairs(nn.Module):
    """The two towers as a module that returns probabilities: how AUC is measured where batches give the negatives."""

    def __init__(self, upstream: Upstream, model: nn.Module) -> None:
        super().__init__()
        self.upstream, self.model = upstream, model
        self.training = model.training

    def forward(self, x: Any) -> Tensor:
        users, items, own = self.upstream.towers(self.model, take((x,), self.upstream.device))
        return (users * items[own]).sum(dim=1).sigmoid()


def _everyone(users: Tensor, items: Tensor, own: Tensor) -> Judged:
    """Each row against the items of all others."""
    scores = users @ items.T
    positive = scores.gather(1, own[:, None])[:, 0]
    return Judged(positive, scores.scatter(1, own[:, None], -torch.inf), torch.bincount(own).float())


def _same(model: nn.Module, rows: Rows, items: Tensor) -> Tensor:
    """int64 (B,): the same number for rows of the same item, told by its columns, or by its vector."""
    features = [getattr(model, name, None) for name in ("item_features", "item_feature", "pos_item_features")]
    listed: Any = next((one for one in features if one), [])
    names = [getattr(one, "name", one) for one in (listed if isinstance(listed, tuple | list) else [listed])]
    values = items.detach()
    if names and isinstance(rows.inputs, dict) and all(name in rows.inputs for name in names):
        values = torch.cat([rows.inputs[name][: rows.n].reshape(rows.n, -1).double() for name in names], dim=1)
    return torch.unique(values, dim=0, return_inverse=True)[1]
