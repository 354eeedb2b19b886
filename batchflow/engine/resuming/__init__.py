"""A run that is saved, killed, and goes on.

cursor.py        where a run stands
fingerprint.py   what must be the same where it goes on
signals.py       signals that end a run when its batch is done
saved_states.py  variables and models as data, and put back
saving.py        Saver: when to save, and where to begin
"""
