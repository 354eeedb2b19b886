"""ArrayBatch: what is put in becomes arrays with one row per item, or is refused."""

import numpy as np
import pytest

from batchflow import ArgumentTypeError, ArgumentValueError, ArrayBatch, Batch, action


class Digits(ArrayBatch):
    components = "images", "labels"


class Convertible:
    """Something that NumPy can read, as tensors are."""

    def __array__(self, dtype=None, copy=None):
        return np.array([[1, 2], [3, 4]])


def assigned(value, n_items=2):
    batch = ArrayBatch(n_items)
    batch.data = value
    return batch.data


@pytest.mark.parametrize(
    "value",
    [
        [[1, 2], [3, 4]],
        ([1, 2], [3, 4]),
        [np.array([1, 2]), np.array([3, 4])],
        (np.array([1, 2]), [3, 4]),
        Convertible(),
        np.array([[1, 2], [3, 4]]),
        memoryview(np.array([[1, 2], [3, 4]])),
    ],
    ids=["lists", "tuple", "arrays", "mixed", "convertible", "array", "memoryview"],
)
def test_what_is_assigned_is_stacked(value):
    assert assigned(value).tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("name", ["images", "labels"])
def test_components_are_stacked(name):
    batch = Digits(2)
    setattr(batch, name, [[1, 2], [3, 4]])
    assert getattr(batch, name).shape == (2, 2)


def test_an_array_is_taken_as_it_is():
    array = np.arange(2)
    assert assigned(array) is array


def test_a_subclass_of_array_becomes_a_plain_array():
    class Special(np.ndarray):
        pass

    assert type(assigned(np.arange(2).view(Special))) is np.ndarray


def test_none_stays_none():
    assert assigned(None) is None


@pytest.mark.parametrize("name", ["images", "labels"])
def test_a_component_without_data_is_none(name):
    assert getattr(Digits(2), name) is None


@pytest.mark.parametrize("value", [[1, 2, 3], np.zeros((3, 2)), [1], []], ids=repr)
def test_a_wrong_number_of_items_is_refused_with_both_numbers(value):
    with pytest.raises(ArgumentValueError, match=rf"data: expected 2 items, got {len(value)}"):
        assigned(value)


def test_the_refusal_names_the_component():
    with pytest.raises(ArgumentValueError, match=r"Digits\.labels"):
        Digits(2).labels = [1]


def test_the_refusal_names_the_subclass():
    child = type("Child", (Digits,), {})
    with pytest.raises(ArgumentValueError, match=r"Child\.labels"):
        child(2).labels = [1]


@pytest.mark.parametrize(
    "value",
    [5, "ab", {"a": 1, "b": 2}, {1, 2}, object(), np.array(1)],
    ids=lambda value: repr(value).partition(" at 0x")[0],
)
def test_what_has_no_rows_is_refused(value):
    with pytest.raises(ArgumentTypeError, match=f"one row.*{type(value).__name__}"):
        assigned(value)


def test_a_generator_is_refused():
    with pytest.raises(ArgumentTypeError, match="generator"):
        assigned(i for i in range(2))


def test_items_of_different_shapes_are_refused_with_the_shapes_and_the_way_out():
    with pytest.raises(ArgumentValueError, match=r"0 \(1,\), 1 \(2,\).*Resize"):
        assigned([[1], [1, 2]])


def test_items_that_are_ragged_in_themselves_are_refused_in_words():
    with pytest.raises(ArgumentValueError, match=r"data"):
        assigned([[1, [2]], [3, [4, 5]]])


def test_a_refused_value_leaves_the_old_one():
    batch = Digits(2)
    batch.images = [1, 2]
    with pytest.raises(ArgumentValueError):
        batch.images = [1, 2, 3]
    assert batch.images.tolist() == [1, 2]


def test_data_of_a_batch_with_components_goes_to_the_components():
    batch = Digits(2)
    batch.data = [1, 2], [3, 4]
    assert [c.tolist() for c in batch.data] == [[1, 2], [3, 4]]


def test_data_of_a_batch_with_components_is_checked():
    with pytest.raises(ArgumentValueError, match=r"Digits\.labels: expected 2 items, got 3"):
        Digits(2).data = [1, 2], [1, 2, 3]


def test_components_of_two_array_batches_are_separate():
    one, two = Digits(2), Digits(2)
    one.images = [1, 2]
    assert two.images is None


def test_a_component_can_be_worked_on_in_place():
    batch = Digits(2)
    batch.images = [1.0, 2.0]
    batch.images *= 2
    assert batch.images.tolist() == [2, 4]


def test_an_item_writes_through():
    batch = Digits(["a", "b"])
    batch.images = [[1, 2], [3, 4]]
    batch["b"].images = 0
    assert batch.images.tolist() == [[1, 2], [0, 0]]


def test_a_subclass_that_declares_components_later_checks_them():
    class Plain(ArrayBatch):
        @action
        def touch(self):
            return self

    class Later(Plain):
        components = ("masks",)

    with pytest.raises(ArgumentValueError, match=r"Later\.masks"):
        Later(2).masks = [1]


def test_data_are_checked_however_components_come_and_go_in_subclasses():
    class Plain(ArrayBatch):
        pass

    class Later(Plain):
        components = ("masks",)

    class Bare(Later):
        components = ()

    for cls, value in ((Plain, [1]), (Later, ([1],)), (Bare, [1])):
        assert cls(2).data == ((None,) if cls is Later else None)
        with pytest.raises(ArgumentValueError, match=cls.__name__):
            cls(2).data = value


def test_a_property_of_the_users_is_the_data():
    class Doubled(ArrayBatch):
        @property
        def data(self):
            return 2 * self._data

    batch = Doubled(1)
    batch._data = np.array([3])
    assert batch.data == [6]


def test_components_of_a_plain_parent_are_checked_in_an_array_child():
    class Parent(Batch):
        components = ("masks",)

    class Child(Parent, ArrayBatch):
        pass

    with pytest.raises(ArgumentValueError, match=r"Child\.masks"):
        Child(2).masks = [1]


def test_a_batch_that_is_no_array_batch_takes_anything():
    batch = Batch(2)
    batch.data = {"whatever": 1}
    assert batch.data == {"whatever": 1}
