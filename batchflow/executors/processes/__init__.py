"""Our own worker processes: a pool that lasts, results through shared memory.

    pool.py           the pool of the program and its jobs: `process_pool`
    tasks.py          tasks and jobs, as the service thread sees them
    service.py        deals out tasks to workers, and sees who dies
    event_thread.py   the thread that this is done by, and what wakes it up
    handle.py         one worker, seen from the main process
    worker.py         the same, seen from inside
    channel.py        what goes between the two: frames through a socket, big ones in shared memory
    shared_memory.py  shared memory that comes back and is used again

The way of one task:

    main process                                                      worker process
    Job.submit(item) ---> Service ---> Handle.send ====channel====> worker.main: function(item)
    ResultFuture     <--- Service <--- Handle.receive <==shared memory=    result, or error

Nothing is exported from here: a worker imports the modules that it needs, and no others. Others
use `pool.process_pool`.
"""
