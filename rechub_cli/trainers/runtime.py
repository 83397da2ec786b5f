"""The process that trains: threads, denormal numbers, memory, random numbers."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from rechub_cli import process
from rechub_cli.errors import SpecError, Unavailable

_prepared = _trains = False


def prepare(threads: int | None = None) -> None:
    """Make this process fast at what models do; safe to call again.

    Denormal numbers become zero: they slow a CPU up to a hundred times and mean nothing here. For memory see
    ``process.keep_memory``.
    """
    global _prepared
    if threads is not None:
        torch.set_num_threads(threads)
    if _prepared:
        return
    _prepared = True
    # oneDNN keeps a compiled product for each of the last 1024 shapes; over jagged histories every batch has new ones
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")
    torch.set_flush_denormal(True)
    process.keep_memory()
    process.resume_collection()


def prepare_training() -> None:
    """``prepare``, and what a step wants.

    Its tensors lie in large pages, for which scoring would pay and gain nothing. Its sparse gradients are not checked.
    """
    global _trains
    prepare()
    if not _trains:
        _trains = True
        process.use_large_pages()
        if not torch.sparse.check_sparse_tensor_invariants.is_enabled():
            torch.sparse.check_sparse_tensor_invariants.disable()  # said in words: PyTorch 2.11 warns otherwise


def set_seed(seed: int) -> None:
    """Seed every generator that a model may draw from."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def random_state(device: torch.device) -> dict[str, Any]:
    """Where every generator stands that a model may draw from: tensors and numbers."""
    version, words, gauss = random.getstate()
    name, key, *rest = np.random.get_state()
    found: dict[str, Any] = {
        "cpu": torch.get_rng_state(),
        "python": [version, torch.tensor(words), gauss],
        "numpy": [name, torch.from_numpy(np.asarray(key).astype(np.int64)), *rest],
    }
    if device.type == "cuda":
        found["cuda"] = torch.cuda.get_rng_state(device)
    return found


def set_random_state(state: Mapping[str, Any], device: torch.device) -> None:
    """Raises TypeError, ValueError, KeyError, IndexError or RuntimeError where ``state`` is no such thing."""
    version, words, gauss = state["python"]
    name, key, *rest = state["numpy"]
    if name != "MT19937":
        raise ValueError(f"the random numbers are of {name!r}")
    random.setstate((version, tuple(words.tolist()), gauss))
    np.random.set_state((name, key.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["cpu"].cpu())
    if "cuda" in state and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)


def find_device(name: str, gpus: list[int] | None = None) -> torch.device:
    """The device to train on: ``auto`` takes a GPU where there is one.

    Raises:
        SpecError: no device has such a name.
        Unavailable: this machine has no such device.
    """
    for gpu in gpus or []:
        _check_gpu(gpu)
    if gpus:
        return torch.device("cuda", gpus[0])
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SpecError(f"device {name!r} is not known: use auto, cpu, cuda or cuda:0") from error
    if device.type == "cuda":
        _check_gpu(device.index or 0)
    elif device.type == "mps" and not torch.backends.mps.is_available():
        raise Unavailable("device 'mps' is not there: this machine or this PyTorch has none; use device: cpu")
    return device


def _check_gpu(index: int) -> None:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not 0 <= index < count:
        there = f"{count} are there, numbered from 0" if count else "none is there"
        raise Unavailable(f"GPU {index} is not there: {there}; use device: cpu, or a PyTorch built for your GPUs")
