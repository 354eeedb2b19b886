"""What travels to other processes and back, whoever has started them.

    packing.py   functions, items and results into pickles, and out of them; big arrays apart
    views.py     arrays that lie in memory with gaps, or backwards
    buffers.py   arrays of a function that lie in the same memory
    files.py     arrays of files: as the path of the file
    closed.py    functions of a class that workers may not need: unpacked by whoever calls them
    code.py      code of functions, with the place where its user wrote it
    errors.py    errors, so that they arrive as what they are; which part of a value cannot travel
    futures.py   the future of a task: kept by a pool's thread, unpacked by who asks for the result
    exits.py     how a worker process has ended, in words

Nothing is exported from here: a worker imports the modules that it needs, and no others.
"""
