"""Make the data of the benchmarks: seeded, ids as skewed as a log's. What is there already stays.

    python benchmarks/make_data.py FOLDER [--only criteo frappe behaviour census films] [--quick]

Each data set is written twice: `raw/` as a log has it, and `ids/` with ids from 1 on and scaled numbers, for loops of
libraries that need that. --quick makes a twentieth of the rows.
"""

from __future__ import annotations

import argparse
import zlib
from pathlib import Path

import numpy as np
from synthetic import behaviour, census, criteo, films, frappe

MAKERS = {"criteo": criteo, "frappe": frappe, "behaviour": behaviour, "census": census, "films": films}
QUICK = 0.05


def make(name: str, folder: Path, scale: float) -> Path:
    """The data set's own folder, made unless it is whole already."""
    target = folder / name
    whole = target / "whole"
    if not whole.exists():
        MAKERS[name].make(target, np.random.default_rng(zlib.crc32(name.encode())), scale)
        whole.touch()
    return target


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="*", choices=MAKERS, default=list(MAKERS))
    parser.add_argument("--quick", action="store_true")
    a = parser.parse_args()
    for each in a.only:
        print(make(each, a.folder, QUICK if a.quick else 1.0), flush=True)
