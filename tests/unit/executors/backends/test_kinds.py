"""What is taken as an executor, and what is refused when it is given."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from batchflow import ArgumentTypeError, ArgumentValueError, B, Dataset


class Submits:
    """No subclass of anything: it works like an executor."""

    def __init__(self, pool):
        self.pool = pool

    def submit(self, fn, /, *args, **kwargs):
        return self.pool.submit(fn, *args, **kwargs)


class Client:
    """As Dask's: what it submits to is not what `submit` of an executor gives."""

    def submit(self, fn, /, *args, **kwargs):
        return object()


class ClientWithExecutor(Client):
    def get_executor(self):
        raise AssertionError("it is not called")


@pytest.fixture
def pool():
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        yield executor


@pytest.mark.parametrize("method", ["gen_batch", "run", "next_batch", "run_later"])
def test_a_pool_that_forks_is_refused_at_the_call(method):
    executor = ProcessPoolExecutor(1, mp_context=get_context("fork"))
    with pytest.raises(ArgumentValueError, match=r"forks.*get_context"):
        getattr(Dataset(8).p.call(len, B.indices), method)(2, executor=executor)


@pytest.mark.parametrize("is_made", [False, True])
def test_a_submit_is_enough(pool, is_made):
    executor = Submits(pool)
    run = (
        Dataset(8)
        .p.call(len, B.indices)
        .gen_batch(2, executor=(lambda: executor) if is_made else executor, n_workers=1)
    )
    assert [batch.indices.tolist() for batch in run] == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_a_submit_that_gives_something_else_is_an_error():
    run = Dataset(8).p.call(len, B.indices).gen_batch(2, executor=Client(), n_workers=1)
    with pytest.raises(ArgumentTypeError, match=r"concurrent\.futures\.Future, got object"):
        next(run)


def test_a_client_is_refused_with_what_to_pass_instead():
    with pytest.raises(ArgumentValueError, match=r"ClientWithExecutor.*get_executor\(\)"):
        Dataset(8).p.gen_batch(2, executor=ClientWithExecutor())


@pytest.mark.parametrize("executor", [ProcessPoolExecutor, Submits, object(), 5, "process"])
def test_what_has_no_submit_is_refused(executor):
    with pytest.raises(ArgumentValueError, match="or what has a submit"):
        Dataset(8).p.gen_batch(2, executor=executor)
