"""Work on the items of a batch, one by one: in threads, processes, an event loop, or in place.

parallel.py       @inbatch_parallel and @apply_parallel; how a call is cut into items
apply.py          components in, components out
places.py         src, dst and p: which components the calls read and write
arguments.py      the arguments of the call for each item
calls.py          the calls, and what becomes of them
streams.py        the random generator of each item
remote.py         calls in worker processes, seen from the main process
remote_worker.py  the same, seen from a worker
packing.py        what of it travels
"""
