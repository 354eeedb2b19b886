"""Notes of what workers are at."""

import os

import pytest

from batchflow.executors.backends.board import Board, noted

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="a board needs Linux")

DIES = """
import os, sys
from batchflow.executors.backends.board import Address, noted
with noted(Address(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])), 1 << 40):
    os._exit(3)
"""


@pytest.fixture
def board():
    board = Board()
    yield board
    board.close()


def test_a_note_stands_as_long_as_its_task(board):
    me = os.getpid()
    assert board.at_work([me]) == frozenset()
    with noted(board.address, 7):
        assert board.at_work([me, me + 1]) == {7}
    assert board.at_work([me]) == frozenset()


def test_a_note_of_who_has_died_stays(started, board):
    process = started(["-c", DIES, *board.address])
    assert process.wait(60) == 3
    assert board.at_work([process.pid]) == {1 << 40}


def test_nobody_writes_to_a_file_that_is_not_the_board(board, tmp_path):
    other = tmp_path / "other"
    other.write_bytes(b"")
    with noted(board.address._replace(path=str(other)), 7):
        assert board.at_work([os.getpid()]) == frozenset()
    assert other.read_bytes() == b""


def test_without_a_board_work_goes_on(board):
    address = board.address
    board.close()
    board.close()
    for where in (address, None, address._replace(path="/nowhere")):
        with noted(where, 7):
            assert board.at_work([os.getpid()]) == frozenset()
