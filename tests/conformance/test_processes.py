import pytest

from .suite import FarSuite


class TestProcesses(FarSuite):
    script = '"processes"'

    @pytest.fixture
    def executor(self):
        return "processes"
