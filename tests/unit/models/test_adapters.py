"""The kinds of models: one file and one line for each, imported when it is met."""

import sys
from pathlib import Path
from types import ModuleType

import pytest
from own_process import run_alone

from batchflow.models import adapters
from batchflow.models.adapters import Adapter, adapter_of
from batchflow.models.calls import predict, train, train_step, trains_several
from batchflow.models.checkpoint import load, save


class Plain:
    pass


class DoublingAdapter(Adapter):
    """The adapter that somebody writes for the models of a new framework."""

    needs_order = True

    def train(self, args, kwargs, fetches):
        return self.choose({"loss": args[0] * 2}, fetches, "train")

    def predict(self, args, kwargs, fetches):
        return args[0] * 2

    def save(self, path):
        path.write_text("doubling")

    def load(self, path, trust):
        self.model.loaded = path.read_text()
        return self.model


@pytest.fixture
def framework(monkeypatch):
    """A framework `doubling` with a class `Model`, and a line for it."""
    module = ModuleType("doubling")
    module.Model = type("Model", (), {})
    with_adapter = ModuleType("batchflow.models.adapters.doubling")
    with_adapter.DoublingAdapter = DoublingAdapter
    monkeypatch.setitem(sys.modules, "doubling", module)
    monkeypatch.setitem(sys.modules, with_adapter.__name__, with_adapter)
    line = {"doubling.Model": "doubling.DoublingAdapter"}
    monkeypatch.setattr(adapters, "_KINDS", line | adapters._KINDS)
    adapters._places.cache_clear()
    yield module
    adapters._places.cache_clear()


def test_a_new_kind_is_a_file_and_a_line(framework, tmp_path):
    model = type("Net", (framework.Model,), {})()
    assert train(model, (4,), {}, "loss") == 8
    assert predict(model, (5,), {}) == 10
    save(model, tmp_path / "net")
    assert load(tmp_path / "net", into=model).loaded == "doubling"
    assert adapter_of(model).needs_order
    assert not trains_several(model)
    assert not adapter_of(Plain()).needs_order


def test_a_framework_that_is_being_imported_has_no_models_yet(framework):
    model = framework.Model()
    del framework.Model
    assert type(adapter_of(model)).__name__ == "ObjectAdapter"


@pytest.mark.parametrize("model", [None, 5, Plain(), Plain, len, {"net": Plain()}])
def test_any_object_is_a_model(model):
    adapter = adapter_of(model)
    assert adapter.model is model
    assert type(adapter).__name__ == "ObjectAdapter"
    assert adapter.shares_state(model)
    assert not adapter.shares_state(object())


def test_a_step_of_a_keras_model_is_refused_for_others():
    with pytest.raises(TypeError, match="a Keras model was expected, got an object of the class"):
        train_step(Plain(), 1)


def test_the_adapters_of_other_kinds_are_not_imported():
    code = (
        "import sys\n"
        "from batchflow.models.adapters import adapter_of\n"
        "adapter_of(object())\n"
        "print(*(name for name in sys.modules if name.startswith('batchflow.models.adapters.')))"
    )
    assert set(run_alone(code).stdout.split()) == {
        "batchflow.models.adapters.base",
        "batchflow.models.adapters.objects",
    }


@pytest.mark.torch
def test_a_torch_module_brings_the_adapter_of_torch_alone():
    pytest.importorskip("torch")
    code = (
        "import sys, torch\n"
        "from batchflow.models.adapters import adapter_of\n"
        "adapter_of(torch.nn.Linear(1, 1))\n"
        "print(*(name for name in sys.modules if name.startswith('batchflow.models.adapters.')))"
    )
    assert set(run_alone(code).stdout.split()) == {
        "batchflow.models.adapters.base",
        "batchflow.models.adapters.objects",
        "batchflow.models.adapters.torch",
    }


def test_the_map_and_the_table_name_all_kinds():
    (folder,) = adapters.__path__
    files = {path.name for path in Path(folder).glob("[a-z]*.py")}
    in_map = {line.split()[0] for line in adapters.__doc__.splitlines() if line.startswith("    ")}
    in_table = {f"{adapter.partition('.')[0]}.py" for adapter in adapters._KINDS.values()}
    assert files == in_table | {"base.py"}
    assert files <= in_map
