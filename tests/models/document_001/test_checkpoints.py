"""Document 001: checkpoints: the variables in them, which of them is read, damaged ones."""

import os

import numpy as np
import pytest
from models.document_001.kit import batches, learned_in, learning, reader
from models.document_001.rows import row
from models.document_kit import step_of

from batchflow.models import Estimator

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """An Estimator whose weights have moved, and its first checkpoint."""
    return learned_in(tmp_path_factory.mktemp("learned"))


@row("get_variable_names.returns", "get_variable_value.name", "get_variable_value.returns")
def test_variables_are_those_of_the_newest_checkpoint(row, learned):
    estimator, _ = learned
    names = estimator.get_variable_names()
    assert isinstance(names, list)
    assert all(isinstance(name, str) for name in names)
    assert {"hidden/kernel", "hidden/bias", "out/kernel", "out/bias", "global_step"} <= set(names)
    assert len(names) == len(set(names))
    assert any("optimizer" in name or "adam" in name for name in names)
    kernel = estimator.get_variable_value("hidden/kernel")
    assert isinstance(kernel, np.ndarray)
    assert (kernel.shape, kernel.dtype) == ((1, 4), np.float32)
    assert step_of(estimator) == 41
    assert Estimator(learning, estimator.model_dir).get_variable_names() == names


@row("get_variable_value.name")
def test_a_variable_that_is_not_there_is_named_with_one_that_is(row, learned):
    with pytest.raises(KeyError, match="hidden/kernel"):
        learned[0].get_variable_value("hiden/kernel")


@row("get_variable_names.returns", "get_variable_value.returns")
def test_without_a_checkpoint_there_are_no_variables(row, tmp_path):
    with pytest.raises(ValueError, match="trained"):
        reader(tmp_path).get_variable_names()
    with pytest.raises(ValueError, match="trained"):
        reader(tmp_path).get_variable_value("w/kernel")


@row("evaluate.checkpoint_path", "predict.checkpoint_path", "get_variable_value.returns")
@pytest.mark.parametrize("method", ["evaluate", "predict", "get_variable_value"])
def test_a_damaged_checkpoint_is_named(row, method, tmp_path):
    path = reader(tmp_path).train(batches, steps=1).latest_checkpoint()
    with open(path, "rb+") as file:
        file.truncate(os.path.getsize(path) // 2)
    estimator = reader(tmp_path)
    ask = {
        "evaluate": lambda: estimator.evaluate(batches),
        "predict": lambda: next(estimator.predict(batches)),
        "get_variable_value": lambda: estimator.get_variable_value("w/kernel"),
    }[method]
    with pytest.raises(ValueError, match=r"ckpt-1\.npz is damaged"):
        ask()
