"""Work on the items of a batch, one by one: in threads, processes, an event loop, or in place.

parallel.py    @inbatch_parallel and @apply_parallel; how a call is cut into items
apply.py       components in, components out
places.py      src, dst and p: which components the calls read and write
targets.py     makes the calls where they should run
processes.py   the calls in worker processes
snapshot.py    the batch in a worker process: read-only, with the attributes that a function reads
reads.py       which attributes a function reads
stacked.py     results that become one array, written to their places as they come
watching.py    lets the calls be timed
calls.py       the calls of one function, and their outcomes
arguments.py   the arguments of the call for each item
"""
