"""The ground: where work runs.

In this process:

    threads.py   the worker threads of one run; and somebody else's, for one run
    loop.py      event loops, of a run or of one thread
    pool.py      the threads that all per-item work shares; `shutdown`, for them and all below

In other processes:

    processes/   our own pool: executor="processes"
    foreign/     other people's executors: a concurrent.futures.Executor, Dask, executor="ray"
    travel/      what both need: functions, items, results and errors on the way there and back

`processes/` and `foreign/` do not know each other. All but `pool.py` and `loop.py` is imported when
somebody asks for it, and so is `concurrent.futures`, which brings a logger.
"""
