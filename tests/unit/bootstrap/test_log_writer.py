"""The log writer is never in the way of what is logged."""

import threading

from app.telemetry.rate_limit import MAX_MESSAGES, LineLimit
from app.telemetry.writer import LogWriter
from tests.support.waiting import wait_until

LINES = 5_000


class _Collected:
    """A sink that keeps what it is given, or refuses it."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.refusing = False

    def write(self, data: bytes, /) -> None:
        if self.refusing:
            raise BrokenPipeError
        self.lines += data.splitlines()


class _Stuck:
    """A sink whose reader is suspended until it is released."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.free = threading.Event()

    def write(self, data: bytes, /) -> None:
        del data
        self.entered.set()
        self.free.wait()


def test_lines_of_many_threads_are_all_written_in_order() -> None:
    """Each thread's lines stand in the order in which it put them, and none is missing."""
    sink = _Collected()
    writer = LogWriter(sink)

    def put(name: int) -> None:
        for number in range(500):
            writer.put(f"{name} {number}")

    threads = [threading.Thread(target=put, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close(30)

    assert writer.dropped == 0
    for name in range(4):
        own = [line for line in sink.lines if line.startswith(b"%d " % name)]
        assert own == [b"%d %d" % (name, number) for number in range(500)]


def test_a_reader_that_stands_still_blocks_nobody_and_costs_bounded_memory() -> None:
    """What finds no room is dropped and counted, by lines and by bytes."""
    for bounds in ({"max_lines": 100}, {"max_bytes": 10_000}):
        sink = _Stuck()
        writer = LogWriter(sink, **bounds)
        writer.put("first")
        assert sink.entered.wait(10)
        for _ in range(LINES):
            writer.put("x" * 99)
        sink.free.set()
        assert writer.dropped == LINES - 100
        writer.close(30)


def test_a_sink_that_fails_is_counted_and_tried_again() -> None:
    """Lines that the sink refuses are lost; those after it recovered are written."""
    sink = _Collected()
    writer = LogWriter(sink)
    sink.refusing = True
    writer.put("lost")
    wait_until(lambda: writer.dropped == 1)
    sink.refusing = False
    writer.put("kept")
    writer.close(30)

    assert sink.lines == [b"kept"]


def test_a_close_waits_no_longer_than_it_is_told() -> None:
    """A stuck reader does not keep the process from ending."""
    sink = _Stuck()
    writer = LogWriter(sink)
    writer.put("first")
    assert sink.entered.wait(10)
    writer.close(0.01)
    assert not sink.free.is_set()
    sink.free.set()


def test_a_message_gets_its_rate_back_with_time() -> None:
    """After a burst one line comes for each interval, with the number of those that were refused before it."""
    now = [0.0]
    limit = LineLimit(burst=2, per_second=1.0, clock=lambda: now[0])
    assert [limit.admit("a") for _ in range(4)] == [0, 0, None, None]
    now[0] = 1.0
    assert limit.admit("a") == 2
    assert limit.admit("a") is None
    assert limit.suppressed == 3


def test_messages_that_strangers_invent_share_one_bucket() -> None:
    """The table of messages is bounded: beyond it all new ones count as one."""
    limit = LineLimit(burst=1, per_second=0.0, clock=lambda: 0.0)
    admitted = sum(limit.admit(f"message {number}") is not None for number in range(MAX_MESSAGES * 2))
    assert admitted == MAX_MESSAGES + 1
