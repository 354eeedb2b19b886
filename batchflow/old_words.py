"""The words of an older batchflow that are not here: what to write instead, in a sentence each.

Whoever moves from it types them by habit, in pipelines, on batches, as options. An error that knows
the word says how the same is written now; the whole is in `docs/how-to/coming_from_older.md`.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any, Generic, Self, TypeVar, cast, overload

from batchflow.errors import ArgumentTypeError, UnknownAttributeError, did_you_mean

Method = TypeVar("Method", bound=Callable[..., Any])

# By what the word is an attribute, or an option, of.
OLD_WORDS: dict[str, dict[str, str]] = {
    "chain": {
        "acquire_lock": "Nothing: steps that share something are ordered.",
        "add_components": "Name it in the class, or load(values, dst=name): a new component.",
        "apply_transform": "apply_parallel(function, src=..., dst=...).",
        "apply_transform_all": "call(function, B.name, save_to=B.name): it gets all items.",
        "del_variable": "delete_variable(name).",
        "delete_all_variables": "delete_variables().",
        "dump": "An action of your own, or call(function, B.name): write each item's file there.",
        "gather_metrics": 'call(function, ..., save_to=V("metrics", "a")).',
        "get_model_by_name": "pipeline.m(name).",
        "init_lock": "Nothing: steps that share something are ordered.",
        "load_model_now": "load_model(name, path), or p.before.load_model(name, path).",
        "load_model_once": "load_model(name, path): it is taken once.",
        "plot_profile_info": "print(pipeline.last_profile), after run(profile=True).",
        "profile_info": "pipeline.last_profile, after run(profile=True).",
        "release_lock": "Nothing: steps that share something are ordered.",
        "reset_iter": 'reset("iter").',
        "save_data_to": "update(place, value), or save_to=place of the step that gives the value.",
        "save_model_now": "p.after.save_model(name, path).",
        "save_model_once": "p.after.save_model(name, path).",
        "save_to": "update(place, value), or save_to=place of the step that gives the value.",
        "set_config": "config >> pipeline, or dataset.pipeline(config).",
        "set_dataset": "dataset >> pipeline.",
        "show_profile_info": "print(pipeline.last_profile), after run(profile=True).",
        "update_config": "config >> pipeline: its entries win.",
        "update_variable": "update(V(name, mode), value).",
    },
    "batch": {
        "apply_transform": "batch.apply_parallel(function, src=..., dst=...).",
        "as_dataset": "Dataset.from_batch(batch).",
        "dump": "A method of your own that writes the files; batch.load reads them.",
        "from_batch": "MyBatch(batch.index, batch.data), or batch.deepcopy().",
        "from_data": "MyBatch(index, data).",
        "get_attrs": "A component for each, or attributes set in __init__.",
        "random": "batch.rng is a NumPy Generator.",
        "random_state": "batch.rng is a NumPy Generator.",
        "random_seed": "batch.rng is a NumPy Generator, made from the run's seed.",
        "run_once": 'init="run_once" of inbatch_parallel needs no method.',
        "put_into_data": "Assign to a component, or to batch.data.",
    },
    "dataset": {
        "CV": "dataset.cv0, dataset.cv1, ...; or loop over dataset.kfold(n).",
        "build_index": "Dataset(index, MyBatch): an index is made from ids by itself.",
        "create_index": "Dataset(index, MyBatch): an index is made from ids by itself.",
        "cv": "dataset.cv0, dataset.cv1, ...; or loop over dataset.kfold(n).",
        "from_dataset": "dataset.create_subset(ids).",
        "gen_pipeline": "dataset.p, and its steps.",
        "is_split": "dataset.train is None before a split.",
        "reset_iter": 'dataset.reset("iter").',
    },
    "index": {
        "build_index": "DatasetIndex(ids).",
        "build_pos": "index.get_pos(id).",
        "calc_split": "dataset.cv_split(shares).",
        "create_batch": "index.create_subset(ids); batches: dataset.create_batch(ids).",
        "cv_split": "dataset.cv_split(shares), or index.split(train=, validation=, test=).",
        "concat": "DatasetIndex([*first.indices, *second.indices]).",
        "from_index": "DatasetIndex(ids).",
        "gen_batch": "An index is not iterated in batches: dataset.gen_batch(batch_size).",
        "next_batch": "An index is not iterated in batches: dataset.next_batch(batch_size).",
        "reset": "An index knows no position of a reader: pipeline.reset().",
        "reset_iter": "An index knows no position of a reader: pipeline.reset().",
        "shuffle": "It is an option of the run: run(64, shuffle=True).",
        "subset_by_pos": "index.take(positions).",
        "test": "split returns the parts, and sets them at a dataset: dataset.test.",
        "train": "split returns the parts, and sets them at a dataset: dataset.train.",
        "validation": "split returns the parts, and sets them at a dataset: dataset.validation.",
    },
    "config": {
        "config": "A config is a mapping itself.",
        "flatten": "dict(config), or config by paths: config['a/b'].",
        "pop": "A config is a value: Config({k: v for k, v in config.items() if k != name}).",
        "put": "A config is a value: config = config.update({path: value}).",
        "set": "A config is a value: config = config.update({path: value}).",
    },
    "run": {
        "context": "p.before and p.after, or the with statement around run(...).",
        "ignore_exceptions": "raise SkipBatch where a batch may fail.",
        "notifier": "bar=True, or what to show: bar=V('loss').",
        "reset": 'pipeline.reset("all").run(...).',
        "use_tf_data": "pipeline.feed(...).to_keras().",
    },
    "action": {
        "no_eval": "W(expression) passes an expression on as it is.",
        "use_lock": "@action(singleton=True).",
    },
    "apply_parallel": {
        "requires_rng": "self.rng is a generator of the item's own: leave it out.",
        "rng_seeds": "self.rng is a generator of the item's own: leave it out.",
        "use_self": "A method gets the batch as self, a function does not: leave it out.",
    },
    "files": {
        "index": "FilesIndex(pattern), and create_subset(ids) of it.",
        "paths": "The first argument is a pattern, or several in a list.",
    },
    "random": {
        "rand": "R.random(size=...).",
        "randint": "R.integers(low, high).",
        "randn": "R.normal(size=...).",
        "random_integers": "R.integers(low, high, endpoint=True).",
        "random_sample": "R.random(size=...).",
        "seed": "The run's seed is the seed: run(64, seed=1).",
    },
    "split": {
        "shares": "Name the parts, split(train=0.7, test=0.2), or cv_split(shares).",
    },
    "step": {
        "make_data": 'What the model gets is written: train_model("net", F(make_data)(B())).',
        "mode": 'The mode is said with the variable: V("name", "a").',
        "use_lock": "Steps that share something are ordered: leave it out.",
    },
    "variable": {
        "create": "Declare it: init_variable(name, default).",
        "default": "Declare it: init_variable(name, default).",
        "init_value": "init_variable(name, default).",
        "lock": "Steps that write a variable are ordered: leave it out.",
        "mode": "update(V(name, mode), value) in a chain; set_variable assigns.",
    },
}


Value = TypeVar("Value")


class Word(Generic[Value]):
    """An attribute that is computed, and that an attribute of the object itself takes over.

    Unlike a property it has no `__set__`: what a user's class puts into its objects wins.
    """

    def __init__(self, function: Callable[[Any], Value], text: str) -> None:
        self._function = function
        self.__doc__ = text

    @overload
    def __get__(self, owner: None, cls: type) -> Self: ...
    @overload
    def __get__(self, owner: object, cls: type) -> Value: ...
    def __get__(self, owner: Any, cls: type) -> Any:
        """Return the value for an object; itself for a class."""
        return self if owner is None else self._function(owner)


class ClassWord:
    """A class method of an older batchflow: asked for, it says what to write instead."""

    def __init__(self, owner: str) -> None:
        self._owner = owner

    def __set_name__(self, cls: type, name: str) -> None:
        self._name = name

    def __get__(self, owner: object, cls: type) -> Any:
        """Refuse."""
        hint = old_word(self._name, self._owner)
        raise UnknownAttributeError(f"{cls.__name__} has no {self._name!r}.{hint}")


def old_word(word: object, *owners: str) -> str:
    """Return what to write instead of an old word: a sentence with a leading space, or nothing.

    Args:
        word: What was typed.
        owners: Where: keys of `OLD_WORDS`.
    """
    for owner in owners:
        if isinstance(word, str) and word in OLD_WORDS[owner]:
            return f" Instead: {OLD_WORDS[owner][word]}"
    return ""


def knows_old_options(
    owner: str, *, most: int | None = None, then: str = ""
) -> Callable[[Method], Method]:
    """Let a function say of an old option what to write instead.

    Args:
        owner: The key of its options in `OLD_WORDS`.
        most: The most arguments by position that a method takes.
        then: The old option that came after these.
    """

    def mark(method: Method) -> Method:
        known = inspect.signature(method).parameters
        is_init = method.__name__ == "__init__"
        shown = method.__qualname__.split(".")[-2] if is_init else method.__name__

        @wraps(method)
        def checked(*args: Any, **kwargs: Any) -> Any:
            extra = [then] if most is not None and len(args) > most + 1 else []
            for name in (*kwargs, *extra):
                if name not in known and (hint := old_word(name, owner)):
                    raise ArgumentTypeError(f"{shown}() has no option {name!r}.{hint}")
            return method(*args, **kwargs)

        return cast(Method, checked)

    return mark


def knows_old_split(method: Method) -> Method:
    """Let `split` of a dataset refuse a seed in the place where an older batchflow had one."""

    @wraps(method)
    def checked(self: Any, *args: Any, **kwargs: Any) -> Any:
        if len(args) > 1 and isinstance(args[0], float) and hasattr(args[1], "__index__"):
            share, number = args[:2]
            raise ArgumentTypeError(
                f"split({share}, {number!r}): a share and a number of items. In an older batchflow "
                f"the second was shuffle, split({share}, shuffle={number!r}); for so many items of "
                f"validation write split({share}, validation={number!r})"
            )
        return method(self, *args, **kwargs)

    return cast(Method, checked)


def knows_old_order(method: Method) -> Method:
    """Let `init_model` say in which order its arguments come here."""
    modes, known = ("static", "dynamic"), inspect.signature(method).parameters

    @wraps(method)
    def checked(self: Any, *args: Any, **kwargs: Any) -> Any:
        word = method.__name__
        if args and isinstance(args[0], str) and args[0] in modes and len(args) > 1:
            is_named = len(args) > 2 and isinstance(args[2], str) and args[2] not in modes
            name = args[2] if is_named else kwargs.get("name", "net")
            if is_named or "name" in kwargs or not (len(args) > 2 or "mode" in kwargs):
                raise ArgumentTypeError(
                    f"{word}({args[0]!r}, ...): the name of the model comes first: "
                    f"{word}({name!r}, ModelClass, {args[0]!r}, ...)"
                )
        if "model_class" in kwargs and "model_class" not in known:
            raise ArgumentTypeError(
                f"{word}() has no option 'model_class'. Instead: {word}(name, ModelClass, mode)."
            )
        return method(self, *args, **kwargs)

    return cast(Method, checked)


def warn_of_old_word(word: str, batch_class: type) -> None:
    """Warn of an old word in a chain without a dataset, unless some batch class has such an action.

    It is no error there: a class that comes later may have it.

    Args:
        word: What is chained.
        batch_class: The parent of all batch classes.
    """
    hint = old_word(word, "chain")
    classes = [batch_class]
    while hint and classes:
        cls: Any = classes.pop()
        if word in cls._actions:
            return
        classes += cls.__subclasses__()
    if hint:
        warnings.warn(
            f"{word!r} is a word of an older batchflow, and no batch class has an action of this "
            f"name yet.{hint}",
            stacklevel=3,
        )


def where_it_is(dataset: Any, name: str) -> str:
    """Return the message for an attribute that a dataset does not have, with what has it."""
    lacks = f"a {type(dataset).__name__} has no {name!r}"
    if "batch_class" not in dataset.__dict__:  # not yet made
        return f"{lacks}."
    if old := old_word(name, "dataset"):
        return f"{lacks}.{old}"
    if name == "components" or name in dataset.batch_class.components:
        return f"{lacks}: its batches have, dataset.create_batch(ids).{name}"
    hint = did_you_mean(name, [n for n in dir(dataset) if n[0] != "_"], only_near=True)
    of_pipelines = dir(dataset.p)
    if name in of_pipelines or not hint:
        hint = did_you_mean(name, of_pipelines, only_near=True)
        hint = hint.replace("'", "dataset.p.", 1).replace("'", "")
    return f"{lacks}.{hint}"
