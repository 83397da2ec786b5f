"""Specs that are wrong in one way or several, and the arguments that go with them: a function of a seed."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml

TASKS = ("ctr", "match", "mtl")

# What a value may become. Sizes are small or absurd: one in between would be taken, and cost what it says.
VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2, 0.5, -0.5, 1e-320, 1e308, -1e308, 2**31 - 1, 2**31, 2**63 - 1, 2**63, 2**64, -(2**63),
    "", " ", "nan", ".nan", ".inf", "-.inf", "1e999", "null", "~", "yes", "0x1F", "0o17", "1_000", "007", "2026-11-25",
    "x" * 20_000, "a,b", "a b", "a.b", "a:b", "'", '"', "\\", "*", "[", "[a", "{", "?", "%", "@", "#", "&a", "- -", "💥",
    "\u202etxt", "é", "e\u0301", "\u200b", "..", "../..", "/nix", "/dev/null", "/dev/zero", "/dev/full", "/proc/self/mem", "~nobody/x",
    "-", "s3://bucket/x.parquet", "http://127.0.0.1:9/x.csv", "file:///etc/passwd", "{date}", "{date-99999999999}", "{date-14..date-2}",
    "{date-2..date-999999}", "{nix}", "{", "day=*/x", "[!a]*", "data", "data/", "data/train.parquet", "nix.parquet", "spec.yaml", "fifo",
    "os:system", "os:nix", "./nix.py:Net", "./spec.yaml:Net", "./broken.py:Net", "./raises.py:Net", "./exits.py:Net",
    ":", "a:", ":a", "a:b:c", "__import__('os')",
    [], {}, [[]], [None], [{}], {"": None}, {"a": {"b": {"c": 1}}}, ["a"] * 500, [1, "a", None, 1.5], {"type": "sparse"}, {"type": None},
    {"type": "dense", "transform": {"bucketize": []}}, {"type": "dense", "transform": {"bucketize": [3, 1, 2]}},
    {"type": "dense", "transform": {"bucketize": [0] * 3}}, {"type": "sequence", "shares": "user_id", "separator": ""},
    {"type": "history", "of": [], "where": {"nix": 1}}, {"type": "vector", "dim": 0}, {"type": "vector", "dim": 2**40},
    {"type": "datetime", "parts": []}, {"name": "same", "l2": -1}, {"name": "uniform", "n": 2**40}, {"name": "popularity", "n": -1},
    "price > ", "price > 1 and", "((((" * 300, "not " * 3000 + "a", "price == 1 " * 2000, "price in [1,", "price > 1e999", "a == 'b",
    "price + 1 > 2", "__class__ == 1", "user_id == None", ">= 4", ">= x", ">=", ">= nan", "1h", "-1h", "h", "9" * 400 + "d", "1e999h", "1 fortnight",
    "auc", "auc@", "auc@0", "ndcg@99999999999", "ndcg@10[u100]", "auc_click", "auc_nix", "mse", "bce", "recall@5", "gauc",
    "adam", "Adam", "LBFGS", "SGD", "SparseAdam", "Optimizer", "StepLR", "LambdaLR", "OneCycleLR", "CosineAnnealingLR", "ReduceLROnPlateau",
    "cuda", "cuda:99", "cpu:7", "mps", "meta", "deepfm", "dssm", "mmoe", "ease", "sasrec", "lr",
]  # fmt: skip

KEYS = [
    "", "<<", "type", "name", "params", "nix", "n_epochs", "features", "data", "labels", "model", "trainer", "user_id", "I*", "*", "[", "[a-",
    "a.b", "a b", "0", "null", "💥", "x" * 500, "\u202e", "__class__", "shares", "column", "tower", "embed_dim", "filter", "join", "split",
    "time", "order", "group", "user", "item", "weight", "min_count", "hash_buckets", "monitor", "metrics", "scheduler", "loss",
    "scheduler_params", "optimizer_params", "adaptive_params", "negatives", "mode", "baselines", "earlystop_taskid", "regularization_params",
]  # fmt: skip

PATHS = [
    "embed_dim", "features.user_id.type", "features.user_id", "features.item_id.min_count", "features.nix.type", "features", "labels",
    "labels.click.positive", "labels.click.type", "data.train", "data.train.0", "data.train.7", "data.filter", "data.split.method",
    "data.split.valid", "data.join", "data.join.0.file", "data.format", "data.cache", "model", "model.name", "model.params",
    "model.params.hidden_dims", "model.params.dropout", "model.params.nix", "trainer.n_epoch", "trainer.n_epochs", "trainer.batch_size",
    "trainer.optimizer", "trainer.optimizer_params.lr", "trainer.optimizer_params", "trainer.scheduler", "trainer.scheduler_params",
    "trainer.monitor", "trainer.metrics", "trainer.loss", "trainer.negatives", "trainer.mode", "trainer.device", "trainer.precision",
    "trainer.seed", "trainer.clip_norm", "trainer.adaptive_params", "trainer.adaptive_params.method", "trainer.earlystop_taskid",
    "trainer.regularization_params.embedding_l1", "trainer.embedding_optimizer.name", "trainer.embedding_optimizer", "trainer.gpus",
    "trainer", "time", "user", "item", "group", "weight", "order", "", ".", "a..b", "trainer.", ".trainer", "features.'a.b'.type", "nix",
    "trainer.n_epoch.x", "0", "trainer.metrics.0", "trainer.metrics.99999999999", "labels.a.b.c.d",
]  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One spec, and the command that gets it."""

    command: str
    spec: bytes
    arguments: tuple[str, ...]


def case(seed: str, texts: dict[str, list[str]]) -> Case:
    """The case of a seed. ``texts`` are sound specs by task: what is broken here."""
    rng = random.Random(seed)
    task = rng.choice(TASKS)
    text = rng.choice(texts[task])
    for _ in range(rng.choice([0, 1, 1, 1, 2, 3])):
        text = dump(rng, _in_tree(rng, yaml.safe_load(text)))
    content = text.encode("utf-8", "surrogatepass")
    if rng.random() < 0.4:
        content = rng.choice(TEXT_FAULTS)(rng, content)
    arguments = []
    for _ in range(rng.choice([0, 0, 0, 1, 2])):
        arguments += _override(rng)
    command = rng.choice(["validate"] * 6 + ["dry"] * 3 + ["train"])
    if command == "validate":
        arguments += rng.choice([[], [], ["--print"], ["--json"], ["--limit-rows", "50"]])
        return Case("validate", content, tuple(arguments))
    given = task if rng.random() < 0.9 else rng.choice(TASKS)
    more = ["--dry-run"] if command == "dry" else ["--epochs", "1", "--limit-rows", "60", "--threads", "1", "-o", "out"]
    return Case(f"train-{given}", content, (*arguments, *more))


def dump(rng: random.Random, data: Any) -> str:
    flow = rng.choice([None, None, False, True])
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=rng.random() < 0.7, default_flow_style=flow)


def _places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path]
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        found += _places(value, (*path, key))
    return found


def _in_tree(rng: random.Random, data: Any) -> Any:
    """One value changed, taken away, added, renamed or moved."""
    places = [place for place in _places(data) if place]
    if not places or not isinstance(data, dict):
        return rng.choice(VALUES)
    place = rng.choice(places)
    data = copy.deepcopy(data)
    above: Any = data
    for part in place[:-1]:
        above = above[part]
    last = place[-1]
    match rng.choice(["value", "value", "value", "gone", "key", "renamed", "moved", "wrapped"]):
        case "value":
            above[last] = rng.choice(VALUES)
        case "gone":
            del above[last]
        case "key" if isinstance(above[last], dict):
            above[last][rng.choice(KEYS)] = rng.choice(VALUES)
        case "key":
            above[last] = {rng.choice(KEYS): above[last]}
        case "renamed" if isinstance(above, dict):
            above[rng.choice(KEYS)] = above.pop(last)
        case "moved":
            other: Any = data
            for part in rng.choice(places)[:-1]:
                other = other[part]
            if isinstance(other, dict):
                other[rng.choice(KEYS)] = copy.deepcopy(above[last])
        case _:
            above[last] = [above[last]] * rng.choice([1, 2])
    return data


def _override(rng: random.Random) -> list[str]:
    value = rng.choice(VALUES)
    shown = (
        value
        if isinstance(value, str)
        else yaml.safe_dump(value, default_flow_style=True).strip().removesuffix("\n...")
    )
    shown = rng.choice(
        [shown, shown, shown, f"@{shown}", f"[{shown}]", f"{{a: {shown}}}", "@values.json", "@deep.json", "@spec.yaml"]
    )
    path = rng.choice(PATHS) if rng.random() < 0.9 else ".".join(rng.choices(KEYS, k=rng.randrange(1, 5)))
    if rng.random() < 0.15:
        flag = rng.choice(["--train", "--valid", "--test", "--date", "--input-format", "--limit-rows"])
        return [f"{flag}={shown[:200]}".replace("\0", "")]
    return ["--set", f"{path}{rng.choice(['=', '=', '=', '+=', ' = ', '', '=='])}{shown[:5000]}".replace("\0", "")]


def _at(rng: random.Random, content: bytes, piece: bytes) -> bytes:
    place = rng.randrange(len(content) + 1)
    return content[:place] + piece + content[place:]


def _lines(change: Callable[[random.Random, list[bytes]], object]) -> Callable[[random.Random, bytes], bytes]:
    def changed(rng: random.Random, content: bytes) -> bytes:
        lines = content.split(b"\n")
        change(rng, lines)
        return b"\n".join(lines)

    return changed


def _laughs(rng: random.Random, content: bytes) -> bytes:
    width, depth = rng.choice([(9, 9), (2, 40), (1000, 3)])
    lines = ["l0: &l0 [x, x]"] + [f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * width)}]" for i in range(1, depth)]
    return "\n".join(lines).encode() + b"\n" + content


def _deep(rng: random.Random, content: bytes) -> bytes:
    n = rng.choice([45, 1000, 100_000])
    return content + b"\ndeep: " + rng.choice([b"[" * n, b"{a: " * n, b"[" * n + b"]" * n, b"\n" + b"- " * n]) + b"\n"


def _huge(rng: random.Random, content: bytes) -> bytes:
    return content + rng.choice(
        [b"# " + b"x" * 5_000_000, b"\na: " + b"9" * 100_000, b"\n" + b"? a\n" * 50_000, b"\na: '" + b"y" * 3_000_000]
    )


def _flip(rng: random.Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice([1, 3, 30])):
        if changed:
            changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


ODD = [
    b"\0", b"\x1b[31m", b"\x7f", b"\xff\xfe", b"\xc3\x28", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", "\u2028".encode(), b"\x85", b"\r", b"\r\n",
    b"\t", b"\n\t", b"\n---\n", b"\n...\n", b"\n%YAML 1.1\n", b"\n%TAG ! tag:x,2000:\n", b"\n<<: {n_epoch: 3}\n", b"\n<<: *a\n", b"&a ", b"*a ",
    b"!!python/object/apply:os.system ['touch canary'] ", b"!!python/name:os.system ", b"!!binary aGk= ", b"!!set {a} ", b"!!timestamp ",
    b"!x ", b"!!int 'a' ", b"!!float .inf", b"\n? [a, b]\n: c\n", b"\n? {a: b}\n", b": ", b"- ", b"[", b"}", b"'", b'"', b"|\n", b">-\n", b"#",
    b"{{", b"${HOME}", b"%s%n", b"\\x00", b'"\\ud800"', b'"\\0"', b'"\\uffff"',
]  # fmt: skip

TEXT_FAULTS: list[Callable[[random.Random, bytes], bytes]] = [
    lambda rng, content: _at(rng, content, rng.choice(ODD)),
    lambda rng, content: _at(rng, content, rng.choice(ODD)),
    lambda rng, content: _at(rng, content, rng.choice(ODD)),
    lambda rng, content: content[: rng.randrange(len(content) + 1)],
    lambda rng, content: rng.choice([b"", b" \n", b"#\n", b"---", b"[]", b"a", b"\xef\xbb\xbf", b"\xef\xbb\xbf" + content, rng.randbytes(300)]),
    lambda rng, content: content.decode("utf-8", "replace").encode(rng.choice(["utf-16", "utf-16-le", "utf-32", "utf-7"])),
    lambda rng, content: content.replace(b"\n", rng.choice([b"\r", b"\r\n", b"\n\n", b"\v"])),
    _lines(lambda rng, lines: lines.insert(rng.randrange(len(lines)), rng.choice(lines))),
    _lines(lambda rng, lines: lines.pop(rng.randrange(len(lines)))),
    _lines(lambda rng, lines: rng.shuffle(lines)),
    _lines(lambda rng, lines: lines.__setitem__(i := rng.randrange(len(lines)), b" " * rng.randrange(9) + lines[i].lstrip())),
    _laughs, _deep, _huge, _flip, _flip,
]  # fmt: skip
