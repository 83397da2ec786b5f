"""What a training is asked to do, and what it leaves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class TrainRequest:
    """What the user asked for. Paths are relative to the working directory; None: as the spec says."""

    spec: str
    overrides: tuple[str, ...] = ()
    output: str | None = None
    runs_dir: str = "runs"
    epochs: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    seed: int | None = None
    train: str | None = None
    valid: str | None = None
    test: str | None = None
    items: str | None = None
    date: str | None = None  # YYYY-MM-DD: the day of the data; None: today, UTC
    init_from: str | None = None  # the run whose weights and vocabularies this one starts from
    allow_fresh: bool = False  # what that run has no weights for may start fresh
    input_format: str = "auto"
    limit_rows: int | None = None
    device: str | None = None
    default_device: str | None = None  # where the spec says nothing
    threads: int | None = None
    dry_run: bool = False
    profile: str | None = None
    overwrite: bool = False
    resume: str = "never"  # auto, must
    allow_new_data: bool = False
    wait: float = 0
    argv: tuple[str, ...] = ()

    def sugar(self) -> dict[str, Any]:
        """The flags that stand for a key of the spec."""
        values = {
            "trainer.n_epoch": self.epochs,
            "trainer.batch_size": self.batch_size,
            "trainer.optimizer_params.lr": self.lr,
            "trainer.seed": self.seed,
            "trainer.device": self.device,
            "data.items": self.items,
            **data_sugar(self.train, self.valid, self.test, self.input_format),
        }
        return {key: value for key, value in values.items() if value is not None}


def data_sugar(train: str | None, valid: str | None, test: str | None, input_format: str) -> dict[str, Any]:
    """--train, --valid, --test and --input-format as keys of the spec."""
    format = input_format if input_format != "auto" else None
    return {"data.train": train, "data.valid": valid, "data.test": test, "data.format": format}


@dataclass(frozen=True, slots=True)
class TrainOutcome:
    """What training left."""

    run: Path | None  # None after a dry run
    best: dict[str, Any]  # the best epoch's row
    test: dict[str, float]
    epochs: list[dict[str, Any]]

    def to_json(self) -> dict[str, Any]:
        run = None if self.run is None else str(self.run)
        return {"run": run, "best": self.best, "test": self.test, "epochs": self.epochs}
