"""Our own worker processes: a pool that lasts, results through shared memory. See ../README.md."""
