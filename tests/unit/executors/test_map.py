"""The rooms of `batchflow.executors`: their maps are complete, what starts early stays light."""

import importlib
import pkgutil

import pytest
from own_process import run_alone

ROOMS = [
    "batchflow.executors",
    "batchflow.executors.backends",
    "batchflow.executors.processes",
    "batchflow.executors.serialization",
]


def loaded_by(statement):
    """Give what a fresh interpreter has of the executors after a statement."""
    code = f"import sys; {statement}; print(*sys.modules)"
    done = run_alone(code)
    return {name for name in done.stdout.split() if name.startswith("batchflow.executors.")}


@pytest.mark.parametrize("name", ROOMS)
def test_the_map_of_a_room_names_all_that_is_in_it(name):
    room = importlib.import_module(name)
    modules = list(pkgutil.iter_modules(room.__path__))
    entries = {f"{module.name}/" if module.ispkg else f"{module.name}.py" for module in modules}
    in_map = {line.split()[0] for line in room.__doc__.splitlines() if line.startswith("    ")}
    assert entries
    assert entries <= in_map


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
        "batchflow.executors.serialization.buffers",
        "batchflow.executors.serialization.code",
        "batchflow.executors.exceptions",
        "batchflow.executors.serialization.mapped_files",
        "batchflow.executors.serialization.pickling",
        "batchflow.executors.serialization.strided",
    }


def test_a_worker_of_others_loads_only_its_own_side():
    new = loaded_by("import batchflow.executors.backends.call") - loaded_by("import batchflow")
    assert new == {
        "batchflow.executors.backends",
        "batchflow.executors.backends.call",
        "batchflow.executors.serialization",
        "batchflow.executors.serialization.buffers",
        "batchflow.executors.serialization.code",
        "batchflow.executors.exceptions",
        "batchflow.executors.serialization.mapped_files",
        "batchflow.executors.serialization.pickling",
        "batchflow.executors.serialization.strided",
    }
