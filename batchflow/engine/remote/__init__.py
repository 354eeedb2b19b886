"""The run's client of executors in other processes.

members.py  which functions of a batch class workers need, and which only might be called
work.py     what travels to workers, and what comes back
workers.py  the workers of a run in other processes
"""
