"""What is misspelt, or looked for in the wrong place, is told where it is."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
from kit import Rows

from batchflow import Batch, Dataset, Pipeline, UnknownAttributeError, action
from batchflow.plan import Where


@pytest.fixture
def dataset():
    return Dataset.from_arrays(Rows, x=np.arange(8), y=np.arange(8))


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [
        ("rum", "run"),
        ("gen_batches", "gen_batch"),
        ("next_bach", "next_batch"),
        ("init_varable", "init_variable"),
        ("replai", "replay"),
        ("run_latter", "run_later"),
        ("scal", "scale"),
        ("rebach", "rebatch"),
        ("fed", "feed"),
    ],
)
def test_a_misspelt_word_of_a_pipeline_is_corrected(dataset, misspelt, meant):
    with pytest.raises(UnknownAttributeError, match=f"Did you mean '{meant}'"):
        getattr(dataset.p, misspelt)


def test_a_misspelt_word_in_a_piece_is_corrected_over_a_dataset(dataset):
    with pytest.raises(UnknownAttributeError, match="Did you mean 'run'"):
        dataset >> Pipeline().rum(2)


@pytest.mark.parametrize("word", ["shuffle", "batch", "prefetch", "repeat", "fit"])
def test_what_others_chain_is_told_to_be_elsewhere(dataset, word):
    with pytest.raises(UnknownAttributeError, match=r"run\("):
        getattr(dataset.p, word)


def test_an_action_with_a_name_of_others_is_an_action():
    class Shuffling(Batch):
        @action
        def shuffle(self):
            return self

    assert len(Dataset(2, Shuffling).p.shuffle().next_batch(2)) == 2


def test_a_loop_over_a_dataset_is_told_of_its_batches(dataset):
    with pytest.raises(TypeError, match=r"dataset\.gen_batch\(batch_size\)"):
        list(dataset)


def test_an_item_of_a_dataset_is_told_to_be_in_a_batch(dataset):
    with pytest.raises(TypeError, match=r"dataset\.create_batch\(ids\)"):
        dataset[0]


@pytest.mark.parametrize("name", ["run", "scale", "load", "train_model", "rum"])
def test_what_a_dataset_lacks_is_told_to_be_in_its_pipeline(dataset, name):
    meant = name.replace("rum", "run")
    with pytest.raises(UnknownAttributeError, match=rf"Did you mean dataset\.p\.{meant}\?"):
        getattr(dataset, name)


def test_a_misspelt_word_of_a_dataset_is_corrected(dataset):
    with pytest.raises(AttributeError, match="Did you mean 'split'"):
        dataset.splitt(0.8)


@pytest.mark.parametrize("copied", [copy.copy, lambda d: pickle.loads(pickle.dumps(d))])
def test_a_dataset_is_copied_as_before(dataset, copied):
    assert len(copied(dataset)) == 8


def test_percents_in_a_split_are_told_to_be_shares(dataset):
    with pytest.raises(ValueError, match=r"80 of 8 items.*for 80 percent write 0\.8"):
        dataset.split(80)


def defined_anew(name):
    """A dataset of a class, and the module where the name means another class by then."""
    module = sys.modules[__name__]
    for _ in range(2):
        older = getattr(module, name, None)
        new = type(name, (Batch,), {"__module__": __name__, "log": action(_log)})
        setattr(module, name, new)
    return Dataset(2, older)


def _log(self):
    return self


def test_a_dataset_of_an_older_class_says_so():
    assert "Anew (an older one: the name means another class now)" in repr(defined_anew("Anew"))


def test_a_dataset_of_the_class_of_now_says_nothing(dataset):
    assert repr(dataset) == "<Dataset of 8 items, Rows>"


def test_a_class_made_in_a_function_is_not_older():
    class Local(Batch):
        pass

    assert repr(Dataset(2, Local)) == "<Dataset of 2 items, Local>"


def test_an_action_that_only_the_newer_class_has_is_told_so():
    with pytest.raises(UnknownAttributeError, match="make the dataset and the pipeline again"):
        defined_anew("Again").p.fresh()


IN_CELLS = """
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance()
for cell in (
    "import numpy as np",
    "from batchflow import ArrayBatch, Dataset, action\\n"
    "class Rows(ArrayBatch):\\n"
    "    @action\\n"
    "    def fail(self):\\n"
    "        raise ValueError('no')",
    "pipeline = (\\n"
    "    Dataset.from_arrays(Rows, data=np.arange(4)).p\\n"
    "    .fail())",
    "print(repr(pipeline))",
    "try:\\n"
    "    pipeline.run(2)\\n"
    "except ValueError as error:\\n"
    "    print(error.__notes__)",
):
    shell.run_cell(cell, store_history=True).raise_error()
"""


def test_a_place_in_a_notebook_is_told_as_ipython_names_it():
    pytest.importorskip("IPython")
    command = [sys.executable, "-c", IN_CELLS]
    told = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    assert "fail()  at In[3], line 3" in told
    assert "chained at In[3], line 3" in told


def test_a_place_in_a_file_is_told_as_file_and_line():
    assert str(Where("pipes.py", 7)) == "pipes.py:7"
