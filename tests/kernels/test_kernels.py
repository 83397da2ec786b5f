"""The compiled loops say what torch's operators say; skipped where the installation has none."""

import pytest
import torch
import torch.nn.functional as F

from rechub_cli.batch import Batch
from rechub_cli.kernels import loops
from rechub_cli.models.multi_task.mmoe import MMoE
from rechub_cli.models.ranking.deepfm import DeepFM
from rechub_cli.models.ranking.mlp import MLP
from rechub_cli.models.ranking.wide_deep import WideDeep
from rechub_cli.nn import rows as nn_rows
from rechub_cli.nn.fm import bi_interaction
from rechub_cli.nn.looked_up import LookedUp
from rechub_cli.nn.narrow import narrow_linear
from rechub_cli.nn.request import Request
from rechub_cli.nn.rows import group, sparse_grad
from rechub_cli.nn.table import EmbeddingTable
from rechub_cli.nn.tasks import TaskInputs
from rechub_cli.optim import LazyAdam, RowwiseAdagrad
from rechub_cli.schema import Feature, Schema, Task

pytestmark = pytest.mark.skipif(loops.library() is None, reason="no compiled loops here")


@pytest.mark.parametrize("high", [1, 2, 3000, 2**31 - 1])
def test_ids_are_grouped_exactly_as_torch_groups_them(without, high):
    ids = torch.randint(0, high, (5000,), dtype=torch.int32)
    ours, theirs = group(ids), without(lambda: group(ids))
    for name in ("rows", "order", "starts"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name))


def test_nothing_and_negative_ids_are_grouped_too():
    assert group(torch.empty(0, dtype=torch.int32)).rows.numel() == 0
    assert group(torch.tensor([3, -1, 3], dtype=torch.int32)).rows.tolist() == [-1, 3]


@pytest.mark.parametrize("highest", [[0, 0, 0], [5, 3000, 70_000], [2**30, 1, 2]])
def test_ids_of_columns_that_lie_apart_are_grouped_as_all_at_once(without, highest):
    columns, low = [], 0
    for high in highest:
        columns.append(torch.randint(low, low + high + 1, (700,), dtype=torch.int32))
        low += high + 1
    apart = torch.stack(columns, dim=1)
    for ids in (apart, apart.flip(1).contiguous(), apart - 1):  # the others are mixed, or have a negative id
        ours, theirs = group(ids), without(lambda ids=ids: group(ids))
        for name in ("rows", "order", "starts"):
            assert torch.equal(getattr(ours, name), getattr(theirs, name))


@pytest.mark.parametrize("width", [1, 3, 4, 7, 8, 16, 40])
@pytest.mark.parametrize("interact", [False, True])
def test_rows_are_looked_up_bit_for_bit_beside_their_bi_interaction(width, interact):
    table = torch.randn(50, width)
    ids = torch.randint(0, 50, (33, 3), dtype=torch.int32)
    fields, interaction, total = loops.look_up_fields(table, ids, interact=interact)
    assert torch.equal(fields, table[ids.long()])
    assert torch.equal(loops.look_up_fields(table, ids, half=True, interact=interact)[0], fields.bfloat16())
    if interact:
        torch.testing.assert_close(interaction, bi_interaction(fields))
        torch.testing.assert_close(total, fields.sum(1))
    else:
        assert interaction is total is None


def test_a_wrong_id_is_torchs_to_tell():
    table = torch.randn(50, 7)
    for wrong in (50, -1):
        assert loops.look_up_fields(table, torch.tensor([[wrong]], dtype=torch.int32)) is None
        with pytest.raises((IndexError, RuntimeError)):
            new_embedding(50, 7)(torch.tensor([wrong], dtype=torch.int32))
    assert loops.look_up_fields(table.t(), torch.zeros(3, 1, dtype=torch.int32)) is None  # not contiguous


def test_no_fields_are_looked_up_too():
    none = torch.empty(3, 0, dtype=torch.int32)
    fields, interaction, _ = loops.look_up_fields(torch.randn(5, 2), none, interact=True)
    assert fields.shape == (3, 0, 2)
    assert torch.equal(interaction, torch.zeros(3, 2))
    assert group(none).rows.numel() == 0


def test_what_is_no_number_stays_none_in_bfloat16():
    table = torch.tensor([[float("nan"), float("inf"), -float("inf"), 3.4e38, -0.0]])
    fields, _, _ = loops.look_up_fields(table, torch.zeros(1, 1, dtype=torch.int32), half=True)
    torch.testing.assert_close(fields[0, 0], table[0].bfloat16(), equal_nan=True, rtol=0, atol=0)


def new_embedding(size, width):
    table = EmbeddingTable({"a": size}, width, std=1.0)
    table.sparse_grad = True
    return table


@pytest.mark.parametrize("width", [1, 3, 8, 16, 40])
@pytest.mark.parametrize("half", [False, True])
def test_fields_and_bi_interaction_have_the_gradient_of_their_formulas(width, half):
    table = new_embedding(60, width)
    ids = torch.randint(1, 60, (200, 4), dtype=torch.int32)
    of_fields, of_interaction = torch.randn(200, 4, width).bfloat16().float(), torch.randn(200, width)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        answer = table.answer(Request(ids), for_linear=True, interact=True)
    assert answer.fields.dtype == (torch.bfloat16 if half else torch.float32)
    (answer.fields.float() * of_fields).sum().add((answer.interaction * of_interaction).sum()).backward()
    plain = table.weight.detach().clone().requires_grad_()
    fields = F.embedding(ids.long(), plain, padding_idx=0)
    (fields * of_fields).sum().add((bi_interaction(fields) * of_interaction).sum()).backward()
    torch.testing.assert_close(table.weight.grad.to_dense(), plain.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("width", [1, 2, 16, 20])
def test_the_sum_of_all_fields_is_made_without_them(width):
    table, ids = new_embedding(50, width), torch.randint(0, 50, (300, 3), dtype=torch.int32)
    total, ours = table.total(Request(ids)), torch.randn(300, width)
    torch.testing.assert_close(total, F.embedding(ids, table.weight).sum(1))
    (expected,) = torch.autograd.grad(F.embedding(ids, table.weight).sum(1), table.weight, ours)
    expected[0] = 0  # padding
    (found,) = torch.autograd.grad(total, table.weight, ours)
    torch.testing.assert_close(found.to_dense(), expected)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize(("n", "width", "outputs"), [(1, 1, 1), (300, 128, 1), (129, 33, 4), (1000, 7, 3)])
def test_a_layer_of_few_outputs_is_the_product_of_float32(n, width, outputs, biased, half):
    x = torch.randn(n, width, dtype=torch.bfloat16 if half else torch.float32, requires_grad=True)
    weight = torch.randn(outputs, width, requires_grad=True)
    bias = torch.randn(outputs, requires_grad=True) if biased else None
    inputs, grad = [tensor for tensor in (x, weight, bias) if tensor is not None], torch.randn(n, outputs)
    found, expected = narrow_linear(x, weight, bias), F.linear(x.float(), weight, bias)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)
    gradients = [torch.autograd.grad(out, inputs, grad) for out in (found, expected)]
    for ours, theirs in zip(*gradients, strict=True):
        assert ours.dtype == theirs.dtype
        close = {"rtol": 2**-7, "atol": 1e-4} if ours.dtype == torch.bfloat16 else {"rtol": 1e-5, "atol": 1e-4}
        torch.testing.assert_close(ours, theirs, **close)


@pytest.mark.parametrize("x", [torch.randn(3, 4, 5), torch.randn(5, 3).t(), torch.randn(3, 5, dtype=torch.float64)])
def test_what_is_no_batch_of_rows_in_a_row_is_left_to_torch(x):
    assert narrow_linear(x, torch.randn(1, x.shape[-1]), None) is None


def moved(make, steps=20, width=5):
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(400, width))
    optimizer = make([weight])
    for _ in range(steps):
        rows = torch.randperm(400)[:150].sort().values
        weight.grad = sparse_grad(rows, torch.randn(150, width), weight.shape)
        optimizer.step()
    return [weight.detach(), *(value for value in optimizer.state[weight].values())]


@pytest.mark.parametrize("rows", [[], [4], [0, 3, 9], [0, 3, 3], [2, 1], [-5, 0, 2**40]])
def test_rows_are_looked_for_as_torch_does(without, rows):
    rows, wanted = torch.tensor(rows, dtype=torch.int64), torch.tensor([0, 2, 4, 9, 2**40])
    rising, found = without(lambda: (loops.rising(rows), loops.find_rows(rows, wanted)))
    assert loops.rising(rows) is rising
    if rising:
        assert torch.equal(loops.find_rows(rows, wanted), found)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64])
def test_steps_are_counted(without, dtype):
    steps = [torch.tensor(float(n)).to(dtype) for n in (0, 1, 2**20)]
    loops.count_steps(steps)
    without(lambda: loops.count_steps(steps))
    assert [step.item() for step in steps] == [2, 3, 2**20 + 2]


@pytest.mark.parametrize("width", [1, 5, 16])
@pytest.mark.parametrize("make", [LazyAdam, RowwiseAdagrad])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_an_optimizer_moves_as_on_torchs_path(without, make, decay, width):
    ours = moved(lambda params: make(params, weight_decay=decay), width=width)
    theirs = without(lambda: moved(lambda params: make(params, weight_decay=decay), width=width))
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)


def test_an_update_has_the_same_bytes_whatever_the_number_of_threads():
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            found.append(moved(LazyAdam, width=300))
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        assert all(torch.equal(*pair) for pair in zip(found[0], other, strict=True))


def small_model():
    torch.manual_seed(1)
    features = [Feature(f"f{i}", "sparse", 6, 10 + i) for i in range(5)] + [
        Feature("x", "dense"),
        Feature("y", "dense"),
    ]
    schema = Schema(tuple(features), (Task("a", "classification"), Task("b", "classification")))
    return MMoE(schema, n_experts=3, expert_hidden_dims=(20, 8), tower_hidden_dims=(4,), dropout=0.0)


def batch_of(n):
    torch.manual_seed(2)
    sparse = torch.stack([torch.randint(0, 10 + i, (n,), dtype=torch.int32) for i in range(5)], dim=1)
    return Batch(sparse, torch.randn(n, 2), {}, torch.empty(n, 0))


def gradients(model, batch, half):
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        logits = model(batch).logits
    (logits * torch.arange(1.0, logits.numel() + 1).sin().view_as(logits)).sum().backward()
    return [logits.detach(), *(parameter.grad for parameter in model.parameters())]


def errors(found, truth):
    return [
        ((mine - other).norm() / other.norm().clamp_min(1e-6)).item() for mine, other in zip(found, truth, strict=True)
    ]


def test_layers_over_looked_up_rows_have_the_values_and_gradients_of_the_dense_product(without):
    batch = batch_of(300)
    (looked_up, _), own = small_model().inputs.for_layers(batch)
    assert isinstance(looked_up, LookedUp)
    assert own is None
    truth = without(lambda: gradients(small_model(), batch, half=False))
    full = errors(gradients(small_model(), batch, half=False), truth)
    assert max(full) < 2e-5
    half = errors(gradients(small_model(), batch, half=True), truth)
    dense = errors(without(lambda: gradients(small_model(), batch, half=True)), truth)
    assert sum(half) < 1.2 * sum(dense)


def mixed_model(model):
    """Two columns of few values among three of many."""
    torch.manual_seed(1)
    sizes = [10, 9000, 7, 8000, 7000]
    features = [Feature(f"f{i}", "sparse", 6, size) for i, size in enumerate(sizes)] + [Feature("x", "dense")]
    made = model(Schema(tuple(features), (Task("a", "classification"),)), hidden_dims=(20, 8), dropout=0.0)
    with torch.no_grad():
        made.embedding.tables["6"].weight.normal_(0, 0.3)
    sparse = torch.stack([torch.randint(0, size, (1500,), dtype=torch.int32) for size in sizes], dim=1)
    return made, Batch(sparse, torch.randn(1500, 1), {}, torch.empty(1500, 0))


@pytest.mark.parametrize("model", [DeepFM, WideDeep, MLP])
def test_fields_of_few_values_recur_beside_those_of_many(model, without):
    made, batch = mixed_model(model)
    (looked_up, _) = made.embedding(batch, for_linear=True).for_layers
    assert looked_up.recurring.fields == [0, 2]
    assert looked_up.others.shape == (1500, 3 * 6)
    truth = without(lambda: gradients(*mixed_model(model), half=False))
    assert max(errors(gradients(*mixed_model(model), half=False), truth)) < 2e-5
    half = errors(gradients(*mixed_model(model), half=True), truth)
    dense = errors(without(lambda: gradients(*mixed_model(model), half=True)), truth)
    assert sum(half) < 1.2 * sum(dense)
    made.eval(), batch.dense.requires_grad_()
    assert isinstance(
        made.embedding(batch, for_linear=True).for_layers[0], torch.Tensor
    )  # they pass no gradient to numbers


@pytest.mark.parametrize(("column", "wrong"), [(0, 12), (2, -1), (4, 2**30), (0, -1)])
def test_an_id_beyond_its_field_is_never_followed_into_memory(column, wrong, without):
    made, batch = mixed_model(DeepFM)
    batch.sparse[7, column] = wrong
    try:
        expected = without(lambda: made(batch).logits)
    except IndexError:
        with pytest.raises(IndexError):
            made(batch)
    else:  # a row of another field
        torch.testing.assert_close(made(batch).logits, expected, rtol=1e-4, atol=1e-4)


def test_no_rows_are_no_rows():
    made, batch = mixed_model(MLP)
    none = Batch(batch.sparse[:0], batch.dense[:0], {}, batch.labels[:0])
    assert made.eval()(none).logits.shape == (0, 1)


def test_rows_that_hardly_repeat_are_looked_up_as_ever():
    inputs = TaskInputs(small_model().schema, None, "mmoe")
    parts, _ = inputs.for_layers(batch_of(8))
    assert all(isinstance(part, torch.Tensor) for part in parts)


def test_the_installation_says_whether_it_has_them(monkeypatch):
    from rechub_cli.workflows.version import versions

    assert versions()["kernels"] == "compiled"
    monkeypatch.setenv("RECHUB_KERNELS", "0")
    assert versions()["kernels"] == "off (RECHUB_KERNELS=0)"


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(("width", "outputs"), [(5, 1), (16, 33), (40, 64), (8, 700)])
@pytest.mark.parametrize("recurring", [[0, 1, 2, 3], [0, 2], [3]])
def test_a_layer_of_any_shape_over_looked_up_rows(width, outputs, recurring, half):
    torch.manual_seed(3)
    n, sizes = 1100, {"a": 3, "b": 90, "c": 200, "d": 7}  # more rows of one field than are summed at once
    sizes = {name: size if f in recurring else 5000 for f, (name, size) in enumerate(sizes.items())}
    table = EmbeddingTable(sizes, width, std=1.0)
    starts = torch.tensor([table.row_offset(name) for name in sizes])
    ids = torch.stack([torch.randint(1, size, (n,)) for size in sizes.values()], dim=1) + starts
    dense, weight, bias = torch.randn(n, 3), torch.randn(outputs, 4 * width + 3), torch.randn(outputs)
    weight, bias = (tensor.requires_grad_() for tensor in (weight, bias))
    out_gradient = torch.randn(n, outputs)
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            answer = table.answer(Request(ids.int()), for_linear=True, apart=starts)
            assert answer.recurring.fields == recurring
            inputs = LookedUp(answer.recurring, answer.rows, answer.fields.flatten(1))
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                out = inputs.linear(weight, bias, dense)
            assert out.dtype == (torch.bfloat16 if half else torch.float32)
            out.backward(out_gradient.to(out.dtype))
            found.append([out.float(), weight.grad, bias.grad, table.weight.grad])
            weight.grad = bias.grad = table.weight.grad = None
    finally:
        torch.set_num_threads(threads)
    if len(recurring) == len(sizes):  # the product of the others is torch's
        assert all(torch.equal(*pair) for pair in zip(*found, strict=True))
    rows = table.weight.detach().clone().requires_grad_()
    layers = torch.cat([rows[ids.long()].flatten(1), dense], 1)
    truth = F.linear(layers, weight, bias)
    truth.backward(out_gradient.bfloat16().float() if half else out_gradient)
    for mine, other in zip(found[0], [truth, weight.grad, bias.grad, rows.grad], strict=True):
        size = float(other.detach().abs().mean()) + 1
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=(0.08 if half else 1e-5) * size)


@pytest.mark.parametrize(("tiles", "half", "expected"), [(True, True, None), (True, False, [0]), (False, True, [0])])
def test_fields_that_recur_are_not_taken_apart_where_tiles_multiply(monkeypatch, tiles, half, expected):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: tiles, raising=False)
    nn_rows.mixes.cache_clear()
    try:
        table = EmbeddingTable({"few": 10, "many": 5000}, 8)
        starts = torch.tensor([0, 10])
        ids = torch.stack([torch.randint(1, 10, (2000,)), torch.randint(1, 5000, (2000,))], dim=1) + starts
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            answer = table.answer(Request(ids.int()), for_linear=True, apart=starts)
            of_few = table.answer(Request(ids[:, :1].int()), for_linear=True, apart=starts[:1])
    finally:
        nn_rows.mixes.cache_clear()
    assert of_few.recurring.fields == [0]
    assert (answer.recurring.fields if answer.recurring else None) == expected


def test_a_layer_over_more_distinct_rows_than_a_core_keeps_products_of(monkeypatch):
    torch.manual_seed(4)
    monkeypatch.setattr(nn_rows, "worth", lambda width, many: 1.0)  # whatever the processor prefers
    n, size, width, outputs = 20_000, 12_000, 8, 150
    table = EmbeddingTable({"a": size, "b": size}, width, std=1.0)
    starts = torch.tensor([table.row_offset("a"), table.row_offset("b")])
    ids = torch.randint(1, size, (n, 2)) + starts
    dense, out_gradient = torch.randn(n, 7), torch.randn(n, outputs)
    weight = torch.randn(outputs, 2 * width + 7, requires_grad=True)
    answer = table.answer(Request(ids.int()), for_linear=True, apart=starts)
    assert answer.recurring.fields == [0, 1]
    assert len(answer.rows) > 16_000
    out = LookedUp(answer.recurring, answer.rows, answer.fields.flatten(1)).linear(weight, None, dense)
    out.backward(out_gradient)
    mine = [out, weight.grad, table.weight.grad]
    weight.grad = None
    rows = table.weight.detach().clone().requires_grad_()
    truth = F.linear(torch.cat([rows[ids].flatten(1), dense], 1), weight)
    truth.backward(out_gradient)
    for found, expected in zip(mine, [truth, weight.grad, rows.grad], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.detach().abs().mean() + 1))
