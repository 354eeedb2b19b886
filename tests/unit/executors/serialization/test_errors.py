"""Errors that cannot be packed as they are: what arrives in their places."""

import pickle
import threading
from dataclasses import dataclass

import pytest

from batchflow.executors.exceptions import culprit, sendable
from batchflow.executors.serialization.pickling import Classes, dumps_whole

lock = threading.Lock()


class Locked(ValueError):
    def __init__(self, text):
        super().__init__(text)
        self.lock = threading.Lock()
        self.code = 7


class Slotted(OSError):
    __slots__ = ("kept", "lock")


class TwoArguments(Exception):
    def __init__(self, one, two):
        super().__init__(one)
        self.two = two


@dataclass(frozen=True)
class Frozen(Exception):
    code: int


def there(error):
    """Give what arrives of an error."""
    dumps = lambda value: dumps_whole(value, Classes())  # noqa: E731
    return pickle.loads(dumps(sendable(error, dumps)))


def test_the_type_and_all_that_can_be_packed_arrive():
    error = there(Locked("has a lock"))
    assert (type(error), error.args, error.code) == (Locked, ("has a lock",), 7)
    assert error.lock.startswith("<unlocked _thread.lock object")
    assert "its text: .lock, of type lock" in error.__notes__[-1]
    assert "in a worker process" in error.__notes__[0]


def test_arguments_and_slots_that_cannot_be_packed_arrive_as_text():
    error = Slotted(2, "no file", "name", threading.Lock())
    error.kept, error.lock = [1], threading.Lock()
    twin = there(error)
    assert (type(twin), twin.errno, twin.strerror, twin.kept) == (Slotted, 2, "no file", [1])
    assert "lock object at" in twin.lock


def test_members_of_a_group_arrive():
    group = ExceptionGroup("several", [KeyError(1), Locked("two"), TwoArguments(3, 4)])
    twin = there(group)
    assert (type(twin), twin.message) == (ExceptionGroup, "several")
    assert [type(member) for member in twin.exceptions] == [KeyError, Locked, TwoArguments]
    assert [member.args for member in twin.exceptions] == [(1,), ("two",), (3,)]


def test_cause_and_context_arrive():
    def fail():
        try:
            raise Locked("first")
        except Locked as error:
            raise TwoArguments("second", 2) from error

    with pytest.raises(TwoArguments) as caught:
        fail()
    twin = there(caught.value)
    assert (twin.args, twin.two) == (("second",), 2)
    assert (type(twin.__cause__), twin.__cause__.code) == (Locked, 7)
    assert twin.__suppress_context__


def test_errors_in_a_circle_arrive():
    one, two = ValueError(1), KeyError(2)
    one.__cause__, two.__cause__ = two, one
    assert type(there(one).__cause__) is KeyError


def test_a_class_that_cannot_be_packed_arrives_as_its_base_class():
    class Local(Locked):
        guard = threading.Lock()

        def __str__(self):
            return "told by itself"

    error = there(Local("text"))
    assert type(error) is Locked
    assert "told by itself" in str(error)
    assert any("Local could not travel" in note for note in error.__notes__)


def test_an_error_that_lets_nobody_set_its_attributes_arrives():
    error = there(Frozen(3))
    assert (type(error), error.code) == (Frozen, 3)


# ---- what cannot be packed


def test_the_culprit_is_found_behind_a_class_that_its_functions_mention():
    class Parent:
        def work(self):
            return [lock for _ in range(3)]

    class Child(Parent):
        def work(self):
            return super().work()

    dumps = lambda value: dumps_whole(value, Classes())  # noqa: E731
    told = culprit(Child, dumps, "it", TypeError("outer"))
    assert told.startswith("it, its base class Parent.work: its variable 'lock', of type lock")
