"""``rechub validate``: everything that can be known of a spec and its data before training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rechub_cli.errors import CheckFailed, DataError
from rechub_cli.run.events import Events, Progress
from rechub_cli.run.signals import Stop
from rechub_cli.workflows.encoders import fit_encoder
from rechub_cli.workflows.history import sort_log
from rechub_cli.workflows.request import data_sugar
from rechub_cli.workflows.resolved import read_and_resolve
from rechub_cli.workflows.sources import Parts, check_counts, cut_parts

if TYPE_CHECKING:
    from rechub_cli.data.encoder import Encoder
    from rechub_cli.spec.model import Spec
    from rechub_cli.workflows.checks import Seen

UNSEEN_SHARE = 0.05  # above this a part is remarked upon
ONE_SIDED = 0.001  # a label this rare
FEW = 100  # positives, with which an AUC is uncertain by some 0.03


@dataclass(frozen=True, slots=True)
class ValidateRequest:
    """What the user asked for."""

    spec: str
    overrides: tuple[str, ...] = ()
    train: str | None = None
    valid: str | None = None
    test: str | None = None
    date: str | None = None
    input_format: str = "auto"
    limit_rows: int | None = None
    runs_dir: str = "runs"  # where a training would write
    print_only: bool = False  # resolve the spec, and leave the rows alone

    def sugar(self) -> dict[str, Any]:
        values = data_sugar(self.train, self.valid, self.test, self.input_format)
        return {key: value for key, value in values.items() if value is not None}


@dataclass(slots=True)
class ValidateOutcome:
    """What was found. ``faults`` stop a training, ``warnings`` are worth a look."""

    resolved: str = ""
    parts: dict[str, dict[str, Any]] = field(default_factory=dict)  # rows, mean of the label, unseen shares
    features: dict[str, str] = field(default_factory=dict)  # name -> what it became
    warnings: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return {
            "ok": not self.faults,
            "parts": self.parts,
            "features": self.features,
            "warnings": self.warnings,
            "faults": self.faults,
        }

    def lines(self) -> list[str]:
        """For a person."""
        found = []
        for part, facts in self.parts.items():
            known = {name: f" (known in {share:.1%})" for name, share in facts["label_known"].items() if share < 1}
            means = facts["label_mean"].items()
            labels = ", ".join(f"mean {name} {value:.4g}{known.get(name, '')}" for name, value in means)
            found.append(f"ok    {part:<6} {facts['rows']:,} rows, {labels}")
        width = max((len(name) for name in self.features), default=0)
        found += [f"ok    {name:<{width}}  {what}" for name, what in self.features.items()]
        found += [f"warn  {text}" for text in self.warnings]
        found += [f"fault {text}" for text in self.faults]
        return found

    def raise_if_failed(self) -> None:
        """Raises CheckFailed where the data would not train."""
        if self.faults:
            count = f"{len(self.faults)} faults" if len(self.faults) > 1 else "1 fault"
            raise CheckFailed(f"{count} in the data: " + "; ".join(self.faults))


def validate(request: ValidateRequest, events: Events, stop: Stop) -> ValidateOutcome:
    """Check the spec, then read every row as training would.

    Raises:
        SpecError: the spec is wrong; a fault of the data is in the outcome instead.
        NoInput: the spec or a file is missing.
    """
    from rechub_cli.spec.render import resolved_yaml
    from rechub_cli.workflows.checks import faults_of, remarks_of

    check_counts(limit_rows=request.limit_rows)
    read, spec, sources = read_and_resolve(request)
    outcome = ValidateOutcome(resolved_yaml(read, spec))
    if request.print_only:
        return outcome
    stop.events = events
    try:
        parts = cut_parts(spec, sources, request.limit_rows)
        encoder = fit_encoder(spec, parts, events, stop, date=request.date)
        encoders = sort_log(encoder, parts, events, stop)
    except DataError as error:
        outcome.faults.append(str(error))
        return outcome
    outcome.features = describe(encoder, spec)
    seen: dict[str, Seen] = {}
    for name, rows in named(parts).items():
        try:
            outcome.parts[name], seen[name] = inspect(encoders.of(name), spec, rows, name, events, stop)
        except DataError as error:
            outcome.faults.append(str(error))
    outcome.faults += faults_of(encoder.schema, seen, spec, request.runs_dir)
    outcome.warnings += remarks(outcome.parts, spec)
    if "train" in seen:
        outcome.warnings += remarks_of(encoder, seen, outcome.parts, spec)
    return outcome


def named(parts: Parts) -> dict[str, Any]:
    found = {"train": parts.train, "valid": parts.valid, "test": parts.test}
    return {name: rows for name, rows in found.items() if rows is not None}


def inspect(
    encoder: Encoder, spec: Spec, rows: Any, part: str, events: Events, stop: Stop
) -> tuple[dict[str, Any], Seen]:
    """Encode all rows of a part: how many, the labels' means, what share of each feature is unseen or missing.

    Raises:
        DataError: a bad value, with its file and row.
    """
    import numpy as np

    from rechub_cli.workflows.checks import MANY_ROWS, Seen

    seen = Seen((rows.count_rows() or 0) > MANY_ROWS)
    times = [name for name in (spec.time,) if name in rows.schema.names]
    columns = list(dict.fromkeys([*encoder.columns, *encoder.label_columns, *times]))
    n_rows, unseen, missing = 0, dict[str, int](), dict[str, int]()
    sums: Any = 0.0
    counts: Any = 0
    for chunk in rows.tables(columns=columns):
        block = encoder.encode(chunk)
        seen.add(chunk, block, spec)
        n_rows += len(chunk)
        for counted, new in ((unseen, block.unseen), (missing, block.missing)):
            for name, count in new.items():
                counted[name] = counted.get(name, 0) + count
        known = ~np.isnan(block.labels)
        sums = sums + np.where(known, block.labels, 0).sum(0, dtype=np.float64)
        counts = counts + known.sum(0)
        events.tick(Progress(f"checking {part}", n_rows, rows.count_rows()))
        stop.check()
    if n_rows == 0:
        raise DataError(f"{part} has no rows; check the files, the filter and the split")
    means = {name: float(sums[i] / counts[i]) if counts[i] else None for i, name in enumerate(encoder.schema.labels)}
    facts = {
        "rows": n_rows,
        "label_mean": {name: mean for name, mean in means.items() if mean is not None},
        "label_known": {name: float(counts[i]) / n_rows for i, name in enumerate(encoder.schema.labels)},
        "unseen": {name: count / n_rows for name, count in unseen.items() if count},
        "missing": {name: count / n_rows for name, count in missing.items() if count},
    }
    return facts, seen


def describe(encoder: Encoder, spec: Spec) -> dict[str, str]:
    """What each feature of the schema became."""
    found = {}
    for feature in encoder.schema.features:
        if feature.kind in ("sparse", "sequence"):
            shared = f", shares {feature.shares}" if feature.shares else ""
            found[feature.name] = f"{feature.kind}, {feature.vocab_size:,} ids x {feature.embed_dim}{shared}"
        else:
            found[feature.name] = f"{feature.kind}, {feature.width} wide" if feature.width > 1 else feature.kind
    return found


def remarks(parts: dict[str, dict[str, Any]], spec: Spec) -> list[str]:
    """What will train, and may still not be meant."""
    found = []
    if "valid" not in parts:
        found.append("there are no validation rows: nothing tells the best epoch; set data.valid or data.split")
    for part, facts in parts.items():
        for name, mean in facts["label_mean"].items():
            if spec.labels[name].type == "classification" and (mean < ONE_SIDED or mean > 1 - ONE_SIDED):
                found.append(f"{part}: {mean:.2%} of {name} is positive")
            positives = round(mean * facts["label_known"][name] * facts["rows"])
            if spec.labels[name].type == "classification" and part != "train" and positives < FEW:
                found.append(f"{part}: only {positives} rows have {name}: its metrics will vary a lot by chance")
        for name, share in facts["missing"].items():
            if share > 0.99:
                found.append(f"{part}: {name} is missing in {share:.1%} of the rows")
        if part != "train":
            for name, share in facts["unseen"].items():
                if share > UNSEEN_SHARE:
                    found.append(f"{part}: {share:.1%} of {name} never occur in train")
    return found
