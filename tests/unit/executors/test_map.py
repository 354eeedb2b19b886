"""README.md of `batchflow.executors` and the code: files, their order, ways; what starts light."""

import ast
import importlib
import re
from pathlib import Path

import pytest
from own_process import run_alone

import batchflow.executors

ROOM = Path(batchflow.executors.__file__).parent
README = (ROOM / "README.md").read_text()
NAME = "batchflow.executors"


def entries():
    """Give the entries of the map: files and rooms, and in rooms `room/file.py`."""
    room = ""
    for indent, name in re.findall(r"^  (  )?([\w]+(?:/|\.py)) +\S", README, re.MULTILINE):
        if not indent:
            room = name if name.endswith("/") else ""
        yield f"{room}{name}" if indent else name


IN_ORDER = list(entries())
FILES = [entry for entry in IN_ORDER if entry.endswith(".py")]


def imported_by(path):
    """Give the files of the executors that a file imports, for its types and on use as well."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{NAME}."):
            yield node.module.removeprefix(f"{NAME}.").replace(".", "/") + ".py"


def loaded_by(statement):
    """Give what a fresh interpreter has of the executors after a statement."""
    code = f"import sys; {statement}; print(*sys.modules)"
    done = run_alone(code)
    return {name for name in done.stdout.split() if name.startswith("batchflow.executors.")}


def test_the_map_names_all_files():
    files = [path.relative_to(ROOM) for path in ROOM.rglob("*.py") if path.name != "__init__.py"]
    rooms = {f"{path.parent}/" for path in files if path.parent != Path()}
    assert sorted(IN_ORDER) == sorted({*map(str, files), *rooms})


@pytest.mark.parametrize("file", FILES)
def test_a_file_imports_only_those_above_it_in_the_map(file):
    assert set(imported_by(ROOM / file)) <= set(FILES[: FILES.index(file)])


WAYS = sorted(set(re.findall(r"`([\w/]+\.py): ([\w.]+)`", README)))


@pytest.mark.parametrize(("file", "name"), WAYS)
def test_each_step_of_a_way_is_where_the_readme_says(file, name):
    found = importlib.import_module(f"{NAME}.{file.removesuffix('.py').replace('/', '.')}")
    for part in name.split("."):
        found = getattr(found, part)
    assert callable(found)


def test_import_batchflow_loads_nothing_for_other_processes():
    assert loaded_by("import batchflow") == {
        "batchflow.executors.loop",
        "batchflow.executors.item_threads",
        "batchflow.executors.waiting",
    }


def test_a_worker_process_loads_only_its_own_side():
    new = loaded_by("import batchflow.executors.processes.worker") - loaded_by("import batchflow")
    assert new == {
        "batchflow.executors.processes",
        "batchflow.executors.processes.shared_memory",
        "batchflow.executors.processes.channel",
        "batchflow.executors.processes.worker",
        "batchflow.executors.serialization",
        "batchflow.executors.serialization.arrays",
        "batchflow.executors.exceptions",
        "batchflow.executors.serialization.reductions",
        "batchflow.executors.serialization.pickling",
    }


def test_a_worker_of_others_loads_only_its_own_side():
    new = loaded_by("import batchflow.executors.backends.call") - loaded_by("import batchflow")
    assert new == {
        "batchflow.executors.backends",
        "batchflow.executors.backends.call",
        "batchflow.executors.serialization",
        "batchflow.executors.serialization.arrays",
        "batchflow.executors.exceptions",
        "batchflow.executors.serialization.reductions",
        "batchflow.executors.serialization.pickling",
    }
