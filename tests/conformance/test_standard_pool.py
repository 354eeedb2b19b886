from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from .suite import FarSuite

IMPORTS = """
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
"""


class TestSpawned(FarSuite):
    imports = IMPORTS
    script = 'ProcessPoolExecutor(2, mp_context=get_context("spawn"))'

    @pytest.fixture(scope="class")
    @classmethod
    def executor(cls):
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
            yield executor


class TestForkServer(FarSuite):
    imports = IMPORTS
    script = 'ProcessPoolExecutor(2, mp_context=get_context("forkserver"))'

    @pytest.fixture(scope="class")
    @classmethod
    def executor(cls):
        with ProcessPoolExecutor(2, mp_context=get_context("forkserver")) as executor:
            yield executor
