"""Measure rechub beside other libraries, and write the report. `make bench` makes all that is needed first.

    python benchmarks/bench.py run --work FOLDER [--only train.deepfm raw] [--rounds 5] [--quick]
    python benchmarks/bench.py report --work FOLDER [-o docs/benchmarks.md]
    python benchmarks/bench.py list

`run` appends one JSON line for each round of each measure to FOLDER/results.jsonl, and goes on where it was stopped: a
round that is there for the same commit, machine and amount of data is not measured again. --quick takes a twentieth of
the rows and one round: it shows that everything works, and says nothing about speed. `report` renders the lines.
"""

from __future__ import annotations

import argparse
import datetime
import os
import sys
import tempfile
from pathlib import Path

import report
from harness import machine, records
from harness.workplace import Workplace
from measures import bare, commands, floor, gpu, growth, serving, small_commands, training

MEASURES = {
    measure.name: measure
    for module in (training, commands, bare, serving, growth, small_commands, floor, gpu)
    for measure in module.MEASURES
}
LOUD = 0.2  # cores that other programs may use before a number is doubted


def measure_all(a: argparse.Namespace, scratch: Path) -> int:
    """Round by round over all measures, so that each is spread over the whole time. 1 where a measure failed."""
    place = Workplace(a.work, scratch, a.quick)
    described, versions = machine.describe(), machine.own_versions()
    for environment in ("peers", "recbole"):
        versions |= machine.peer_versions(a.work / environment / "bin" / "python")
    file, failed = a.work / "results.jsonl", 0
    os.environ["BENCH_RUNS"] = str(scratch)
    wanted = 1 if a.quick else a.rounds
    for number in range(1, wanted + 1):
        for name in a.only:
            measure = MEASURES[name]
            if number > (measure.rounds or wanted):
                continue
            now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            blank = records.Record(name, number, now, a.quick, described, versions, {})
            if is_there(file, blank):
                continue
            try:
                results = measure.run(place, number)
            except RuntimeError as error:
                print(f"{name} round {number} failed: {error}", file=sys.stderr, flush=True)
                failed = 1
                continue
            record = records.Record(name, number, now, a.quick, described, versions, numbers(results))
            records.append(file, record)
            tell(record)
    return failed


def is_there(file: Path, wanted: records.Record) -> bool:
    """Whether this round is measured already, under the same conditions."""
    return any(
        (record.measure, record.round, record.condition) == (wanted.measure, wanted.round, wanted.condition)
        for record in records.read(file)
    )


def numbers(results: records.Results) -> dict[str, dict[str, float]]:
    """The values that are numbers, to the digits that mean something."""
    return {
        library: {name: float(f"{value:.6g}") for name, value in values.items() if isinstance(value, int | float)}
        for library, values in results.items()
    }


def tell(record: records.Record) -> None:
    headline = MEASURES[record.measure].values[0]
    for library, values in record.results.items():
        said = f"{record.measure:18} round {record.round} {library:18}"
        if headline.key in values:
            said += f" {values[headline.key]:14,.{headline.digits}f} {headline.title}"
        if values.get("others", 0.0) > LOUD:
            said += f"   warning: other programs used {values['others']:.1f} cores"
        print(said, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(dest="action", required=True)
    here = Path(__file__).parent
    for name in ("run", "report"):
        action = actions.add_parser(name)
        action.add_argument("--work", type=Path, default=here / "work", help="data, environments, results.jsonl")
        if name == "run":
            possible = [name for name in MEASURES if not name.startswith("gpu.") or machine.gpu_name()]
            action.add_argument("--only", nargs="*", choices=MEASURES, default=possible, metavar="MEASURE")
            action.add_argument("--rounds", type=int, default=5)
            action.add_argument("--quick", action="store_true", help="a trial on a twentieth of the rows")
        else:
            action.add_argument("-o", "--output", type=Path, default=here.parent / "docs" / "benchmarks.md")
    actions.add_parser("list")
    a = parser.parse_args()
    if a.action == "list":
        for measure in MEASURES.values():
            print(f"{measure.name:20} {measure.section}: {measure.title}")
        return 0
    a.work = a.work.resolve()
    a.work.mkdir(parents=True, exist_ok=True)
    if a.action == "run":
        with tempfile.TemporaryDirectory(dir=a.work, prefix="runs-", ignore_cleanup_errors=True) as scratch:
            return measure_all(a, Path(scratch))
    text = report.render(records.read(a.work / "results.jsonl"), MEASURES, LOUD)
    a.output.write_text(text, encoding="utf-8")
    print(a.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
