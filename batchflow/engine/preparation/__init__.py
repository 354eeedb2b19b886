"""Bound steps made callable: what they need before they can take a batch.

arguments.py   steps that are known only with a batch: expressions resolved, values stored
no_batch.py    what stands for the batch before the first one and after the last
notes.py       notes that tell how to make a batch again
models.py      the models of a pipeline by name: of the class, declared in the chain, imported
grouped.py     a section with steps that take several batches in one call (steps_per_call)
ready.py       steps with all that they need: models, joined batches, an event loop
"""
