"""Tensors of JAX, torch and TensorFlow beside their models, in runs that go on: the same bits."""

import dataclasses
import json
from typing import Any, NamedTuple

import numpy as np
import pytest

from batchflow import ArrayBatch, Dataset, action, model
from batchflow.checkpoints.values import decoded, encoded
from batchflow.errors import ArgumentTypeError, ArgumentValueError

OPTIONS = {"batch_size": 8, "shuffle": True, "seed": 1, "n_epochs": 2}


class Moments(NamedTuple):
    """The state of an optimizer, as optax has it."""

    count: Any
    mean: Any
    square: Any


def rows(cls):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 4)).astype("float32")
    return Dataset.from_arrays(cls, x=x, y=rng.normal(size=40).astype("float32"))


def goes_on(cls, outcome, folder, make=None, n_batches=7):
    """Check that a run which is left behind a batch ends as a whole one does; return the end."""
    make = make or (lambda: rows(cls).p.step())

    def fresh():
        cls.models.reset("net")
        return make()

    expected = outcome(fresh().run(**OPTIONS))
    with fresh().gen_batch(**OPTIONS, checkpoint=folder) as run:
        for _ in range(n_batches):
            next(run)
    again = outcome(fresh().run(**OPTIONS, checkpoint=folder))
    assert again == expected
    return again


def there_and_back(value):
    arrays = {}
    text = json.dumps(encoded(value, arrays, "it"))
    return decoded(json.loads(text), arrays)


# ---- JAX


def jax_steps(jax):
    """Return functions that begin and do Adam by hand on a regression, with random noise."""
    jnp = jax.numpy

    def begin(key):
        params = {"w": jax.random.normal(key, (4, 3)), "out": [jnp.zeros(3, jnp.bfloat16)]}
        zeros = jax.tree.map(jnp.zeros_like, params)
        return params, Moments(jnp.zeros([], jnp.int32), zeros, zeros)

    def loss(params, x, y, key):
        hidden = jnp.tanh((x + 0.1 * jax.random.normal(key, x.shape)) @ params["w"])
        return jnp.mean((hidden @ params["out"][0].astype(jnp.float32) + 0.1 - y) ** 2)

    @jax.jit
    def step(params, moments, key, x, y):
        slopes = jax.grad(loss)(params, x, y, key)
        count = moments.count + 1
        mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, moments.mean, slopes)
        square = jax.tree.map(lambda m, g: 0.99 * m + 0.01 * g * g, moments.square, slopes)
        params = jax.tree.map(
            lambda p, m, s: (p - 0.01 * m / (jnp.sqrt(s) + 1e-6)).astype(p.dtype),
            params, mean, square,
        )  # fmt: skip
        return params, Moments(count, mean, square)

    return begin, step


def floats(tree):
    import jax

    return [np.asarray(leaf).astype(float).tolist() for leaf in jax.tree.leaves(tree)]


@pytest.mark.jax
@pytest.mark.parametrize("typed", [False, True])
def test_parameters_states_and_keys_of_jax_go_on(tmp_path, typed):
    jax = pytest.importorskip("jax")
    begin, step = jax_steps(jax)

    class Rows(ArrayBatch):
        components = "x", "y"

        @model()
        def net():
            key = jax.random.key(3) if typed else jax.random.PRNGKey(3)
            params, moments = begin(key)
            return {"params": params, "moments": (moments, ()), "key": key, "n": 0}

        @action(model="net", singleton=True)
        def step(self, net):
            net["key"], key = jax.random.split(net["key"])
            net["params"], moments = step(net["params"], net["moments"][0], key, self.x, self.y)
            net["moments"] = moments, ()
            net["n"] += 1
            return self

    def outcome(pipeline):
        net = pipeline.m("net")
        assert type(net["moments"][0]) is Moments
        key = jax.random.key_data(net["key"]) if typed else net["key"]
        return floats([net["params"], net["moments"], key]), net["n"]

    assert goes_on(Rows, outcome, tmp_path)[1] == 10


@pytest.mark.jax
@pytest.mark.parametrize("place", ["list", "mapping", "attribute", "tuple"])
def test_a_state_of_training_that_is_a_dataclass_goes_on(tmp_path, place):
    jax = pytest.importorskip("jax")
    begin, step = jax_steps(jax)

    @jax.tree_util.register_dataclass
    @dataclasses.dataclass(frozen=True)
    class State:
        params: Any
        moments: Any
        key: Any
        by: Any = dataclasses.field(metadata={"static": True})

    class Holder:
        state = None

    class Rows(ArrayBatch):
        components = "x", "y"

        @model()
        def net():
            state = State(*begin(jax.random.key(3)), jax.random.key(4), step)
            if place == "attribute":
                holder = Holder()
                holder.state = state
                return holder
            return {"list": [state], "mapping": {"state": state}, "tuple": {"of": (state, 0)}}[
                place
            ]

        @action(model="net", singleton=True)
        def step(self, net):
            state = state_in(net)
            key, now = jax.random.split(state.key)
            params, moments = state.by(state.params, state.moments, now, self.x, self.y)
            state = dataclasses.replace(state, params=params, moments=moments, key=key)
            if place == "attribute":
                net.state = state
            elif place == "list":
                net[0] = state
            elif place == "tuple":
                net["of"] = state, net["of"][1] + 1
            else:
                net["state"] = state
            return self

    def state_in(net):
        if place == "attribute":
            return net.state
        return net[0] if place == "list" else net["of"][0] if place == "tuple" else net["state"]

    def outcome(pipeline):
        state = state_in(pipeline.m("net"))
        return floats([state.params, state.moments, jax.random.key_data(state.key)])

    goes_on(Rows, outcome, tmp_path)


@pytest.mark.jax
def test_what_cannot_be_saved_in_a_tree_of_jax_is_refused_by_name(tmp_path):
    jax = pytest.importorskip("jax")

    @jax.tree_util.register_dataclass
    @dataclasses.dataclass
    class State:
        params: Any

    class Rows(ArrayBatch):
        components = "x", "y"

        @model()
        def net():
            return {"state": State([1.0, object()])}

        @action(model="net", singleton=True)
        def step(self, net):
            return self

    with pytest.raises(ArgumentTypeError, match=r"model 'net'\['state'\]\.params\[1\] is a object"):
        rows(Rows).p.step().run(**OPTIONS, checkpoint=tmp_path)


@pytest.mark.jax
def test_arrays_of_jax_come_back_as_they_are():
    jax = pytest.importorskip("jax")
    jnp = jax.numpy
    arrays = [
        jnp.arange(100.0), jnp.zeros((0, 3)), jnp.ones((2, 2), jnp.bfloat16), jnp.array(True),
        jnp.ones(3, jnp.int4), jnp.asarray(0.1), jnp.full((3,), 1.5), jnp.array(1 + 2j),
        jax.random.PRNGKey(0), jax.random.key(1), jax.random.key(2, impl="rbg"),
    ]  # fmt: skip
    for array, back in zip(arrays, there_and_back(arrays), strict=True):
        assert (back.dtype, back.shape) == (array.dtype, array.shape)
        if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
            array, back = map(jax.random.key_data, (array, back))
        assert np.asarray(back).tobytes() == np.asarray(array).tobytes()
        assert back.weak_type == array.weak_type


@pytest.mark.jax
def test_an_array_of_jax_in_64_bits_is_not_cut():
    jax = pytest.importorskip("jax")
    arrays = {}
    with jax.enable_x64(True):
        data = encoded(jax.numpy.arange(3.0), arrays, "it")
    with pytest.raises(ArgumentValueError, match="saved as float64, and would be float32 here"):
        decoded(data, arrays)


@pytest.mark.jax
def test_an_array_of_jax_that_was_given_away_is_refused_by_name():
    jax = pytest.importorskip("jax")
    array = jax.numpy.zeros(3)
    array.delete()
    with pytest.raises(ArgumentTypeError, match=r"it\['w'\] is a .* of jax, which .* deleted"):
        encoded({"w": array}, {}, "it")


@pytest.mark.jax
def test_variables_that_hold_arrays_of_jax_go_on(tmp_path):
    jax = pytest.importorskip("jax")

    class Rows(ArrayBatch):
        components = "x", "y"

        @model()
        def net():
            return None

        @action(model="net", singleton=True)
        def step(self, net):
            losses, moments = self.pipeline.v("losses"), self.pipeline.v("moments")
            losses.append(jax.numpy.sum(self.x) * moments.mean)
            self.pipeline.set_variable("moments", Moments(0, losses[-1], None))
            return self

    def make():
        p = rows(Rows).p.init_variable("losses", init=list)
        return p.init_variable("moments", Moments(0, jax.numpy.float32(0.5), None)).step()

    def outcome(pipeline):
        assert all(isinstance(loss, jax.Array) for loss in pipeline.v("losses"))
        assert type(pipeline.v("moments")) is Moments
        return [float(loss) for loss in pipeline.v("losses")]

    assert len(goes_on(Rows, outcome, tmp_path, make)) == 10


# ---- torch


@pytest.mark.torch
def test_tensors_of_torch_in_lists_and_variables_go_on(tmp_path):
    torch = pytest.importorskip("torch")

    class Rows(ArrayBatch):
        components = "x", "y"

        @model()
        def net():
            w = torch.zeros(4, requires_grad=True)
            return {"w": w, "by": torch.optim.SGD([w], 0.1, momentum=0.9), "past": [], "best": w}

        @action(model="net", singleton=True)
        def step(self, net):
            net["by"].zero_grad()
            outputs = torch.from_numpy(self.x) @ net["w"]
            loss = ((outputs - torch.from_numpy(self.y)) ** 2).mean()
            loss.backward()
            net["by"].step()
            net["past"].append(loss.detach())
            if len(net["past"]) == 5:
                net["best"] = net["w"].detach().clone()
            net["n"] = torch.tensor(len(net["past"]))  # its definition has none
            self.pipeline.v("speed").mul_(0.5).add_(net["w"].detach())
            return self

    def make():
        return rows(Rows).p.init_variable("speed", init=lambda: torch.zeros(4)).step()

    def outcome(pipeline):
        net = pipeline.m("net")
        assert net["by"].param_groups[0]["params"][0] is net["w"]
        return [
            one.tolist() for one in (net["w"], net["best"], net["n"], pipeline.v("speed"))
        ], list(map(float, net["past"]))

    goes_on(Rows, outcome, tmp_path, make)


@pytest.mark.torch
def test_tensors_of_torch_come_back_as_they_are():
    torch = pytest.importorskip("torch")
    tensors = [
        torch.arange(100.0), torch.zeros(0, 3), torch.tensor(1.5, dtype=torch.bfloat16),
        torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last), torch.rand(4, 4)[:, 1],
        torch.ones(1).expand(5), torch.rand(3, 4).T, torch.zeros(2, requires_grad=True),
        torch.ones(2, dtype=torch.complex64).conj(), torch.tensor([True]),
    ]  # fmt: skip
    back = there_and_back([*tensors, tensors[0]])
    assert back[-1] is back[0]
    for tensor, other in zip(tensors, back, strict=False):
        facts = (tensor.dtype, tensor.shape, tensor.requires_grad)
        assert (other.dtype, other.shape, other.requires_grad) == facts
        assert torch.equal(other, tensor)
    assert back[3].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.torch
def test_tensors_of_torch_that_would_come_back_as_others_are_refused():
    torch = pytest.importorskip("torch")
    learned = torch.ones(3, requires_grad=True)
    for value, why in (
        (learned * 2, "keep value.detach"),
        (torch.empty(3, device="meta"), "without values"),
        (torch.nn.Parameter(torch.ones(3)), "not saved as data"),
    ):
        with pytest.raises(ArgumentTypeError, match=rf"(?s)it\[0\] is a .*{why}"):
            encoded([value], {}, "it")


# ---- TensorFlow


@pytest.mark.tensorflow
def test_tensors_of_tensorflow_go_on(tmp_path):
    tf = pytest.importorskip("tensorflow")

    class Rows(ArrayBatch):
        components = "x", "y"

        @model()
        def net():
            return {"w": tf.zeros(4), "state": (tf.constant(0.0), [tf.constant("a")])}

        @action(model="net", singleton=True)
        def step(self, net):
            errors = tf.linalg.matvec(self.x, net["w"]) - self.y
            net["w"] -= 0.1 * tf.linalg.matvec(self.x, errors, transpose_a=True)
            net["state"] = net["state"][0] + errors[0], [net["state"][1][0] + "b"]
            return self

    def outcome(pipeline):
        net = pipeline.m("net")
        return net["w"].numpy().tolist(), float(net["state"][0]), net["state"][1][0].numpy()

    assert goes_on(Rows, outcome, tmp_path)[2] == b"a" + b"b" * 10


@pytest.mark.tensorflow
def test_tensors_of_tensorflow_come_back_as_they_are():
    tf = pytest.importorskip("tensorflow")
    tensors = [
        tf.range(100.0), tf.constant(1.5, tf.bfloat16), tf.constant(["a", "b"]), tf.constant("x"),
        tf.zeros((0, 3)), tf.constant(True), tf.constant([1, 2], tf.uint8), tf.constant(1 + 2j),
    ]  # fmt: skip
    for tensor, back in zip(tensors, there_and_back(tensors), strict=True):
        assert (back.dtype, back.shape) == (tensor.dtype, tensor.shape)
        assert np.array_equal(back.numpy(), tensor.numpy())


# ---- any models: where parts of them stand


def test_numbers_beside_a_function_in_a_tuple_go_on(tmp_path):
    class Rows(ArrayBatch):
        components = "x", "y"

        @model()
        def net():
            return {"rule": (0.0, abs)}

        @action(model="net", singleton=True)
        def step(self, net):
            total, by = net["rule"]
            net["rule"] = total + float(by(self.x[0, 0])), by
            return self

    goes_on(Rows, lambda p: p.m("net")["rule"][0], tmp_path)


class Speed:
    def __init__(self):
        self.v = 0.0


@pytest.mark.parametrize("at_once", [True, False])
def test_models_that_become_one_are_one_again(tmp_path, at_once):
    class Rows(ArrayBatch):
        components = "x", "y"

        @model()
        def net():
            first = Speed()
            return {"now": first, "best": first if at_once else Speed()}

        @action(model="net", singleton=True)
        def step(self, net):
            net["now"].v += float(self.x[0, 0])
            net["best"] = net["now"]
            return self

    def outcome(pipeline):
        net = pipeline.m("net")
        assert net["now"] is net["best"]
        return net["now"].v

    goes_on(Rows, outcome, tmp_path)


def test_models_that_part_are_not_filled_into_one(tmp_path):
    class Rows(ArrayBatch):
        components = "x", "y"

        @model()
        def net():
            first = Speed()
            return {"now": first, "best": first}

        @action(model="net", singleton=True)
        def step(self, net):
            net["now"].v += 1.0
            if net["now"].v == 2:
                net["best"] = Speed()
            return self

    with pytest.raises(ArgumentValueError, match=r"'net'\['best'\].* an object of its own"):
        goes_on(Rows, lambda p: p.m("net")["best"].v, tmp_path)


def test_another_function_than_at_the_start_is_told(tmp_path):
    class Rows(ArrayBatch):
        components = "x", "y"

        @model()
        def net():
            return {"by": abs, "n": 0}

        @action(model="net", singleton=True)
        def step(self, net):
            net["by"] = round
            return self

    with pytest.raises(ArgumentValueError, match=r"'net'\['by'\].* round, and here it has abs"):
        goes_on(Rows, lambda p: p.m("net")["n"], tmp_path)


def test_a_variable_holds_named_tuples():
    value = {"a": Moments(1, (2, [3]), None)}
    back = there_and_back(value)
    assert back == value
    assert type(back["a"]) is Moments

    class Local(NamedTuple):
        x: int

    with pytest.raises(ArgumentTypeError, match=r"it\[0\] is a Local"):
        there_and_back([Local(1)])
    data = encoded(Moments(1, 2, 3), {}, "it")
    data["v"][1] = "Gone"
    with pytest.raises(ArgumentValueError, match=r"named tuple .*Gone of 3 parts"):
        decoded(data, {})
