"""A `tf_keras` model in a chain: trained, asked, saved and loaded by its steps."""

import numpy as np
import pytest
import tf_keras
from models.document_002.asking import build, build_two, digits, halves, states

from batchflow import ArgumentValueError, B, UnknownNameError, V
from batchflow.errors import ModelDefinitionError
from batchflow.models.calls import evaluate, predict, train
from batchflow.models.checkpoint import load, save
from batchflow.testing import digest, hand_over_every_batch, nothing_left

pytestmark = pytest.mark.legacy


def legacy(**options):
    return build(tf_keras, **options)


def chain(build=legacy, **options):
    pieces = digits().p.init_model("net", build).init_variable("seen", init=list).scale()
    return pieces.train_model("net", B.images, B.labels, save_to=V("seen", "a"), **options)


def run(pipeline, **options):
    return pipeline.run(32, shuffle=1, **{"n_epochs": 2, **options})


def state(net):
    return digest(*states(net), *(np.asarray(value) for value in net.optimizer.variables))


def test_the_steps_are_those_of_a_plain_loop_at_every_prefetch():
    net = legacy(optimizer="adam")
    losses = [
        net.train_on_batch(batch.images, batch.labels)[0]
        for batch in digits().p.scale().gen_batch(32, shuffle=1, n_epochs=2)
    ]
    run(chain())  # what TensorFlow itself keeps
    for prefetch in (0, 4):
        with hand_over_every_batch(), nothing_left():
            pipeline = run(chain(lambda: legacy(optimizer="adam")), prefetch=prefetch)
        assert pipeline.v("seen") == losses
        assert state(pipeline.m("net")) == state(net)


def test_values_are_fetched_by_metrics_names():
    pipeline = run(chain(fetches=["accuracy", "loss"]))
    assert pipeline.m("net").metrics_names == ["loss", "accuracy"]
    accuracy, loss = pipeline.v("seen")[0]
    assert 0 <= accuracy <= 1 < loss
    with pytest.raises(UnknownNameError, match="Did you mean 'accuracy'"):
        run(chain(fetches="acuracy"))


def test_running_metrics_weights_and_return_dict_are_passed_on():
    alone = run(chain(fetches="loss"), n_epochs=1).v("seen")
    running = run(chain(fetches="loss", reset_metrics=False), n_epochs=1).v("seen")
    means = np.cumsum(alone) / np.arange(1, 5)
    assert running == pytest.approx(means, rel=1e-5)
    everything = run(chain(return_dict=True), n_epochs=1).v("seen")[0]
    assert everything.keys() == {"loss", "accuracy"}
    nothing = run(chain(class_weight=dict.fromkeys(range(10), 0.0)), n_epochs=1).v("seen")
    assert nothing == [0] * 4


def test_a_test_gives_the_loss_and_all_metrics_by_name():
    net, batch = legacy(), next(digits().p.scale().gen_batch(32))
    logs = evaluate(net, (batch.images, batch.labels), {})
    assert logs == net.test_on_batch(batch.images, batch.labels, return_dict=True)
    assert evaluate(net, (batch.images, batch.labels), {}, "accuracy") == logs["accuracy"]


def test_a_model_that_is_not_compiled_is_refused():
    bare = tf_keras.Sequential([tf_keras.Input((64,)), tf_keras.layers.Dense(1)])
    with pytest.raises(ModelDefinitionError, match="not compiled"):
        train(bare, (np.ones((2, 64)), np.ones(2)), {})


def test_predictions_are_those_of_predict_on_batch_and_print_nothing(capsys):
    pipeline = chain().predict_model("net", B.images, save_to=B.guessed)
    batch = next(pipeline.gen_batch(32, shuffle=1))
    expected = pipeline.m("net").predict_on_batch(batch.images)
    np.testing.assert_array_equal(batch.guessed, expected)
    assert capsys.readouterr().out == ""


def test_outputs_are_fetched_by_name():
    net = build_two(tf_keras)
    x = list(halves(np.ones((4, 64), "float32")))
    digit, odd = net.predict_on_batch(x)
    np.testing.assert_array_equal(predict(net, (x,), {}, "odd"), odd)
    np.testing.assert_array_equal(predict(net, (x,), {}, ["odd", 0])[1], digit)


# ---- files


OPTIMIZERS = {
    "adam": lambda: "adam",
    "rmsprop": lambda: "rmsprop",
    "momentum and a schedule": lambda: tf_keras.optimizers.SGD(
        tf_keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5), momentum=0.9
    ),
    "of the older kind": lambda: tf_keras.optimizers.legacy.Adam(0.01),
}


@pytest.mark.filterwarnings("ignore:the model 'net' has been trained on epoch 0:UserWarning")
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_state_that_is_loaded_goes_on_with_the_same_bits(kind, tmp_path):
    def make():
        return legacy(optimizer=OPTIMIZERS[kind]())

    path = tmp_path / "net.npz"
    first = run(chain(make).after.save_model("net", path))
    saved = path.read_bytes()
    run(first)
    expected = first.v("seen")[-8:], digest(*states(first.m("net")))
    path.write_bytes(saved)  # the second run has saved its own
    again = run(chain(make).load_model("net", path))
    assert (again.v("seen"), digest(*states(again.m("net")))) == expected


def test_a_learning_rate_that_was_changed_is_kept(tmp_path):
    net = legacy(optimizer="adam")
    net.optimizer.learning_rate.assign(0.5)
    save(net, tmp_path / "net.npz")
    other = legacy(optimizer="adam")
    load(tmp_path / "net.npz", other)
    assert float(other.optimizer.learning_rate) == 0.5


def test_a_state_that_does_not_fit_changes_nothing(tmp_path):
    net = legacy(optimizer="adam")
    save(legacy(optimizer="rmsprop"), tmp_path / "net.npz")
    load_before = states(net)
    with pytest.raises(ArgumentValueError, match="does not fit"):
        load(tmp_path / "net.npz", net)
    save(build_two(tf_keras), tmp_path / "two.npz")
    with pytest.raises(ArgumentValueError, match="does not fit"):
        load(tmp_path / "two.npz", net)
    assert all(map(np.array_equal, load_before, states(net)))


@pytest.mark.parametrize("name", ["net.keras", "net.h5", "net.hdf5"])
def test_files_of_whole_models_are_refused(name, tmp_path):
    for refused in (save, lambda net, path: load(path, net)):
        with pytest.raises(ArgumentValueError, match=r"its own save\(path\)"):
            refused(legacy(), tmp_path / name)


def test_a_model_without_variables_is_refused(tmp_path):
    bare = tf_keras.Sequential([tf_keras.layers.Dense(1)])
    with pytest.raises(ModelDefinitionError, match=r"begin it with a tf_keras\.Input"):
        save(bare, tmp_path / "net.npz")


def test_what_normalization_has_learnt_is_loaded(tmp_path):
    def normalizing():
        layer = tf_keras.layers.Normalization()
        return layer, tf_keras.Sequential([tf_keras.Input((3,)), layer])

    x = np.arange(12.0, dtype="float32").reshape(4, 3)
    layer, net = normalizing()
    layer.adapt(x)
    save(net, tmp_path / "net.npz")
    _, other = normalizing()
    load(tmp_path / "net.npz", other)
    np.testing.assert_array_equal(other.predict_on_batch(x), net.predict_on_batch(x))
    assert not np.array_equal(net.predict_on_batch(x), x)


def test_metrics_that_are_not_reset_go_on_from_a_checkpoint(tmp_path):
    def made():
        how = {"reset_metrics": False, "fetches": ["accuracy", "loss"]}
        return chain(lambda: legacy(optimizer="adam"), **how)

    whole = run(made()).v("seen")
    with made().gen_batch(32, shuffle=1, n_epochs=2, checkpoint=tmp_path) as saved:
        for _ in range(3):
            next(saved)
    assert run(made(), checkpoint=tmp_path).v("seen") == whole
