"""Where work runs. `README.md` follows one task on its way.

In this process:

    threads.py        the worker threads of one run; and somebody else's, for one run
    loop.py           event loops, of a run or of one thread
    item_threads.py   the threads that all per-item work shares; `shutdown`, for them and all below

In other processes:

    job.py            a function that workers call, wherever they are: `open_job`
    scheduled_job.py  the same on an executor of somebody else's
    scheduler.py      the thread that hands tasks over, and finds out whose work kills workers
    futures.py        the future of a task: kept by a thread, unpacked by who asks for the result
    exceptions.py     errors, so that they arrive as what they are; which part of a value cannot go
    exit_codes.py     how a worker process has ended, in words
    serialization/    functions, items and results into pickles and out of them
    backends/         other people's executors: a concurrent.futures.Executor, Dask, executor="ray"
    processes/        our own pool: executor="processes"

`processes/` and `backends/` do not know each other. All but `item_threads.py` and `loop.py` is
imported when somebody asks for it, and so is `concurrent.futures`, which brings a logger.
"""
