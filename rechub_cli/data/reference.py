"""What the columns were like in training, kept with the encoder: later rows are compared with it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from rechub_cli.data.tally import Tally
from rechub_cli.errors import DataError
from rechub_cli.files import write_text

FILE = "reference.json"
FORMAT = 1
_MEASURES = ("missing", "unseen", "mean", "std", "length")


@dataclass(frozen=True, slots=True)
class Reference:
    """By feature and measure.

    Attributes:
        rows: of training.
        columns: ``missing``, the share of rows without a value (of a sequence: that are empty); ``mean`` and ``std`` of
            a number (of its logarithm, where the transform is log1p); ``length``, how many ids a sequence has on
            average; ``unseen``, the share of values in the validation rows that training never had.
        valid_rows: that ``unseen`` is of; 0: not known.
    """

    rows: int
    columns: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    valid_rows: int = 0

    def with_valid(self, met: Tally) -> Reference:
        """With what only other rows than training's can tell: unseen values, and histories as they are when served."""
        columns = {name: dict(measures) for name, measures in self.columns.items()}
        for name in sorted(met.names):
            shares = met.shares(name)
            known = columns.setdefault(name, {})
            columns[name] = {**shares, **known} | ({"unseen": shares["unseen"]} if "unseen" in shares else {})
        return replace(self, columns=columns, valid_rows=met.rows)

    def save(self, folder: Path) -> None:
        write_text(folder / FILE, json.dumps({"format": FORMAT, **asdict(self)}, indent=1))

    @classmethod
    def load(cls, folder: Path) -> Reference | None:
        """None where the run kept none, as those of earlier versions. Raises DataError where it is damaged."""
        path = folder / FILE
        try:
            state = json.loads(path.read_text("utf-8"))
            if state["format"] > FORMAT:
                return None
            columns = {
                str(name): {key: _number(value) for key, value in measures.items() if key in _MEASURES}
                for name, measures in state["columns"].items()
            }
            return cls(int(state["rows"]), columns, int(state["valid_rows"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path} is damaged: {error}; restore the run or train again") from error


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no finite number")
    return float(value)
