"""What the code of a function tells of the attributes that it reads."""

import functools
import warnings
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchflow import ArrayBatch
from batchflow.batch.items.reads import ITEM, paths_read


class Base(ArrayBatch):
    components = "images", "labels"

    def helper(self, i):
        return self.inner + i

    @property
    def shown(self):
        return self.behind_the_property

    @functools.cached_property
    def kept(self):
        return self.behind_the_cache

    @staticmethod
    def plain(images):
        return images

    def again(self, n):
        return self.again(n - 1) if n else self.last

    def prepare(self):
        return self.of_the_parent

    table = {"a": 1}
    bound = functools.partialmethod(helper, 3)


class Rows(Base):
    def prepare(self):
        return super().prepare() + self.of_the_child


def read(function, cls=Rows):
    paths = paths_read(function, cls)
    return None if paths is None else sorted(".".join(path) for path in paths)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda self: 1, []),
        (lambda self: self.images, ["images"]),
        (lambda self: self.images.sum(), ["images.sum"]),
        (lambda self, i: self.images[i] + self.labels[i], ["images", "labels"]),
        (lambda self, i: self[i].images.sum(), ["[].images.sum"]),
        (lambda self: self[3].images, ["[].images"]),
        (lambda self: len(self), ["__len__"]),
        (lambda self, i: self.rng.integers(len(self)), ["__len__", "rng.integers"]),
        (lambda self: [self.images for _ in range(3)], ["images"]),
        (lambda self: lambda: self.labels, ["labels"]),
        (lambda self, i: (i and self).labels, ["labels"]),
        (lambda self: self.plain(self.images), ["images", "plain"]),
        (lambda self: self.table["a"], ["table"]),
        (lambda self, i: self.pipeline.v("scale") * i, ["pipeline.v.scale"]),
        (lambda self, i: self.pipeline.v("scale" + i), ["pipeline.v"]),
        (lambda self, i: self.pipeline.v(i), ["pipeline.v"]),
        (lambda self: self.pipeline.v(name="scale"), ["pipeline.v"]),
        (lambda self: self.pipeline.config["a"], ["pipeline.config"]),
    ],
)
def test_attributes_are_told(function, expected):
    assert read(function) == expected


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda self, i: self.helper(i), {"helper", "inner"}),
        (lambda self: self.shown, {"shown", "behind_the_property"}),
        (lambda self: self.kept, {"kept", "behind_the_cache"}),
        (lambda self, n: self.again(n), {"again", "last"}),
        (lambda self: self.prepare(), {"prepare", "of_the_parent", "of_the_child"}),
    ],
)
def test_what_methods_and_properties_read_is_told(function, expected):
    assert expected <= set(read(function))


def rebound(self):
    self = 3
    return self.x


def with_a_default(self):
    return (lambda it=self: it.images)()


def any_arguments(*args):
    return args


def assigned(self):
    other = self
    return other.images


@pytest.mark.parametrize(
    "function",
    [
        rebound,
        with_a_default,
        any_arguments,
        assigned,
        functools.partial(rebound),
        str,
        lambda self: self,
        lambda self: str(self),
        lambda self: [self],
        lambda self, i: i in self,
        lambda self: list(self),
        lambda self: getattr(self, "images"),  # noqa: B009
        lambda self: vars(self),
        lambda self: locals(),
        lambda self: eval("self.images"),
        lambda self, i: self[i],
        lambda self, i: self[i] + self.images,
        lambda self, i: self[i + 1].images,
        lambda self: self.__dict__,
        lambda self, len: len(self),
        lambda self, c: (str if c else len)(self),
        lambda self, c: (len if c else str)(self),
        lambda self: str(len, self),
        lambda self, x: x[self],
        lambda self, x: x[self].images,
        lambda self, x: (x, self)[1].images,
        lambda self: self.data,
        lambda self: self.deepcopy(),
        lambda self: self.bound(),
    ],
)
def test_where_the_batch_is_passed_on_nothing_is_told(function):
    assert read(function) is None


def test_a_class_that_makes_up_attributes_tells_nothing():
    class Strange(Base):
        def __getattr__(self, name):
            return self.images if name == "pictures" else super().__getattr__(name)

    assert read(lambda self: self.pictures, Strange) is None


def test_a_class_with_items_of_its_own_is_read_there():
    class Strange(Base):
        def __getitem__(self, item_id):
            return self.others[item_id]

    assert "others" in read(lambda self, i: self[i].images, Strange)


def test_a_module_with_a_len_of_its_own_tells_nothing():
    space = {"len": lambda batch: batch.images.sum()}
    function = eval("lambda self: len(self)", space)
    assert read(function) is None


# ---- whatever is written


class Recorder:
    """Stands for a batch, and remembers the attributes that are read of it, or of its items."""

    def __init__(self, read):
        self.__dict__["read"] = read

    def __getattr__(self, name):
        self.read.add(name)
        return 3

    def __getitem__(self, item_id):
        return Recorder(self.read)

    def __len__(self):
        return 2


atoms = st.sampled_from(
    ["self", "other", "i", "3", "self.a", "self[i].b", "self[3].c", "len(self)"]
)
expressions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("defg")).map(lambda pair: "({}).{}".format(*pair)),
        st.tuples(inner, inner).map(lambda pair: "[{}, {}]".format(*pair)),
        st.tuples(inner, inner).map(lambda pair: "({})[{}]".format(*pair)),
        st.tuples(inner, inner).map(lambda pair: "({} or {})".format(*pair)),
        st.tuples(inner, inner, inner).map(lambda three: "({} if {} else {})".format(*three)),
        inner.map("(lambda: {})()".format),
        inner.map("[{} for k in range(2)]".format),
        inner.map("(lambda self: {})(other)".format),
        inner.map("peek({})".format),
    ),
    max_leaves=8,
)


def peek(value):
    return getattr(value, "behind", value)


@given(expressions)
@settings(max_examples=200, deadline=None)
def test_whatever_an_expression_reads_is_told_or_nothing_is(expression):
    with warnings.catch_warnings(action="ignore"):  # of the compiler, which sees nonsense
        function = eval(f"lambda self, i, other: {expression}", {"peek": peek})
    paths = paths_read(function, Rows)
    read = set()
    with suppress(Exception):
        function(Recorder(read), 1, Recorder(set()))
    assert paths is None or read <= {path[path[0] == ITEM] for path in paths}
