"""One training step of a retrieval model: its users, the items they are told apart from, and the loss."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rechub_cli import plugins
from rechub_cli.batch import Batch, Jagged
from rechub_cli.errors import DataError, SpecError
from rechub_cli.nn.candidates import Candidates
from rechub_cli.nn.similarity import interest_scores
from rechub_cli.plugins.options import check_options
from rechub_cli.schema import Schema
from rechub_cli.trainers.batches import LoneRow
from rechub_cli.trainers.contrast import Contrast, RetrievalLoss, contrast
from rechub_cli.trainers.ranking import Catalogue

MODES = {"pointwise": 0, "pairwise": 1, "listwise": 2}
LOSSES = ("bce", "bpr", "softmax")  # by mode


class Sampler(Protocol):
    """Chooses the items that a step's queries are told apart from."""

    hard: int | None  # each query keeps so many of its highest negatives

    def bind(self, counts: Tensor, seed: int, schema: Schema) -> None:
        """``counts`` (I,): how often training chose each item of the catalogue."""

    def draw(self, positives: Tensor, batch: Batch, *, epoch: int, step: int) -> Candidates:
        """For queries whose own items are ``positives`` (Q,): a pure function of these, the seed, epoch and step."""


class Retrieval:
    """How a model with ``embed_users`` and ``embed_items`` learns.

    Shape legend: B rows, Q queries (targets of the rows), I items, E the vectors' width, K interests.

    Args:
        labelled: rows with labels are learnt as they are labelled, and nothing is sampled.
        bf16: the towers and the products of their vectors run in bfloat16.
    """

    def __init__(
        self,
        model: nn.Module,
        catalogue: Catalogue,
        loss: RetrievalLoss,
        sampler: Sampler,
        *,
        device: torch.device,
        labelled: bool,
        bf16: bool,
        users: nn.Module | None = None,
    ) -> None:
        self.model, self.loss, self.sampler = model, loss, sampler
        self.users = users or Users(model)
        self.items = catalogue.batch.to(device)
        self.device, self.labelled, self.bf16 = device, labelled, bf16
        self.sequential = bool(getattr(model, "sequential", False))
        self.log_q = bool(getattr(loss, "log_q", False))
        self.correct_positive = bool(getattr(loss, "correct_positive", False))
        self.pair_loss = plugins.load("losses", "bce")

    def learn(self, batch: Batch, epoch: int, step: int) -> tuple[Tensor, int]:
        """The loss of a batch, and its queries.

        Raises:
            DataError: the rows have no targets, or several where the model takes one.
        """
        if not isinstance(batch, Batch) or batch.targets is None:
            raise DataError(
                "the batches have no targets: MatchTrainer learns a model with towers from a Batch with them"
            )
        positives = batch.targets.values[:, 1].long()
        if not len(positives):
            return next(self.model.parameters()).sum() * 0.0, 0
        labelled = self.labelled and batch.labels is not None and batch.labels.shape[1] > 0
        candidates = None if labelled else self.sampler.draw(positives, batch, epoch=epoch, step=step)
        distinct, own, others = _distinct(positives, candidates, len(self.items))
        lone = len(batch) == 1 or (distinct is not None and len(distinct) == 1)
        with self._autocast(), LoneRow(self.model) if lone else contextlib.nullcontext():
            users = self._users(batch, batch.targets)
            items = self.model.embed_items(self.items if distinct is None else self.items.take(distinct)).float()  # type: ignore[operator]
        rows = batch.targets.rows
        if candidates is None:
            assert batch.labels is not None
            logits = pair_logits(self.model, users, F.embedding(own, items))[:, None]
            weights = None if batch.weights is None else batch.weights[rows]
            return self.pair_loss(logits, batch.labels[rows], weights), len(positives)
        if users.dim() == 3:
            users = self.model.select_interest(users, F.embedding(own, items)).float()  # type: ignore[operator]
        users = users / getattr(self.model, "temperature", 1.0)
        log_q = candidates.log_q if self.log_q else None
        counts = candidates.counts
        if log_q is not None:  # both are one summand of the logit
            log_q, counts = (log_q if counts is None else log_q - counts.log()), None
        lengths, own_of_rows = batch.targets.lengths, candidates.places.dim() == 2 and not candidates.by_query
        corrected = self.log_q and self.correct_positive and candidates.positive_log_q is not None
        step_of = Contrast(
            self.loss,
            own,
            others,
            bias=None if log_q is None else -log_q,
            offsets=batch.targets.offsets if own_of_rows and bool((lengths != 1).any()) else None,
            positive_bias=-cast("Tensor", candidates.positive_log_q) if corrected else None,
            counts=counts,
            weights=None if batch.weights is None else batch.weights[rows],
            hard=getattr(self.sampler, "hard", None),
            bf16=self.bf16,
        )
        return contrast(users, items, step_of), len(positives)

    def _users(self, batch: Batch, targets: Jagged) -> Tensor:
        """(Q, E) or (Q, K, E): the users as they were before each target."""
        if self.sequential and int(targets.values[:, 0].min()) > 0:
            return self.users(batch, "encode_positions").float()
        if bool((targets.lengths > 1).any()):
            raise DataError(
                f"{type(self.model).__name__} reads a whole history at once: it learns from rows of one target each"
            )
        users = self.users(batch, "embed_users").float()
        return users if len(targets.values) == len(users) else users[targets.rows]

    def _autocast(self) -> Any:
        return torch.autocast(self.device.type, torch.bfloat16) if self.bf16 else contextlib.nullcontext()


class Users(nn.Module):
    """The user tower as a module that is called, which is what replicas on several GPUs need."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch, method: str) -> Tensor:
        return getattr(self.model, method)(batch)


def pair_logits(model: nn.Module, users: Tensor, items: Tensor) -> Tensor:
    """Vectors of B users, (B, E) or (B, K, E), and of their B items (B, E) -> logits (B,)."""
    scores = interest_scores(users, items).amax(dim=1) if users.dim() == 3 else (users * items).sum(dim=1)
    return scores / getattr(model, "temperature", 1.0)


def _distinct(
    positives: Tensor, candidates: Candidates | None, size: int
) -> tuple[Tensor | None, Tensor, Tensor | None]:
    """The distinct places that a step embeds (None: all), and where in them the positives and the candidates are."""
    if candidates is None:
        places, own = torch.unique(positives, return_inverse=True)
        return places, own, None
    others = candidates.places
    if others.dim() == 1 and len(others) == size:
        return None, positives, None if bool((others.diff() == 1).all()) else others
    there = others.flatten()
    places, inverse = torch.unique(torch.cat([positives, there.clamp_min(0)]), return_inverse=True)
    own, found = inverse[: len(positives)], inverse[len(positives) :]
    return places, own, torch.where(there < 0, there, found).view(others.shape)


def make_sampler(wanted: Any, counts: Any, seed: int, schema: Schema) -> Sampler:
    """A sampler by name, ``(name, options)``, ``{"name": name, option: value}``, or one that is made already.

    Args:
        counts: (I,) how often training chose each item.

    Raises:
        SpecError: there is no such sampler, or it has no such option.
    """
    name, options = named(wanted) if isinstance(wanted, str | tuple | list | Mapping) else (None, {})
    for option in ("n", "hard"):
        if type(value := options.get(option)) is int and value < 1:
            raise SpecError(f"negatives: {option} must be at least 1, not {value}")
    sampler = wanted if name is None else _made("samplers", name, options, "negatives")
    sampler.bind(torch.as_tensor(counts), seed, schema)
    return sampler


def named(wanted: str | tuple[Any, ...] | list[Any] | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The name and the options of negatives, however they are written.

    Raises:
        SpecError: there is no name.
    """
    if isinstance(wanted, str):
        return wanted, {}
    if isinstance(wanted, Mapping):
        options = dict(wanted)
        if not isinstance(name := options.pop("name", None), str):
            raise SpecError("negatives: say which sampler, as in {name: uniform, n: 256}")
        return name, options
    if len(wanted) != 2 or not isinstance(wanted[0], str) or not isinstance(wanted[1], Mapping):
        raise SpecError(f"negatives: a name, or (name, options), not {wanted!r}")
    return wanted[0], dict(wanted[1])


def make_loss(wanted: str | RetrievalLoss, options: Mapping[str, Any], n_items: int) -> RetrievalLoss:
    """A retrieval loss by name, or one that is made already.

    Raises:
        SpecError: there is no such loss, or it has no such option.
    """
    loss: Any = _made("retrieval_losses", wanted, options, "loss_params") if isinstance(wanted, str) else wanted
    if hasattr(loss, "bind"):
        loss.bind(n_items)
    return loss


def _made(kind: str, name: str, options: Mapping[str, Any], key: str) -> Any:
    checked, faults = check_options(kind, name, options)
    if faults:
        hint = f"; did you mean {faults[0].suggestion!r}?" if faults[0].suggestion else ""
        raise SpecError(f"{key}: {faults[0].text}{hint}")
    return plugins.load(kind, name)(**checked)
