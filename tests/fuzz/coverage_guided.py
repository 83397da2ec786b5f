"""What readers of untrusted bytes do with bytes that a coverage-guided fuzzer makes of sound ones.

    python tests/fuzz/coverage_guided.py spec|encoder|vocabulary|checkpoint [-max_total_time=600 ...]

The flags are libFuzzer's. Needs atheris (``pip install '.[fuzz]'``); a finding is left in the folder it is run in.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["rechub_cli", "yaml", "fuzz"]):
    import fuzz
    import sandbox

    from rechub_cli.data.encoder import Encoder
    from rechub_cli.errors import RechubError
    from rechub_cli.run.reading import read_checkpoint
    from rechub_cli.spec.read import read_spec

SAMPLES = Path(__file__).parents[2] / "sample_data"
Target = Callable[[bytes], None]


def spec(folder: Path, seeds: Path) -> Target:
    """A spec file; what follows a null byte is an override."""
    for file in SAMPLES.glob("*/*.yaml"):
        shutil.copy(file, seeds / f"{file.parent.name}-{file.name}")
    for number, piece in enumerate(
        ("trainer.n_epoch=3", "data.train+=a,b", "features.x.type=dense", "model.params={a: [1]}")
    ):
        (seeds / f"override-{number}").write_bytes((SAMPLES / "ctr" / "lr.yaml").read_bytes() + b"\0" + piece.encode())
    path = folder / "spec.yaml"

    def once(data: bytes) -> None:
        text, *pieces = data.split(b"\0")
        path.write_bytes(text if pieces else data)
        read_spec(path, [piece.decode("utf-8", "surrogateescape") for piece in pieces[:3]])

    return once


def encoder(folder: Path, seeds: Path) -> Target:
    """What an encoder is, without its vocabularies."""
    return part_of_encoder(trained(folder) / "encoder", "encoder.json", seeds)


def vocabulary(folder: Path, seeds: Path) -> Target:
    """A vocabulary of an encoder."""
    return part_of_encoder(trained(folder) / "encoder", "001-city.parquet", seeds)


def part_of_encoder(kept: Path, name: str, seeds: Path) -> Target:
    """One file: where several are tried, the smallest that loads has all that libFuzzer looks for, and is kept alone."""
    shutil.copy(kept / name, seeds)

    def once(data: bytes) -> None:
        (kept / name).write_bytes(data)
        Encoder.load(kept)

    return once


def checkpoint(folder: Path, seeds: Path) -> Target:
    """The first byte says which file of a checkpoint the rest stands for; the hashes fit."""
    run = trained(folder)
    place = run / "checkpoints" / (run / "best").read_text().strip()
    files = [place / "model.safetensors", place / "manifest.json", run / "best"]
    weights = files[0].read_bytes()
    short = weights[: 8 + int.from_bytes(weights[:8], "little")]
    for number, data in enumerate((short, files[1].read_bytes(), files[2].read_bytes())):
        (seeds / str(number)).write_bytes(bytes([number]) + data)
    (seeds / "tensor").write_bytes(b"\0" + tensor())
    sound = {file: file.read_bytes() for file in files}

    def once(data: bytes) -> None:
        number = data[0] % 3 if data else 0
        files[number].write_bytes(data[1:])
        if number == 0:
            facts = {"bytes": len(data) - 1, "sha256": hashlib.sha256(data[1:]).hexdigest()}
            files[1].write_text(json.dumps({"format": 1, "files": {"model.safetensors": facts}}))
        try:
            read_checkpoint(run)
        finally:
            for file in files[1:] if number == 0 else [files[number]]:
                file.write_bytes(sound[file])

    return once


def tensor() -> bytes:
    header = json.dumps({"a": {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]}, "__metadata__": {"k": "v"}})
    return len(header).to_bytes(8, "little") + header.encode() + bytes(8)


def trained(folder: Path) -> Path:
    """A small run."""
    fuzz.small_data(folder / "data", rows=60)
    (folder / "spec.yaml").write_text(fuzz.sound_specs()["ctr"]["lr.yaml"])
    ended = sandbox.run(["train-ctr", "spec.yaml", "--epochs", "1", "-o", "run"], folder, folder, real=True)
    if ended.code:
        raise SystemExit(ended.err)
    return folder / "run"


def main() -> None:
    name, *flags = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="rechub-fuzz-") as temporary:
        folder, seeds = Path(temporary) / "world", Path(temporary) / "seeds"
        folder.mkdir()
        seeds.mkdir()
        targets = {"spec": spec, "encoder": encoder, "vocabulary": vocabulary, "checkpoint": checkpoint}
        target = targets[name](folder, seeds)

        def once(data: bytes) -> None:
            with contextlib.suppress(RechubError):
                target(data)

        limits = ["-rss_limit_mb=2048", "-timeout=60", "-max_len=65536"]
        atheris.Setup([sys.argv[0], *limits, *flags, str(seeds)], once)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
