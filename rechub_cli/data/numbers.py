"""Numbers: streaming statistics, transforms, and bins for embedded numbers."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rechub_cli.data.ids import mix, whole
from rechub_cli.errors import DataError

SAMPLE = 1 << 18  # rows that quantiles are estimated from; data with fewer rows is used whole
N_QUANTILES = 1000


def floats(column: pa.ChunkedArray | pa.Array, name: str) -> np.ndarray:
    """float64 (n,); null, NaN and what is no finite float32 are NaN.

    Raises:
        DataError: the column is no number; ValueError would name no column.
    """
    values = whole(column)
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    kind = values.type
    if pa.types.is_temporal(kind) or pa.types.is_nested(kind):
        raise DataError(f"column {name}: values of type {kind} are not numbers")
    try:
        values = values.cast(pa.float64(), safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"column {name}: values of type {kind} are not numbers ({error})") from error
    out = values.to_numpy(zero_copy_only=False)  # null -> NaN
    usable = np.abs(out) <= np.finfo(np.float32).max
    if not out.flags.writeable or not usable.all():
        out = np.where(usable, out, np.nan)
    return out


@dataclass(slots=True)
class RowSample:
    """The rows of a stream that quantiles are estimated from: those whose row number hashes lowest.

    The choice depends on nothing but the row's number, so neither on chunks nor on columns.
    """

    size: int = SAMPLE
    _rows: int = 0
    _hashes: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint64))
    _columns: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, columns: dict[str, np.ndarray], n_rows: int) -> None:
        if not columns:
            return
        hashes = mix(np.arange(self._rows, self._rows + n_rows, dtype=np.uint64))
        self._rows += n_rows
        if len(self._hashes) >= self.size:
            inside = np.flatnonzero(hashes <= self._hashes.max())
            hashes, columns = hashes[inside], {name: values[inside] for name, values in columns.items()}
        hashes = np.concatenate([self._hashes, hashes])
        keep: Any = slice(None)
        if len(hashes) > self.size:
            keep = np.argpartition(hashes, self.size)[: self.size]
        self._hashes = hashes[keep]
        empty = np.zeros(0)
        self._columns = {
            name: np.concatenate([self._columns.get(name, empty), values])[keep] for name, values in columns.items()
        }

    def values(self, name: str) -> np.ndarray:
        """The sampled values of a column that are not missing, in rising order."""
        values = self._columns.get(name, np.zeros(0))
        return np.sort(values[~np.isnan(values)])


@dataclass(slots=True)
class Moments:
    """Count, mean, spread and range of a stream, in float64 (Chan, Golub, LeVeque 1979)."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0  # sum of squared distances from the mean
    low: float = math.inf
    high: float = -math.inf

    def to_json(self) -> dict[str, Any]:
        return asdict(self) if self.count else {"count": 0}  # without values the range is no number

    @classmethod
    def read(cls, item: dict[str, Any]) -> Moments:
        """From ``to_json``. Raises KeyError, TypeError or ValueError where it is something else."""
        if item["count"] == 0:
            return cls()
        count, *rest = (float(item[name]) for name in ("count", "mean", "squares", "low", "high"))
        return cls(int(count), *rest)

    def add(self, values: np.ndarray) -> None:
        missing = np.isnan(values)
        if missing.any():
            values = values[~missing]
        n = len(values)
        if n == 0:
            return
        mean = float(values.mean())
        centred = values - mean
        difference, total = mean - self.mean, self.count + n
        self.squares += float(np.square(centred, out=centred).sum()) + difference**2 * self.count * n / total
        self.mean += difference * n / total
        self.count = total
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))

    def merge(self, other: Moments) -> None:
        """Add those of another stream."""
        total = self.count + other.count
        if other.count == 0:
            return
        difference = other.mean - self.mean
        self.squares += other.squares + difference**2 * self.count * other.count / total
        self.mean += difference * other.count / total
        self.count = total
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)

    @property
    def std(self) -> float:
        """Exactly 0 where all values are equal."""
        return math.sqrt(self.squares / self.count) if self.low < self.high else 0.0


@dataclass(frozen=True, slots=True)
class Transform:
    """A fitted map of raw numbers to the float32 a model sees; ``fill`` (in that scale) stands for missing."""

    kind: str  # none | standardize | minmax | log1p | quantile
    shift: float = 0.0
    scale: float = 1.0
    fill: float = 0.0
    knots: tuple[float, ...] = ()  # quantile: rising raw values …
    levels: tuple[float, ...] = ()  # … and the share of rows below each

    @classmethod
    def fit(cls, kind: str, moments: Moments, sample: np.ndarray) -> Transform:
        """``moments`` of the raw numbers, for log1p of their logarithms; ``sample`` sorted (quantile only)."""
        # Rounded far below what float32 shows, so that the last bits of a sum do not tell how the stream was cut.
        std = float(f"{moments.std:.9g}")
        step = math.ldexp(1.0, math.frexp(std)[1] - 30) if 0 < std < math.inf else 0.0
        mean = round(moments.mean / step) * step if step else moments.low if moments.count else 0.0
        if kind == "standardize":
            return cls(kind, mean, std if 0 < std < math.inf else 1.0)
        if kind == "minmax" and moments.count:
            low, span = moments.low, moments.high - moments.low
            span = span if 0 < span < math.inf else 1.0
            return cls(kind, low, span, (mean - low) / span)
        if kind == "quantile" and len(sample):
            knots = np.unique(np.quantile(sample, np.linspace(0, 1, N_QUANTILES + 1), method="nearest"))
            below = np.searchsorted(sample, knots, "left") + np.searchsorted(sample, knots, "right")
            return cls(kind, fill=0.5, knots=tuple(knots.tolist()), levels=tuple((below / (2 * len(sample))).tolist()))
        return cls(kind, fill=mean if kind in ("none", "log1p") else 0.0)

    def __call__(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """float32 (n,), and which rows were missing (None where none was)."""
        with np.errstate(over="ignore"):
            out = self.apply(values).astype(np.float32)
        missing = ~np.isfinite(out)
        if not missing.any():
            return out, None
        out[missing] = self.fill
        return out, missing

    def apply(self, values: np.ndarray) -> np.ndarray:
        if self.kind == "quantile":
            if not self.knots:
                return np.where(np.isnan(values), np.nan, 0.5)
            return np.interp(values, self.knots, self.levels)  # NaN stays NaN
        if self.kind == "log1p":
            return signed_log1p(values)
        if self.kind == "none":
            return values
        return (values - self.shift) / self.scale


def signed_log1p(values: np.ndarray) -> np.ndarray:
    """log(1 + x), mirrored for negative x."""
    return np.copysign(np.log1p(np.abs(values)), values)


def bins(transformed: np.ndarray, n_bins: int) -> tuple[float, ...]:
    """Rising edges of at most ``n_bins`` bins that hold equal shares of the values; at least one bin.

    A value that would fill several bins alone, as the zeros of a count, is one edge, and the others share the rest.
    """
    if len(transformed) == 0:
        return (0.0, 1.0)
    rest, left = transformed.astype(np.float32), n_bins + 1
    found: set[float] = set()
    while left > 0 and len(rest):
        edges, times = np.unique(np.quantile(rest, np.linspace(0, 1, left)).astype(np.float32), return_counts=True)
        heavy = edges[times > 1]
        found.update((edges if not len(heavy) else heavy).tolist())
        if not len(heavy):
            break
        rest, left = rest[~np.isin(rest, heavy)], left - len(heavy)
    edges_found = sorted(found)
    return tuple(edges_found) if len(edges_found) > 1 else (edges_found[0], edges_found[0] + 1.0)


def bucket(values: np.ndarray, bounds: list[float]) -> np.ndarray:
    """int32 (n,): how many bounds are <= the value; -1 where it is missing."""
    out = np.searchsorted(np.asarray(bounds), values, side="right").astype(np.int32)
    out[np.isnan(values)] = -1
    return out


def vectors(
    column: pa.ChunkedArray | pa.Array, dim: int, name: str
) -> tuple[np.ndarray, np.ndarray | None, int | None]:
    """float32 (n, dim), the rows that are null (None where none is), and the first row of another length, if any."""
    values = whole(column)
    if not (
        pa.types.is_list(values.type) or pa.types.is_large_list(values.type) or pa.types.is_fixed_size_list(values.type)
    ):
        raise DataError(f"column {name}: a vector needs a list of numbers, not {values.type}")
    missing = values.is_null().to_numpy(zero_copy_only=False)
    lengths = pc.list_value_length(values).fill_null(dim).to_numpy(zero_copy_only=False)
    wrong = np.flatnonzero(lengths != dim)
    if len(wrong):
        return np.zeros((0, dim), np.float32), None, int(wrong[0])
    out = np.zeros((len(values), dim), np.float32)
    numbers = floats(values.drop_null().flatten(), name).reshape(-1, dim)
    out[~missing] = np.nan_to_num(numbers, nan=0.0)
    return out, missing if missing.any() else None, None
