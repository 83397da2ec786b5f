"""A model with ``embed_users`` and ``embed_items`` under MatchTrainer: how it learns, ranks, scores and embeds."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rechub_cli.batch import Batch
from rechub_cli.errors import DataError, Interrupted, SpecError
from rechub_cli.plugins import class_literal
from rechub_cli.schema import Schema
from rechub_cli.trainers.batches import take
from rechub_cli.trainers.parallel import Replicas, bare
from rechub_cli.trainers.ranked import load_metrics
from rechub_cli.trainers.ranking import Catalogue, Ranker
from rechub_cli.trainers.retrieval import LOSSES, Retrieval, Users, make_loss, make_sampler, pair_logits
from rechub_cli.trainers.scoring import metric_key
from rechub_cli.trainers.watch import Watcher

MONITOR = "ndcg@10"


class Towers:
    """What MatchTrainer asks of a model of ours; the arguments are its own.

    Raises:
        SpecError: there is no catalogue, or a name or an option is unknown, or the loss is of another mode.
    """

    def __init__(
        self,
        model: nn.Module,
        catalogue: Catalogue | None,
        watcher: Watcher,
        *,
        mode: int | None,
        loss: Any,
        loss_params: Mapping[str, Any],
        negatives: Any,
        seed: int,
        monitor: Any,
        metrics: Sequence[Any],
        exclude_seen: bool,
        popular: bool,
        device: torch.device,
        gpus: list[int],
        precision: str,
    ) -> None:
        name = type(model).__name__
        if catalogue is None:
            raise SpecError(f"{name} learns from a catalogue: give MatchTrainer catalogue=, the items and their counts")
        self.trained, self.catalogue, self.watcher = model, catalogue, watcher
        self.device, self.precision = device, precision
        self.exclude_seen, self.popular = exclude_seen, popular

        self.mode, wanted = which_loss(model, mode, loss)
        sampled = negatives is not None or loss not in (None, "bce")
        sampler = negatives if negatives is not None else getattr(model, "negatives", "in_batch")
        schema = getattr(model, "schema", Schema(()))
        self.retrieval = Retrieval(
            model,
            catalogue,
            make_loss(wanted, loss_params, len(catalogue.batch)),
            make_sampler(sampler, catalogue.counts, seed, schema),
            device=device,
            labelled=self.mode == 0 and not sampled,
            bf16=precision == "bf16",
            users=Replicas(Users(model), gpus) if gpus else None,
        )
        monitor = MONITOR if monitor is None else monitor
        self.monitor = metric_key(monitor)
        self.metrics = load_metrics([monitor, *metrics])
        self.higher_is_better = bool(self.metrics[self.monitor].higher_is_better)
        self.ranker = self._ranker(model)

    def learn(self, item: Any, epoch: int, step: int) -> tuple[Tensor, int]:
        """The loss of a loader's item, and its queries."""
        return self.retrieval.learn(take(item, self.device).inputs, epoch, step)

    def measure(self, model: nn.Module, loader: Iterable[Any], names: Sequence[str] | None) -> dict[str, float]:
        """Metrics of the full ranking; all of them, or those named."""
        metrics = self.metrics if names is None else {name: self.metrics[name] for name in names}
        ranker = self.ranker if bare(model) is self.ranker.model else self._ranker(bare(model))
        popular = self.popular and names is None
        learned = getattr(ranker.model, "temperature", None)
        if names is None and isinstance(learned, Tensor) and learned.requires_grad:
            value = learned.item()
            self.watcher.on_message("info", "temperature", f"temperature {value:.4f}", {"temperature": value})
        return ranker.measure(loader, metrics, exclude_seen=self.exclude_seen, popular=popular)

    @torch.inference_mode()
    def scores(self, model: nn.Module, loader: Iterable[Any]) -> Iterator[tuple[Tensor, Any]]:
        """For each batch: the logits (B,) of its rows' users and items, and what the loader carries beside it.

        NaN where the item is not in the catalogue.

        Raises:
            DataError: the batches have no targets, one for each row.
            Interrupted: a signal asked to stop.
        """
        model = bare(model)
        items = self.retrieval.items
        with resting(model):
            for item in loader:
                rows = take(item, self.device)
                batch = rows.inputs
                if not isinstance(batch, Batch) or batch.targets is None or len(batch.targets.values) != len(batch):
                    raise DataError("to score users with items, every row needs one target: its item")
                places = batch.targets.values[:, 1].long()
                distinct, own = torch.unique(places.clamp_min(0), return_inverse=True)
                with self._autocast():
                    users = model.embed_users(batch).float()  # type: ignore[operator]
                    vectors = model.embed_items(items.take(distinct)).float()  # type: ignore[operator]
                logits = pair_logits(model, users, vectors[own])
                yield logits.masked_fill(places < 0, torch.nan), rows.carried
                self._stop()

    @torch.inference_mode()
    def embed(self, model: nn.Module, mode: str, loader: Iterable[Any] | None) -> Tensor:
        """(N, E) or (N, K, E): the vectors of a loader's users or items, or of the catalogue's items."""
        method = model.embed_users if mode == "user" else model.embed_items
        if loader is None and mode == "user":
            raise SpecError("user vectors need a data_loader of users")
        parts = []
        with resting(model):
            for item in [self.catalogue.batch] if loader is None else loader:
                with self._autocast():
                    parts.append(method(take(item, self.device).inputs).float())  # type: ignore[operator]
                self._stop()
        if not parts:
            raise DataError("the loader yields no rows to embed")
        return torch.cat(parts)

    def _ranker(self, model: nn.Module) -> Ranker:
        return Ranker(model, self.catalogue, device=self.device, precision=self.precision, watcher=self.watcher)

    def _autocast(self) -> Any:
        bf16 = self.precision == "bf16"
        return torch.autocast(self.device.type, torch.bfloat16) if bf16 else contextlib.nullcontext()

    def _stop(self) -> None:
        signal = self.watcher.stop_requested()
        if signal is not None:
            raise Interrupted(signal)


@contextlib.contextmanager
def resting(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode; afterwards as before."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def which_loss(model: nn.Module, mode: int | None, loss: Any) -> tuple[int, Any]:
    """The mode, and the loss by name or as given.

    Raises:
        SpecError: the loss is of another mode than the one asked for.
    """
    own = getattr(model, "mode", None)
    own = own if own in (0, 1, 2) else None
    if loss is None:
        chosen = next(one for one in (mode, own, 0) if one is not None)
        usual = getattr(model, "loss", None) if chosen == own else None
        return chosen, usual if isinstance(usual, str) else LOSSES[chosen]
    of_loss = class_literal("retrieval_losses", loss, "mode") if isinstance(loss, str) else getattr(loss, "mode", None)
    if mode is not None and of_loss is not None and of_loss != mode:
        raise SpecError(f"loss {loss} is of mode {of_loss}, not of mode {mode}: leave one of them out")
    return next(one for one in (mode, of_loss, own, 0) if one is not None), loss
