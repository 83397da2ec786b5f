"""Optimizers: sparse rows beside torch's own."""

from rechub_cli.optim.build import build_optimizers
from rechub_cli.optim.clip import clip_grad_norm_
from rechub_cli.optim.lazy_adam import LazyAdam
from rechub_cli.optim.names import optimizer, scheduler
from rechub_cli.optim.regularization import add_regularization_grads
from rechub_cli.optim.rowwise_adagrad import RowwiseAdagrad

__all__ = [
    "LazyAdam",
    "RowwiseAdagrad",
    "add_regularization_grads",
    "build_optimizers",
    "clip_grad_norm_",
    "optimizer",
    "scheduler",
]
