"""`python -m batchflow doctor`: this machine and what is installed, as far as runs depend on it."""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from batchflow.allocator import SETTING, glibc_version, is_set_by_user
from batchflow.executors.item_threads import cpu_count

_FRAMEWORKS = ("numpy", "tensorflow", "tensorflow-cpu", "keras", "tf_keras", "torch", "jax")
_OURS = ("dev", "docs")  # extras for those who work on batchflow
_LITTLE = 64 << 20  # less than the memory that a usual Docker container shares: 64 MiB
_CGROUP = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")
_SHARED = Path("/dev/shm")


class Finding(NamedTuple):
    """One line of the report.

    Attributes:
        what: What was looked at.
        text: What was found.
        problem: What is wrong with it and what to do; None: nothing.
    """

    what: str
    text: str
    problem: str | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("--json", action="store_true", help="print a JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Print what there is.

    Returns:
        1 if there are problems, else 0.
    """
    findings = list(examine())
    problems = [finding for finding in findings if finding.problem]
    if arguments.json:
        print(json.dumps([finding._asdict() for finding in findings], indent=2))  # noqa: T201
    else:
        width = max(len(finding.what) for finding in findings)
        for what, text, problem in findings:
            print(f"{what:{width}}  {text}")  # noqa: T201
            if problem:
                print(f"{'':{width}}  ! {problem}")  # noqa: T201
        print(f"{len(problems) or 'no'} problem{'' if len(problems) == 1 else 's'}")  # noqa: T201
    return 1 if problems else 0


def examine() -> Iterator[Finding]:
    """Look at everything, one thing after the other. Frameworks are not imported."""
    yield Finding("Python", f"{platform.python_version()} on {platform.platform()}")
    yield _import_name()
    for package in _FRAMEWORKS:
        if version := _version(package):
            yield Finding(package, version)
    yield from _extras()
    yield _cpus()
    yield _shared_memory()
    yield _start_method()
    yield _allocator()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _import_name() -> Finding:
    """Tell which distributions own the import name: the registry has another `batchflow`."""
    owners = sorted(set(importlib.metadata.packages_distributions().get("batchflow", ())))
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    text = f"{_version('batchflow') or 'not installed'}, imported from {folder}"
    files = [file for owner in owners for file in _metadata_of(owner)]
    problem = None
    if len(files) > 1:
        problem = (
            f"{' and '.join(files)} both own the import name batchflow, and one has written over "
            "files of the other: pip uninstall batchflow until none is left, then install this "
            "one again"
        )
    return Finding("batchflow", text, problem)


def _metadata_of(owner: str) -> list[str]:
    """Return the folders of metadata of all installed distributions of a name."""
    found = importlib.metadata.distributions(name=owner)
    versions = {str(one.locate_file("")): f"{owner} {one.version}" for one in found}
    return [f"{version} in {folder}" for folder, version in versions.items()]


def _extras() -> Iterator[Finding]:
    """Tell of each extra what it lacks."""
    try:
        needed = importlib.metadata.requires("batchflow") or []
    except importlib.metadata.PackageNotFoundError:
        yield Finding("extras", "unknown, as batchflow is not installed: pip install .")
        return
    lacking: dict[str, list[str]] = {}
    for requirement in needed:
        of_extra = re.search(r"extra == ['\"]([\w-]+)['\"]", requirement)
        package = re.match(r"[\w.-]+", requirement)
        if (
            of_extra
            and package
            and of_extra[1] not in _OURS
            and not _is_of_another_system(requirement)
        ):
            missing = lacking.setdefault(of_extra[1], [])
            missing += [] if _is_there(package[0]) else [package[0]]
    for extra, absent in lacking.items():
        how = f"lacks {', '.join(absent)}: pip install '.[{extra}]' in a checkout of batchflow"
        yield Finding(f"extra {extra}", how if absent else "installed")


def _is_of_another_system(requirement: str) -> bool:
    """Check whether a requirement's marker excludes this machine: the two builds of TensorFlow."""
    marker = requirement.partition(";")[2]
    is_linux_x86 = sys.platform == "linux" and platform.machine() == "x86_64"
    asks = "sys_platform ==" in marker or "sys_platform !=" in marker
    return asks and ("sys_platform ==" in marker) != is_linux_x86


def _is_there(package: str) -> bool:
    # The small build of TensorFlow is as good.
    names = {package, f"{package}-cpu"} if package == "tensorflow" else {package}
    return any(_version(name) for name in names)


def _cpus() -> Finding:
    """Tell how many CPUs there are, and how many of them this process may use."""
    usable, quota = cpu_count(), cpu_quota()
    text, problem = f"{os.cpu_count()}, of which this process may use {usable}", None
    if quota is not None:
        text += f", and {quota:g} of them at a time (cgroup)"
    if quota is not None and quota < usable:
        problem = (
            f'executor="processes" starts {usable} workers by default, which share {quota:g}: '
            f"give n_workers={max(1, round(quota))}"
        )
    return Finding("CPUs", text, problem)


def cpu_quota(root: Path = _CGROUP, own: Path = _OWN_CGROUP) -> float | None:
    """Return how many CPUs the control groups of this process allow; None: no limit is known.

    Args:
        root: Where the groups are, of version 2; version 1 has those of CPUs in `cpu/`.
        own: The file that tells which of them are this process's own.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:
        lines = []
    paths = {"": ".", "cpu": "."}
    for line in lines:
        _, controllers, path = line.split(":", 2)
        paths |= {name: path.strip("/") or "." for name in controllers.split(",")}
    older = _limits(root / "cpu", paths["cpu"], "cpu.cfs_quota_us", "cpu.cfs_period_us")
    return min([*_limits(root, paths[""], "cpu.max"), *older], default=None)


def _limits(root: Path, path: str, *files: str) -> Iterator[float]:
    """Return the limits of a group and of those that it is in: in `files`, the quota first."""
    group = root / path
    for folder in (group, *group.parents):
        if folder.is_relative_to(root):
            with contextlib.suppress(OSError, ValueError):
                most, period = " ".join((folder / file).read_text() for file in files).split()
                if most not in ("max", "-1"):
                    yield int(most) / int(period)


def _shared_memory() -> Finding:
    """Tell how much memory processes can share: batches from workers lie there."""
    if not _SHARED.is_dir():
        return Finding("shared memory", "as the system has it")
    usage = shutil.disk_usage(_SHARED)
    text = f"{_size(usage.free)} of {_size(usage.total)} free in {_SHARED}"
    problem = None
    if usage.free <= _LITTLE:
        problem = (
            "batches from worker processes lie there: give the container more (docker run "
            "--shm-size=2g), or remove files that are left from killed programs"
        )
    return Finding("shared memory", text, problem)


def _start_method() -> Finding:
    """Tell how worker processes start."""
    text = "fresh interpreters, which do not import the main script"
    if not sys.executable:
        return Finding("workers", text, "sys.executable is empty: no worker process can start")
    return Finding("workers", f"{text}: {sys.executable}")


def _allocator() -> Finding:
    """Tell what keeps the memory of freed arrays in worker processes."""
    libc = glibc_version()
    if libc is None:
        return Finding("allocator", "not glibc's, so arrays may cost page faults again and again")
    if is_set_by_user():
        return Finding("allocator", f"{libc}, set by MALLOC_... or GLIBC_TUNABLES")
    kept = os.environ.get(SETTING)
    how = "keep freed arrays" if kept is None else f"go by {SETTING}={kept}"
    return Finding("allocator", f"{libc}; workers {how}")


def _size(n_bytes: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if n_bytes < 1024:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.3g} GiB"
