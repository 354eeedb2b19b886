"""Where work runs: threads, event loops, worker processes, others' executors. See README.md.

Nothing is exported from here. All but `waiting.py`, `loop.py` and `item_threads.py` is imported
when somebody asks for it, and so is `concurrent.futures`, which brings a logger.
"""
