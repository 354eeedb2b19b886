"""Records: frozen values with fields."""

import copy
import inspect
import pickle
from functools import cached_property

import pytest

from batchflow import Checkpoint, Keep
from batchflow.records import Record


class Point(Record):
    x: int
    y: int = 2

    @cached_property
    def sum(self):
        return self.x + self.y


def test_fields_are_given_by_place_or_by_name_and_have_defaults():
    assert repr(Point(1)) == repr(Point(x=1, y=2)) == "Point(x=1, y=2)"


@pytest.mark.parametrize("args", [(), (1, 2, 3)])
def test_a_wrong_number_of_fields_is_refused(args):
    with pytest.raises(TypeError, match="Point takes x, y"):
        Point(*args)


@pytest.mark.parametrize("named", [{"x": 1}, {"z": 1}])
def test_a_field_given_twice_or_not_known_is_refused(named):
    with pytest.raises(TypeError, match="Point takes x, y"):
        Point(1, **named)


def test_a_record_is_frozen():
    point = Point(1)
    with pytest.raises(AttributeError, match="frozen: 'x' cannot be assigned"):
        point.x = 2
    with pytest.raises(AttributeError, match="frozen: 'x' cannot be deleted"):
        del point.x


def test_other_fields_make_another_record_which_computes_anew():
    point = Point(1)
    assert (point.sum, point._replace(y=5).sum, point.sum) == (3, 6, 3)


@pytest.mark.parametrize("again", [copy.copy, lambda p: pickle.loads(pickle.dumps(p))])
def test_what_is_computed_is_not_copied(again):
    point = Point(1)
    assert point.sum == 3
    assert vars(again(point)) == {"x": 1, "y": 2}


def test_help_shows_the_fields_and_their_defaults():
    assert str(inspect.signature(Point)) == "(x: int, y: int = 2)"
    assert not hasattr(Point(1), "__signature__")


def test_what_users_make_of_checkpoints_shows_its_arguments():
    assert list(inspect.signature(Keep).parameters) == ["last", "every", "best"]
    shown = inspect.signature(Checkpoint).parameters
    assert shown["directory"].default is inspect.Parameter.empty
    assert shown["every_n_batches"].default is None
    assert shown["keep"].default == Keep()
