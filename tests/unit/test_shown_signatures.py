"""What `inspect.signature`, `help` and completion show of steps and of what begins a run."""

import inspect
import pydoc

import numpy as np
import pytest

from batchflow import ArrayBatch, Dataset, Pipeline, action, apply_parallel, inbatch_parallel, model
from batchflow.engine import RunKeywords, RunOptions
from batchflow.plan.builtin import BUILTINS


class Signals(ArrayBatch):
    components = "signals", "labels"

    @model()
    def net():
        return []

    @action
    def scale(self, factor: float, *, clip=None) -> "Signals":
        """Multiply the signals."""
        return self

    @action(model="net", singleton=True)
    def train(self, net, rate=0.1):
        return self

    @action
    def mix(self, other, share=0.5):
        return self

    @action
    def anything(*args, **kwargs):
        return args[0]

    @action
    @inbatch_parallel(init="signals")
    def shift(self, signal, n_samples=1):
        return signal

    @action
    @inbatch_parallel(init="pairs")
    def compare(self, first, second, limit):
        return first

    @action
    @apply_parallel(src="signals")
    def cut(self, signal, n_samples):
        return signal

    def pairs(self):
        return []


DATASET = Dataset.from_arrays(Signals, signals=np.ones(4), labels=np.arange(4))
HOW = "target=None, n_workers=None, timeout=None"


def shown(function):
    signature = inspect.signature(function)
    unannotated = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    return str(inspect.Signature(unannotated))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("scale", "(factor, *, clip=None)"),
        ("train", "(rate=0.1)"),
        ("anything", "(*args, **kwargs)"),
        ("shift", f"(n_samples=1, *, {HOW})"),
        ("compare", f"(*args, first=None, second=None, limit=None, {HOW})"),
        ("cut", f"(n_samples, *, src=None, dst=None, init=None, post=None, p=None, {HOW})"),
        ("load", "(src=None, fmt=None, components=None, *, dst=None)"),
        ("map", "(function, *, src=None, dst=None, over='items')"),
        ("filter", "(predicate, *, src=None, over='items')"),
        ("update", "(target, value, /, *, save_to=None)"),
        ("call", "(function, *args, save_to=None, **kwargs)"),
        ("predict_model", "(model, *args, fetches=None, save_to=None, **kwargs)"),
        ("rebatch", "(batch_size, fn=None, *, drop_last=None)"),
        ("merge", "(*others, fn=None)"),
        ("create_subset", "(ids, *, save_to=None)"),
    ],
)
def test_a_step_shows_its_own_arguments(name, arguments):
    assert shown(getattr(DATASET.p, name)) == arguments


def test_a_step_shows_its_annotations():
    assert inspect.signature(DATASET.p.scale).parameters["factor"].annotation is float


def test_a_step_shows_that_it_gives_a_pipeline():
    assert inspect.signature(DATASET.p.scale).return_annotation is Pipeline


@pytest.mark.parametrize("name", sorted(BUILTINS))
def test_no_built_in_step_shows_the_batch(name):
    assert "batch" not in inspect.signature(getattr(DATASET.p, name)).parameters


def test_a_built_in_step_shows_its_arguments_without_a_dataset():
    assert shown(Pipeline().map) == shown(DATASET.p.map)


def test_joined_batches_are_not_shown():
    assert shown(DATASET.p.join(DATASET).mix) == "(share=0.5)"


def test_a_load_behind_a_join_shows_no_source():
    assert (
        shown(DATASET.p.join(DATASET, DATASET).load) == "(fmt=None, components=None, *, dst=None)"
    )


def test_an_action_called_join_joins_nothing():
    class Own(ArrayBatch):
        @action
        def join(self, others):
            return self

        @action
        def mix(self, share):
            return self

    assert shown(Dataset(4, Own).p.join(1).mix) == "(share)"


def test_a_function_of_a_namespace_shows_its_arguments():
    def window(width, kind="hann"):
        return width

    space = type("Space", (), {"window": staticmethod(window)})
    arguments = shown(DATASET.p.add_namespace(space).window)
    assert arguments == "(width, kind='hann', *, save_to=None)"


def test_help_shows_arguments_and_docstring():
    text = pydoc.plain(pydoc.render_doc(DATASET.p.scale))
    assert "scale(factor: float, *, clip=None)" in text
    assert "Multiply the signals." in text


@pytest.mark.parametrize("name", [*BUILTINS, "scale", "train", "shift", "load"])
def test_completion_of_a_pipeline_knows_a_step(name):
    assert name in dir(DATASET.p)


# ---- what begins a run


OPTIONS = set(RunKeywords.__annotations__) - {"target"}


@pytest.mark.parametrize(
    "method",
    [
        *(getattr(DATASET, name) for name in ("gen_batch", "next_batch")),
        *(
            getattr(DATASET.p, name)
            for name in (
                *("run", "run_now", "run_later", "gen_batch", "next_batch", "feed"),
                *("replay", "debug"),
            )
        ),
    ],
    ids=lambda method: method.__qualname__,
)
def test_what_begins_a_run_shows_its_options(method):
    parameters = inspect.signature(method).parameters.values()
    assert {p.name for p in parameters if p.kind is p.KEYWORD_ONLY} >= OPTIONS


@pytest.mark.parametrize(
    ("name", "default"),
    [("n_epochs", 1), ("shuffle", False), ("prefetch", None), ("executor", "threads")],
)
def test_an_option_shows_its_default(name, default):
    assert inspect.signature(DATASET.p.run).parameters[name].default == default


def test_next_batch_shows_that_it_goes_on_for_ever():
    assert inspect.signature(DATASET.next_batch).parameters["n_epochs"].default is None


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_a_default_that_is_shown_is_taken(name):
    default = inspect.signature(DATASET.p.run).parameters[name].default
    given = RunOptions.parse(2, {name: default}, endless=False)
    assert given == RunOptions.parse(2, {}, endless=False)
