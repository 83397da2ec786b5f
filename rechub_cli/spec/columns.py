"""The spec meets the data's columns: globs are expanded, every name is checked."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Mapping
from fnmatch import fnmatchcase

from rechub_cli.spec.lag import parse_lag
from rechub_cli.spec.model import AnyFeature, Data, Dense, History, Label, Sequence, Sparse, Spec
from rechub_cli.spec.names import check_names
from rechub_cli.spec.problems import MOST_SHOWN, Problem, listed
from rechub_cli.spec.read import ReadSpec

NUMBERS = frozenset({"integer", "float", "bool", "null"})
SINGLE = NUMBERS | {"string", "binary", "timestamp", "date"}
MOMENTS = frozenset({"timestamp", "date", "integer", "float", "string", "null"})

# What a column may hold for each type of feature.
_TAKES = {
    "sparse": SINGLE,
    "dense": NUMBERS,
    "datetime": MOMENTS,
    "sequence": SINGLE | {"list"},
    "vector": frozenset({"list"}),
}


def resolve_columns(read: ReadSpec, columns: Mapping[str, str]) -> Spec:
    """The spec with exact features, each with its ``column``, and every name in it known to exist.

    Args:
        read: the spec as read.
        columns: the data's columns in order, name -> kind ("integer", "string", "list", ...).

    Raises:
        SpecError: everything that is wrong, each with its place.
        Unavailable: a plugin that the spec names cannot be imported.
    """
    problems = _Checker(read, columns)
    spec = problems.resolved()
    if problems.found:
        raise read.error(problems.found)
    return spec


def name_problems(read: ReadSpec, columns: Mapping[str, str]) -> list[Problem]:
    """What ``resolve_columns`` would complain of."""
    checker = _Checker(read, columns)
    checker.resolved()
    return checker.found


class _Checker:
    """One pass over the names of a spec; ``found`` collects what is wrong."""

    def __init__(self, read: ReadSpec, columns: Mapping[str, str]) -> None:
        self.read, self.spec, self.columns = read, read.spec, columns
        self.found: list[Problem] = []
        self.lower = {column.lower(): column for column in columns}
        self.note = f"columns there: {listed(columns)}"

    def resolved(self) -> Spec:
        features = self.features()
        for name, feature in features.items():
            self.feature(name, feature, features)
        labels = {name: self.label(name, label) for name, label in self.spec.labels.items()}
        self.roles()
        data = self.data()
        params, problems = check_names(self.spec, self.read.base)
        self.found += problems
        model = self.spec.model.model_copy(update={"params": params})
        return self.spec.model_copy(update={"data": data, "features": features, "labels": labels, "model": model})

    def features(self) -> dict[str, AnyFeature]:
        """Features by exact name: those of the spec in its order, a glob's in the order of the columns."""
        spec = self.spec
        if not spec.features:
            self.problem(("features",), "names no feature", key=True)
        taken = {name for name in spec.features if not self.is_glob(name)}
        roles = {label.column or name for name, label in spec.labels.items()}
        roles |= {name for name in (spec.weight, spec.group, spec.time, spec.order) if name}
        roles |= {label.weight for label in spec.labels.values() if label.weight}
        found: dict[str, AnyFeature] = {}
        for name, feature in spec.features.items():
            if not self.is_glob(name):
                column = feature.column if isinstance(feature, History) else feature.column or name
                found[name] = feature.model_copy(update={"column": column})
                continue
            matches = [column for column in self.columns if fnmatchcase(column, name)]
            if isinstance(feature, History):
                self.problem(("features", name), "a history has a name of its own, not a glob", key=True)
            elif not matches:
                self.missing(("features", name), f"no column matches '{name}'", name)
            for column in matches:
                if column not in taken and column not in roles:
                    taken.add(column)
                    found[column] = feature.model_copy(update={"column": column})
        return found

    def is_glob(self, name: str) -> bool:
        return any(sign in name for sign in "*?[") and name not in self.columns and not self.spec.features[name].column

    def feature(self, name: str, feature: AnyFeature, features: Mapping[str, AnyFeature]) -> None:
        path = ("features", name)
        if isinstance(feature, History):
            self.history(path, feature, features)
            return
        named = "column" in self.spec.features[name].model_fields_set if name in self.spec.features else False
        place = (*path, "column") if named else path
        kind = self.column(feature.column or name, place, key=not named)
        labels = {label.column or label_name: label_name for label_name, label in self.spec.labels.items()}
        if feature.column in labels:
            text = f"is the column of the label '{labels[feature.column]}', the answer itself"
            self.problem(place, text, key=not named)
        if kind and kind not in _TAKES[feature.type]:
            remedy = f"; use {{type: {_INSTEAD[kind]}}}" if kind in _INSTEAD else ""
            self.problem(
                path,
                f"column '{feature.column}' holds {_plural(kind)}, not what a {feature.type} feature takes{remedy}",
                key=True,
            )
        if isinstance(feature, Sparse | Sequence) and feature.shares:
            self.shares(path, feature, features)
        if isinstance(feature, Sparse | Sequence) and feature.hash_buckets:
            for option in ("max_vocab", "expire"):
                if getattr(feature, option):
                    text = f"hash_buckets keeps no vocabulary, so {option} does not go with it"
                    self.problem((*path, "hash_buckets"), text, key=True)
        if isinstance(feature, Dense) and feature.statistics == "continue" and not _goes_on(feature):
            text = "quantiles and bins stay as they were first fitted; leave statistics out"
            self.problem((*path, "statistics"), text)
        if isinstance(feature, Dense) and isinstance(feature.transform, dict):
            edges = feature.transform.get("bucketize", [])
            if not edges or any(a >= b for a, b in itertools.pairwise(edges)):
                self.problem((*path, "transform"), "bucketize needs edges that rise, as in [1, 5, 10]")
            elif feature.embedding != "none":
                self.problem((*path, "embedding"), "a bucketized number is a category already; leave embedding out")

    def shares(self, path: tuple[str, ...], feature: Sparse | Sequence, features: Mapping[str, AnyFeature]) -> None:
        place = (*path, "shares")
        target = str(feature.shares)
        if not self.known(target, features, place, "feature"):
            return
        owner = features[target]
        if target == path[1]:
            self.problem(place, "a feature cannot share with itself")
        elif not isinstance(owner, Sparse | Sequence):
            self.problem(
                place, f"'{target}' is {owner.type}; only sparse and sequence features have a vocabulary to share"
            )
        elif owner.shares:
            self.problem(place, f"'{target}' itself shares that of '{owner.shares}'", owner.shares)
        elif options := [name for name in _OF_VOCABULARY if _is_own(feature, owner, name)]:
            text = f"shares the vocabulary of '{target}', whose {options[0]} holds; set it there"
            self.problem((*path, options[0]), text, key=True)
        elif feature.embed_dim not in (None, owner.embed_dim or self.spec.embed_dim):
            width = owner.embed_dim or self.spec.embed_dim
            self.problem((*path, "embed_dim"), f"shares the rows of '{target}', which are {width} wide; leave it out")

    def history(self, path: tuple[str, ...], feature: History, features: Mapping[str, AnyFeature]) -> None:
        for role in ("user", "time"):
            if getattr(self.spec, role) is None:
                text = f"a history needs '{role}:', the column that says {_SAYS[role]}"
                self.problem((*path, "type"), text)
        if feature.column is not None:
            self.problem((*path, "column"), "a history is made of the columns that 'of' names; leave it out", key=True)
        if feature.tower == "item":
            self.problem((*path, "tower"), "a history is the user's; items have none")
        read = {one.column or name for name, one in features.items() if isinstance(one, Sparse)}
        for place, column in enumerate(feature.of):
            if self.column(column, (*path, "of", place)) and column not in read:
                text = f"no sparse feature reads column '{column}'; add one: a history shares its ids"
                self.problem((*path, "of", place), text)
        if not feature.of or len(set(feature.of)) < len(feature.of):
            self.problem((*path, "of"), "names the columns that the history follows, each once", key=True)
        for column, wanted in feature.where.items():
            kind = self.column(column, (*path, "where", column), key=True)
            if kind == "list" or any(isinstance(value, list | dict) or value is None for value in _listed(wanted)):
                self.problem((*path, "where", column), "must be a value of the column, or a list of values")
        if feature.lag is not None:
            try:
                parse_lag(feature.lag)
            except ValueError as error:
                self.problem((*path, "lag"), str(error))

    def label(self, name: str, label: Label) -> Label:
        column = label.column or name
        path = ("labels", name)
        kind = self.column(column, (*path, "column") if label.column else path, key=not label.column)
        if kind and kind not in (NUMBERS if label.positive is None else SINGLE):
            example = (
                ""
                if label.type == "regression" or kind not in SINGLE
                else "; say which value is positive, as in {positive: 'yes'}"
            )
            self.problem(path, f"column '{column}' holds {_plural(kind)}, not numbers{example}", key=True)
        if label.type == "regression":
            for option in ("positive", "negative_rate"):
                if option in label.model_fields_set:
                    self.problem((*path, option), "is for classification labels only", key=True)
        if label.weight is not None:
            kind = self.column(label.weight, (*path, "weight"))
            if kind and kind not in NUMBERS:
                self.problem((*path, "weight"), f"column '{label.weight}' holds {_plural(kind)}; a weight is a number")
        if label.after is not None:
            self.after(name, label.after)
        return label.model_copy(update={"column": column})

    def after(self, name: str, before: str) -> None:
        """A funnel: what ``name`` counts happens only where ``before`` did."""
        labels, path = self.spec.labels, ("labels", name, "after")
        if not self.known(before, labels, path, "label"):
            return
        steps = [name]
        while before in labels and before not in steps:
            steps.append(before)
            before = labels[before].after or ""
        if before in steps:
            self.problem(path, f"goes in a circle: {' after '.join([*steps, before])}")
        elif labels[steps[1]].type == "regression":
            self.problem(path, f"'{steps[1]}' is a number, and not something that happens or does not")

    def roles(self) -> None:
        spec = self.spec
        takes = {"weight": NUMBERS, "group": SINGLE, "time": MOMENTS, "order": SINGLE, "user": SINGLE, "item": SINGLE}
        for role, kinds in takes.items():
            column = getattr(spec, role)
            kind = self.column(column, (role,)) if column is not None else None
            if kind and kind not in kinds:
                self.problem((role,), f"column '{column}' holds {_plural(kind)}; it cannot be the {role}")

    def data(self) -> Data:
        """The data section, its split without the parts that files are given for."""
        spec, split = self.spec, self.spec.data.split
        if split is None:
            return spec.data
        needs = {"time": ("time",), "user": ("user",), "leave_one_out": ("user", "time")}
        for role in needs.get(split.method, ()):
            if getattr(spec, role) is None:
                what = f"a split by {split.method} needs '{role}:', the column that says {_SAYS[role]}"
                self.problem(("data", "split", "method"), what)
        for part in ("valid", "test"):
            if getattr(spec.data, part):
                both = part in split.model_fields_set and getattr(split, part)
                if both and self.read.at(("data", part)).kind == "spec":  # a flag or --set takes the split's place
                    text = f"data.{part} names files already; leave one of the two out"
                    self.problem(("data", "split", part), text)
                split = split.model_copy(update={part: 0.0})
        if split.valid + split.test >= 1:
            self.problem(("data", "split"), "valid and test together leave no rows to train on", key=True)
        return spec.data.model_copy(update={"split": split})

    def column(self, name: str, path: tuple[str | int, ...], key: bool = False) -> str | None:
        """The kind of a column, or a problem and None."""
        if name in self.columns:
            return self.columns[name]
        self.missing(path, f"column '{name}' is not in {self.where}", name, key)
        return None

    @property
    def where(self) -> str:
        train = self.spec.data.train
        if not train:
            return "the data"
        return train[0] if len(train) == 1 else f"{train[0]} and {len(train) - 1} more"

    def missing(self, path: tuple[str | int, ...], text: str, name: str, key: bool = True) -> None:
        guess = None
        if len(self.found) < MOST_SHOWN:  # a guess takes time, and later ones are not shown
            guess = difflib.get_close_matches(name.lower(), self.lower, 1, 0.6)
        meant = self.lower[guess[0]] if guess else None
        self.found.append(Problem(path, text, meant, "key" if key else "value", (self.note,)))

    def known(self, name: str, names: Mapping[str, object], path: tuple[str | int, ...], what: str) -> bool:
        if name not in names:
            guess = difflib.get_close_matches(name, names, 1, 0.6)
            self.problem(path, f"there is no {what} '{name}'", guess[0] if guess else None)
        return name in names

    def problem(self, path: tuple[str | int, ...], text: str, guess: str | None = None, *, key: bool = False) -> None:
        self.found.append(Problem(path, text, guess, "key" if key else "value"))


_OF_VOCABULARY = ("min_count", "max_vocab", "oov_buckets", "hash_buckets", "expire")
_SAYS = {"user": "who", "time": "when"}
_INSTEAD = {"list": "sequence", "string": "sparse", "timestamp": "datetime", "date": "datetime"}


def _goes_on(feature: Dense) -> bool:
    """Whether its statistics are sums, to which later rows can be added."""
    return feature.transform in ("none", "standardize", "minmax", "log1p") and feature.embedding != "piecewise_linear"


def _is_own(feature: AnyFeature, owner: AnyFeature, option: str) -> bool:
    """Whether an option says something that the owner of the vocabulary does not."""
    value = getattr(feature, option)
    return value not in (type(feature).model_fields[option].default, getattr(owner, option))


def _listed(wanted: object) -> list[object]:
    return wanted if isinstance(wanted, list) else [wanted]


def _plural(kind: str) -> str:
    return {"bool": "true and false", "binary": "bytes", "null": "nothing", "string": "texts"}.get(
        kind, f"{kind}s" if kind.isalpha() else kind
    )
