"""Streams of other batches: merge, concat and rebatch.

regroup.py  other batches out of a stream of them
count.py    how many batches come out, and who counts on it
start.py    where the streams begin in a run that does not begin at its first epoch
"""
