"""MatchTrainer: which items suit a user, learnt from those that users chose."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from rechub_cli.errors import NoInput, SpecError
from rechub_cli.trainers import runtime
from rechub_cli.trainers.loop import Loop
from rechub_cli.trainers.optimization import Optimization
from rechub_cli.trainers.parallel import bare
from rechub_cli.trainers.precision import usable_precision
from rechub_cli.trainers.ranking import Catalogue
from rechub_cli.trainers.retrieval import MODES, RetrievalLoss, Sampler
from rechub_cli.trainers.towers import Towers
from rechub_cli.trainers.upstream_match import Upstream
from rechub_cli.trainers.watch import Checkpoints, LogWatcher, ModelFile, ModelLoggers, Watcher

if TYPE_CHECKING:
    import pandas as pd


class MatchTrainer:
    """Trains any retrieval model, on a loader of Batches with targets or of ``(x_dict, y)``.

    A model with ``embed_users`` and ``embed_items`` learns from Batches and a ``catalogue``; it is measured by ranking
    the whole catalogue. Any other module is called with ``x_dict``: it returns probabilities in mode 0, ``(positive
    scores, negative scores)`` in mode 1, and logits with the place of the right one as y in mode 2; its vectors come
    from ``user_tower`` and ``item_tower``, or from its own call while its attribute ``mode`` says "user" or "item".

    The weights that are best on the validation rows are left in the model and in ``model_path/model.pth``, whether or
    not early stopping fired.

    Args:
        model: any ``nn.Module`` as above.
        mode: 0 or "pointwise", 1 or "pairwise", 2 or "listwise"; that of ``loss``, or the model's own, or 0.
        in_batch_neg: negatives are the items of the other rows of a batch.
        in_batch_neg_ratio: so many of them; all by default.
        hard_negative: the ones that score highest instead of any.
        sampler_seed: of the negatives; ``seed`` by default.
        optimizer_fn: makes the optimizer from the parameters.
        optimizer_params: ``{"lr": 1e-3, "weight_decay": 1e-5}`` by default.
        regularization_params: ``embedding_l1, embedding_l2, dense_l1, dense_l2``: penalties on the weights.
        scheduler_fn: any torch scheduler, those that step per batch and ReduceLROnPlateau too.
        scheduler_params: its parameters; ``step: "batch"`` moves any scheduler at every batch.
        n_epoch: epochs at most.
        earlystop_patience: epochs without a better ``monitor`` before training stops.
        device: ``cpu``, ``cuda:0``, or ``auto``.
        gpus: GPUs to spread each batch over; the first holds the weights.
        model_path: folder of ``model.pth``; it is made if it is not there.
        model_logger: one or several objects with ``log_hyperparams(dict)``, ``log_metrics(dict, step)``, ``finish()``.
        catalogue: the items: ``batch`` (a Batch over ``schema.item``) and ``counts`` (I,) of training.
        negatives: a registered sampler, ``(name, options)``, or an object like one; the model's own by default. In mode
            0, rows with labels are learnt as labelled unless negatives are asked for.
        loss: a registered retrieval loss, or an object like one; that of the mode by default.
        loss_params: options of the loss.
        monitor: the metric that tells the best weights: ``ndcg@10``; without a catalogue auc, pair_accuracy or loss, by
            mode.
        metrics: further metrics to compute on validation rows.
        exclude_seen: rank without the items that a user already has (``Batch.seen``).
        popular: rank by the training counts too, and report that beside each metric.
        embedding_optimizer: ``{"name": "auto", "lr": None, "l2": 0}`` for models with an EmbeddingTable.
        clip_norm: the gradients' norm is at most this.
        precision: ``fp32``, or ``bf16`` for the towers and the products of their vectors.
        eval_every_steps: validate within epochs too.
        seed: of the randomness within training, such as dropout.
        watcher: follows the training.
        checkpoints: keeps the weights instead of ``model_path``.

    Raises:
        SpecError: a parameter has no meaning, or does not suit the model.
        Unavailable: there is no such device.
        CannotCreate: ``model_path`` cannot be written.
    """

    def __init__(
        self,
        model: nn.Module,
        mode: int | str | None = None,
        in_batch_neg: bool = False,
        in_batch_neg_ratio: int | None = None,
        hard_negative: bool = False,
        sampler_seed: int | None = None,
        optimizer_fn: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
        optimizer_params: Mapping[str, Any] | None = None,
        regularization_params: Mapping[str, float] | None = None,
        scheduler_fn: Callable[..., Any] | None = None,
        scheduler_params: Mapping[str, Any] | None = None,
        n_epoch: int = 10,
        earlystop_patience: int = 10,
        device: str = "cpu",
        gpus: list[int] | None = None,
        model_path: str = "./",
        model_logger: Any = None,
        *,
        catalogue: Catalogue | None = None,
        negatives: str | tuple[str, Mapping[str, Any]] | Mapping[str, Any] | Sampler | None = None,
        loss: str | RetrievalLoss | None = None,
        loss_params: Mapping[str, Any] | None = None,
        monitor: Any = None,
        metrics: Sequence[Any] = (),
        exclude_seen: bool = False,
        popular: bool = False,
        embedding_optimizer: Mapping[str, Any] | None = None,
        clip_norm: float | None = None,
        precision: str = "fp32",
        eval_every_steps: int | None = None,
        seed: int | None = None,
        watcher: Watcher | None = None,
        checkpoints: Checkpoints | None = None,
    ) -> None:
        runtime.prepare_training()
        self.device = runtime.find_device(device, gpus)
        if in_batch_neg:
            if negatives is not None:
                raise SpecError(
                    "in_batch_neg is one kind of negatives, and `negatives` names another: give one of them"
                )
            size = in_batch_neg_ratio if in_batch_neg_ratio and in_batch_neg_ratio > 0 else None
            negatives = ("in_batch", {"hard": size} if hard_negative else {"n": size})
        self.mode = _mode(mode)
        model.to(self.device)
        self.watcher: Watcher = watcher or LogWatcher()
        self.seed = seed
        chosen = {
            "mode": self.mode,
            "loss": loss,
            "loss_params": dict(loss_params or {}),
            "negatives": negatives,
            "seed": sampler_seed if sampler_seed is not None else seed or 0,
            "monitor": monitor,
            "metrics": metrics,
            "device": self.device,
            "gpus": gpus or [],
            "precision": usable_precision(precision, self.device, self.watcher),
        }
        if getattr(bare(model), "counting", False):
            raise SpecError(f"{type(model).__name__} counts and learns no weights: it needs no trainer")
        self.towers: Towers | Upstream
        if hasattr(bare(model), "embed_users") and hasattr(bare(model), "embed_items"):
            self.towers = Towers(model, catalogue, self.watcher, exclude_seen=exclude_seen, popular=popular, **chosen)
        else:
            if catalogue is not None:
                raise SpecError(
                    f"a catalogue needs a model with embed_users and embed_items: {type(model).__name__} is none"
                )
            self.towers = Upstream(model, self.watcher, **chosen)
        self.mode = self.towers.mode
        self.model = self.towers.trained
        self.optimization = Optimization(
            model,
            optimizer_fn,
            {"lr": 1e-3, "weight_decay": 1e-5} if optimizer_params is None else optimizer_params,
            embedding_optimizer,
            scheduler_fn,
            scheduler_params,
            regularization_params,
            clip_norm,
        )
        hyperparameters = {"n_epoch": n_epoch, "learning_rate": self.optimization.lr, "loss_mode": self.mode}
        if model_logger is not None:
            self.watcher = ModelLoggers(self.watcher, model_logger, hyperparameters)
        self.model_path = model_path
        self.checkpoints = checkpoints
        self.monitor = self.towers.monitor
        self.loop = Loop(
            self,
            n_epoch=n_epoch,
            patience=earlystop_patience,
            monitor=self.monitor,
            higher_is_better=self.towers.higher_is_better,
            watcher=self.watcher,
            eval_every_steps=eval_every_steps,
            seed=seed,
        )

    def fit(self, train_dataloader: Iterable[Any], val_dataloader: Iterable[Any] | None = None) -> None:
        """Train; the best weights are in the model afterwards, the last ones where there is no validation.

        Raises:
            RunFailed: the loss is not a number.
            Interrupted: the watcher asked to stop; the state was saved.
        """
        try:
            self.loop.fit(train_dataloader, val_dataloader, self.checkpoints or ModelFile(self.model_path))
        finally:
            if isinstance(self.watcher, ModelLoggers):
                self.watcher.finish()

    def train_one_epoch(self, data_loader: Iterable[Any], log_interval: int = 10) -> float:
        """Train for one epoch, telling the watcher of every ``log_interval``-th step; the mean loss."""
        return self.loop.train_one_epoch(data_loader, log_interval)

    def evaluate(self, model: nn.Module, data_loader: Iterable[Any]) -> float:
        """The monitored metric."""
        return self.towers.measure(model, data_loader, [self.monitor])[self.monitor]

    def evaluate_metrics(self, model: nn.Module, data_loader: Iterable[Any]) -> dict[str, float]:
        """All metrics, by name."""
        return self.towers.measure(model, data_loader, None)

    def predict(self, model: nn.Module, data_loader: Iterable[Any]) -> list[Any]:
        """The score of each row's user and item, in the loader's order: a logit, or what a foreign module returns."""
        return [score for scores, _, _ in self.predict_batches(model, data_loader) for score in scores.tolist()]

    def predict_batches(
        self, model: nn.Module, data_loader: Iterable[Any]
    ) -> Iterator[tuple[Tensor, Mapping[str, Tensor], Any]]:
        """For each batch: its scores, extras (none here), and what the loader carries beside the batch."""
        for scores, carried in self.towers.scores(model, data_loader):
            yield scores, {}, carried

    def inference_embedding(
        self, model: nn.Module, mode: str, data_loader: Iterable[Any] | None = None, model_path: str | None = None
    ) -> Tensor:
        """The vectors of users or items, in the loader's order: (N, E), or (N, K, E) of K interests.

        The model is left as it was found.

        Args:
            mode: "user" or "item".
            data_loader: inputs; for items, the catalogue where there is none.
            model_path: take the weights of ``model_path/model.pth`` instead of the model's.

        Raises:
            NoInput: there is no such file.
            SpecError: the mode is another, or the model has no such tower.
        """
        if mode not in ("user", "item"):
            raise SpecError(f'mode must be "user" or "item", not {mode!r}')
        model = bare(model)
        if model_path is not None:
            file = Path(model_path).expanduser() / "model.pth"
            if not file.is_file():
                raise NoInput(f"there is no file {file}; leave model_path out for the weights that the model has")
            weights = torch.load(file, map_location=self.device, weights_only=True)
            model = copy.deepcopy(model)
            model.load_state_dict(weights)
        return self.towers.embed(model.to(self.device), mode, data_loader)

    @property
    def history(self) -> pd.DataFrame:
        """One row for each evaluation: epoch, step, train_loss, val_<metric>…, lr, seconds, rows_per_s, best."""
        return self.loop.at.table()

    def state(self) -> dict[str, Any]:
        """What a resumed training needs besides the weights: a flat dict of tensors and JSON values."""
        return self.loop.state()

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Let the next ``fit`` continue where ``state`` was taken; load the weights into the model yourself.

        Where no later epoch is better, the best weights are those that ``checkpoints``, or ``model.pth``, had before.
        """
        self.loop.load_state(state)

    def step(self, item: Any) -> tuple[Tensor, int]:
        """Learn from one batch: its loss, and its queries."""
        self.optimization.zero_grad()
        loss, n = self.towers.learn(item, self.loop.at.epoch, self.loop.at.epoch_step)
        if n:
            loss.backward()
            self.optimization.update()
        return loss.detach(), n


def _mode(mode: int | str | None) -> int | None:
    number = MODES.get(mode.lower(), -1) if isinstance(mode, str) else mode
    if number not in (None, 0, 1, 2) or isinstance(mode, bool):
        raise SpecError(f"mode must be 0 (pointwise), 1 (pairwise) or 2 (listwise), not {mode!r}")
    return number
