"""Other people's executors: any `concurrent.futures.Executor`, on this machine or on many.

    base.py    the kinds of executors: how they die, end, and are made again; `worker_count`
    board.py   what workers of this machine are at, which outlives them
    dask.py    tasks of Dask, as futures
    ray.py     Ray as an executor: `RayExecutor`
    call.py    what a worker does: `remote_call`

The way of one task:

    this process                                               a worker, wherever it is
    Job.submit(item) ---> RetryScheduler ---> Backend.submit =====> remote_call: function(item)
    ResultFuture     <--- RetryScheduler <--- their future <====     packed result, or error

Nothing is exported from here: a worker imports `call.py`, and no others. Outside of the package
`job.open_job`, `homes.worker_count` and `ray.RayExecutor` are used.
"""
