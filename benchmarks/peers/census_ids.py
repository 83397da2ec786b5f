"""The parts that census_data.py wrote, encoded for libraries that take integers: the features of specs/census_mmoe.yaml.

python benchmarks/peers/census_ids.py FOLDER FOLDER/ids
"""

import argparse

from tables import encode, read

DENSE = ["age", "wage_per_hour", "capital_gains", "capital_losses", "stock_dividends", "num_emp", "weeks_worked"]
LABELS = {"income": ("income_50k", "50000+."), "marital": ("marital_stat", "Never married")}
LEFT_OUT = {"instance_weight", *(column for column, _ in LABELS.values())}

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("folder")
parser.add_argument("target")
a = parser.parse_args()
frames = {part: read(a.folder, part) for part in ("train", "valid", "test")}
sparse = [column for column in frames["train"] if column not in LEFT_OUT and column not in DENSE]
for frame in frames.values():
    for label, (column, positive) in LABELS.items():
        frame[label] = frame[column].astype(str).str.strip() == positive
encode(frames, sparse, DENSE, list(LABELS), a.target)
