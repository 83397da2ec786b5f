"""The options of all peers' scripts; sizes come from the specs that ours train with."""

import argparse
import os


def widths(text: str) -> list[int]:
    return [int(width) for width in text.split(",") if width]


def cores() -> int:
    """Those that this process may use, under `taskset` too."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def options(description: str, modes: list[str], models: list[str]) -> argparse.Namespace:
    """What the command line says.

    loop: one epoch over the encoded rows, timed; metrics of the test rows
    fit: early stopping on the encoded validation rows; metrics of the test rows
    raw: one epoch from raw string columns, with the library's own preprocessing
    predict: scores of the encoded training rows, from Parquet to Parquet, with fresh weights
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("mode", choices=modes)
    parser.add_argument("folder", help="ids/ of a data set, or raw/ for the mode raw")
    parser.add_argument("--model", choices=models, default=models[0])
    parser.add_argument("--dim", type=int, default=16)
    parser.add_argument("--hidden", type=widths, default=[256, 128])
    parser.add_argument("--attention", type=widths, default=[36])
    parser.add_argument("--tower", type=widths, default=[64])
    parser.add_argument("--experts", type=int, default=8)
    parser.add_argument("--cross", type=int, default=3)
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--length", type=int, default=50)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument(
        "--decay", type=float, default=1e-5, help="weight decay of all weights, where the library has it"
    )
    parser.add_argument("--embedding-l2", type=float, default=0.0)
    parser.add_argument("--rows", type=int, help="only the first rows of train")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--patience", type=int, default=2)
    parser.add_argument("--seed", type=int, default=2022)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=0, help="processes that make batches")
    parser.add_argument("--format", default="parquet", help="of FuxiCTR's rows: parquet, or npz, its default")
    parser.add_argument("--warm", type=int, default=0, help="epochs before the one that loop times")
    parser.add_argument("--threads", type=int, default=cores())
    return parser.parse_args()
