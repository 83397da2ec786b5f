"""``rechub doctor``: what a bug report needs to say of the machine, the installation and the settings."""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import importlib.util
import locale
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rechub_cli import plugins
from rechub_cli.errors import CheckFailed, RechubError
from rechub_cli.run.folder import runs_folder
from rechub_cli.workflows.amounts import size_text
from rechub_cli.workflows.capacity import memory
from rechub_cli.workflows.version import STACK, versions

LIBRARIES = {"scikit-learn": "sklearn"}  # a distribution whose module has another name
OPTIONAL = ("faiss", "torch_rechub")
CPU_FLAGS = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile", "asimd", "sve", "bf16")
SHARED = ("CI", "COLUMNS", "CUDA_VISIBLE_DEVICES", "FORCE_COLOR", "LANG", "LC_ALL", "MKL_NUM_THREADS", "NO_COLOR",
          "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "PYTHONUTF8", "TERM", "TMPDIR")  # fmt: skip
SECRET = re.compile(r"TOKEN|SECRET|PASSW|KEY|CREDENTIAL|AUTH", re.IGNORECASE)
LITTLE_DISK, LITTLE_MEMORY = 1e9, 1e9
_GROUPS = Path("/sys/fs/cgroup")


@dataclass(slots=True)
class Report:
    """Sections of facts; what is broken enough that trainings cannot run, and what is worth knowing."""

    sections: dict[str, dict[str, Any]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return {"ok": not self.faults, **self.sections, "faults": self.faults, "warnings": self.warnings}

    def raise_if_broken(self) -> None:
        """Raises CheckFailed where anything is broken."""
        if self.faults:
            raise CheckFailed(f"{len(self.faults)} fault{'s' * (len(self.faults) != 1)} found")


def examine(known: Sequence[str]) -> Report:
    """Look at everything. ``known`` are the environment variables that are ours; of others only the name is told."""
    report = Report()
    report.sections["versions"] = check_libraries(report)
    report.sections["machine"] = check_machine(report)
    report.sections["devices"] = check_devices(report)
    report.sections["plugins"] = check_plugins(report)
    report.sections["runs"] = check_runs(report, runs_folder())
    report.sections["environment"] = check_environment(report, known)
    report.sections["terminal"] = check_terminal(report)
    return report


def check_libraries(report: Report) -> dict[str, Any]:
    """The versions; that each library can be imported, not only that it is listed as installed."""
    found: dict[str, Any] = dict(versions())
    for name in STACK:
        try:
            importlib.import_module(LIBRARIES.get(name, name.replace("-", "_")))
        except Exception as error:  # a broken library may raise anything
            report.faults.append(f"{name} cannot be imported: {said(error)}; install it again")
    for name in OPTIONAL:
        found[name] = "yes" if importlib.util.find_spec(name) else "no"
    found["executable"] = sys.executable
    return found


def check_machine(report: Report) -> dict[str, Any]:
    """Processor, memory and what a container leaves of them."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found: dict[str, Any] = {
        "system": platform.platform(),
        "cpu": cpu_name(),
        "cpu_flags": cpu_flags(),
        "cpus": os.cpu_count(),
        "cpus_allowed": there,
        "cpu_quota": cpu_quota(),
        "load": list(os.getloadavg()),
    }
    with contextlib.suppress(OSError, ValueError):
        found["memory"] = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    found["memory_limit"] = group_limit("memory.max")
    found["memory_available"] = available()
    left = found["memory_available"]
    if left is not None and left < LITTLE_MEMORY:
        report.warnings.append(f"only {size_text(left)} of memory is free")
    threads = os.environ.get("OMP_NUM_THREADS", "")
    if threads.isdecimal() and there and int(threads) > there:
        report.warnings.append(f"OMP_NUM_THREADS is {threads}, and {there} processors may be used")
    return found


def check_devices(report: Report) -> dict[str, Any]:
    """What PyTorch can compute on."""
    try:
        import torch

        gpus = [torch.cuda.get_device_name(place) for place in range(torch.cuda.device_count())]
        return {
            "threads": torch.get_num_threads(),
            "cuda": torch.version.cuda,
            "gpus": gpus,
            "mps": torch.backends.mps.is_available(),
        }
    except Exception as error:  # told with the libraries
        return {"error": said(error)}


def check_plugins(report: Report) -> dict[str, Any]:
    """How many of each kind; those of other packages are imported, to see whether they can be."""
    found: dict[str, Any] = {}
    foreign: list[str] = []
    for kind in plugins.KINDS:
        names = plugins.names(kind)
        found[kind] = len(names)
        for name in names:
            try:
                plugin = plugins.find(kind, name)
                if plugin.distribution.startswith("rechub-cli"):
                    plugins.summary(kind, name)
                else:
                    foreign.append(f"{name} ({plugins.KINDS[kind]}) of {plugin.distribution}")
                    plugins.load(kind, name)
            except RechubError as error:
                report.warnings.append(f"plugin {name} ({plugins.KINDS[kind]}) is broken: {error}")
    if not found["models"]:
        report.faults.append("no model is registered: the installation is incomplete; install rechub-cli again")
    return {**{kind: count for kind, count in found.items() if count}, "others": foreign}


def check_runs(report: Report, folder: Path) -> dict[str, Any]:
    """Whether runs can be written, locked and linked where they go."""
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    found: dict[str, Any] = {"folder": str(folder.absolute()), "exists": folder.exists()}
    with contextlib.suppress(OSError):
        free = shutil.disk_usage(place).free
        found["free"] = free
        if free < LITTLE_DISK:
            report.warnings.append(f"only {size_text(free)} of disk is free at {place.absolute()}")
    try:
        with tempfile.TemporaryDirectory(prefix=".doctor.", dir=place) as trial:
            found |= {"writable": True, "locks": can_lock(Path(trial)), "links": can_link(Path(trial))}
    except OSError as error:
        found |= {"writable": False, "locks": None, "links": None}
        report.faults.append(f"runs cannot be written to {folder.absolute()}: {error.strerror or error}")
    if found["locks"] is False:
        report.warnings.append(
            f"{place.absolute()} has no locks: two trainings in one run directory are not told apart"
        )
    if found["links"] is False:
        report.warnings.append(f"{place.absolute()} has no symbolic links: rechub publish and runs/latest need them")
    return found


def check_environment(report: Report, known: Sequence[str]) -> dict[str, str]:
    """Our variables and those that steer what we use; no value that may be a secret."""
    found = {}
    for name in sorted(os.environ):
        if name in SHARED or name in known:
            found[name] = hidden(name, os.environ[name])
        elif name.startswith("RECHUB_"):
            found[name] = "(set)"
            report.warnings.append(f"{name} is not a variable of rechub")
    return found


def check_terminal(report: Report) -> dict[str, Any]:
    """What decides how output looks."""
    encoding = locale.getpreferredencoding(False)
    if encoding.lower().replace("-", "") not in ("utf8", "ascii", "ansi_x3.41968"):
        report.warnings.append(f"the locale's encoding is {encoding}, not UTF-8")
    return {
        "stdin": is_terminal(0),
        "stderr": is_terminal(2),
        "encoding": encoding,
        "filesystem": sys.getfilesystemencoding(),
        "columns": shutil.get_terminal_size().columns,
    }


def is_terminal(number: int) -> bool:
    with contextlib.suppress(OSError):
        return os.isatty(number)
    return False


def hidden(name: str, value: str) -> str:
    """A value without what must not be told: secrets by their name, and those inside a URL."""
    if SECRET.search(name.removeprefix("RECHUB_")):
        return "(set)"
    return re.sub(r"(?<=://)[^/@\s]+@", "***@", value)


def can_lock(folder: Path) -> bool:
    try:
        with open(folder / "lock", "w") as one, open(folder / "lock", "w") as other:
            fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
    except OSError:
        pass
    return False


def can_link(folder: Path) -> bool:
    try:
        (folder / "link").symlink_to("target")
        os.replace(folder / "link", folder / "other")
    except OSError:
        return False
    return True


def cpu_name() -> str:
    return cpu_info().get("model name") or platform.processor() or platform.machine()


def cpu_flags() -> list[str]:
    """The instructions that make a difference here."""
    info = cpu_info()
    there = set((info.get("flags") or info.get("Features") or "").split())
    return [flag for flag in CPU_FLAGS if flag in there]


def cpu_info() -> dict[str, str]:
    with contextlib.suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").partition("\n\n")[0]
        pairs = (line.partition(":") for line in text.splitlines())
        return {name.strip(): value.strip() for name, _, value in pairs}
    return {}


def cpu_quota() -> float | None:
    """Processors that a container grants; None where it sets no limit."""
    for folder in control_groups():
        with contextlib.suppress(OSError, ValueError):
            quota, period = (folder / "cpu.max").read_text().split()
            if quota != "max":
                return int(quota) / int(period)
    return None


def group_limit(name: str) -> int | None:
    """The smallest limit of this process's control groups; None where there is none."""
    found = []
    for folder in control_groups():
        with contextlib.suppress(OSError, ValueError):
            found.append(int((folder / name).read_text()))  # the word max where there is no limit
    return min(found, default=None)


def control_groups() -> list[Path]:
    """The folders of this process's control group and those above it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            number, _, path = line.split(":", 2)
            if number == "0":
                own = _GROUPS / path.lstrip("/")
                return [own, *(folder for folder in own.parents if folder.is_relative_to(_GROUPS))]
    return [_GROUPS]


def available() -> int | None:
    """Bytes that can still be had: ``data.memory`` knows, where Arrow can be imported."""
    try:
        from rechub_cli.data.memory import available as left
    except Exception:  # told with the libraries
        return memory()
    return left()


def said(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}".rstrip(": ")


def lines(report: Report) -> list[tuple[str, str]]:
    """The report for a person: a word, and what there is to say."""
    found = []
    for section, facts in report.sections.items():
        found.append((f"[{section}]", ""))
        found += [(name, text(name, value)) for name, value in facts.items()]
    found += [("fault", fault) for fault in report.faults] + [("warning", warning) for warning in report.warnings]
    return found or [("ok", "")]


def text(name: str, value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name.startswith("memory") or name == "free":
        return size_text(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {item}" for key, item in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(f"{item:.2f}" if isinstance(item, float) else str(item) for item in value) or "none"
    return str(value)
