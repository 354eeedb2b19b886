"""The run's client of executors in other processes.

stubs.py    what stays of a batch class: ordered actions and model definitions
work.py     what travels to workers, and what comes back
workers.py  the workers of a run in other processes
"""
