"""Every notebook runs from its first cell to its last."""

import re
import shutil
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[2] / "notebooks"
NAMES = sorted(path.name for path in FOLDER.glob("*.ipynb"))
ON_TENSORFLOW = [pytest.mark.tensorflow, pytest.mark.backends("tensorflow")]
RUNS = [
    pytest.param(
        name,
        marks=ON_TENSORFLOW if "import keras" in (FOLDER / name).read_text() else [],
    )
    for name in NAMES
]


class ThisInterpreter(AsyncKernelManager):
    """Starts the Python that runs the tests, whatever kernels the machine knows."""

    @property
    def kernel_spec(self):
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name="this interpreter", language="python")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A copy of the notebooks; what Jupyter writes goes beside it instead of to the home."""
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    return shutil.copytree(FOLDER, tmp_path / "notebooks")


def test_there_are_notebooks():
    assert NAMES


@pytest.mark.parametrize("name", RUNS)
def test_a_notebook_runs(folder, name):
    notebook = nbformat.read(folder / name, as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(
        notebook, kernel_manager_class=ThisInterpreter, timeout=120, resources=resources
    ).execute()


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_stored_without_outputs(name):
    cells = nbformat.read(FOLDER / name, as_version=4).cells
    assert not [i for i, cell in enumerate(cells) if cell.get("outputs")]


def test_notebooks_need_only_what_the_extras_for_users_bring():
    """Not what the tests alone install."""
    extras = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    package = re.compile(r"[\w-]+")
    of_users = {
        package.match(one)[0] for name, all_of in extras.items() if name != "dev" for one in all_of
    }
    only_dev = {package.match(one)[0] for one in extras["dev"]} - of_users
    for name in NAMES:
        imported = set(re.findall(r"^\s*\"(?:import|from) (\w+)", (FOLDER / name).read_text(), re.M))
        assert not imported & only_dev, name
