"""Which machine and which versions a number is of."""

from __future__ import annotations

import functools
import os
import platform
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness.process import run

ROOT = Path(__file__).parents[2]
MEASURED = ("rechub_cli", "benchmarks")
PACKAGES = ("torch", "torch-rechub", "fuxictr", "deepctr-torch", "recbole")


def describe() -> dict[str, Any]:
    return {
        "cpu": cpu_name(),
        "vectors": vectors(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3, 1),
        "system": platform.system(),
        "python": platform.python_version(),
        **({"gpu": gpu} if (gpu := gpu_name()) else {}),
    }


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


@functools.cache
def vectors() -> str:
    """The widest vectors that torch uses on this processor, and whether it multiplies bfloat16."""
    import torch

    from rechub_cli.trainers.precision import has_bf16

    return torch.backends.cpu.get_cpu_capability() + " and bf16" * has_bf16()


@functools.cache
def precisions() -> dict[str, str]:
    """In which precisions ours is measured on a CPU, by title."""
    from rechub_cli.trainers.precision import has_bf16

    return {"rechub": "fp32"} | ({"rechub bf16": "bf16"} if has_bf16() else {})


@functools.cache
def gpu_name() -> str:
    """The first GPU of the machine; empty where there is none."""
    if shutil.which("nvidia-smi") is None:
        return ""
    asked = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.partition("\n")[0].strip()


def own_versions() -> dict[str, str]:
    """Ours, with the latest commit that changed the code or the benchmarks; a star behind it: files differ from it."""
    commit = git("log", "-1", "--format=%h", "--", *MEASURED) or "unknown"
    changed = git("status", "--porcelain", "--untracked-files=no", "--", *MEASURED)
    return {"rechub": version("rechub-cli"), "commit": commit + "*" * bool(changed), "torch": version("torch")}


def git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def peer_versions(python: Path) -> dict[str, str]:
    """Those of the peers' packages that are in an environment."""
    script = (
        "import importlib.metadata as m, json\n"
        f"print('RESULT ' + json.dumps({{d.name.lower(): d.version for d in m.distributions()"
        f" if d.name.lower() in {PACKAGES}}}))"
    )
    return run([python, "-c", script]).result() if python.exists() else {}
