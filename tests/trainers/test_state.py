import json
import math

import numpy as np
import pytest
import torch

from rechub_cli.errors import RunFailed
from rechub_cli.trainers.state import flatten, unflatten


def test_nested_state_survives_strict_json():
    state = {
        "state": {0: {"step": torch.tensor(3.0), "moment": torch.arange(4)}, 1: {}},
        "groups": [{"lr": 0.1, "betas": [0.9, 0.999], "name": None, "on": True}],
        "best": -math.inf,
        "metric": math.nan,
        "count": np.int64(3),
        "tensor": "a key that looks like ours",
    }
    flat = flatten("optimizer", state)
    tensors = {name: value for name, value in flat.items() if isinstance(value, torch.Tensor)}
    rest = json.loads(json.dumps({k: v for k, v in flat.items() if k not in tensors}, allow_nan=False))
    back = unflatten("optimizer", tensors | rest)

    assert sorted(tensors) == ["optimizer/state/0/moment/tensor", "optimizer/state/0/step/tensor"]
    assert math.isnan(back.pop("metric"))
    assert math.isnan(state.pop("metric"))
    assert torch.equal(back["state"][0].pop("moment"), state["state"][0].pop("moment"))
    assert back == state


def test_what_is_not_data_is_refused():
    with pytest.raises(RunFailed, match="state/hook for resuming: a function is not plain data"):
        flatten("state", {"hook": lambda: None})
