"""Other people's executors: any `concurrent.futures.Executor`, on this machine or on many.

    job.py      a function on an executor: `open_job`
    desk.py     the thread that hands tasks over, and finds out whose work kills workers
    homes.py    the kinds of executors: how they die, end, and are made again; `worker_count`
    board.py    what workers of this machine are at, which outlives them
    dask.py     tasks of Dask, as futures
    ray.py      Ray as an executor: `RayExecutor`
    worker.py   what a worker does: `far_call`

The way of one task:

    this process                                                a worker, wherever it is
    ForeignJob.submit(item) ---> Desk ---> Home.submit ======> far_call: function(item)
    ResultFuture            <--- Desk <--- their future <=====     packed result, or error

Nothing is exported from here: a worker imports `worker.py`, and no others. Outside of the package
`job.open_job`, `homes.worker_count` and `ray.RayExecutor` are used.
"""
