"""Torch's optimizers without what they do for ``torch.compile``.

Their bookkeeping imports the compiler before it does anything: a second of CPU at every start, for nothing that is used
here.
"""

from __future__ import annotations

import inspect

from torch.optim import Optimizer


class Uncompiled:
    """Beside an ``Optimizer``: the same methods, as they were before torch decorated them."""

    add_param_group = inspect.unwrap(Optimizer.add_param_group)
    state_dict = inspect.unwrap(Optimizer.state_dict)
    load_state_dict = inspect.unwrap(Optimizer.load_state_dict)
