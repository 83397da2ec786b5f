"""A spec file and its overrides -> a Spec that knows where each of its values comes from."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

from rechub_cli.errors import NoInput, RechubError, SpecError
from rechub_cli.spec import document, overrides
from rechub_cli.spec.document import BadText, Document
from rechub_cli.spec.model import Spec
from rechub_cli.spec.problems import Origin, Problem, dotted, failure, printable
from rechub_cli.spec.validate import pruned, validate

Columns = Mapping[str, str]  # name -> kind


@dataclass(frozen=True)
class ReadSpec:
    """A spec as it was read: ``text`` is the file's own bytes, ``origins`` says where values come from."""

    spec: Spec
    path: Path
    text: bytes
    origins: dict[document.Path, Origin] = field(default_factory=dict)

    @property
    def base(self) -> Path:
        """The folder that relative paths in the spec start from."""
        return self.path.parent

    @cached_property
    def globs(self) -> list[str]:
        """The features that may stand for many columns, as the spec has them."""
        features = [str(path[1]) for path in self.origins if len(path) == 2 and path[0] == "features"]
        return [name for name in features if any(sign in name for sign in "*?[")]

    def at(self, path: str | document.Path) -> Origin:
        """Where the value at a path comes from; for a feature that a glob made, where the glob stands."""
        parts = _parts(path, self.origins) if isinstance(path, str) else path
        if parts in self.origins:
            return self.origins[parts]
        for length in range(len(parts) - 1, 0, -1):  # inside a value that was set as a whole
            above = self.origins.get(parts[:length])
            if above and above.kind != "spec":
                return above
        if parts[:1] == ("features",) and len(parts) > 1 and parts[:2] not in self.origins:
            for glob in self.globs:
                if fnmatchcase(str(parts[1]), glob):
                    return self.at(("features", glob, *parts[2:]))
        return Origin("default", str(self.path))

    def problem(self, problem: Problem) -> tuple[Problem, Origin]:
        """A problem with the place to show for it: its own, or the nearest above."""
        path = problem.path
        while path:
            origin = self.at(path)
            if origin.kind != "default":
                at_key = problem.at == "key" or path != problem.path
                return replace(problem, at="key" if at_key else "value"), origin
            path = path[:-1]
        return problem, Origin("default", str(self.path))

    def error(self, problems: Iterable[Problem]) -> SpecError:
        """All problems as one error, each with its place."""
        return failure([self.problem(problem) for problem in problems], self.lines)

    @property
    def lines(self) -> list[str]:
        return re.split("\r\n|\r|\n", self.text.decode("utf-8-sig", "replace"))

    def fail(self, problems: Iterable[tuple[str, str] | tuple[str, str, str | None]]) -> NoReturn:
        """Raise what another room found: (dotted path, what is wrong[, what was probably meant])."""
        found = []
        for path, text, *guess in problems:
            found.append(Problem(_parts(path, self.origins), text, guess[0] if guess else None))
        raise self.error(found)


def read_spec(
    path: str | Path,
    overrides: Sequence[str] = (),
    sugar: Mapping[str, Any] | None = None,
    columns: Callable[[Spec, Path], Columns] | None = None,
) -> ReadSpec:
    """Read a spec.

    Args:
        path: the YAML file.
        overrides: ``--set`` arguments, applied from left to right.
        sugar: values of flags by dotted key; they win over ``overrides``. Data paths among them are
            relative to the working directory, those of the spec to its folder.
        columns: given a spec and its folder, the columns of its data. It is asked only when something is
            wrong already, so that names the data lacks are reported in the same go.

    Raises:
        NoInput: there is no such file, or it is empty.
        SpecError: everything that is wrong with it.
    """
    path = Path(path)
    content = _content(path)
    found = _document(path, content)
    reading = _Reading(path, content, found)
    for piece in overrides:
        reading.set(piece)
    for key, value in (sugar or {}).items():
        if value is not None:
            reading.flag(key, value)
    return reading.finish(columns)


class _Reading:
    """The state between text and Spec."""

    def __init__(self, path: Path, content: bytes, found: Document) -> None:
        self.path, self.content = path, content
        self.data: dict[str, Any] = found.data
        self.plain = dict(found.plain)
        self.origins = {
            place: Origin("spec", str(path), found.keys.get(place), span)
            for place, span in found.values.items()
            if place
        }
        self.problems = [
            (Problem((), text, span=span), Origin("spec", str(path), value=span)) for text, span in found.faults
        ]

    def set(self, piece: str) -> None:
        origin = Origin("set", piece=piece)
        try:
            override = overrides.split(piece)
            origin = override.origin
            place = overrides.apply(override, self.data)
        except overrides.BadOverride as error:
            notes = (self.see_keys(),) if error.text.startswith("unknown key") else ()
            self.problems.append((Problem((), error.text, error.suggestion, error.part, notes), origin))
            return
        self.came_from(place, origin)

    def see_keys(self) -> str:
        model = self.data.get("model")
        name = model.get("name") if isinstance(model, dict) else None
        return f"see all keys: rechub models show {name if isinstance(name, str) else 'deepfm'} --keys"

    def flag(self, key: str, value: Any) -> None:
        place = tuple(key.split("."))
        if place[0] == "data" and place[-1] in ("train", "valid", "test", "items"):
            value = [_from_here(one) for one in ([value] if isinstance(value, str | Path) else value)]
        try:
            overrides.put(self.data, place, value)
        except overrides.BadOverride as error:
            self.problems.append((Problem(place, error.text), Origin("flag", piece=overrides.FLAGS.get(key, key))))
            return
        self.came_from(place, Origin("flag", piece=overrides.FLAGS.get(key, "flag")))

    def came_from(self, place: document.Path, origin: Origin) -> None:
        for table in (self.origins, self.plain):
            for old in [old for old in table if old[: len(place)] == place]:
                del table[old]
        here: Any = self.data
        for part in place:
            if not isinstance(here, list) and part not in (here or ()):
                return  # cleared: the default holds
            here = here[part]
        self.origins[place] = origin

    def finish(self, columns: Callable[[Spec, Path], Columns] | None) -> ReadSpec:
        spec, problems = validate(self.data, self.plain)
        if spec is not None and not self.problems:
            return ReadSpec(spec, self.path, self.content, self.origins)
        told = {problem.span for problem, _ in self.problems}
        read = ReadSpec(Spec.model_construct(), self.path, self.content, self.origins)
        placed = [read.problem(problem) for problem in problems]
        placed = [(problem, origin) for problem, origin in placed if not told & {origin.key, origin.value} - {None}]
        if columns is not None:
            placed += self.further(problems, columns)
        raise failure([*self.problems, *placed], read.lines)

    def further(
        self, problems: list[Problem], columns: Callable[[Spec, Path], Columns]
    ) -> list[tuple[Problem, Origin]]:
        """What is wrong with the names in those parts of the spec that can be read."""
        from rechub_cli.spec.columns import name_problems

        data, spec, faulty = self.data, None, [problem.path for problem in problems]
        for _ in range(4):  # what is cut away can leave its surroundings wanting
            data = {"features": {}, "model": {"name": ""}, **pruned(data, problems)}
            spec, problems = validate(data, self.plain)
        if spec is None:
            return []
        read = ReadSpec(spec, self.path, self.content, self.origins)
        try:
            found = name_problems(read, columns(spec, self.path.parent))
        except RechubError:  # of the data, or a plugin: told when the spec is mended
            return []

        def follows(path: document.Path) -> bool:
            """Whether a fault may be but the trace of what was cut away."""
            cut = any(fault[: len(path)] == path for fault in faulty if len(path) > 2)
            return cut or path[-1] == "shares" or path[0] not in self.data

        return [read.problem(problem) for problem in found if not follows(problem.path)]


def _content(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            content = file.read(document.MOST_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        raise NoInput(f"cannot read the spec {printable(str(path))}: {getattr(error, 'strerror', error)}") from error
    if not content.strip():
        raise NoInput(f"the spec {path} is empty; write a first one with: rechub init DATA")
    return content


def _document(path: Path, content: bytes) -> Document:
    lines: list[str] = []
    try:
        text = document.decode(content)
        lines = text.split("\n")
        found = document.parse(text)
        if found.data is None:
            raise BadText("holds no keys; write a first spec with: rechub init DATA")
        if not isinstance(found.data, dict):
            kind = "a list" if isinstance(found.data, list) else "one value"
            raise BadText(f"a spec is a mapping of keys (features:, model:, ...), this is {kind}", found.values[()])
    except BadText as error:
        raise failure([(Problem((), error.text, span=error.span), Origin("spec", str(path)))], lines) from error
    return found


def _parts(path: str, origins: Mapping[document.Path, Origin]) -> document.Path:
    """A dotted path in parts; a name with dots in it is known from the spec."""
    for known in origins:
        if dotted(known) == path:
            return known
    pieces = path.split(".")
    for length in range(len(pieces) - 1, 0, -1):
        start = ".".join(pieces[:length])
        for known in origins:
            if dotted(known) == start:
                return (*known, *pieces[length:])
    return tuple(pieces)


def _from_here(path: str | Path) -> str:
    """A path of the command line, relative to the working directory; `-` and addresses as they are."""
    text = str(path)
    return text if text == "-" or "://" in text else os.path.abspath(text)
