"""Models are made under the settings of the thread that starts the run.

Keras keeps its dtype policy, device, name scope and distribution for each thread, TensorFlow 1 its
default graph. A worker has none of them.
"""

import contextlib
import threading

import numpy as np
import pytest
from own_process import run_alone

from batchflow import ArrayBatch, B, Dataset, ModelDefinitionError, action, model

pytestmark = [pytest.mark.tensorflow, pytest.mark.usefixtures("most_interleavings")]

each_prefetch = pytest.mark.parametrize("prefetch", [0, 4])


@contextlib.contextmanager
def policy(keras, name="mixed_float16"):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def make_class(keras):
    """Make a class with a model of each mode; both tell of how they were made."""
    told = {}

    def define(kind):
        net = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="dense")])
        told[kind] = {
            "thread": threading.current_thread(),
            "policy": net.layers[0].dtype_policy.name,
            "path": net.layers[0].kernel.path,
            "distribution": keras.distribution.distribution(),
        }
        return net

    class Rows(ArrayBatch):
        @model()
        def static_net():
            return define("static")

        @model(mode="dynamic")
        def dynamic_net(batch):
            return define("dynamic")

        @action(model="static_net", singleton=True)
        def use_static(self, net):
            return self

        @action(model="static_net")
        def use_in_parallel(self, net):
            return self

        @action(model="dynamic_net")
        def use_dynamic(self, net):
            return self

        @action
        def take(self, other):
            return self

        @action
        def ask(self):
            self.found = type(self).models["static_net"]
            return self

    dataset = Dataset.from_arrays(Rows, data=np.ones((8, 2), "float32"))
    return dataset, told


def both(dataset):
    return dataset.p.use_static().use_dynamic()


# ---- every way in which a run begins


def by_run(dataset, prefetch):
    both(dataset).run(2, prefetch=prefetch)


def by_gen_batch(dataset, prefetch):
    list(both(dataset).gen_batch(2, prefetch=prefetch))


def by_next_batch(dataset, prefetch):
    pipeline = both(dataset)
    pipeline.next_batch(2, prefetch=prefetch)
    pipeline.reset("iter")


def by_feed(dataset, prefetch):
    list(both(dataset).feed(2, x=B.data, prefetch=prefetch))


def by_a_joined_pipeline(dataset, prefetch):
    dataset.p.join(both(dataset)).take().run(2, prefetch=prefetch)


def by_a_merged_pipeline(dataset, prefetch):
    dataset.p.merge(both(dataset)).run(2, prefetch=prefetch)


def by_execute_for(dataset, prefetch):
    both(dataset).execute_for(dataset.create_batch([0, 1]))


@each_prefetch
@pytest.mark.parametrize(
    "start",
    [
        by_run,
        by_gen_batch,
        by_next_batch,
        by_feed,
        by_a_joined_pipeline,
        by_a_merged_pipeline,
        by_execute_for,
    ],
)
def test_a_policy_set_in_the_starting_thread_holds(keras, start, prefetch):
    dataset, told = make_class(keras)
    with policy(keras):
        start(dataset, prefetch)
    assert {kind: how["policy"] for kind, how in told.items()} == {
        "static": "mixed_float16",
        "dynamic": "mixed_float16",
    }
    assert {how["thread"] for how in told.values()} == {threading.current_thread()}


@each_prefetch
def test_a_name_scope_around_the_run_holds(keras, prefetch):
    dataset, told = make_class(keras)
    with keras.name_scope("outer"):
        by_run(dataset, prefetch)
    for how in told.values():
        assert how["path"].startswith("outer/")


DEVICES = """
import os
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
import keras
import numpy as np
from batchflow import ArrayBatch, Dataset, action, model
from batchflow.testing import hand_over_every_batch

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
    two = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], two)

def device(net):
    array = net.weights[0].value
    return [d.id for d in array.devices()] if hasattr(array, "devices") else array.device

def devices(prefetch):
    class Rows(ArrayBatch):
        @model()
        def net():
            return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])

        @model(mode="dynamic")
        def other(batch):
            return Rows.models.definition("net").function()

        @action(model="net", singleton=True)
        def use(self, net):
            return self

        @action(model="other")
        def use_other(self, net):
            return self

    pipeline = Dataset.from_arrays(Rows, data=np.ones((8, 2))).p.use().use_other()
    with hand_over_every_batch(), keras.device("cpu:1"):
        pipeline.run(2, prefetch=prefetch)
    return [device(pipeline.models[name]) for name in ("net", "other")]

print("devices:", *devices(0), *devices(4))
"""


def test_a_device_around_the_run_holds(keras):
    if keras.backend.backend() == "torch":
        pytest.skip("torch has one CPU")
    told = run_alone(DEVICES).stdout.rpartition("devices:")[2].split()
    assert [device.rpartition(":")[2].strip("[]") for device in told] == ["1"] * 4


@each_prefetch
def test_a_distribution_holds(keras, prefetch):
    if keras.backend.backend() != "jax":
        pytest.skip("keras.distribution is for JAX")
    distribution = keras.distribution.DataParallel(devices=keras.distribution.list_devices())
    dataset, told = make_class(keras)
    keras.distribution.set_distribution(distribution)
    try:
        by_run(dataset, prefetch)
    finally:
        keras.distribution.set_distribution(None)
    assert {how["distribution"] for how in told.values()} == {distribution}


@each_prefetch
@pytest.mark.parametrize("made_in", ["this", "that"])
def test_a_run_that_another_thread_reads_takes_the_settings_of_its_reader(keras, prefetch, made_in):
    dataset, told = make_class(keras)
    with policy(keras) if made_in == "this" else contextlib.nullcontext():
        run = both(dataset).gen_batch(2, prefetch=prefetch)

        def read():
            with policy(keras, "mixed_bfloat16"):
                list(run)

        reader = threading.Thread(target=read)
        reader.start()
        reader.join(60)
    assert {how["policy"] for how in told.values()} == {"mixed_bfloat16"}
    assert {how["thread"] for how in told.values()} == {reader}


@each_prefetch
def test_a_model_that_was_made_before_keeps_its_settings(keras, prefetch):
    dataset, told = make_class(keras)
    with policy(keras):
        dataset.batch_class.models["static_net"]
    by_run(dataset, prefetch)
    assert (told["static"]["policy"], told["dynamic"]["policy"]) == ("mixed_float16", "float32")


@each_prefetch
def test_a_worker_makes_no_model(keras, prefetch):
    dataset, told = make_class(keras)
    with policy(keras):
        with pytest.raises(ModelDefinitionError, match="a parallel action cannot make it"):
            dataset.p.ask().run(2, prefetch=prefetch)
        assert not told
        dataset.p.ask().use_in_parallel  # noqa: B018  chained only: it makes none
        assert not told


@each_prefetch
@pytest.mark.filterwarnings("ignore:the action:UserWarning")  # it is not trained
def test_fit_makes_the_models_of_its_feed_in_its_own_thread(keras, prefetch):
    dataset, told = make_class(keras)
    with policy(keras):
        data = dataset.p.use_in_parallel().feed(2, x=B.data, y=B.data, prefetch=prefetch).to_keras()
        net = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
        net.compile("sgd", "mse")
        net.fit(data, shuffle=False, verbose=0)
    assert told["static"]["policy"] == "mixed_float16"
    assert told["static"]["thread"] is threading.current_thread()


def test_a_definition_that_raised_is_tried_again_under_the_settings_of_then(keras):
    policies = []

    class Rows(ArrayBatch):
        @model()
        def net():
            policies.append(keras.config.dtype_policy().name)
            if len(policies) == 1:
                raise OSError("once")
            return object()

        @action(model="net", singleton=True)
        def use(self, net):
            return self

    pipeline = Dataset.from_arrays(Rows, data=np.ones((4, 2))).p.use()
    with pytest.raises(OSError, match="once"):
        pipeline.run(2, prefetch=2)
    with policy(keras):
        pipeline.run(2, prefetch=2)
    assert policies == ["float32", "mixed_float16"]
