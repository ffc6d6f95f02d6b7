"""Blocks on their way to a GPU, on a stand-in for its streams."""

from contextlib import contextmanager

import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_midpg.training import side_stream
from recbole_midpg.training.side_stream import Sent, SideStream, one_ahead


class Diary:
    """A carrier that notes what is asked of it."""

    def __init__(self):
        self.entries = []

    def send(self, columns):
        self.entries.append(("send", columns["number"]))
        return Sent({"number": columns["number"] * 10}, columns["number"])

    def receive(self, sent):
        self.entries.append(("receive", sent.arrival))
        return sent.columns


def blocks(count, entries=None):
    for number in range(count):
        if entries is not None:
            entries.append(("gather", number))
        yield f"note {number}", {"number": number}


@given(st.integers(0, 6))
def test_every_block_comes_once_in_its_order(count):
    carried = list(one_ahead(blocks(count), Diary()))
    assert carried == [(f"note {number}", {"number": number * 10}) for number in range(count)]


def test_a_block_is_sent_before_the_one_before_it_is_worked_on():
    diary = Diary()
    for note, _ in one_ahead(blocks(3, diary.entries), diary):
        diary.entries.append(("work", int(note[-1])))
    assert diary.entries == [
        *[("gather", 0), ("send", 0), ("gather", 1), ("send", 1), ("receive", 0), ("work", 0)],
        *[("gather", 2), ("send", 2), ("receive", 1), ("work", 1)],
        *[("receive", 2), ("work", 2)],
    ]


def test_no_more_than_one_block_waits():
    diary = Diary()
    carried = one_ahead(blocks(9), diary)
    next(carried)
    assert [entry for entry in diary.entries if entry[0] == "send"] == [("send", 0), ("send", 1)]


class Device:
    """The streams of a GPU: what is queued in each, in order, and what each waits for."""

    def __init__(self, monkeypatch):
        self.current = self.main = Stream(self, "main")
        self.queued = []
        monkeypatch.setattr(side_stream.torch.cuda, "Stream", lambda device: Stream(self, "side"))
        monkeypatch.setattr(side_stream.torch.cuda, "current_stream", lambda device: self.current)
        monkeypatch.setattr(side_stream.torch.cuda, "stream", self.within)

    @contextmanager
    def within(self, stream):
        before, self.current = self.current, stream
        yield
        self.current = before


class Stream:
    def __init__(self, device, name):
        self.device, self.name = device, name

    def record_event(self):
        self.device.queued.append(("event", self.name))
        return f"event {len(self.device.queued)}"

    def wait_event(self, event):
        self.device.queued.append(("wait", self.name, event))


class Column:
    """A narrow column of the host, and what is done with it."""

    is_pinned = False

    def __init__(self, device):
        self.device = device

    def pin_memory(self):
        pinned = Column(self.device)
        pinned.is_pinned = True
        return pinned

    def to(self, place, non_blocking=False):
        assert self.is_pinned and non_blocking
        self.device.queued.append(("copy", self.device.current.name))
        return self

    def is_floating_point(self):
        return False

    dtype = torch.int8

    def long(self):
        self.device.queued.append(("widen", self.device.current.name))
        return self

    def record_stream(self, stream):
        self.device.queued.append(("keep for", stream.name))


def test_a_block_is_copied_beside_the_work_and_read_after_it_has_arrived(monkeypatch):
    device = Device(monkeypatch)
    carrier = SideStream(torch.device("cuda"))
    sent = carrier.send({"user": Column(device)})
    # pinned, copied and widened in the side stream, and only then it has arrived
    assert device.queued == [("copy", "side"), ("widen", "side"), ("event", "side")]
    device.queued.clear()
    received = carrier.receive(sent)
    # the stream that works waits for it, and its memory is not used again before that has read it
    assert device.queued == [("wait", "main", "event 3"), ("keep for", "main")]
    assert received == sent.columns
    assert device.current is device.main
