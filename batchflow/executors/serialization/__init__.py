"""Functions, items and results into pickles, and out of them, whoever has started the workers.

    pickling.py      functions, items and results; big arrays apart
    strided.py       arrays that lie in memory with gaps, or backwards
    buffers.py       arrays of a function that lie in the same memory
    mapped_files.py  arrays of files: as the path of the file
    code.py          code of functions, with the place where its user wrote it

Nothing is exported from here: a worker imports the modules that it needs, and no others.
"""
