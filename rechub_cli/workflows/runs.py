"""``rechub runs show``, ``compare`` and ``report``: what runs are, beside each other, and for others to read."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from rechub_cli.errors import DataError, UsageError
from rechub_cli.run.directory import Run
from rechub_cli.run.events import short
from rechub_cli.run.folder import Folder, locate, runs_folder
from rechub_cli.run.reading import read_pointer
from rechub_cli.run.table import clock, heading
from rechub_cli.workflows.amounts import size_text
from rechub_cli.workflows.listing import Listed, epochs_of, look_at, metrics_of, numbers, section
from rechub_cli.workflows.publish import Pointer

FILES = {
    "log": "train.log",
    "table": "log_table.html",
    "spec": "spec.resolved.yaml",
    "scores": "predictions/test.parquet",
}


def find_run(run: str) -> Listed:
    """Raises NoInput where there is no run; one that is damaged is still looked at."""
    try:
        path = Run.open(run).path
    except DataError:
        path = locate(run)
    return look_at(path)


def show_run(run: str) -> dict[str, Any]:
    """All that can be said of one run, as plain values.

    Raises:
        NoInput: there is no run.
    """
    found = find_run(run)
    info, path = found.info, found.path
    facts = {
        **found.to_json(),
        "ended": info.get("ended"),
        "exit": info.get("exit"),
        "error": section(info, "error").get("message"),
        "holder": (found.holder or "").strip() or None,
        "device": info.get("device"),
        "seed": info.get("seed"),
        "spec_file": info.get("spec_file"),
        "git": info.get("git"),
        "argv": info.get("argv"),
        "versions": section(info, "versions"),
        "data": {part: value for part, value in section(info, "data").items() if isinstance(value, dict)},
        "checkpoints": {pointer: read_pointer(path, pointer) for pointer in ("best", "last")},
        "best": section(info, "best"),
        "metrics": metrics_of(info),
        "files": {name: str(path / file) for name, file in FILES.items() if (path / file).exists()},
        "published": history_of(found),
    }
    return facts


def history_of(run: Listed) -> list[dict[str, Any]]:
    """When the run was published, under which name, by whom."""
    folder = Folder.scan(runs_folder())
    found = []
    for name in folder.links:
        with contextlib.suppress(DataError):  # a damaged history is told by who needs it
            history = Pointer.read(folder.path, name).history
            found += [
                {"name": name, **entry} for entry in history if isinstance(entry, dict) and entry.get("run") == run.name
            ]
    return found


def compare_runs(runs: Sequence[str]) -> dict[str, Any]:
    """The metrics of runs side by side, and the keys of their specs whose values differ.

    Raises:
        UsageError: fewer than two runs. NoInput, DataError: one is not there, or damaged.
    """
    if len(runs) < 2:
        raise UsageError("name two runs or more to compare")
    opened = [Run.open(run) for run in runs]
    metrics = [metrics_of(run.info) for run in opened]
    specs = [dict(leaves(section(run.info, "spec"))) for run in opened]
    names = list(dict.fromkeys(name for found in metrics for name in found))
    keys = list(dict.fromkeys(key for spec in specs for key in spec))
    differing = [key for key in keys if any(spec.get(key) != specs[0].get(key) for spec in specs)]
    return {
        "runs": [str(run) for run in runs],
        "models": [look_at(run.path).model or None for run in opened],
        "metrics": {name: [found.get(name) for found in metrics] for name in names},
        "spec": {key: [spec.get(key) for spec in specs] for key in differing},
        "data": data_differences(opened),
    }


def data_differences(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """Parts whose rows are not the same in all runs: their fingerprints, shortened."""
    prints = [
        {part: str(value.get("fingerprint"))[:12] for part, value in section(run.info, "data").items()
         if isinstance(value, dict)}
        for run in runs
    ]  # fmt: skip
    parts = list(dict.fromkeys(part for found in prints for part in found))
    return {part: [found.get(part) for found in prints] for part in parts if len({f.get(part) for f in prints}) > 1}


def leaves(values: Mapping[str, Any], before: str = "") -> list[tuple[str, Any]]:
    """The values of a spec by their dotted keys; lists are values."""
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        name = f"{before}{key}"
        found += leaves(value, f"{name}.") if isinstance(value, dict) and value else [(name, value)]
    return found


def report_run(run: str) -> str:
    """A run as Markdown, for a pull request or a chat.

    Raises:
        NoInput: there is no run. DataError: it is damaged.
    """
    opened = Run.open(run)
    found, info = look_at(opened.path), opened.info
    facts = [f"**{found.model or 'no model'}**", found.status, f"started {found.started:%Y-%m-%d %H:%M} UTC"]
    if found.seconds is not None:
        facts.append(f"took {clock(found.seconds)}")
    facts += [f"{info.get('device')}", f"seed {info.get('seed')}"]
    lines = [f"## {info.get('run', found.name)}", "", " · ".join(facts), ""]
    rows = [
        [part, f"{value['rows']:,}" if isinstance(value.get("rows"), int) else "", ", ".join(map(str, value["files"]))]
        for part, value in section(info, "data").items()
        if isinstance(value, dict) and isinstance(value.get("files"), list)
    ]
    lines += markdown(["part", "rows", "files"], rows)
    lines += markdown(["metric", "value"], [[name, f"{value:.6g}"] for name, value in metrics_of(info).items()])
    epochs = epochs_of(opened.path)
    names = [name for name in (epochs[0] if epochs else {}) if name and name not in ("best", "lr")]
    lines += markdown(
        [heading(name).lower() for name in names],
        [[shown(row.get(name)) + star(name, row, epochs) for name in names] for row in epochs],
    )
    lines += [f"{size_text(found.size())} in `{opened.path}`; the curves are in `{opened.path / 'log_table.html'}`."]
    return "\n".join(lines) + "\n"


def star(name: str, row: Mapping[str, str], rows: Sequence[Mapping[str, str]]) -> str:
    """The last epoch that was the best so far has the weights."""
    best = [one for one in rows if one.get("best") == "True"]
    return " ★" if name == "epoch" and best and row is best[-1] else ""


def shown(text: str | None) -> str:
    try:
        return f"{float(text or ''):.6g}"
    except ValueError:
        return text or ""


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table, and an empty line; nothing where there are no rows."""
    if not rows:
        return []
    lines = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in (heads, *rows)]
    lines.insert(1, ["---" if place == 0 else "---:" for place in range(len(heads))])
    return [f"| {' | '.join(line)} |" for line in lines] + [""]


def value_text(value: Any) -> str:
    """A value of a spec or a record in one line."""
    if value is None or isinstance(value, str):
        return value or "-"
    return short(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def show_lines(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """``show_run`` for a person: a word, and what there is to say."""
    lines = [("run", facts["path"]), ("status", facts["status"])]
    lines += [(key, facts[key]) for key in ("fault", "error", "holder") if facts.get(key)]
    if facts["links"]:
        lines.append(("known as", ", ".join(facts["links"])))
    lines.append(("model", f"{facts['model']} ({facts['command']})"))
    took = "" if facts["seconds"] is None else f", {clock(facts['seconds'])}"
    lines.append(("started", f"{facts['started']}{took}"))
    lines += [(key.replace("_", " "), value_text(facts[key])) for key in ("device", "seed", "spec_file", "git")
              if facts.get(key) is not None]  # fmt: skip
    for part, value in facts["data"].items():
        files = value.get("files")
        count = f"{value['rows']:,} rows" if isinstance(value.get("rows"), int) else ""
        several = f"{len(files)} files, {files[0]} …" if isinstance(files, list) and len(files) > 2 else files
        names = ", ".join(map(str, several)) if isinstance(several, list) else several
        lines.append((part, "  ".join(filter(None, [count, names and str(names)]))))
    for pointer, checkpoint in facts["checkpoints"].items():
        epoch = facts["best"].get("epoch") if pointer == "best" else None
        lines.append((pointer, f"{checkpoint or 'none'}" + (f", epoch {epoch}" if epoch is not None else "")))
    lines += [(name, f"{value:.6g}") for name, value in numbers(facts["metrics"], "").items()]
    lines += [("published", f"{entry['at']} as {entry['name']} by {entry['by']} ({entry['action']})")
              for entry in facts["published"] if {"at", "by", "action"} <= entry.keys()]  # fmt: skip
    lines += [(name, path) for name, path in facts["files"].items()]
    lines.append(("size", size_text(facts["bytes"])))
    return lines
