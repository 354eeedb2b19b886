"""Packages that are not there: one clear error, which says what to install."""

import os
import re
import sys
import tomllib
from pathlib import Path

import pytest
from own_process import finished

from batchflow import Batch, BatchflowError, Dataset, MissingPackageError, action, extras, model
from batchflow.extras import advice_on, imported


@pytest.fixture
def without(monkeypatch):
    """Hide packages: an import of them fails as if they were not installed."""

    def hide(*packages):
        for package in packages:
            for name in [n for n in sys.modules if n.partition(".")[0] == package]:
                monkeypatch.delitem(sys.modules, name)
            monkeypatch.setitem(sys.modules, package, None)

    return hide


def test_what_is_there_is_given():
    assert imported("json", "nobody") is sys.modules["json"]


def test_what_is_missing_is_named_with_its_user_and_its_extra(without):
    without("ray")
    with pytest.raises(MissingPackageError) as caught:
        imported("ray", 'executor="ray"')
    assert str(caught.value) == (
        'executor="ray" needs the package ray; ray is not installed: '
        "pip install '.[ray]' in a checkout of batchflow"
    )
    assert isinstance(caught.value, BatchflowError)
    assert isinstance(caught.value, ImportError)


def test_a_package_inside_of_another_is_told_as_it_is():
    with pytest.raises(MissingPackageError, match=r"No module named 'json\.gone'"):
        imported("json.gone", "somebody")


@pytest.mark.parametrize(
    "error", [ValueError("tensorflow"), ModuleNotFoundError("?"), ImportError("?", name="ray")]
)
def test_other_errors_need_no_advice(error):
    assert advice_on(error) is None


class GraphBatch(Batch):
    @model()
    def graph():
        import tensorflow.compat.v1 as tf

        return tf.Graph()

    @model(mode="dynamic")
    def later(batch):
        import tensorflow as tf

        return tf.Graph()

    @action(model="graph", singleton=True)
    def train(self, graph):
        return self

    @action(model="later", singleton=True)
    def train_later(self, graph):
        return self


@pytest.mark.parametrize("name", ["train", "train_later"])
def test_a_graph_of_tensorflow_1_says_what_it_needs(without, name):
    without("tensorflow")
    chain = getattr(Dataset(10, GraphBatch).p, name)()
    with pytest.raises(ModuleNotFoundError) as caught:
        chain.run(5)
    notes = "\n".join(caught.value.__notes__)
    which = "graph" if name == "train" else "later"
    assert f"while the model '{which}' was made" in notes
    assert (
        "tensorflow is not installed: pip install '.[tensorflow]' in a checkout of batchflow"
        in notes
    )


def test_the_directory_says_it_as_well(without):
    without("tensorflow")
    with pytest.raises(ModuleNotFoundError) as caught:
        GraphBatch.models["graph"]
    assert (
        "tensorflow is not installed: pip install '.[tensorflow]' in a checkout of batchflow"
        in (caught.value.__notes__)
    )


@pytest.mark.tensorflow  # needs Keras
@pytest.mark.parametrize("missing", ["tensorflow", "jax", "torch"])
def test_a_backend_that_is_missing_is_told_from_keras(missing, tmp_path):
    others = [name for name in ("tensorflow", "jax", "torch") if name != missing]
    code = (
        "import sys\n"
        f"sys.modules[{missing!r}] = None\n"
        "import numpy as np\n"
        "from batchflow import B, Dataset, ArrayBatch\n"
        "class Rows(ArrayBatch):\n"
        "    components = 'x', 'y'\n"
        "rows = Dataset.from_arrays(Rows, x=np.ones((4, 2)), y=np.ones((4, 1)))\n"
        "rows.p.feed(2, x=B.x, y=B.y).to_keras()\n"
    )
    environment = {**os.environ, "KERAS_BACKEND": missing, "KERAS_HOME": str(tmp_path)}
    done = finished(["-c", code], timeout=120, env=environment)
    *_, last = done.stderr.strip().splitlines()
    assert last == (
        f"batchflow.errors.MissingPackageError: to_keras needs the package keras; Keras works on "
        f"{missing} here, which is not installed: pip install '.[{missing}]' in a checkout of "
        f"batchflow, or set "
        f"KERAS_BACKEND to {others[0]!r} or {others[1]!r} before Keras is imported"
    )


def test_all_advice_installs_this_package():
    """The package registry has another project of its name."""
    root = Path(__file__).parents[2]
    files = [root / "README.md", root / "CONTRIBUTING.md"]
    for folder in ("batchflow", "docs", "examples", "notebooks"):
        files += [p for p in (root / folder).rglob("*") if p.suffix in (".py", ".md", ".ipynb")]
    by_name = re.compile(r"""pip install ['"`]*batchflow|['"`]batchflow\[""")
    assert [str(p) for p in files if by_name.search(p.read_text())] == []


def test_each_extra_that_is_advised_exists():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert set(extras._EXTRAS.values()) <= set(project["optional-dependencies"])
