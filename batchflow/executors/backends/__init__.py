"""Other people's executors: any `concurrent.futures.Executor`, on this machine or on many.

    base.py    `Backend`: an executor, as the scheduler sees it
    stdlib.py  the process pool of the standard library
    loky.py    process pools of loky
    dask.py    a cluster of Dask
    ray.py     a cluster of Ray
    kinds.py   which of them works with an executor: `backend_of`, `worker_count`
    call.py    what a worker does: `remote_call`

Nothing is exported from here: a worker imports `call.py`, and no others.
"""
