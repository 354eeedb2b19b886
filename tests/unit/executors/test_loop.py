"""Event loops of runs: results, errors, context, refusals, and nothing left."""

import asyncio
import contextvars
import gc
import threading
import time

import pytest
from own_process import finished_strictly

from batchflow import BatchflowError, RunClosedError
from batchflow.executors.loop import EventLoop, PrivateLoop, runs_here
from batchflow.testing import nothing_left

DEADLINE = 20
each_kind = pytest.mark.parametrize("kind", [EventLoop, PrivateLoop])


@pytest.fixture
def loop():
    made = EventLoop()
    yield made
    assert made.close(DEADLINE)


async def value_of(value):
    await asyncio.sleep(0)
    return value


async def current_task_context(variable):
    return variable.get()


async def for_ever():
    await asyncio.Event().wait()


# ---- both kinds


@each_kind
def test_run_gives_the_result(kind):
    loop = kind()
    assert loop.run(value_of(3)) == 3
    loop.close()


@each_kind
def test_run_raises_the_very_exception(kind):
    failure = KeyError("mine")

    async def fail():
        raise failure

    loop = kind()
    with pytest.raises(KeyError) as caught:
        loop.run(fail())
    loop.close()
    assert caught.value is failure


@each_kind
def test_a_timeout_error_of_the_task_arrives(kind):
    async def fail():
        raise TimeoutError("mine")

    loop = kind()
    with pytest.raises(TimeoutError, match="mine"):
        loop.run(fail())
    loop.close()


@each_kind
def test_all_tasks_run_on_one_loop(kind):
    async def which():
        return asyncio.get_running_loop()

    loop = kind()
    loops = {loop.run(which()) for _ in range(3)}
    loop.close()
    assert len(loops) == 1


@each_kind
def test_context_variables_of_the_caller_are_seen(kind):
    word = contextvars.ContextVar("word", default=None)
    loop = kind()
    seen = []
    for value in ("first", "second"):
        word.set(value)
        seen.append(loop.run(current_task_context(word)))
    loop.close()
    assert seen == ["first", "second"]


@each_kind
def test_context_variables_that_a_task_sets_are_its_own(kind):
    word = contextvars.ContextVar("word", default=None)

    async def set_it():
        word.set("theirs")

    loop = kind()
    loop.run(set_it())
    seen = loop.run(current_task_context(word))
    loop.close()
    assert (seen, word.get()) == (None, None)


@each_kind
def test_a_closed_loop_refuses(kind):
    loop = kind()
    loop.run(value_of(1))
    loop.close()
    with pytest.raises(RunClosedError, match="closed"):
        loop.run(value_of(2))


@each_kind
def test_closing_twice_does_no_harm(kind):
    loop = kind()
    loop.run(value_of(1))
    assert (loop.close(), loop.close()) == (True, True)


@each_kind
def test_a_loop_that_was_never_used_is_closed_too(kind):
    with nothing_left():
        assert kind().close()


@each_kind
def test_after_a_close_no_thread_or_file_is_left(kind):
    kind().close()
    with nothing_left():
        loop = kind()
        loop.run(value_of(1))
        loop.close()


@each_kind
def test_an_abandoned_loop_leaves_no_thread_or_file(kind):
    with nothing_left():
        loop = kind()
        loop.run(value_of(1))
        del loop
        gc.collect()


@each_kind
def test_many_loops_leave_nothing(kind):
    with nothing_left():
        for _ in range(100):
            loop = kind()
            loop.run(value_of(1))
            loop.close()


@each_kind
def test_a_close_cancels_tasks_in_the_background(kind):
    ended = []

    async def background():
        try:
            await for_ever()
        finally:
            ended.append(True)

    async def start():
        task = asyncio.ensure_future(background())
        await asyncio.sleep(0)
        return task

    loop = kind()
    task = loop.run(start())
    loop.close(DEADLINE)
    assert (ended, task.cancelled()) == ([True], True)


@each_kind
def test_a_close_ends_asynchronous_generators(kind):
    ended = []

    async def numbers():
        try:
            while True:
                yield 1
        finally:
            ended.append(True)

    source = numbers()

    async def first():
        return await anext(source)

    loop = kind()
    loop.run(first())
    loop.close(DEADLINE)
    assert ended == [True]


@each_kind
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_is_no_exception_arrives_and_the_loop_goes_on(kind, error):
    async def leave():
        raise error

    loop = kind()
    with pytest.raises(error):
        loop.run(leave())
    assert (loop.run(value_of(2)), loop.close(DEADLINE)) == (2, True)


# ---- the loop with a thread


def test_nothing_starts_before_the_first_task():
    before = threading.active_count()
    EventLoop()
    assert threading.active_count() == before


def test_the_thread_is_one_daemon(loop):
    async def thread():
        return threading.current_thread()

    threads = {loop.run(thread()) for _ in range(3)}
    assert [t.daemon for t in threads] == [True]


def test_tasks_of_several_threads_run_at_the_same_time(loop):
    async def meet(events, mine, other):
        events[mine].set()
        await events[other].wait()
        return mine

    async def make():
        return asyncio.Event(), asyncio.Event()

    events, met = loop.run(make()), []
    callers = [
        threading.Thread(target=lambda a=a, b=b: met.append(loop.run(meet(events, a, b))))
        for a, b in ((0, 1), (1, 0))
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(DEADLINE)
    assert sorted(met) == [0, 1]


def test_a_call_from_its_own_thread_is_refused(loop):
    async def outer():
        return loop.run(value_of(1))

    with pytest.raises(BatchflowError, match="wait for ever"):
        loop.run(outer())


def test_who_waits_when_the_loop_is_closed_is_told():
    loop, begun, told = EventLoop(), threading.Event(), []

    async def wait():
        begun.set()
        await for_ever()

    def call():
        try:
            loop.run(wait())
        except RunClosedError as error:
            told.append(str(error))

    caller = threading.Thread(target=call)
    caller.start()
    assert begun.wait(DEADLINE)
    loop.close(DEADLINE)
    caller.join(DEADLINE)
    assert told == ["the event loop of this run has been closed"]


def test_a_close_does_not_wait_longer_than_it_is_told():
    loop, begun, gate = EventLoop(), threading.Event(), threading.Event()

    async def block():
        begun.set()
        gate.wait(DEADLINE)

    told = []

    def call():
        try:
            loop.run(block())
        except RunClosedError:
            told.append(True)

    caller = threading.Thread(target=call)
    caller.start()
    assert begun.wait(DEADLINE)
    start = time.monotonic()
    ended = loop.close(0.1)
    seconds = time.monotonic() - start
    caller.join(DEADLINE)
    gate.set()
    assert (ended, seconds < 2, told, loop.close(DEADLINE)) == (False, True, [True], True)


def test_a_task_that_closes_its_own_loop_is_not_a_deadlock():
    loop = EventLoop()

    async def close():
        return loop.close()

    with pytest.raises(RunClosedError):
        loop.run(asyncio_then(close, for_ever))
    assert loop.close(DEADLINE)


async def asyncio_then(first, second):
    await first()
    await second()


def test_it_works_where_another_loop_runs(loop):
    async def outer():
        return loop.run(value_of(5))

    assert asyncio.run(outer()) == 5


# ---- the loop in the caller's thread


def test_a_private_loop_runs_in_the_thread_of_the_caller():
    async def thread():
        return threading.current_thread()

    loop = PrivateLoop()
    assert loop.run(thread()) is threading.current_thread()
    loop.close()


def test_a_private_loop_refuses_where_a_loop_runs():
    async def outer():
        PrivateLoop().run(value_of(1))

    with pytest.raises(BatchflowError, match=r'executor="threads"'):
        asyncio.run(outer())


def test_a_private_loop_serves_several_threads_in_turn():
    loop, results = PrivateLoop(), []
    callers = [
        threading.Thread(target=lambda i=i: results.append(loop.run(value_of(i)))) for i in range(8)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(DEADLINE)
    loop.close()
    assert sorted(results) == list(range(8))


def test_a_private_loop_does_not_become_the_loop_of_the_thread():
    loop = PrivateLoop()
    loop.run(value_of(1))
    loop.close()
    assert not runs_here()


# ---- Ctrl-C and the end of the program


@each_kind
def test_ctrl_c_ends_a_wait(kind):
    program = finished_strictly(
        f"""
        import asyncio, os, signal, threading, time
        from batchflow.executors.loop import {kind.__name__}

        signal.signal(signal.SIGINT, signal.default_int_handler)
        begun = threading.Event()

        async def wait():
            begun.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                print("cancelled", flush=True)
                raise

        def interrupt():
            begun.wait()
            time.sleep(0.3)
            os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=interrupt).start()
        loop = {kind.__name__}()
        try:
            loop.run(wait())
        except KeyboardInterrupt:
            loop.close()
            print("interrupted")
        """
    )
    assert (program.returncode, program.stdout, program.stderr) == (
        0,
        "cancelled\ninterrupted\n",
        "",
    )


@each_kind
def test_a_loop_that_is_not_closed_does_not_hold_up_the_exit(kind):
    program = finished_strictly(
        f"""
        import asyncio
        from batchflow.executors.loop import {kind.__name__}

        async def start():
            global task
            task = asyncio.ensure_future(asyncio.sleep(3600))

        loop = {kind.__name__}()
        loop.run(start())
        """
    )
    assert (program.returncode, program.stderr) == (0, "")


def test_importing_the_module_does_not_import_asyncio():
    program = finished_strictly(
        "import sys, batchflow.executors.loop; print('asyncio' in sys.modules)"
    )
    assert (program.stdout, program.stderr) == ("False\n", "")
