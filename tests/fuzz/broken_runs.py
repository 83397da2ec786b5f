"""Run directories in which one file is not what training wrote: a function of a seed and of a sound run.

Whoever can change a file can change the hash that vouches for it, so half of the cases have hashes that fit.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import shutil
from pathlib import Path
from typing import Any

import broken_files
import broken_specs
import pyarrow as pa
import pyarrow.parquet as pq

KEPT = ("run.json", "encoder/encoder.json", "manifest.json", "model.safetensors", "best", ".parquet")


def break_run(rng: random.Random, sound: Path, target: Path) -> str:
    """Copy a run, and break a file of it; returns which."""
    shutil.copytree(sound, target)
    files = sorted(
        path
        for path in target.rglob("*")
        if path.is_file() and str(path).endswith(KEPT) and "predictions" not in str(path)
    )
    file = rng.choice([path for path in files if rng.random() < 0.7] or files)
    content = file.read_bytes()
    match rng.choice(["content"] * 6 + ["bytes"] * 2 + ["gone", "folder", "link", "other"]):
        case "content" if file.suffix == ".json":
            text = json.dumps(changed(rng, json.loads(content)), ensure_ascii=rng.random() < 0.5)
            file.write_bytes(text.encode("utf-8", "surrogatepass"))
        case "content" if file.suffix == ".parquet":
            table = broken_files.broken_table(rng, pq.read_table(file))
            with contextlib.suppress(pa.ArrowException, NotImplementedError):
                pq.write_table(table, file)
        case "content" if file.suffix == ".safetensors":
            file.write_bytes(tensors(rng, content))
        case "content":
            pointers = [
                b"",
                b"..",
                b"../../x",
                b"/etc",
                b"step-0000000",
                b"step-0000001\0",
                b"step-" + b"1" * 5000,
                b"\xff",
                b"step-1\nstep-2",
            ]
            file.write_bytes(rng.choice(pointers))
        case "gone":
            file.unlink()
        case "folder":
            file.unlink()
            file.mkdir()
        case "link":
            file.unlink()
            file.symlink_to(
                rng.choice(["/dev/zero", "/dev/null", "/etc/passwd", file.name, "../..", "/proc/self/mem", "nix"])
            )
        case "other":
            file.write_bytes(rng.choice(files).read_bytes() if rng.random() < 0.5 else rng.randbytes(200))
        case _:
            file.write_bytes(rng.choice([broken_files._cut, broken_files._flipped, broken_files._bits])(rng, content))
    if rng.random() < 0.6:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            vouch(target)
    return str(file.relative_to(target))


def changed(rng: random.Random, data: Any) -> Any:
    for _ in range(rng.choice([1, 1, 2])):
        if isinstance(data, dict) and data:
            data = broken_specs._in_tree(rng, data)
    return data


def tensors(rng: random.Random, content: bytes) -> bytes:
    """A safetensors file whose header lies."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    match rng.choice(["tree", "length", "shape", "dtype", "offsets", "nan"]):
        case "tree":
            header = changed(rng, header)
        case "length":
            claimed = rng.choice([0, 1, length + 1, len(content), 10 * 2**30, 2**63, 2**64 - 1])
            return claimed.to_bytes(8, "little") + content[8:]
        case "nan":
            return content[: 8 + length] + rng.choice([b"\xff", b"\x7f\xc0\0\0"[::-1], b"\0"]) * (len(content) // 4)
        case what:
            entry = header[rng.choice([name for name in header if name != "__metadata__"])]
            entry["data_offsets" if what == "offsets" else what] = rng.choice(
                [
                    [2**40, 2**40],
                    [0],
                    [],
                    [-1, 4],
                    [0, 2**63],
                    "F64",
                    "BOOL",
                    "F8_E5M2",
                    "X",
                    None,
                    [[0]],
                    [0, 0],
                    [1, 1],
                ]
            )
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def vouch(run: Path) -> None:
    """Make the hashes fit what is there."""
    from rechub_cli.data.encoder import Encoder
    from rechub_cli.errors import RechubError

    for manifest in run.glob("checkpoints/*/manifest.json"):
        state = json.loads(manifest.read_text())
        for name, facts in state["files"].items():
            if (manifest.parent / name).is_symlink():  # to a device, which has no end
                continue
            data = (manifest.parent / name).read_bytes()
            facts |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        manifest.write_text(json.dumps(state))
    seen: list[str] = []
    made = Encoder.__post_init__

    def noted(self: Encoder) -> None:
        made(self)
        seen.append(self.hash)

    Encoder.__post_init__ = noted  # type: ignore[method-assign]
    try:
        with contextlib.suppress(RechubError, Exception):
            Encoder.load(run / "encoder")
    finally:
        Encoder.__post_init__ = made  # type: ignore[method-assign]
    if seen:
        path = run / "encoder" / "encoder.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"hash": seen[-1]}))
