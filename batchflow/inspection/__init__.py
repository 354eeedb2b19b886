"""What would happen: looks at a pipeline outside of its runs, in the calling thread.

    debugging.py      replay, debug and execute_for: batches taken through the steps, one at a time,
                      by an Inspector: a pipeline made ready outside of a run
    check.py          check: one small batch taken through every step, watched between the steps
    model_copies.py   copies of models, which a check works on
    page_faults.py    how much of the time goes into page faults
    report.py         what a check found out

`check` and what it needs are imported on use, for a light `import batchflow`.
"""
