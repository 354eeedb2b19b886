"""Say at once, before anything is installed, whether this Python will do; any Python can run this.

python .ci/python_fits.py          3.11 to 3.13
python .ci/python_fits.py 3.11     this one alone
"""

import platform
import sys

FITS = ["3.11", "3.12", "3.13"]  # those that TensorFlow has wheels for

mine = "%d.%d" % sys.version_info[:2]  # noqa: UP031  older Pythons run this, too
if mine not in (sys.argv[1:] or FITS):
    sys.exit("This is Python %s (%s)." % (mine, sys.executable))  # noqa: UP031
if platform.python_implementation() != "CPython":
    sys.exit("This is %s: TensorFlow has wheels for CPython." % platform.python_implementation())  # noqa: UP031
