"""Pools of processes that users bring, for the tests of what happens when their workers die."""

from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context


@contextmanager
def loky_pool():
    import loky

    with loky.get_reusable_executor(2) as executor:
        yield executor


def a_fork_server():
    return ProcessPoolExecutor(2, mp_context=get_context("forkserver"))


def a_spawned_pool():
    return ProcessPoolExecutor(2, mp_context=get_context("spawn"))
