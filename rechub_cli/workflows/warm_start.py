"""``--init-from RUN``: a new run that starts from the best weights of another, whose vocabularies grow."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rechub_cli.errors import DataError, NoInput, UsageError
from rechub_cli.run.directory import Run
from rechub_cli.run.events import Events
from rechub_cli.run.reading import read_pointer, read_shapes, read_state
from rechub_cli.spec.problems import Problem
from rechub_cli.workflows.match_spec import is_counting

if TYPE_CHECKING:
    from torch import nn

    from rechub_cli.data.chunk import Rows
    from rechub_cli.data.encoder import Encoder
    from rechub_cli.data.growth import Growth
    from rechub_cli.spec.model import Spec
    from rechub_cli.spec.read import ReadSpec
    from rechub_cli.workflows.compatible import Differences
    from rechub_cli.workflows.request import TrainRequest


@dataclass(slots=True)
class Start:
    """The run that a training starts from; ``check`` comes before all else that is asked of it."""

    run: Run
    checkpoint: str  # its best
    encoder: Encoder
    command: str
    read: ReadSpec
    allow_fresh: bool
    fresh_features: frozenset[str] = field(default=frozenset(), init=False)
    fresh_layers: frozenset[str] = field(default=frozenset(), init=False)

    def check(self, spec: Spec) -> None:
        """Find out whether all that the run learnt can go on under ``spec``.

        Raises:
            SpecError: all that stands against it.
        """
        found = self._differences(spec)
        against = found.never + ([] if self.allow_fresh else found.fresh)
        if against:
            error = self.read.error(against)
            if found.fresh and not self.allow_fresh:
                error.add_note(
                    "--allow-fresh lets what cannot go on start fresh: new features, changed ones, such layers."
                )
            raise error
        self.fresh_features, self.fresh_layers = frozenset(found.features), frozenset(found.layers)

    def _differences(self, spec: Spec) -> Differences:
        from rechub_cli.data.plan import Plan
        from rechub_cli.workflows import compatible

        found, run, base = compatible.Differences(), self.name, self.read.base
        before, plan = self.encoder.plan, Plan.of(spec).after(self.encoder.plan)
        was = str(self.run.info.get("spec", {}).get("model", {}).get("name"))
        if self.run.info.get("command") != self.command:
            text = f"{run} was trained by {self.run.info.get('command')}, not by {self.command}"
            found.never.append(Problem(("model", "name"), text))
        elif _bare(was) != _bare(spec.model.name):
            found.never.append(Problem(("model", "name"), f"is {spec.model.name}, and {was} in {run}"))
        elif is_counting(spec, base):
            found.never.append(Problem(("model", "name"), f"{was} counts, and has no weights to start from"))
        compatible.compare_features(before, plan, run, found)
        compatible.compare_statistics(self.encoder, plan, run, found)
        schema = plan.least_schema(self.encoder.bins)
        compatible.compare_labels(self.encoder.schema, schema, run, found)
        if ("model", "name") not in [problem.path for problem in found.never]:
            shapes = read_shapes(self.run.path, self.checkpoint)
            compatible.compare_layers(shapes, spec, self.encoder.schema, schema, base, run, found)
        return found

    @property
    def name(self) -> str:
        return str(self.run.path)

    def describe(self) -> dict[str, Any]:
        """For the record of the run that starts."""
        return {"run": self.run.info.get("run"), "path": self.name, "checkpoint": self.checkpoint}

    def past(self, encoder: Encoder) -> Rows | None:
        """The last events of each user, of which later histories are made; None where there are none."""
        from rechub_cli.data.events import event_columns
        from rechub_cli.data.source import Source
        from rechub_cli.workflows.history import KEPT

        path = self.run.path / KEPT
        if not encoder.plan.histories or not path.is_file():
            return None
        source = Source.open([str(path)], base=Path())
        return source if {*event_columns(encoder)} <= {*source.schema.names} else None

    def carry(self, encoder: Encoder, model: nn.Module, trainer: Any, spec: Spec, events: Events) -> None:
        """Put the run's weights and the state of its optimizers into a model and its trainer.

        Raises:
            NoInput, DataError: its checkpoint is not whole.
        """
        import torch

        from rechub_cli.data.growth import growth
        from rechub_cli.trainers.carry import carry_optimizers, carry_weights
        from rechub_cli.trainers.state import unflatten

        grown = growth(self.encoder, encoder, self.fresh_features)
        rows = {name: torch.from_numpy(one.sources) for name, one in grown.items()}
        weights, state = read_state(self.run.path, self.checkpoint)
        left = carry_weights(model, weights, rows, self.fresh_layers)
        try:
            saved = unflatten("optimization", state) if "optimization" in state else {}
            anew = None
            if "names" in saved:
                anew = carry_optimizers(trainer.optimization, saved, rows, left)
            if "balance" in state and self._spec("trainer", "adaptive_params") == spec.trainer.adaptive_params:
                trainer.balance.weighting.load_state_dict(unflatten("balance", state)["weighting"])
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
            said = f"{type(error).__name__}: {error}"
            raise DataError(f"{self.name}: the training state of {self.checkpoint} is damaged ({said})") from error
        self._tell(grown, left, anew, spec, events)

    def _tell(
        self, grown: dict[str, Growth], left: list[str], anew: list[str] | None, spec: Spec, events: Events
    ) -> None:
        total = {what: sum(getattr(one, what) for one in grown.values()) for what in ("kept", "new", "left")}
        said = f"{total['kept']:,} ids kept, {total['new']:,} new" + (f", {total['left']:,} left" * (total["left"] > 0))
        by_feature = {name: {"kept": one.kept, "new": one.new, "left": one.left} for name, one in grown.items()}
        facts = {**self.describe(), **total, "features": by_feature}
        events.emit("init.ready", f"starts from {self.name} ({self.checkpoint}): {said}", facts)
        if left:
            events.emit("warning", f"starts fresh: {', '.join(left)}", {"fresh": left}, level="warn")
        if anew is None:
            text = f"{self.name} was made by an earlier rechub: its weights go on, its optimizers start fresh"
            events.emit("warning", text, level="warn")
        elif anew := [name for name in anew if name not in left]:
            text = f"the optimizer is another: its moments start fresh for {', '.join(anew)}"
            events.emit("warning", text, {"fresh": anew}, level="warn")
        was = self._spec("model", "params")
        changed = [name for name in {**was, **spec.model.params} if was.get(name) != spec.model.params.get(name)]
        if changed:
            text = f"the weights go on under other options: {', '.join(f'model.params.{name}' for name in changed)}"
            events.emit("warning", text, {"params": changed}, level="warn")
        if self.run.info.get("status") != "done":
            text = f"{self.name} did not end well ({self.run.info.get('status')}): these are the best weights it had"
            events.emit("warning", text, level="warn")

    def _spec(self, section: str, key: str) -> Any:
        return self.run.info.get("spec", {}).get(section, {}).get(key) or {}


def start_of(request: TrainRequest, command: str, read: ReadSpec) -> Start | None:
    """The run that ``--init-from`` names; None where it names none.

    Raises:
        UsageError: it is the run that is to be written. NoInput, DataError: there is no such run, or it is not whole.
    """
    if request.init_from is None:
        if request.allow_fresh:
            raise UsageError("--allow-fresh says what may start fresh with --init-from, which is not given")
        return None
    from rechub_cli.data.encoder import Encoder

    path = Path(request.init_from)
    run = Run.open(path.resolve() if path.is_symlink() else path)  # a published name may move on meanwhile
    if request.output and Path(request.output).resolve() == run.path.resolve():
        raise UsageError(f"--init-from and --output both name {request.output}; a run starts from another one")
    checkpoint = read_pointer(run.path, "best")
    if checkpoint is None:
        raise NoInput(f"{run.path} has no finished checkpoint to start from: its training did not get that far")
    encoder = Encoder.load(run.path / "encoder")
    return Start(run, checkpoint, encoder, command, read, request.allow_fresh)


def _bare(name: str) -> str:
    """A model's name, for those that are named in place without the folder."""
    file, colon, attribute = name.rpartition(":")
    return f"{Path(file).name}{colon}{attribute}" if colon else name.lower()
