"""Census-Income in the parts that published multi-task results use: all of train, and test cut in halves.

The halves are those of drawbridge/keras-mmoe (column mmoe_split of the test file): validation and test.

    python benchmarks/census_data.py $RECHUB_DATA/census-income-kdd FOLDER
"""

import argparse
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq


def make(source: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pq.read_table(source / "train.parquet"), folder / "train.parquet")
    halves = pq.read_table(source / "test.parquet")
    for part in ("valid", "test"):
        rows = halves.filter(pc.equal(halves["mmoe_split"], part)).drop_columns("mmoe_split")
        pq.write_table(rows, folder / f"{part}.parquet")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    make(arguments.source, arguments.folder)
