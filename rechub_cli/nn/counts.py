"""What the counting models have in common: items that users have together, and buffers whose size is learnt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor, nn

from rechub_cli.batch import Jagged

BLOCK_PAIRS = 2**23  # pairs of items that are held at once


def resize_on_load(module: nn.Module) -> None:
    """Let the module take buffers of any shape from a state dict: theirs are known only after a count."""

    def resize(module: nn.Module, state_dict: Mapping[str, Any], prefix: str, *_: Any) -> None:
        for name, buffer in module.named_buffers(recurse=False):
            saved = state_dict.get(prefix + name)
            if saved is not None:
                setattr(module, name, buffer.new_empty(saved.shape))

    module.register_load_state_dict_pre_hook(resize)


def together(users: Jagged, n_items: int) -> Iterator[Tensor]:
    """How many users have both of two items, a block of items after another: float32 (some items, I).

    Takes each user's distinct places (int). Time grows with the sum of the squared lengths of the users' lists.
    """
    ones = np.ones(users.values.numel(), np.float32)  # exact up to 2^24 users
    have = csr_array((ones, users.values.cpu().numpy(), users.offsets.cpu().numpy()), shape=(len(users), n_items))
    had_by = have.T.tocsr()
    size = max(1, BLOCK_PAIRS // max(n_items, 1))
    for start in range(0, n_items, size):
        yield torch.from_numpy((had_by[start : start + size] @ have).toarray()).to(users.values.device)
