"""What is written for TensorBoard: the kinds that were asked for, and nothing else."""

import numpy as np
import pytest
from models.base_model.nets import X, dense, estimator, inputs

from batchflow.models import Regressor, RunConfig
from batchflow.models.base_model import summaries

pytestmark = pytest.mark.tensorflow

TAGS = {
    "loss": {"loss"},
    "learning_rate": {"learning_rate"},
    "variables": {
        f"variables/net/{layer}/{kind}"
        for layer in ("hidden", "out")
        for kind in ("kernel", "bias")
    },
    "gradients": {
        "gradients/global_norm",
        *(
            f"gradients/net/{layer}/{kind}"
            for layer in ("hidden", "out")
            for kind in ("kernel", "bias")
        ),
    },
    "activations": {f"activations/{layer}" for layer in ("hidden", "dropout", "out")},
}


@pytest.fixture
def read():
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    ).EventAccumulator

    def read(folder):
        events = accumulator(str(folder), size_guidance={"tensors": 0})
        events.Reload()
        return events

    return read


def trained(kinds, folder, steps=3, every=2):
    return estimator(
        lambda mode: Regressor(mode, dense, "mse", "sgd", summaries=kinds, name="net"),
        folder,
        RunConfig(save_summary_steps=every),
    ).train(inputs(), steps=steps)


@pytest.mark.parametrize("kind", sorted(TAGS))
def test_each_kind_alone(tmp_path, read, kind):
    trained(kind, tmp_path)
    assert set(read(tmp_path).Tags()["tensors"]) == TAGS[kind]


def test_some_kinds(tmp_path, read):
    trained(["LOSS", "learning_rate"], tmp_path)
    assert set(read(tmp_path).Tags()["tensors"]) == {"loss", "learning_rate"}


def test_all_kinds_are_the_default(tmp_path, read):
    estimator(lambda mode: Regressor(mode, dense, "mse", "sgd", name="net"), tmp_path).train(
        inputs(), steps=1
    )
    assert set(read(tmp_path).Tags()["tensors"]) == set().union(*TAGS.values())


@pytest.mark.parametrize("nothing", [None, [], ()])
def test_nothing_is_written_where_nothing_is_asked_for(tmp_path, nothing):
    trained(nothing, tmp_path)
    assert not [file for file in tmp_path.iterdir() if "events" in file.name]


def test_the_first_step_and_every_multiple_are_written(tmp_path, read):
    trained("loss", tmp_path, steps=7, every=3)
    assert [event.step for event in read(tmp_path).Tensors("loss")] == [1, 3, 6]


def test_values_are_those_of_the_step(tmp_path, read):
    one = trained(["gradients", "variables", "loss"], tmp_path / "a", steps=1)
    events = read(tmp_path / "a")
    bias = events.Tensors("variables/net/out/bias")[0].tensor_proto
    buckets = np.frombuffer(bias.tensor_content).reshape(-1, 3)
    low, high, count = buckets[buckets[:, 2] > 0][0]
    value = one.get_variable_value("net/out/bias")[0]
    assert count == 1
    assert low - 1e-6 <= value <= high + 1e-6
    (norm,) = events.Tensors("gradients/global_norm")
    # SGD with the rate 0.01, and gradients clipped to the norm 0.5.
    assert norm.tensor_proto.float_val[0] > 0.5


def test_summaries_change_no_bit_of_training(tmp_path):
    with_all = trained("all", tmp_path / "a", steps=6, every=1)
    without = trained(None, tmp_path / "b", steps=6)
    for name in without.get_variable_names():
        np.testing.assert_array_equal(
            with_all.get_variable_value(name), without.get_variable_value(name), err_msg=name
        )


def test_without_the_package_the_default_warns_once(tmp_path, monkeypatch):
    monkeypatch.setattr(summaries, "has_tensorboard", lambda: False)
    summaries._warn_once.cache_clear()
    with pytest.warns(UserWarning, match="pip install tensorboard"):
        trained("all", tmp_path / "a")
    trained("all", tmp_path / "b")  # a warning here would be an error


def test_without_the_package_kinds_by_name_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(summaries, "has_tensorboard", lambda: False)
    with pytest.raises(ImportError, match="pip install tensorboard"):
        trained("loss", tmp_path)


def test_a_spec_without_an_estimator_writes_nothing(tmp_path, monkeypatch):
    import keras

    monkeypatch.chdir(tmp_path)
    model = Regressor("train", dense, "mse")
    spec = model(keras.Input((4,)), keras.Input((1,)))
    assert len(spec.training_hooks) == 1
    assert list(tmp_path.iterdir()) == []
    assert X.shape == (64, 4)
