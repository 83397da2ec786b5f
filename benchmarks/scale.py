"""How cost grows: private memory with the number of rows, seconds a step with the size of the vocabulary.

    python benchmarks/scale.py rows --work FOLDER [--copies 10]
    python benchmarks/scale.py vocabulary --work FOLDER

`rows` trains on the 1M-row file and on a folder that holds it several times, and samples the process's private
memory (RssAnon); `vocabulary` trains with hashed ids of 100k, 1M and 10M buckets in all, two epochs, and takes the
quicker: in the first one the system still hands out the pages of the table.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from ours import RECHUB, train

SPEC = Path(__file__).parent / "specs" / "criteo.yaml"
N_FIELDS = 26


def peak_private_memory(*arguments: object) -> tuple[float, float, float]:
    """MiB of RssAnon at its highest, MiB of the second half's mean, and seconds, of one command."""
    process = subprocess.Popen([*RECHUB, *map(str, arguments), "-q"], stdout=subprocess.DEVNULL)
    samples: list[int] = []

    def sample() -> None:
        while process.poll() is None:
            try:
                status = Path(f"/proc/{process.pid}/status").read_text()
            except OSError:
                return
            samples.extend(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon"))
            time.sleep(0.05)

    started = time.perf_counter()
    watcher = threading.Thread(target=sample)
    watcher.start()
    if process.wait():
        raise SystemExit(f"exit {process.returncode}: {arguments}")
    watcher.join()
    late = samples[len(samples) // 2 :]
    return max(samples) / 1024, sum(late) / len(late) / 1024, time.perf_counter() - started


def rows(work: Path, copies: int) -> None:
    source = (work / "criteo" / "raw" / "train.parquet").resolve()
    with tempfile.TemporaryDirectory(dir=work) as name:
        many = Path(name) / "many"
        many.mkdir()
        for number in range(copies):
            (many / f"part-{number:03}.parquet").symlink_to(source)
        peaks = {}
        for label, data in (("1M rows", source), (f"{copies}M rows", many)):
            run = Path(name) / label.replace(" ", "-")
            peak, late, seconds = peak_private_memory("train-ctr", SPEC, "--train", data, "-o", run)
            peaks[label] = peak
            print(f"{label:10} peak {peak:8.0f} MiB, second half's mean {late:8.0f} MiB, {seconds:6.1f} s", flush=True)
    first, second = peaks.values()
    print(f"peak ratio {second / first:.3f}")


def vocabulary(work: Path, rounds: int) -> None:
    data = work / "criteo" / "raw" / "train.parquet"
    speeds: dict[int, list[float]] = {100_000: [], 1_000_000: [], 10_000_000: []}
    for _ in range(rounds):
        for size, values in speeds.items():
            settings = ["--epochs", 2, "--set", f"features.C*.hash_buckets={size // N_FIELDS}"]
            settings += ["--set", "trainer.embedding_optimizer.name=lazy_adam"]
            values.append(float(str(train(SPEC, "--train", data, *settings)["rows_per_s"])))
            print(f"vocabulary {size:>10,}: {values[-1]:,.0f} rows/s", flush=True)
    middle = {size: statistics.median(values) for size, values in speeds.items()}
    print(f"a step with 10M rows of embeddings costs {middle[100_000] / middle[10_000_000]:.2f} times one with 100k")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["rows", "vocabulary"])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--copies", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    a = parser.parse_args()
    if a.what == "rows":
        rows(a.work, a.copies)
    else:
        vocabulary(a.work, a.rounds)
