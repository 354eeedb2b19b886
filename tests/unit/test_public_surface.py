"""What `import batchflow` gives, and what it does not load."""

import builtins
import importlib
import inspect
import pkgutil
import re
import types

import pytest
from own_process import run_alone

import batchflow
from batchflow import errors
from batchflow.plan.builtin import BUILTINS

HEAVY = ["tensorflow", "keras", "torch", "jax", "pandas", "dill", "tqdm", "ray", "matplotlib"]
MODULES = sorted(
    module.name for module in pkgutil.walk_packages(batchflow.__path__, prefix="batchflow.")
)


def test_all_is_sorted():
    assert list(batchflow.__all__) == sorted(batchflow.__all__)


def test_all_is_what_can_be_imported():
    public = {
        name
        for name, value in vars(batchflow).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    public |= set(batchflow._ON_USE)
    assert public == set(batchflow.__all__)


def test_the_only_public_modules_are_those_of_the_package():
    modules = {
        value.__name__
        for name, value in vars(batchflow).items()
        if not name.startswith("_") and isinstance(value, types.ModuleType)
    }
    assert modules <= set(MODULES)


def test_a_star_import_brings_all():
    namespace = {}
    exec("from batchflow import *", namespace)
    assert {n for n in namespace if not n.startswith("__")} == set(batchflow.__all__)


def test_all_of_a_module_exists():
    for name in MODULES:
        module = importlib.import_module(name)
        lacking = [n for n in getattr(module, "__all__", ()) if not hasattr(module, n)]
        assert lacking == [], name


def test_every_public_name_has_a_docstring():
    assert [name for name in batchflow.__all__ if not getattr(batchflow, name).__doc__] == []


def docstrings():
    for name in batchflow.__all__:
        value = getattr(batchflow, name)
        yield value.__doc__
        if isinstance(value, type):
            own = (member for key, member in inspect.getmembers(value) if key[0] != "_")
            yield from (member.__doc__ for member in own if callable(member))
    yield from (builtin.function.__doc__ for builtin in BUILTINS.values())


def test_what_help_texts_name_can_be_imported():
    words = set(re.findall(r"`([A-Z]\w+)(?=[`(\[.])", " ".join(filter(None, docstrings()))))
    words -= {"Generator", "RandomState", "DataLoader", "MyBatch"}  # of NumPy, torch, users
    assert {word for word in words if not hasattr(batchflow, word)} <= set(dir(builtins))


def test_import_is_light():
    code = f"import sys, batchflow; print(sorted(set(sys.modules) & set({HEAVY})))"
    assert run_alone(code, flags=["-W", "error"]).stdout.strip() == "[]"


def test_what_few_name_is_imported_on_use():
    code = "import sys, batchflow; print(batchflow.Report, 'batchflow.interop' in sys.modules)"
    assert run_alone(code).stdout.split()[-1] == "False"


def test_an_unknown_name_of_the_package_is_refused():
    with pytest.raises(AttributeError, match="no attribute 'Datset'"):
        batchflow.Datset  # noqa: B018


def test_a_run_without_a_bar_loads_nothing_more():
    code = (
        "import sys, batchflow as bf\n"
        "bf.Dataset(4).p.run(2, prefetch=2, shuffle=1)\n"
        f"print(sorted(set(sys.modules) & set({HEAVY})))"
    )
    assert run_alone(code, flags=["-W", "error"]).stdout.strip() == "[]"


# ---- the tree of errors


OWN = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, Exception)
]


@pytest.mark.parametrize(
    "kind", [k for k in OWN if k.__name__.endswith("Error")], ids=lambda k: k.__name__
)
def test_every_error_is_a_batchflow_error(kind):
    assert issubclass(kind, batchflow.BatchflowError)


@pytest.mark.parametrize("kind", OWN, ids=lambda k: k.__name__)
def test_every_error_and_signal_is_public(kind):
    assert getattr(batchflow, kind.__name__) is kind


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        ("ArgumentTypeError", TypeError),
        ("ArgumentValueError", ValueError),
        ("UnknownAttributeError", AttributeError),
        ("UnknownNameError", KeyError),
        ("ActionResultError", TypeError),
        ("ModelDefinitionError", TypeError),
        ("RunClosedError", RuntimeError),
    ],
)
def test_an_error_is_also_the_builtin_that_fits(kind, builtin):
    assert issubclass(getattr(batchflow, kind), builtin)


@pytest.mark.parametrize("signal", [batchflow.SkipBatch, batchflow.StopPipeline])
def test_signals_are_no_errors_of_ours(signal):
    assert not issubclass(signal, batchflow.BatchflowError)


def test_an_unknown_name_reads_as_a_sentence():
    assert str(batchflow.UnknownNameError("no item 'a'")) == "no item 'a'"


@pytest.mark.parametrize(
    ("word", "known", "hint"),
    [
        ("shufle", ["shuffle", "seed"], " Did you mean 'shuffle'?"),
        ("zzz", ["b", "a"], " Known: 'a', 'b'."),
        ("zzz", [f"k{i:02}" for i in range(20)], ", ...."),
        ("zzz", [], ""),
        (5, ["a"], " Known: 'a'."),
    ],
)
def test_did_you_mean_gives_the_nearest_or_the_list(word, known, hint):
    assert errors.did_you_mean(word, known).endswith(hint)
