"""The contract of a trained retrieval model, as checks that any model plugin can run in its own tests.

    import pytest
    from rechub_cli.testing import MATCH_CHECKS

    @pytest.mark.parametrize("check", MATCH_CHECKS, ids=lambda check: check.__name__)
    def test_contract(check):
        check(MyModel, hidden_dims=[16])

Each check builds the model on a small schema (a user with an id, an age and a history of items and their genres; items
with an id, a genre and a price) and raises AssertionError with one sentence that says what does not hold.
``check_match_model`` runs them all. A model with ``sequential = True`` is asked for its states within a history too;
one whose users are (B, K, E) for the interest that an item suits.
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
from rechub_cli.schema import FIRST_UNSEEN, MISSING
from rechub_cli.testing import match_rows as rows
from rechub_cli.testing.order import unordered_sums


def check_match_model(model_class: Callable[..., nn.Module], **options: Any) -> None:
    """Run every check on ``model_class(schema, **options)``.

    Raises: AssertionError at the first check that fails.
    """
    for check in MATCH_CHECKS:
        check(model_class, **options)


def gives_vectors_whose_products_are_its_scores(model_class: Callable[..., nn.Module], **options: Any) -> None:
    """Users (B, E) or (B, K, E), items (I, E); a logit (B, 1) is the greatest inner product / temperature."""
    with _built(model_class, options) as model:
        _shake(model)
        model.eval()
        batch, places = rows.some_users(5), torch.arange(5)
        with torch.no_grad():
            users, items = model.embed_users(batch), model.embed_items(rows.catalogue())
            output = model(batch, rows.catalogue().take(places))
            temperature = float(model.temperature)
    shape = tuple(users.shape)
    assert users.dim() in (2, 3), f"embed_users gives {shape}, not (B, E) or (B, K, E)"
    assert (shape[0], tuple(items.shape)) == (5, (rows.ITEMS, shape[-1])), (
        f"5 users give {shape}, {rows.ITEMS} items give {tuple(items.shape)}; rows and widths have to fit"
    )
    assert users.dtype == items.dtype == torch.float32, f"vectors are {users.dtype} and {items.dtype}, not float32"
    assert isinstance(output, Output), f"forward returned {type(output).__name__}, not rechub_cli.batch.Output"
    assert tuple(output.logits.shape) == (5, 1), f"logits of 5 pairs have shape {tuple(output.logits.shape)}"
    expected = _relevance(users, items)[places, places, None] / temperature
    assert torch.allclose(output.logits, expected, atol=1e-4), "a logit is not the inner product / temperature"


def learns_a_taste(model_class: Callable[..., nn.Module], **options: Any) -> None:
    """Histories of one genre go on with any of its items: after training they fill the first places of every list."""
    with _built(model_class, options) as model:
        batch, catalogue = rows.tastes(32), rows.catalogue()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        for _ in range(80):
            optimizer.zero_grad()
            _loss(model, batch).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            scores = _relevance(model.embed_users(batch), model.embed_items(catalogue))
    assert batch.targets is not None
    top = scores.topk(rows.ITEMS // rows.GENRES).indices % rows.GENRES
    share = (top == batch.targets.values[:, 1:] % rows.GENRES).float().mean().item()
    assert share > 0.9, f"after training, {share:.0%} of the first items are of the user's genre; chance is 25%"


def embeds_a_user_by_itself(model_class: Callable[..., nn.Module], **options: Any) -> None:
    """A user's vector depends neither on batch-mates nor on the length of their histories."""
    with _built(model_class, options) as model:
        _shake(model)
        batch = rows.some_users(9)
        together = _embed_users(model, batch)
        alone = torch.cat([_embed_users(model, batch.slice(row, row + 1)) for row in range(len(batch))])
    assert torch.allclose(together, alone, atol=1e-4), "a user's vector changes with the other users of its batch"
    assert together.std(dim=0).max() > 1e-3, "all users get the same vector"


def embeds_an_item_from_its_own_columns(model_class: Callable[..., nn.Module], **options: Any) -> None:
    """An item's vector is the same in every part of the catalogue, whatever users went before; items differ."""
    with _built(model_class, options) as model:
        _shake(model)
        whole = _embed_items(model, rows.catalogue())
        _embed_users(model, rows.some_users(4))
        order = torch.arange(rows.ITEMS - 1, -1, -1)
        turned = torch.cat([_embed_items(model, rows.catalogue().take(part)) for part in order.split(3)])
    assert torch.allclose(whole, turned.flip(0), atol=1e-4), "an item's vector changes with the items beside it"
    assert whole.std(dim=0).max() > 1e-3, "all items get the same vector"


def ignores_what_is_no_input(model_class: Callable[..., nn.Module], **options: Any) -> None:
    """A sequence of role ``negatives`` changes no vector."""
    with _built(model_class, options) as model:
        _shake(model)
        batch = rows.some_users(6)
        shown = batch.sequences["shown"]
        other = Jagged((shown.values - rows.KNOWN + 5) % rows.ITEMS + rows.KNOWN, shown.offsets)
        changed = replace(batch, sequences={**batch.sequences, "shown": other})
        same = torch.equal(_embed_users(model, batch), _embed_users(model, changed))
    assert same, "the items that are given as negatives change the user's vector"


def embeds_ids_it_never_saw(model_class: Callable[..., nn.Module], **options: Any) -> None:
    """Unseen and missing ids, in fields and in histories, give finite vectors."""
    with _built(model_class, options) as model:
        for reserved in (MISSING, FIRST_UNSEEN):
            users, items = (rows.filled(batch, reserved) for batch in (rows.some_users(4), rows.catalogue()))
            finite = _embed_users(model, users).isfinite().all() and _embed_items(model, items).isfinite().all()
            assert finite, f"vectors of rows whose ids are all {reserved} are not finite"


def takes_empty_histories_and_single_rows(model_class: Callable[..., nn.Module], **options: Any) -> None:
    """Users without history, and batches of one user, train and get finite vectors and gradients."""
    with _built(model_class, options) as model:
        for size in (1, 4):
            batch = rows.some_users(size)
            for case in (batch, rows.without_history(batch)):
                model.train()
                model.zero_grad()
                model(case, rows.catalogue().take(torch.arange(size))).logits.sum().backward()
                gradients = [p.grad for p in model.parameters() if p.grad is not None]
                finite = all(gradient.isfinite().all() for gradient in gradients)
                assert finite, f"a gradient from {size} users with little history is not finite"
                vectors = _embed_users(model, case)
                assert vectors.isfinite().all(), f"vectors of {size} users with little history are not finite"


def trains_every_parameter(model_class: Callable[..., nn.Module], **options: Any) -> None:
    """After one backward pass, some users being without history, every parameter has a gradient that is not zero."""
    with _built(model_class, {**options, "learn_temperature": True}) as model:
        _shake(model)
        batch = rows.some_users(64)
        new = rows.without_history(rows.some_users(8))
        (_loss(model, batch) + model(new, rows.catalogue().take(torch.arange(8))).logits.square().sum()).backward()
        wild = [name for name, p in model.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
        idle = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not wild, f"the gradient of {', '.join(wild)} is not finite"
    assert not idle, f"no gradient reaches {', '.join(idle)}"


def uses_its_temperature(model_class: Callable[..., nn.Module], **options: Any) -> None:
    """A fifth of the temperature: five times the logits, the same vectors."""
    found = []
    for temperature in (0.5, 0.1):
        with _built(model_class, {**options, "temperature": temperature}) as model:
            _shake(model)
            model.eval()
            batch = rows.some_users(6)
            with torch.no_grad():
                logits = model(batch, rows.catalogue().take(torch.arange(6))).logits
            found.append((logits, _embed_users(model, batch), _embed_items(model, rows.catalogue())))
    (soft, *first), (sharp, *second) = found
    assert torch.allclose(sharp, 5 * soft, rtol=1e-3, atol=1e-4), "logits do not grow as the temperature falls"
    assert all(map(torch.equal, first, second)), "the temperature changes the vectors; it belongs to the scores alone"


def embeds_the_same_after_loading(model_class: Callable[..., nn.Module], **options: Any) -> None:
    """Two exports, and one of a new model that loads the saved weights, give the very same vectors."""
    with _built(model_class, options) as model:
        _shake(model)
        model(rows.some_users(16), rows.catalogue())  # moves running statistics, if there are any
        batch = rows.some_users(8)
        users, items = _embed_users(model, batch), _embed_items(model, rows.catalogue())
        assert torch.equal(users, _embed_users(model, batch)), "two exports of the same users differ"
        saved = save({name: value.contiguous() for name, value in model.state_dict().items()})
        fresh = model_class(rows.MATCH_SCHEMA, **options)
        fresh.load_state_dict(load(saved))
        again = _embed_users(fresh, batch), _embed_items(fresh, rows.catalogue())
    assert all(map(torch.equal, again, (users, items))), "a reloaded model gives other vectors"


def runs_in_bf16(model_class: Callable[..., nn.Module], **options: Any) -> None:
    """Under bf16 autocast a training step runs, vectors and logits stay float32, vectors stay close."""
    with _built(model_class, options) as model:
        batch = rows.some_users(16)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(batch, rows.catalogue()).logits
            loss = _loss(model, batch)
        (logits.sum() + loss).backward()
        assert logits.dtype == torch.float32, f"logits are {logits.dtype} under autocast, not float32"
        exact = _embed_users(model, batch), _embed_items(model, rows.catalogue())
        with torch.autocast("cpu", torch.bfloat16):
            low = _embed_users(model, batch), _embed_items(model, rows.catalogue())
    for name, rough, vectors in zip(("user", "item"), low, exact, strict=True):
        assert rough.dtype == torch.float32, f"{name} vectors are {rough.dtype} under autocast, not float32"
        assert (rough - vectors).norm() < 0.1 * vectors.norm(), f"bf16 {name} vectors are far from float32 ones"


def knows_only_what_came_before(model_class: Callable[..., nn.Module], **options: Any) -> None:
    """The state after n events, found in one pass, is the vector of a user with those n events alone."""
    if not getattr(model_class, "sequential", False):
        return
    with _built(model_class, options) as model:
        _shake(model)
        batch = rows.histories_only(rows.some_users(7))
        lengths = batch.sequences["hist.item_id"].lengths.tolist()
        with torch.no_grad():
            states = model.eval().encode_positions(replace(batch, targets=rows.every_prefix(lengths)))
        users = [batch.slice(row, row + 1) for row in range(len(batch))]
        prefixes = [rows.cut(user, n + 1) for user, length in zip(users, lengths, strict=True) for n in range(length)]
        vectors = torch.cat([_embed_users(model, prefix) for prefix in prefixes])
        turned = _embed_users(model, rows.reversed_histories(batch))
        longer = torch.tensor(lengths) > 1
        order = (turned - _embed_users(model, batch))[longer].abs().max()
    assert states.shape == vectors.shape, f"encode_positions gives {tuple(states.shape)}, not {tuple(vectors.shape)}"
    assert torch.allclose(states, vectors, atol=1e-4), "a state within a history is not the vector of the cut history"
    assert order > 1e-4, "a history read backwards gives the same vector: its order means nothing"


def adds_gradients_in_one_order(model_class: Callable[..., nn.Module], **options: Any) -> None:
    """No gradient is added up by threads in any order: a training repeats to the bit."""
    with _built(model_class, options) as model, unordered_sums() as found:
        model(rows.some_users(9), rows.catalogue().take(torch.arange(9) % rows.ITEMS)).logits.sum().backward()
    assert not found, f"threads may add to a gradient in any order: {found[0]}; F.embedding(places, x) adds in one"


MATCH_CHECKS: tuple[Callable[..., None], ...] = (
    gives_vectors_whose_products_are_its_scores,
    learns_a_taste,
    embeds_a_user_by_itself,
    embeds_an_item_from_its_own_columns,
    ignores_what_is_no_input,
    embeds_ids_it_never_saw,
    takes_empty_histories_and_single_rows,
    trains_every_parameter,
    uses_its_temperature,
    embeds_the_same_after_loading,
    runs_in_bf16,
    knows_only_what_came_before,
    adds_gradients_in_one_order,
)


@contextmanager
def _built(model_class: Callable[..., nn.Module], options: dict[str, Any]) -> Iterator[Any]:
    """The model in training mode, from a fixed seed; the caller's random state is left alone.

    One thread: on tensors this small several only wait for each other.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            yield model_class(rows.MATCH_SCHEMA, **options).train()
    finally:
        torch.set_num_threads(threads)


def _loss(model: Any, batch: Batch) -> Tensor:
    """A softmax over the whole catalogue, as training takes it."""
    assert batch.targets is not None
    items, places = model.embed_items(rows.catalogue()), batch.targets.values[:, 1].long()
    if getattr(model, "sequential", False):
        users = model.encode_positions(rows.histories_only(batch))
    else:
        users = model.embed_users(batch)
        if users.dim() == 3:
            users = model.select_interest(users, items[places])
    return F.cross_entropy(users @ items.t() / model.temperature, places)


def _relevance(users: Tensor, items: Tensor) -> Tensor:
    """(B, I): the greatest inner product over the interests that are not zero; 0 where all are."""
    if users.dim() == 2:
        return users @ items.t()
    present = users.ne(0).any(dim=2, keepdim=True)
    scores = (users @ items.t()).masked_fill(~present, -torch.inf).amax(dim=1)
    return scores.masked_fill(~present.any(dim=1), 0.0)


def _shake(model: nn.Module) -> None:
    """Move every parameter well away from its start, where small embeddings hide differences."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)


def _embed_users(model: Any, batch: Batch) -> Tensor:
    with torch.no_grad():
        return model.eval().embed_users(batch)


def _embed_items(model: Any, batch: Batch) -> Tensor:
    with torch.no_grad():
        return model.eval().embed_items(batch)
