"""`python -m batchflow check FILE:pipeline`."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from batchflow import Pipeline


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument(
        "target",
        metavar="FILE:NAME",
        help="a Python file, and the name of a pipeline in it: train.py:pipeline. The file is run "
        "as when it is imported: what stands under `if __name__ == '__main__'` is not",
    )
    parser.add_argument("--items", type=int, default=2, help="how many items to take (2)")
    parser.add_argument("--seed", type=int, help="what their randomness is derived from")


def run(arguments: argparse.Namespace) -> int:
    """Check a pipeline and print the report.

    Returns:
        1 if there are problems, 2 if there is no such file or pipeline, else 0.
    """
    found = _pipeline_at(arguments.target)
    if isinstance(found, str):
        print(found, file=sys.stderr)  # noqa: T201
        return 2
    report = found.check(arguments.items, seed=arguments.seed)
    print(report)  # noqa: T201
    return 1 if report.problems else 0


def _pipeline_at(target: str) -> Pipeline[Any] | str:
    """Return a pipeline of a file, or why there is none."""
    file, colon, name = target.rpartition(":")
    if not colon or not name.isidentifier():
        return f"{target!r} must be FILE:NAME, such as train.py:pipeline"
    if not Path(file).is_file():
        return f"there is no file {os.path.abspath(file)}"
    names = vars(_imported(os.path.abspath(file)))
    if isinstance(names.get(name), Pipeline):
        pipeline: Pipeline[Any] = names[name]
        return pipeline
    others = sorted(other for other, value in names.items() if isinstance(value, Pipeline))
    what = f"is {names[name]!r:.60}, no pipeline" if name in names else "is not there"
    return f"{name} {what}; pipelines of {file}: {', '.join(others) or 'none'}"


def _imported(file: str) -> ModuleType:
    sys.path.insert(0, os.path.dirname(file))  # as Python does for a script
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is not a file that Python can import")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module
    spec.loader.exec_module(module)
    return module
