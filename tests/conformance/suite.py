"""The suite: what every executor must do. A binding is a class with a fixture `executor`.

class TestMine(FarSuite):
    script = "MyExecutor(2)"          # how a script makes it, after `imports`
    imports = "from mine import MyExecutor"

    @pytest.fixture(scope="class")
    @classmethod
    def executor(cls):
        with MyExecutor(2) as executor:
            yield executor
"""

from .suite_answers import Answers
from .suite_endings import Endings
from .suite_errors import Errors
from .suite_travel import Travel

__all__ = ["FarSuite", "Suite"]


class Suite(Answers, Errors, Endings):
    """For executors that work in this process."""

    is_far = False


class FarSuite(Suite, Travel):
    """For executors that work in others."""

    is_far = True
