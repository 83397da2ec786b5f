import pytest
import torch
from safetensors.torch import load_file

from rechub_cli.errors import SpecError
from rechub_cli.run.writing import PART, save_tensors


def test_tensors_come_back_wherever_they_lay(tmp_path):
    both = torch.arange(24.0).view(4, 2, 3)
    tensors = {
        "flag": torch.tensor([True, False, True]),
        "mean": both[:, 0],
        "square": both[:, 1],
        "turned": torch.arange(6).view(2, 3).t(),
        "step": torch.tensor(7.0),
        "none": torch.empty(0, 4),
        "no columns": torch.empty(4, 0),
        "half": torch.tensor([1.5, float("nan")], dtype=torch.bfloat16),
        "tied": both,
        "double": torch.tensor(0.1, dtype=torch.float64),
        "bytes": torch.arange(5, dtype=torch.uint8),
        "grad": torch.ones(2, requires_grad=True),
    }
    save_tensors(tmp_path / "some.safetensors", tensors)
    loaded = load_file(tmp_path / "some.safetensors")
    assert loaded.keys() == tensors.keys()
    for key, value in tensors.items():
        assert loaded[key].dtype == value.dtype
        assert torch.equal(loaded[key].nan_to_num(9), value.detach().nan_to_num(9)), key


@pytest.mark.parametrize("shape", [(PART // 4 + 3,), (3, PART // 8), (PART // 32 + 1, 16)])
def test_what_is_written_in_parts_is_whole(tmp_path, shape):
    tensor = torch.arange(torch.Size(shape).numel(), dtype=torch.int32).view(shape)
    save_tensors(tmp_path / "large.safetensors", {"b": tensor[..., :1], "a": tensor})
    loaded = load_file(tmp_path / "large.safetensors")
    assert torch.equal(loaded["a"], tensor)
    assert torch.equal(loaded["b"], tensor[..., :1])


NUMBERS = "float64 float32 float16 bfloat16 float8_e4m3fn float8_e5m2 complex64 bool"
WHOLE = "int64 int32 int16 int8 uint64 uint32 uint16 uint8"


@pytest.mark.parametrize("name", [*NUMBERS.split(), *WHOLE.split()])
def test_every_type_comes_back(tmp_path, name):
    tensor = torch.tensor([1, 0, 1]).to(getattr(torch, name))
    save_tensors(tmp_path / "typed.safetensors", {"a": tensor})
    loaded = load_file(tmp_path / "typed.safetensors")["a"]
    assert loaded.dtype == tensor.dtype
    assert torch.equal(loaded.view(torch.uint8), tensor.view(torch.uint8))


def test_nothing_at_all_is_a_file_too(tmp_path):
    save_tensors(tmp_path / "empty.safetensors", {})
    assert load_file(tmp_path / "empty.safetensors") == {}


def test_a_type_that_the_format_lacks_is_named(tmp_path):
    with pytest.raises(SpecError, match=r"tower\.weight is of torch\.complex128"):
        save_tensors(tmp_path / "x.safetensors", {"tower.weight": torch.ones(2, dtype=torch.complex128)})
