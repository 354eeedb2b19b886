"""Document 000: the arguments of `BaseModel`, and what its call returns."""

import functools
import inspect
import itertools

import pytest
from models.document_000.rows import row
from models.document_kit import keras

from batchflow.models import (
    BaseModel,
    Classifier,
    EstimatorSpec,
    Generator,
    Modes,
    Regressor,
)

pytestmark = pytest.mark.tensorflow

KINDS = {"Regressor": Regressor, "Classifier": Classifier, "Generator": Generator}
TYPES = [*KINDS, "RL"]


def graph_fn(mode, features):
    return keras.layers.Dense(1, name="out")(features)


def tensors():
    return keras.Input((3,), name="x"), keras.Input((1,), name="y")


def base_model(mode="train", model_type="Regressor", graph_fn=graph_fn, loss="mse", **options):
    return BaseModel(mode, model_type, graph_fn, loss, **{"summaries": None, **options})


# ---- the signature


@row("BaseModel.defaults")
def test_arguments_have_the_documented_order_and_defaults(row):
    def documented(
        mode,
        model_type,
        graph_fn,
        loss,
        optimizer=None,
        metrics=None,
        summaries="all",
        clip_gradients=0.5,
        clip_embed_gradients=0.1,
        name="Model",
    ): ...

    def names_and_defaults(function):
        return [(p.name, p.default) for p in inspect.signature(function).parameters.values()]

    assert names_and_defaults(BaseModel) == names_and_defaults(documented)
    without_type = [pair for pair in names_and_defaults(documented) if pair[0] != "model_type"]
    for kind in KINDS.values():
        assert names_and_defaults(kind)[:-1] == without_type[:-1]


DOCUMENTED = {
    "_clip_gradients_fn": ["grads_and_vars"],
    "_build_optimizer": [],
    "_build_summary_op": ["results", "features", "labels"],
    "_build_loss": ["results", "features", "labels"],
    "_build_eval_metrics": ["results", "features", "labels"],
    "_build_train_op": ["loss"],
    "_preprocess": ["features", "labels"],
    "_build_predictions": ["results", "features", "labels"],
    "_build": ["features", "labels", "params", "config"],
    "batch_size": ["features", "labels"],
}


@row("BaseModel.defaults")
@pytest.mark.parametrize("method", DOCUMENTED)
def test_methods_have_the_documented_parameters(row, method):
    parameters = inspect.signature(getattr(base_model(), method)).parameters
    assert list(parameters) == DOCUMENTED[method]
    optional = {"_build_summary_op": 3, "_build": 2}.get(method, 0)
    for parameter in list(parameters.values())[len(parameters) - optional :]:
        assert parameter.default is None


# ---- mode and type


@row("BaseModel.mode", "BaseModel.returns", "graph_fn.mode")
@pytest.mark.parametrize(
    "given", [Modes.TRAIN, "train", Modes.EVAL, "eval", Modes.PREDICT, "infer"]
)
def test_a_mode_decides_what_a_spec_has(row, given):
    seen = []

    def graph_fn(mode, features):
        seen.append(mode)
        return keras.layers.Dense(1)(features)

    x, y = tensors()
    is_infer = given == "infer"
    spec = base_model(given, graph_fn=graph_fn)(x, None if is_infer else y)
    assert isinstance(spec, EstimatorSpec)
    assert seen == [spec.mode] == [given]
    assert isinstance(spec.mode, Modes)
    assert (spec.loss is None) == is_infer
    assert (spec.train_op is not None) == (given == "train")
    assert ("losses" in spec.predictions) == (not is_infer)
    assert (spec.export_outputs is not None) == is_infer


@row("BaseModel.mode")
@pytest.mark.parametrize("wrong", ["training", "predict", "", None, 1])
def test_an_unknown_mode_is_refused(row, wrong):
    with pytest.raises(ValueError, match=r"'train', 'eval', 'infer'"):
        base_model(wrong)


@row("BaseModel.mode")
def test_modes_tell_what_they_are(row):
    assert Modes.is_train("train")
    assert Modes.is_eval("eval")
    assert Modes.is_infer("infer")
    assert not any([Modes.is_train("eval"), Modes.is_eval("infer"), Modes.is_infer("train")])
    values = {"TRAIN": "train", "EVAL": "eval", "PREDICT": "infer"}
    assert {name: str(Modes[name]) for name in values} == values


@row(
    "BaseModel.model_type",
    "model_type.Regressor",
    "model_type.Classifier",
    "model_type.Generator",
    "model_type.RL",
)
@pytest.mark.parametrize("model_type", TYPES)
def test_models_of_each_type_are_built_in_each_mode(row, model_type):
    for mode in ("train", "eval", "infer"):
        x, y = tensors()
        model = base_model(mode, model_type)
        assert model.model_type == model_type
        assert model(x, y).predictions["results"].shape == (None, 1)


@row("BaseModel.model_type")
@pytest.mark.parametrize("wrong", ["regressor", "Model", None, 3])
def test_an_unknown_type_is_refused(row, wrong):
    with pytest.raises(ValueError, match="'Regressor', 'Classifier', 'Generator', 'RL'"):
        base_model(model_type=wrong)


@row("BaseModel.TypeError")
@pytest.mark.parametrize("model_type", ["Regressor", "Classifier", "RL"])
@pytest.mark.parametrize("mode", [Modes.GENERATE, Modes.ENCODE, "generate", "encode"])
def test_modes_of_generators_are_refused_for_other_types(row, mode, model_type):
    with pytest.raises(TypeError, match=model_type):
        base_model(mode, model_type)
    if model_type in KINDS:
        with pytest.raises(TypeError, match=model_type):
            KINDS[model_type](mode, graph_fn, "mse", summaries=None)


@row("model_type.Generator", "BaseModel.mode")
@pytest.mark.parametrize("mode", [Modes.GENERATE, Modes.ENCODE])
def test_generators_have_modes_of_their_own(row, mode):
    x, _ = tensors()
    spec = Generator(mode, graph_fn, "mse", summaries=None)(x)
    assert spec.mode == mode
    assert "results" in spec.predictions
    assert spec.loss is None


@row("model_type.Generator")
def test_a_generator_without_labels_makes_its_features_again(row):
    def autoencoder(mode, features):
        return keras.layers.Dense(3)(features)

    x, _ = tensors()
    assert Generator("train", autoencoder, "mse", summaries=None)(x).loss.shape == ()


@row("model_type.Regressor", "model_type.Classifier", "model_type.Generator")
@pytest.mark.parametrize("name", KINDS)
def test_a_kind_fixes_its_type(row, name):
    model = KINDS[name]("train", graph_fn, "mse", summaries=None)
    assert isinstance(model, BaseModel)
    assert model.model_type == name
    with pytest.raises(TypeError):
        KINDS[name]("train", graph_fn, "mse", model_type="RL")


# ---- graph_fn


def in_any_order():
    """Give functions of each set of parameters, in each order."""
    sets = [("mode", "inputs"), ("mode", "features")]
    sets += [(*names, "labels") for names in sets]
    return [", ".join(order) for names in sets for order in itertools.permutations(names)]


@row("BaseModel.graph_fn", "graph_fn.mode", "graph_fn.inputs")
@pytest.mark.parametrize("parameters", in_any_order())
def test_graph_fn_gets_what_it_names_in_any_order(row, parameters):
    seen = {}

    def take(**given):
        seen.update(given)
        return keras.layers.Dense(1)(given.get("inputs", given.get("features")))

    call = ", ".join(f"{name}={name}" for name in parameters.split(", "))
    graph_fn = eval(f"lambda {parameters}: take({call})", {"take": take})
    x, y = tensors()
    base_model(graph_fn=graph_fn)(x, y)
    expected = {"mode": "train", "inputs": x, "features": x, "labels": y}
    assert seen.keys() == set(parameters.split(", "))
    assert all(seen[name] is expected[name] or seen[name] == "train" for name in seen)


class Graph:
    def __call__(self, mode, features):
        return graph_fn(mode, features)

    def method(self, features, mode):
        return graph_fn(mode, features)

    @staticmethod
    def static(mode, inputs):
        return graph_fn(mode, inputs)

    @classmethod
    def of_class(cls, inputs, mode):
        return graph_fn(mode, inputs)


CALLABLES = {
    "an object": Graph(),
    "a bound method": Graph().method,
    "a static method": Graph.static,
    "a class method": Graph.of_class,
    "a partial": functools.partial(lambda n, mode, features: graph_fn(mode, features), 3),
    "a partial by name": functools.partial(lambda mode, features, n: graph_fn(mode, features), n=3),
    "any names": lambda **given: graph_fn(given["mode"], given["features"]),
    "a default": lambda mode, features, n=3: graph_fn(mode, features),
}


@row("BaseModel.graph_fn")
@pytest.mark.parametrize("kind", CALLABLES)
def test_graph_fn_may_be_anything_that_can_be_called(row, kind):
    x, y = tensors()
    assert base_model(graph_fn=CALLABLES[kind])(x, y).loss.shape == ()


@row("BaseModel.graph_fn")
@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (None, ValueError),
        (lambda features: features, ValueError),
        (lambda mode: mode, ValueError),
        (lambda mode, features, nothing: features, ValueError),
        ("graph", TypeError),
    ],
)
def test_a_graph_fn_that_cannot_be_called_so_is_refused_at_once(row, wrong, error):
    with pytest.raises(error, match="graph_fn"):
        base_model(graph_fn=wrong)


@row("BaseModel.graph_fn")
@pytest.mark.parametrize("wrong", [None, 1.0, {}])
def test_a_graph_fn_that_returns_no_tensors_is_refused(row, wrong):
    x, y = tensors()
    with pytest.raises(TypeError, match="graph_fn returns"):
        base_model(graph_fn=lambda mode, features: wrong)(x, y)


# ---- name, loss, and what is made of a configuration


@row("BaseModel.name")
@pytest.mark.parametrize("name", ["Model", "digits", "a-1_b"])
def test_everything_is_inside_the_scope_of_the_name(row, name):
    x, y = tensors()
    spec = base_model(name=name)(x, y)
    net = keras.Model([x, y], spec.loss)
    assert net.weights
    assert all(f"/{weight.path}".startswith(f"/{name}/") for weight in net.weights)


@row("BaseModel.name")
def test_the_default_names_are_those_of_the_classes(row):
    assert base_model().name == "Model"
    assert {kind("eval", graph_fn, "mse").name for kind in KINDS.values()} == set(KINDS)


@row("BaseModel.name")
@pytest.mark.parametrize("wrong", ["_hidden", "", None, "a b", "a.b", "a/b"])
def test_a_name_that_is_no_scope_is_refused(row, wrong):
    with pytest.raises(ValueError, match="name"):
        base_model(name=wrong)


@row("BaseModel.clip_gradients", "BaseModel.clip_embed_gradients")
@pytest.mark.parametrize("argument", ["clip_gradients", "clip_embed_gradients"])
def test_a_threshold_is_a_number(row, argument):
    for good in (0.5, 1, 0, None):
        assert getattr(base_model(**{argument: good}), argument) == good
    with pytest.raises(TypeError, match=argument):
        base_model(**{argument: "0.5"})


@row("BaseModel.mode", "BaseModel.model_type", "BaseModel.loss")
def test_a_model_is_made_of_a_dictionary_of_its_arguments(row):
    config = {
        "mode": "eval",
        "graph_fn": graph_fn,
        "loss": {"class_name": "Huber", "config": {"delta": 2.0}},
        "optimizer": {"class_name": "SGD", "config": {"learning_rate": 0.5}},
        "metrics": ["mae"],
        "summaries": ["loss"],
        "clip_gradients": 0.3,
        "clip_embed_gradients": 0.2,
        "name": "made",
    }
    for cls, more in [(BaseModel, {"model_type": "RL"}), *((kind, {}) for kind in KINDS.values())]:
        model = cls.from_config({**config, **more})
        assert type(model) is cls
        assert model.clip_gradients == 0.3
        assert float(model._build_optimizer().learning_rate) == 0.5
        x, y = tensors()
        assert list(model(x, y).eval_metric_ops) == ["mae"]


@row("BaseModel.mode")
@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"mode": "train", "graph_fn": graph_fn, "loss": "mse", "metric": []}, "metric"),
        ({"mode": "train", "graph_fn": graph_fn}, "loss"),
    ],
)
def test_a_dictionary_of_other_arguments_is_refused(row, config, text):
    with pytest.raises(TypeError, match=text):
        Regressor.from_config(config)
