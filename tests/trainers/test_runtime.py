import subprocess
import sys

import pytest
import torch
from trainer_toys import Native, batches

from rechub_cli.batch import Batch, Jagged, Output
from rechub_cli.errors import SpecError
from rechub_cli.trainers import runtime
from rechub_cli.trainers.parallel import Replicas, bare


def test_denormal_numbers_become_zero_and_preparing_twice_is_fine():
    code = (
        "import torch; from rechub_cli.trainers import runtime; runtime.prepare(threads=1); runtime.prepare();"
        "assert torch.get_num_threads() == 1;"
        "assert (torch.tensor([1e-38]) * torch.tensor([1e-3])).item() == 0.0"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_auto_is_a_gpu_where_there_is_one():
    assert runtime.find_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert runtime.find_device("cpu").type == "cpu"


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x"])
def test_a_device_that_does_not_exist_is_told(name):
    with pytest.raises(SpecError, match="use auto, cpu, cuda"):
        runtime.find_device(name)


def test_a_batch_is_split_over_replicas_and_outputs_are_joined():
    # Placing on the CPU twice stands in for two GPUs.
    batch = Batch(
        torch.arange(10, dtype=torch.int32).reshape(5, 2),
        torch.rand(5, 3),
        {"history": Jagged(torch.arange(6), torch.tensor([0, 2, 2, 3, 5, 6]))},
        labels=torch.rand(5, 1),
    )
    replicas = Replicas(Native(), device_ids=[])
    placed, options = replicas.scatter((batch,), {}, ["cpu", "cpu"])
    assert [len(part) for (part,) in placed] == [3, 2]
    assert options == ({}, {})
    (second,) = placed[1]
    assert second.sparse.tolist() == [[6, 7], [8, 9]]
    assert second.sequences["history"].values.tolist() == [3, 4, 5]
    assert second.sequences["history"].offsets.tolist() == [0, 2, 3]


def test_replicas_on_one_device_give_the_models_own_output():
    model = Native()
    replicas = Replicas(model, device_ids=[])
    one = batches()[0]
    assert isinstance(replicas(one), Output)
    assert torch.equal(replicas(one).logits, model(one).logits)
    assert bare(replicas) is model
    assert bare(model) is model
