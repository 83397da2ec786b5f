"""The bare loop: a run's model, trained anew on batches that lie in memory already. Nothing is read, checked or kept.

    python bare_loop.py RUN DATA [--limit-rows N] [--device cuda] [--epochs N]

Forward, loss, backward, optimizers: what an epoch cannot do without. Of some epochs the quickest counts.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from pathlib import Path

from prepared import report

import torch  # isort: skip
import torch.nn.functional as F

from rechub_cli import load
from rechub_cli.data.source import Source
from rechub_cli.data.stream_loader import StreamLoader
from rechub_cli.optim.build import build_optimizers
from rechub_cli.optim.names import optimizer
from rechub_cli.trainers import runtime
from rechub_cli.workflows.fitting import build_model
from rechub_cli.workflows.sources import limited

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("run", type=Path)
parser.add_argument("data", type=Path)
parser.add_argument("--limit-rows", type=int)
parser.add_argument("--device", default="cpu")
parser.add_argument("--epochs", type=int, default=4)
a = parser.parse_args()

trained = load(a.run, device="cpu")
wanted = trained.spec.trainer
runtime.prepare_training()  # before rows take the memory that steps are to lie in
rows = limited(Source.open([a.data], base=Path()), a.limit_rows)
batches = [
    batch.to(a.device) for batch, _ in StreamLoader(rows, trained.encoder, wanted.batch_size, labels=True, shuffle=True)
]
runtime.set_seed(wanted.seed)
model = build_model(trained.spec, trained.encoder.schema, a.run).to(a.device)
optimizers = build_optimizers(
    model, optimizer(wanted.optimizer), dict(wanted.optimizer_params), wanted.embedding_optimizer.model_dump()
)
parameters = list(model.parameters())
bf16 = wanted.precision == "bf16"


def epoch() -> float:
    started = time.perf_counter()
    for batch in batches:
        for parameter in parameters:
            parameter.grad = None
        with torch.autocast(a.device, torch.bfloat16) if bf16 else contextlib.nullcontext():
            logits = model(batch).logits
        F.binary_cross_entropy_with_logits(logits.float(), batch.labels).backward()
        for each in optimizers:
            each.step()
    if a.device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - started


report(epoch_s=min(epoch() for _ in range(a.epochs)))
