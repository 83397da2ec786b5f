"""The contract of a ranking model, as checks that any model plugin can run in its own tests.

    import pytest
    from rechub_cli.testing import CHECKS

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_contract(check):
        check(MyModel, hidden_dims=[16])

Each check builds the model on a small schema (three sparse features, two sequences, two numbers) and raises
AssertionError with one sentence that says what does not hold. ``check_model`` runs them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load, save
from torch import Tensor, nn

from rechub_cli.batch import Batch, Jagged, Output
from rechub_cli.schema import FIRST_UNSEEN, MISSING, Feature, Schema, Task
from rechub_cli.testing.order import unordered_sums

KNOWN = FIRST_UNSEEN + 1  # first id of the vocabulary, with one unseen bucket

SCHEMA = Schema(
    (
        Feature("user_id", "sparse", embed_dim=8, vocab_size=KNOWN + 12),
        Feature("item_id", "sparse", embed_dim=8, vocab_size=KNOWN + 16),
        Feature("time.hour", "sparse", embed_dim=8, vocab_size=KNOWN + 4),
        Feature("history", "sequence", embed_dim=8, vocab_size=KNOWN + 16, shares="item_id", max_len=6),
        Feature("tags", "sequence", embed_dim=8, vocab_size=KNOWN + 5, max_len=3),
        Feature("price", "dense"),
        Feature("age", "dense"),
    ),
    (Task("click"),),
)


def schema_of(model_class: Callable[..., nn.Module]) -> Schema:
    """The small schema that a model of this kind is checked on: with one label, or two of a multi-task model."""
    return replace(SCHEMA, tasks=(Task("click"), Task("buy"))) if _is_multi_task(model_class) else SCHEMA


def _is_multi_task(model_class: Callable[..., nn.Module]) -> bool:
    return getattr(model_class, "command", None) == "train-mtl"


def check_model(model_class: Callable[..., nn.Module], **options: Any) -> None:
    """Run every check on ``model_class(schema, **options)``.

    A model that cannot learn interactions on purpose says so by a class attribute ``linear_only = True``.
    Raises: AssertionError at the first check that fails.
    """
    for check in CHECKS:
        check(model_class, **options)


def gives_one_logit_for_each_task(model_class: Callable[..., nn.Module], **options: Any) -> None:
    """``forward`` returns an Output whose logits are float32 (B, T), before any sigmoid."""
    several = (
        (Task("click"), Task("buy")) if _is_multi_task(model_class) else (Task("click"), Task("paid", "regression"))
    )
    for tasks in (schema_of(model_class).tasks, several):
        with _built(model_class, options, replace(SCHEMA, tasks=tasks)) as model:
            output = model(_rows(5))
            assert isinstance(output, Output), f"forward returned {type(output).__name__}, not rechub_cli.batch.Output"
            shape = tuple(output.logits.shape)
            assert shape == (5, len(tasks)), f"logits have shape {shape} for 5 rows and {len(tasks)} tasks"
            assert output.logits.dtype == torch.float32, f"logits are {output.logits.dtype}, not float32"


def learns_an_interaction(model_class: Callable[..., nn.Module], **options: Any) -> None:
    """Clicked exactly when user and item are both even or both odd: no sum of separate effects says that."""
    if getattr(model_class, "linear_only", False):
        return
    with _built(model_class, options) as model:
        batch = _rows(256)
        labels = (batch.sparse[:, 0] % 2 == batch.sparse[:, 1] % 2).float()[:, None]
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        for _ in range(100):
            optimizer.zero_grad()
            logits = model(batch).logits
            F.binary_cross_entropy_with_logits(logits, labels.expand_as(logits)).backward()
            optimizer.step()
        share = ((_scores(model, batch) > 0) == labels.bool()).float().mean().item()
    assert share > 0.95, f"after training, only {share:.0%} of the rows are on the right side; chance is 50%"


def scores_a_row_by_itself(model_class: Callable[..., nn.Module], **options: Any) -> None:
    """A row's score depends neither on its batch-mates nor on the length of their histories."""
    with _built(model_class, options) as model:
        _shake(model)
        batch = _rows(9)
        together = _scores(model, batch)
        alone = torch.cat([_scores(model, batch.slice(row, row + 1)) for row in range(len(batch))])
    assert torch.allclose(together, alone, atol=1e-4), "a row's score changes with the other rows of its batch"
    assert together.std() > 1e-3, "all rows get the same score"


def scores_ids_it_never_saw(model_class: Callable[..., nn.Module], **options: Any) -> None:
    """Unseen and missing ids, in fields and in sequences, give finite scores."""
    with _built(model_class, options) as model:
        _shake(model)
        for reserved in (MISSING, FIRST_UNSEEN):
            batch = _rows(4)
            sequences = {
                name: Jagged(torch.full_like(part.values, reserved), part.offsets)
                for name, part in batch.sequences.items()
            }
            batch = replace(batch, sparse=torch.full_like(batch.sparse, reserved), sequences=sequences)
            assert _scores(model, batch).isfinite().all(), f"scores of rows whose ids are all {reserved} are not finite"


def takes_empty_histories_and_single_rows(model_class: Callable[..., nn.Module], **options: Any) -> None:
    """Rows without history, and batches of one row, train and score."""
    with _built(model_class, options) as model:
        for size in (1, 4):
            batch = _rows(size)
            nothing = {
                name: Jagged(part.values[:0], torch.zeros_like(part.offsets)) for name, part in batch.sequences.items()
            }
            for case in (batch, replace(batch, sequences=nothing)):
                model.train()
                model(case).logits.sum().backward()
                assert _scores(model, case).isfinite().all(), (
                    f"scores of {size} rows with little history are not finite"
                )


def trains_every_parameter(model_class: Callable[..., nn.Module], **options: Any) -> None:
    """After one backward pass every parameter has a gradient that is not zero."""
    with _built(model_class, options) as model:
        _shake(model)
        batch = _rows(64)
        labels = torch.arange(64.0)[:, None] % 2
        logits = model(batch).logits
        F.binary_cross_entropy_with_logits(logits, labels.expand_as(logits)).backward()
        idle = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not idle, f"no gradient reaches {', '.join(idle)}"


def predicts_the_same_after_loading(model_class: Callable[..., nn.Module], **options: Any) -> None:
    """A new model that loads the saved weights gives the very same scores."""
    with _built(model_class, options) as model:
        _shake(model)
        model(_rows(32))  # moves running statistics, if there are any
        batch = _rows(8)
        saved = save({name: value.contiguous() for name, value in model.state_dict().items()})
        fresh = model_class(schema_of(model_class), **options)
        fresh.load_state_dict(load(saved))
        assert torch.equal(_scores(model, batch), _scores(fresh, batch)), "a reloaded model scores differently"


def runs_in_bf16(model_class: Callable[..., nn.Module], **options: Any) -> None:
    """Under bf16 autocast a training step runs, logits stay float32, scores stay close."""
    with _built(model_class, options) as model:
        batch = _rows(64)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(batch).logits
        logits.sum().backward()
        assert logits.dtype == torch.float32, f"logits are {logits.dtype} under autocast, not float32"
        model.eval()
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            low = model(batch).logits
        assert torch.allclose(low, _scores(model, batch), atol=0.1, rtol=0.1), "bf16 scores are far from float32 ones"


def adds_gradients_in_one_order(model_class: Callable[..., nn.Module], **options: Any) -> None:
    """No gradient is added up by threads in any order: a training repeats to the bit."""
    with _built(model_class, options) as model, unordered_sums() as found:
        model(_rows(9)).logits.sum().backward()
    assert not found, f"threads may add to a gradient in any order: {found[0]}; F.embedding(places, x) adds in one"


CHECKS: tuple[Callable[..., None], ...] = (
    gives_one_logit_for_each_task,
    learns_an_interaction,
    scores_a_row_by_itself,
    scores_ids_it_never_saw,
    takes_empty_histories_and_single_rows,
    trains_every_parameter,
    predicts_the_same_after_loading,
    runs_in_bf16,
    adds_gradients_in_one_order,
)


@contextmanager
def _built(
    model_class: Callable[..., nn.Module], options: dict[str, Any], schema: Schema | None = None
) -> Iterator[nn.Module]:
    """The model in training mode, from a fixed seed; the caller's random state is left alone.

    One thread: on tensors this small several only wait for each other.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            yield model_class(schema or schema_of(model_class), **options).train()
    finally:
        torch.set_num_threads(threads)


def _rows(size: int) -> Batch:
    """Rows of known ids; each with at least one history item."""
    random = torch.Generator().manual_seed(size)

    def ids(feature: Feature, count: int) -> Tensor:
        return torch.randint(KNOWN, feature.vocab_size, (count,), generator=random, dtype=torch.int32)

    sequences = {}
    for feature in SCHEMA.sequences:
        lengths = torch.randint(1, feature.max_len + 1, (size,), generator=random)
        offsets = torch.cat([torch.zeros(1, dtype=torch.long), lengths.cumsum(0)])
        sequences[feature.name] = Jagged(ids(feature, int(offsets[-1])), offsets)
    sparse = torch.stack([ids(feature, size) for feature in SCHEMA.sparse], dim=1)
    return Batch(sparse, torch.randn(size, SCHEMA.n_dense, generator=random), sequences)


def _shake(model: nn.Module) -> None:
    """Move every parameter well away from its start, where small embeddings hide differences."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)


def _scores(model: nn.Module, batch: Batch) -> Tensor:
    model.eval()
    with torch.no_grad():
        return model(batch).logits
