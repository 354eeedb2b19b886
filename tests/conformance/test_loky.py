import pytest

from .suite import FarSuite


class TestLoky(FarSuite):
    imports = "import loky"
    script = "loky.get_reusable_executor(2)"

    @pytest.fixture(scope="class")
    @classmethod
    def executor(cls):
        import loky

        executor = loky.get_reusable_executor(2)
        yield executor
        executor.shutdown(kill_workers=True)
