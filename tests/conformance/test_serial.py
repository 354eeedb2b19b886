import pytest

from .suite import Suite


class TestSerial(Suite):
    script = '"serial"'

    @pytest.fixture
    def executor(self):
        return "serial"
