"""Faults of an older batchflow, D: items are found by id, and wrong data is refused."""

import numpy as np
import pytest

from batchflow import ArrayBatch, Batch, Dataset, action

from .conftest import each_prefetch, run_program

SOURCE = np.array([100, 101, 102, 103])


class Parts(ArrayBatch):
    components = "src", "double"

    @action
    def items_by_id(self, seen):
        for item in self.indices.tolist():
            seen[item] = int(self[item].src), int(self[item].double)
        return self


PARTS = Dataset.from_arrays(Parts, src=SOURCE, double=SOURCE * 2)


# ---- D1: by id, not by position


@pytest.mark.parametrize("batch_class", [Batch, ArrayBatch])
def test_d1_an_item_is_found_by_its_id(batch_class):
    b = Dataset(4, batch_class, preloaded=SOURCE).create_batch([2, 0, 1])
    assert [b[2], b[0], b[1]] == [102, 100, 101]


@pytest.mark.parametrize("batch_class", [Batch, ArrayBatch])
def test_d1_items_are_iterated_in_the_order_of_the_batch(batch_class):
    b = Dataset(4, batch_class, preloaded=SOURCE).create_batch([2, 0, 1])
    assert list(b) == [102, 100, 101]


def test_d1_an_item_with_components_is_found_by_its_id():
    b = PARTS.create_batch([2, 0, 1])
    assert (b[2].src, b[2].double) == (102, 204)


def test_d1_items_with_components_are_iterated_in_the_order_of_the_batch():
    b = PARTS.create_batch([2, 0, 1])
    assert [(item.src, item.double) for item in b] == [(102, 204), (100, 200), (101, 202)]


@each_prefetch
@pytest.mark.parametrize("shuffle", [False, 7])
def test_d1_items_of_every_batch_of_a_run_are_found_by_id(prefetch, shuffle):
    seen = {}
    PARTS.p.items_by_id(seen).run(2, shuffle=shuffle, prefetch=prefetch)
    assert seen == {i: (100 + i, 2 * (100 + i)) for i in range(4)}


def test_d1_items_with_string_ids_are_found_by_id():
    b = Dataset(["a", "b", "c", "d"], ArrayBatch, preloaded=SOURCE).create_batch(["c", "a"])
    assert (b["c"], b["a"]) == (102, 100)


def test_d1_an_item_is_written_by_its_id():
    b = Dataset(4, ArrayBatch, preloaded=SOURCE).create_batch([2, 0, 1])
    b[0] = 7
    assert b.data.tolist() == [102, 7, 101]


def test_d1_a_component_of_an_item_is_written_by_its_id():
    b = PARTS.create_batch([2, 0, 1])
    b[0].src = 7
    assert b.src.tolist() == [102, 7, 101]


def test_d1_a_position_that_is_no_id_of_the_batch_is_refused():
    second = list(PARTS.gen_batch(2))[1]
    with pytest.raises(KeyError, match=r"no item with the id 0; its ids are \[2, 3\]"):
        second[0]


# ---- D2: numpy only


def test_d2_components_work_where_pandas_is_not_installed():
    done = run_program("""
        import numpy as np
        sys.modules["pandas"] = None  # importing it fails
        class Parts(Batch):
            components = "a", "b"
        dataset = Dataset.from_arrays(Parts, a=np.arange(4), b=np.arange(4) * 2)
        for batch in dataset.gen_batch(2, shuffle=True, prefetch=2, seed=1):
            batch.a = batch.a + batch.b
            assert [item.a for item in batch] == (3 * batch.indices).tolist()
        print("done")
        """)
    assert (done.stdout, done.stderr) == ("done\n", "")


# ---- D10: wrong names, data and ids


@pytest.mark.parametrize("where", ["batch", "batch.data", "batch[0]"])
def test_d10_an_attribute_that_does_not_exist_is_an_attribute_error(where):
    b = PARTS.create_batch([2, 0, 1])
    with pytest.raises(AttributeError, match="no_such"):
        _ = {"batch": b, "batch.data": b.data, "batch[0]": b[0]}[where].no_such


def test_d10_a_misspelt_component_of_an_item_is_refused_with_a_suggestion():
    b = PARTS.create_batch([2, 0, 1])
    with pytest.raises(AttributeError, match=r"no component 'duble'.*Did you mean 'double'"):
        _ = b[0].duble


def test_d10_a_misspelt_component_of_an_item_cannot_be_written():
    b = PARTS.create_batch([2, 0, 1])
    with pytest.raises(AttributeError, match="Did you mean 'double'"):
        b[0].duble = 1


WRONG_LENGTHS = {
    "a tuple": (np.arange(10), np.arange(3)),
    "a mapping": {"src": np.arange(3), "double": np.arange(10)},
}


@pytest.mark.parametrize("given", WRONG_LENGTHS)
def test_d10_preloaded_data_of_another_length_is_refused_with_both_lengths(given):
    with pytest.raises(ValueError, match=r"index has 10 items.*3 rows"):
        Dataset(10, Parts, preloaded=WRONG_LENGTHS[given])


@pytest.mark.parametrize("n_rows", [3, 11])
def test_d10_a_preloaded_array_of_another_length_is_refused(n_rows):
    with pytest.raises(ValueError, match=f"10 items.*{n_rows} rows"):
        Dataset(10, ArrayBatch, preloaded=np.arange(n_rows))


WRONG_PARTS = {
    "too few": (np.arange(10),),
    "too many": (np.arange(10),) * 3,
    "one array for two components": np.arange(10),
    "an unknown name": {"src": np.arange(10), "duble": np.arange(10)},
}


@pytest.mark.parametrize("given", WRONG_PARTS)
def test_d10_preloaded_data_that_does_not_fit_the_components_is_refused(given):
    with pytest.raises(TypeError, match="double"):
        Dataset(10, Parts, preloaded=WRONG_PARTS[given])


def test_d10_preloaded_data_that_is_no_array_is_refused():
    with pytest.raises(TypeError, match="one row for each item"):
        Dataset(10, ArrayBatch, preloaded=5)


@pytest.mark.parametrize("foreign", [[100], [0, 100], 100, ["a"]])
def test_d10_a_batch_of_a_foreign_id_is_refused(foreign):
    with pytest.raises(KeyError, match="no item with the id"):
        Dataset(10, ArrayBatch).create_batch(foreign)


def test_d10_a_batch_with_an_id_twice_is_refused():
    with pytest.raises(ValueError, match=r"unique.*\[1\]"):
        Dataset(10, ArrayBatch).create_batch([1, 2, 1])


@pytest.mark.parametrize("item", [3, np.int64(3)])
def test_d10_a_batch_of_one_int_is_the_batch_of_that_id(item):
    b = Dataset(10, ArrayBatch, preloaded=np.arange(10) * 10).create_batch(item)
    assert (b.indices.tolist(), b.data.tolist()) == ([3], [30])
