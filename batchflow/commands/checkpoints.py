"""`python -m batchflow checkpoints DIRECTORY`: what is in it, and whether it is whole."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from batchflow.checkpoints.store import checked, found
from batchflow.errors import ArgumentValueError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("directory", help="that of checkpoint=; the folders of ranks are gone into")


def run(arguments: argparse.Namespace) -> int:
    """Print a line for each checkpoint, the newest first.

    Returns:
        1 if one of them is damaged, 2 if there is no such directory, else 0.
    """
    directory = arguments.directory
    if not os.path.isdir(directory):
        print(f"there is no directory {directory}", file=sys.stderr)  # noqa: T201
        return 2
    ranks = sorted(name for name in os.listdir(directory) if name.startswith("rank_"))
    n_found = n_damaged = 0
    for folder in (directory, *(os.path.join(directory, name) for name in ranks)):
        for step, path in found(folder):
            n_found += 1
            try:
                text = _described(step, checked(path))
            except ArgumentValueError as error:
                n_damaged += 1
                text = f"step {step}: damaged: {error}"
            print(text if folder is directory else f"{os.path.basename(folder)}  {text}")  # noqa: T201
    print(f"{n_found} checkpoints, {n_damaged} damaged")  # noqa: T201
    return 1 if n_damaged else 0


def _described(step: int, manifest: dict[str, Any]) -> str:
    place = manifest.get("cursor") or manifest["fit"]  # a run, or by Resume
    size = sum(facts["size"] for facts in manifest["files"].values())
    values = ", ".join(f"{name}={value:.4g}" for name, value in manifest["values"].items())
    versions = ", ".join(f"{name} {version}" for name, version in manifest["versions"].items())
    n_models = sum(name.startswith("model") for name in manifest["files"])
    parts = [
        f"step {step}: epoch {place['epoch']}",
        f"run {manifest['run_id'][:8]}",
        f"{size / 1e6:.3g} MB in {len(manifest['files'])} files, {n_models} of models",
        *([values] if values else []),
        versions,
    ]
    return "; ".join(parts)
