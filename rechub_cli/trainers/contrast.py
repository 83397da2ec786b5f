"""Queries against candidates: scores and loss of one step, at the cost of the matrix products.

Shape legend: Q queries, D items whose vectors are at hand, N candidates of a query, E the vectors' width.

There are Q x N scores, which would not fit memory for long sequences and a whole catalogue. They are made a few rows at
a time, small enough for a processor's cache, and the gradient of each block is taken at once, while its scores are
still there: nothing is computed twice, and only the gradients of the vectors are kept.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rechub_cli.nn.rows import sum_by_row

# (positive (Q,), negatives (Q, N), weights (Q,) or None, counts (N,) or (Q, N) or None) -> mean over the queries.
# One that has `gradients` too (see losses/retrieval/softmax.py) is asked for both at once.
RetrievalLoss = Callable[[Tensor, Tensor, Tensor | None, Tensor | None], Tensor]
BLOCK_SCORES = {"cpu": 2**19, "cuda": 2**27}  # of float32


@dataclass(frozen=True, slots=True)
class Contrast:
    """What each query is to be told apart from, and how that is judged."""

    loss: RetrievalLoss
    positives: Tensor  # int64 (Q,): rows of the items
    candidates: Tensor | None = None  # int64 (N,) distinct rows, (Q, N) or (B, N) with -1 for none; None: all D items
    bias: Tensor | None = None  # float32 like candidates: added to their logits
    offsets: Tensor | None = None  # int64 (B + 1,) of the queries that share each of B rows of candidates
    positive_bias: Tensor | None = None  # float32 (Q,)
    counts: Tensor | None = None  # float32 like candidates: how often each was drawn
    weights: Tensor | None = None  # float32 (Q,)
    hard: int | None = None  # each query keeps so many of its highest negatives
    bf16: bool = False  # matrix products in bfloat16


def contrast(users: Tensor, items: Tensor, step: Contrast) -> Tensor:
    """The loss of Q queries: a scalar, differentiable in both kinds of vectors.

    A candidate that is the query's own item is no negative of it (-inf), whatever it was drawn for, and that before the
    hardest are kept.

    Args:
        users: float32 (Q, E), divided by the temperature.
        items: float32 (D, E).
    """
    return _Contrast.apply(users, items, step, torch.is_grad_enabled())


class _Contrast(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, users: Tensor, items: Tensor, step: Contrast, learns: bool) -> Tensor:
        blocks = _candidates(items, step)
        total = users.new_zeros(())
        d_users = torch.empty_like(users)
        d_positive = users.new_empty(len(users))
        shares = torch.full_like(d_positive, 1 / max(len(users), 1))  # what each query is of the mean
        if step.weights is not None:
            shares = step.weights / step.weights.sum().clamp_min(1e-12)
        for rows in blocks.slices(users):
            queries, mine = users[rows], items[step.positives[rows]]
            positive, scores = (queries * mine).sum(dim=1), blocks.scores(queries, rows)
            if step.positive_bias is not None:
                positive += step.positive_bias[rows]
            loss, of_positive, of_scores = _judged(positive, scores, rows, step, shares[rows], learns)
            total += loss
            if learns:
                d_positive[rows] = of_positive
                d_users[rows] = torch.addcmul(blocks.learn(of_scores, queries, rows), of_positive[:, None], mine)
        if learns:
            d_items = blocks.gradient(users)
            rows_of_own, own = sum_by_row(step.positives.int(), users, weights=d_positive)
            ctx.save_for_backward(d_users, d_items.index_add_(0, rows_of_own, own))
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        d_users, d_items = ctx.saved_tensors
        return d_users * grad, d_items * grad, None, None


def _candidates(items: Tensor, step: Contrast) -> _SharedCandidates | _OwnCandidates | _RowCandidates:
    if step.offsets is not None:
        return _RowCandidates(items, step)
    if step.candidates is not None and step.candidates.dim() == 2:
        return _OwnCandidates(items, step)
    return _SharedCandidates(items, step)


def _blocks(users: Tensor, width: int) -> Iterator[slice]:
    size = max(1, BLOCK_SCORES.get(users.device.type, 2**27) // max(width, 1))
    for start in range(0, len(users), size):
        yield slice(start, min(start + size, len(users)))


def _judged(
    positive: Tensor, scores: Tensor, rows: slice, step: Contrast, shares: Tensor, learns: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The part of the loss that these rows are, and its gradients by positive and scores."""
    counts = step.counts[rows] if step.counts is not None and step.counts.dim() == 2 else step.counts
    weights = step.weights[rows] if step.weights is not None else None
    negatives, kept = scores, None
    if step.hard is not None and step.hard < scores.shape[1]:
        negatives, kept = scores.topk(step.hard, dim=1)
        counts = counts.expand_as(scores).gather(1, kept) if counts is not None else None
    if learns and hasattr(step.loss, "gradients"):
        loss, of_positive = step.loss.gradients(positive, negatives, shares, counts)
        return loss, of_positive, _spread(negatives, kept, scores)
    with torch.set_grad_enabled(learns):
        positive, negatives = positive.detach().requires_grad_(learns), negatives.detach().requires_grad_(learns)
        loss = step.loss(positive, negatives, weights, counts) * shares.sum()
    if not learns:
        return loss, positive, negatives
    of_positive, of_negatives = torch.autograd.grad(
        loss, (positive, negatives), allow_unused=True, materialize_grads=True
    )
    return loss.detach(), of_positive, _spread(of_negatives, kept, scores)


def _spread(of_negatives: Tensor, kept: Tensor | None, scores: Tensor) -> Tensor:
    """Gradients of the negatives that were kept, each at its place."""
    return of_negatives if kept is None else torch.zeros_like(scores).scatter_(1, kept, of_negatives)


class _SharedCandidates:
    """N candidates that all queries have in common: one matrix product makes the scores of a block."""

    def __init__(self, items: Tensor, step: Contrast) -> None:
        self.items, self.step = items, step
        self.type = torch.bfloat16 if step.bf16 else items.dtype
        if step.candidates is None:
            vectors, self.hits = items, step.positives
        else:
            vectors = items[step.candidates]
            column = torch.full((len(items),), -1, device=items.device)
            column[step.candidates] = torch.arange(len(vectors), device=items.device)
            self.hits = column[step.positives]
        self.width = len(vectors)
        self.vectors = vectors.to(self.type)
        self.d_vectors = torch.zeros_like(vectors)

    def slices(self, users: Tensor) -> Iterator[slice]:
        """The queries, a block at a time."""
        return _blocks(users, self.width)

    def scores(self, queries: Tensor, rows: slice) -> Tensor:
        """(b, N)"""
        queries = queries.to(self.type)
        bias = self.step.bias
        if bias is None or self.step.bf16:
            scores = (queries @ self.vectors.T).float()
            scores = scores if bias is None else scores.add_(bias)
        else:
            scores = torch.addmm(bias, queries, self.vectors.T)
        hits = self.hits[rows, None]
        if self.width:
            column = hits.clamp_min(0)
            masked = scores.gather(1, column).masked_fill_(hits >= 0, -torch.inf)
            scores.scatter_(1, column, masked)
        return scores

    def learn(self, of_scores: Tensor, queries: Tensor, rows: slice) -> Tensor:
        """Keep the vectors' gradient; (b, E) of the queries."""
        of_scores = of_scores.to(self.type)
        if self.step.bf16:
            self.d_vectors += of_scores.T @ queries.to(self.type)
        else:
            self.d_vectors.addmm_(of_scores.T, queries)
        return (of_scores @ self.vectors).float()

    def gradient(self, users: Tensor) -> Tensor:
        """(D, E) of all items."""
        if self.step.candidates is None:
            return self.d_vectors
        return torch.zeros_like(self.items).index_copy_(0, self.step.candidates, self.d_vectors)


class _OwnCandidates:
    """N candidates of each query."""

    def __init__(self, items: Tensor, step: Contrast) -> None:
        assert step.candidates is not None
        self.items, self.step, self.candidates = items, step, step.candidates
        self.width = self.candidates.shape[1] * items.shape[1]  # a block gathers their vectors
        self.d_items = torch.zeros_like(items)

    def slices(self, users: Tensor) -> Iterator[slice]:
        """The queries, a block at a time."""
        return _blocks(users, self.width)

    def scores(self, queries: Tensor, rows: slice) -> Tensor:
        """(b, N)"""
        candidates = self.candidates[rows]
        scores = torch.bmm(self.items[candidates.clamp_min(0)], queries[:, :, None]).squeeze(2)
        if self.step.bias is not None:
            scores += self.step.bias[rows]
        return scores.masked_fill_((candidates < 0) | (candidates == self.step.positives[rows, None]), -torch.inf)

    def learn(self, of_scores: Tensor, queries: Tensor, rows: slice) -> Tensor:
        """Keep the items' gradient; (b, E) of the queries."""
        candidates, n = self.candidates[rows].clamp_min(0), self.candidates.shape[1]
        if not n:
            return torch.zeros_like(queries)
        source = torch.arange(candidates.numel(), device=candidates.device) // n
        self.d_items.index_add_(0, *sum_by_row(candidates.flatten().int(), queries, source, of_scores.flatten()))
        return torch.bmm(of_scores[:, None], self.items[candidates]).squeeze(1)

    def gradient(self, users: Tensor) -> Tensor:
        """(D, E) of all items."""
        return self.d_items


class _RowCandidates:
    """N candidates of each row, which its queries share: a block is a row, and a matrix product makes its scores."""

    def __init__(self, items: Tensor, step: Contrast) -> None:
        assert step.candidates is not None
        assert step.offsets is not None
        self.items, self.step, self.candidates = items, step, step.candidates
        self.type = torch.bfloat16 if step.bf16 else items.dtype
        self.offsets = step.offsets.tolist()
        self.d_items = torch.zeros_like(items)

    def slices(self, users: Tensor) -> Iterator[slice]:
        """The queries, a row at a time."""
        for row, (start, stop) in enumerate(itertools.pairwise(self.offsets)):
            if start < stop:
                self.row, self.places = row, self.candidates[row]
                self.vectors = self.items[self.places.clamp_min(0)].to(self.type)
                yield slice(start, stop)

    def scores(self, queries: Tensor, rows: slice) -> Tensor:
        """(b, N)"""
        scores = (queries.to(self.type) @ self.vectors.T).float()
        if self.step.bias is not None:
            scores += self.step.bias[self.row]
        return scores.masked_fill_((self.places < 0) | (self.places == self.step.positives[rows, None]), -torch.inf)

    def learn(self, of_scores: Tensor, queries: Tensor, rows: slice) -> Tensor:
        """Keep the items' gradient; (b, E) of the queries."""
        of_scores = of_scores.to(self.type)
        of_vectors = (of_scores.T @ queries.to(self.type)).float()
        self.d_items.index_add_(0, self.places.clamp_min(0), of_vectors)
        return (of_scores @ self.vectors).float()

    def gradient(self, users: Tensor) -> Tensor:
        """(D, E) of all items."""
        return self.d_items
