"""A model on several GPUs of this machine."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from rechub_cli.batch import Batch, Output


class Replicas(nn.DataParallel):
    """``nn.DataParallel`` that splits a Batch over the replicas and joins their Outputs."""

    def scatter(self, inputs: tuple[Any, ...], kwargs: dict[str, Any] | None, device_ids: Any) -> Any:
        if len(inputs) == 1 and isinstance(inputs[0], Batch):
            parts = inputs[0].split(len(device_ids))
            devices = [torch.device("cuda", device) if isinstance(device, int) else device for device in device_ids]
            placed = tuple((part.to(device, True),) for part, device in zip(parts, devices, strict=False))
            return placed, tuple({} for _ in placed)
        return super().scatter(inputs, kwargs, device_ids)

    def gather(self, outputs: Any, output_device: Any) -> Any:
        if not isinstance(outputs[0], Output):
            return super().gather(outputs, output_device)
        aux = [output.aux_loss.reshape(1) for output in outputs if output.aux_loss is not None]
        return Output(
            super().gather([output.logits for output in outputs], output_device),
            super().gather(aux, output_device).mean() if aux else None,
            {
                name: super(Replicas, self).gather([output.extras[name] for output in outputs], output_device)
                for name in outputs[0].extras
            },
        )


def bare(model: nn.Module) -> nn.Module:
    """The model itself, without its replicas."""
    return model.module if isinstance(model, nn.DataParallel) else model
