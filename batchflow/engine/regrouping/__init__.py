"""Streams of other batches: merge, concat, rebatch, mix_rows and pack.

regroup.py  other batches out of a stream of them
mixing.py   rows of several batches, mixed
packing.py  several items in one row
naming.py   the places of regrouped batches in the run
count.py    how many batches come out, and who counts on it
start.py    where the streams begin in a run that does not begin at its first epoch
"""
