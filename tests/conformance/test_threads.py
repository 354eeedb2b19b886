from concurrent.futures import ThreadPoolExecutor

import pytest

from .suite import Suite


class TestThreads(Suite):
    script = '"threads"'

    @pytest.fixture
    def executor(self):
        return "threads"


class TestThreadsOfTheUsers(Suite):
    imports = "from concurrent.futures import ThreadPoolExecutor"
    script = "ThreadPoolExecutor(2)"

    @pytest.fixture(scope="class")
    @classmethod
    def executor(cls):
        with ThreadPoolExecutor(2) as executor:
            yield executor
