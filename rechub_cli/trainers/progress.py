"""Where a training stands; all of it is saved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from rechub_cli.trainers.restore import check_like
from rechub_cli.trainers.watch import Epoch

if TYPE_CHECKING:
    import pandas as pd

NUMBERS = ("metrics", "task_losses", "task_weights")  # of an epoch, by name


@dataclass(slots=True)
class Progress:
    """Where a training stands."""

    epoch: int = 0  # finished epochs
    epoch_step: int = 0  # steps of the epoch that runs
    epoch_rows: int = 0
    step: int = 0  # steps since the start
    best: float | None = None  # the monitored metric
    best_step: int = 0
    improved: bool = False  # within the epoch that runs
    stale: int = 0  # epochs since the metric improved
    seconds: float = 0.0  # that the epoch that runs has taken
    validated: float = 0.0  # of these
    records: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of(cls, saved: Any) -> Progress:
        """Raises ValueError, TypeError or KeyError where ``saved`` is no such thing."""
        empty = {name: value for name, value in asdict(cls(best=0.0)).items() if name != "records"}
        plain = {name: value for name, value in saved.items() if name != "records"}
        check_like({**empty, "best": None if plain["best"] is None else 0.0}, plain, "progress")
        numbers = [plain[name] for name in ("epoch", "epoch_step", "epoch_rows", "step", "best_step", "stale")]
        if not all(isinstance(number, int) and 0 <= number < 2**63 for number in numbers):
            raise ValueError("progress holds a number that cannot count anything")
        return cls(**plain, records=[asdict(epoch_of(record)) for record in saved["records"]])

    def table(self) -> pd.DataFrame:
        """The records, a row each: epoch, step, losses, weights of several labels, metrics as val_<name>, lr, times."""
        import pandas as pd

        return pd.DataFrame(
            [
                {name: record[name] for name in ("epoch", "step", "train_loss")}
                | {f"train_loss_{name}": value for name, value in record["task_losses"].items()}
                | {f"weight_{name}": value for name, value in record["task_weights"].items()}
                | {f"val_{name}": value for name, value in record["metrics"].items()}
                | {name: record[name] for name in ("lr", "seconds", "rows_per_s", "best")}
                for record in self.records
            ]
        )

    def epochs(self) -> list[Epoch]:
        """The records that end an epoch, in order."""
        ends = {record["epoch"]: record for record in self.records if record["epoch"] <= self.epoch}
        return [Epoch(**record) for record in ends.values()]


def epoch_of(record: Any) -> Epoch:
    """A saved record, checked. Raises ValueError, TypeError or KeyError where it is none."""
    metrics, losses, weights = (_numbers(record[name], name) for name in NUMBERS)
    wanted = asdict(Epoch(1, 1, 0.0, {}, 0.0, 0.0, 0.0, False))
    plain = {name: value for name, value in record.items() if name not in NUMBERS}
    check_like({name: value for name, value in wanted.items() if name not in NUMBERS}, plain, "the record of an epoch")
    return Epoch(**plain, metrics=metrics, task_losses=losses, task_weights=weights)


def _numbers(given: Any, name: str) -> dict[str, float]:
    if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
        raise ValueError(f"{name} of an epoch are no mapping")
    return {key: float(value) for key, value in given.items()}
