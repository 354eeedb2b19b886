"""Models that create their variables at their first call take a saved state before it."""

import json
import zipfile

import numpy as np
import pytest
from kit import Rows

from batchflow import ArgumentValueError, B, Dataset, ModelDefinitionError, V
from batchflow.models.calls import train
from batchflow.models.checkpoint import load, save

pytestmark = pytest.mark.tensorflow

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(24, 4)).astype("float32"), RNG.normal(size=(24, 1)).astype("float32")
WORDS = RNG.integers(0, 10, size=(24, 4))


def sequential(keras):
    return keras.Sequential(
        [keras.layers.Dense(8), keras.layers.Dropout(0.3, seed=5), keras.layers.Dense(1)]
    )


def subclassed(keras):
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.hidden, self.drop = keras.layers.Dense(8), keras.layers.Dropout(0.3, seed=5)
            self.out = keras.layers.Dense(1)

        def call(self, inputs, training=None):
            return self.out(self.drop(self.hidden(inputs), training=training))

    return Net()


def of_words(keras):
    return keras.Sequential(
        [keras.layers.Embedding(10, 3), keras.layers.Flatten(), keras.layers.Dense(1)]
    )


def nested(keras):
    return keras.Sequential([sequential(keras), keras.layers.Dense(1)])


def of_two(keras):
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.one, self.other = keras.layers.Dense(3), keras.layers.Dense(3)
            self.out = keras.layers.Dense(1)

        def call(self, inputs):
            return self.out(self.one(inputs["a"]) + self.other(inputs["b"]))

    return Net()


NETS = {
    "sequential": (sequential, X),
    "subclassed": (subclassed, X),
    "words": (of_words, WORDS),
    "nested": (nested, X),
    "two inputs": (of_two, {"a": X, "b": X[:, :2]}),
}


def rows(x, first, last):
    return {k: v[first:last] for k, v in x.items()} if isinstance(x, dict) else x[first:last]


def made(keras, build, seed=1):
    keras.utils.set_random_seed(seed)
    net = build(keras)
    net.compile(keras.optimizers.SGD(0.01, momentum=0.9), "mse")
    return net


def steps(net, x, first, last):
    for n in range(first, last):
        train(net, (rows(x, 8 * n, 8 * n + 8), Y[8 * n : 8 * n + 8]), {})
    return [np.asarray(variable).tolist() for variable in net.variables]


@pytest.mark.parametrize("name", NETS)
def test_training_goes_on_with_the_same_bits(keras, tmp_path, name):
    build, x = NETS[name]
    net = made(keras, build)
    steps(net, x, 0, 2)
    save(net, tmp_path / "net.npz")
    expected = steps(net, x, 2, 3)
    fresh = made(keras, build, seed=9)
    assert not fresh.built
    assert load(tmp_path / "net.npz", into=fresh) is fresh
    assert steps(fresh, x, 2, 3) == expected


@pytest.mark.parametrize("build", [sequential, subclassed])
def test_a_chain_loads_what_a_chain_has_saved(keras, tmp_path, build):
    path = tmp_path / "net.npz"
    data = Dataset.from_arrays(Rows, x=X, y=Y)

    def losses(pipeline, n_epochs):
        pipeline = pipeline.init_variable("losses", init_on_each_run=list)
        pipeline = pipeline.train_model("net", B.x, B.y, save_to=V("losses", "a"))
        return [float(loss) for loss in pipeline.run(8, n_epochs=n_epochs).v("losses")]

    made_new = data.p.init_model("net", lambda: made(keras, build))
    whole = losses(made_new, 2)
    first = made_new.train_model("net", B.x, B.y).after.save_model("net", path)
    first.run(8)
    assert losses(made_new.load_model("net", path), 1) == whole[3:]


def test_a_whole_model_is_loaded_into_one_that_is_not_built(keras, tmp_path):
    net = made(keras, sequential)
    steps(net, X, 0, 2)
    save(net, tmp_path / "net.keras")
    expected = steps(net, X, 2, 3)
    assert steps(load(tmp_path / "net.keras", into=made(keras, sequential, 9)), X, 2, 3) == expected


def test_the_number_of_items_is_not_part_of_the_file(keras, tmp_path):
    files = []
    for n_items in (8, 5):
        net = made(keras, sequential)
        net(X[:n_items])
        save(net, tmp_path / "net.npz")
        files.append((tmp_path / "net.npz").read_bytes())
    assert files[0] == files[1]


def with_shapes(path, shapes):
    """Write a state again, with other shapes of inputs; None: without."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    entries.pop("batchflow_input_shapes.json")
    if shapes is not None:
        entries["batchflow_input_shapes.json"] = shapes
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)


@pytest.mark.parametrize(
    ("shapes", "error", "message"),
    [
        (None, ModelDefinitionError, "has no variables yet: begin it with a keras.Input"),
        ("{}", ModelDefinitionError, "has no variables yet: begin it with a keras.Input"),
        ("[]", ArgumentValueError, "does not tell the shapes"),
        ("no json", ArgumentValueError, "is damaged"),
        ("[" * 10_000, ArgumentValueError, "is damaged"),
        (" " * 100_000, ArgumentValueError, "does not tell the shapes"),
        ('{"input_shape": "x"}', ModelDefinitionError, "cannot create them for inputs"),
        ('{"input_shape": [null, -4]}', ModelDefinitionError, "cannot create them for inputs"),
        ('{"input_shape": [null, 5]}', ArgumentValueError, r"shape \(4, 8\).*shape \(5, 8\)"),
    ],
)
def test_shapes_that_do_not_do_are_told(keras, tmp_path, shapes, error, message):
    path = tmp_path / "net.npz"
    net = made(keras, sequential)
    steps(net, X, 0, 1)
    save(net, path)
    with_shapes(path, shapes)
    with pytest.raises(error, match=message):
        load(path, into=made(keras, sequential))
    assert load(path, into=net) is net  # one that is built does not look at them


def test_the_shapes_are_plain_text(keras, tmp_path):
    net = made(keras, of_two)
    steps(net, NETS["two inputs"][1], 0, 1)
    save(net, tmp_path / "net.npz")
    with zipfile.ZipFile(tmp_path / "net.npz") as archive:
        shapes = json.loads(archive.read("batchflow_input_shapes.json"))
    assert [*shapes.values()] == [{"a": [None, 4], "b": [None, 2]}]
