"""How cost grows with the vocabulary and with the rows."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import ours
from harness import memory
from harness.records import Results
from harness.workplace import SPEEDS, Workplace

from measures.measure import Measure, Value

VOCABULARIES = (100_000, 1_000_000, 10_000_000)
N_FIELDS = 26
COPIES = 10
SCARCE = 1 << 30  # bytes


def update(place: Workplace, number: int) -> Results:
    """A table's part of a step of 4,096 rows, in tables of three sizes; and ``lazy_adam``'s part of that."""
    done = place.inside("table_update", *VOCABULARIES)
    least, most = VOCABULARIES[0], VOCABULARIES[-1]
    ratios = {f"{kind}ratio": done[f"{kind}ms_{most}"] / done[f"{kind}ms_{least}"] for kind in ("", "rows_")}
    return {"rechub": {**done, **ratios}}


def vocabulary(place: Workplace, number: int) -> Results:
    """A whole step of DeepFM with hashed ids. Of two epochs the quicker: in the first the system hands out pages."""
    data = place.dataset("criteo", "raw") / "train.parquet"
    seconds, others = {}, 0.0
    for size in VOCABULARIES:
        settings = [f"features.C*.hash_buckets={size // N_FIELDS}", "trainer.embedding_optimizer.name=lazy_adam"]
        words = [word for setting in settings for word in ("--set", setting)]
        done = ours.train(SPEEDS / "deepfm.yaml", "--train", data, "--epochs", 2, *words)
        seconds[size], others = 4096e3 / done["rows_per_s"], max(others, done["others"])
        shutil.rmtree(done["run"].parent)
    by_size = {f"ms_{size}": value for size, value in seconds.items()}
    return {"rechub": {"ratio": seconds[VOCABULARIES[-1]] / seconds[VOCABULARIES[0]], **by_size, "others": others}}


def rows(place: Workplace, number: int) -> Results:
    """Private memory and time a row on the file, and on a folder that holds it ten times."""
    source = (place.dataset("criteo", "raw") / "train.parquet").resolve()
    folder = Path(tempfile.mkdtemp(dir=place.scratch))
    for part in parts(folder):
        part.symlink_to(source)
    return {"rechub": grown(source, folder)}


def scarce(place: Workplace, number: int) -> Results:
    """The same on copies, read from the disk, within less memory than they and the encoded rows take."""
    source = place.dataset("criteo", "raw") / "train.parquet"
    try:
        with memory.limited(SCARCE) as before:
            folder = Path(tempfile.mkdtemp(dir=place.scratch))
            for part in parts(folder):
                shutil.copyfile(source, part)
                memory.forget(part)
            return {"rechub": grown(source, folder, before)}
    except memory.Unlimited as error:
        print(f"growth.scarce: left out, {error}", file=sys.stderr, flush=True)
        return {}


def parts(folder: Path) -> list[Path]:
    (folder / "many").mkdir()
    return [folder / "many" / f"part-{copy:03}.parquet" for copy in range(COPIES)]


def grown(source: Path, folder: Path, before: Sequence[str] = ()) -> dict[str, float]:
    """Training on a file, and on ``folder / "many"``, started with the words ``before``."""
    once = ours.train(SPEEDS / "deepfm.yaml", "--train", source, folder=folder)
    often = ours.train(SPEEDS / "deepfm.yaml", "--train", folder / "many", folder=folder, before=before)
    shutil.rmtree(folder)
    return {
        "memory_ratio": often["anonymous_mb"] / once["anonymous_mb"],
        "time_ratio": once["rows_per_s"] / often["rows_per_s"],
        "once_mb": once["anonymous_mb"],
        "often_mb": often["anonymous_mb"],
        "others": max(once["others"], often["others"]),
    }


def by_vocabulary(most: float) -> tuple[Value, ...]:
    sizes = (Value(f"ms_{size}", f"ms at {size:,}", lower=True, digits=1) for size in VOCABULARIES)
    return (Value("ratio", "10M over 100k", most=most, lower=True, digits=2), *sizes)


ROWS_ALONE = (
    Value("rows_ratio", "10M over 100k, of lazy_adam alone", lower=True, digits=2),
    *(Value(f"rows_ms_{size}", f"ms at {size:,}, of lazy_adam alone", lower=True, digits=2) for size in VOCABULARIES),
)
BY_ROWS = (
    Value("memory_ratio", "private memory (RssAnon), times", most=1.10, lower=True, digits=2),
    Value("time_ratio", "time a row in the epoch, times", most=1.10, lower=True, digits=2),
    Value("once_mb", "MiB at 1M", lower=True),
    Value("often_mb", "MiB at 10M", lower=True),
)
SECTION = "Growth"
MEASURES = (
    Measure(
        "growth.update",
        SECTION,
        "a table's part of a step, from the gradients of look-ups to new rows, by ids in all",
        update,
        (*by_vocabulary(3.0), *ROWS_ALONE),
    ),
    Measure("growth.step", SECTION, "a whole step of DeepFM, by ids in all", vocabulary, by_vocabulary(1.5)),
    Measure("growth.rows", SECTION, "training on 10M rows against 1M, same vocabulary", rows, BY_ROWS),
    Measure(
        "growth.scarce",
        SECTION,
        "the same within 1 GiB, pages of files included, of which there are 2.1",
        scarce,
        BY_ROWS,
    ),
)
