from __future__ import annotations

import random
from pathlib import Path

import pytest

from llmgw.core.record import Progress
from llmgw.stores.frames import HEADER, MAGIC, Seal, State, frame, read_segment, split, tamed
from tests.contracts.records import opened, settled

ENTRIES = [opened(1), Progress("req_000000000001", 5), settled(1), opened(2), settled(2)]


@pytest.fixture
def segment(tmp_path: Path) -> Path:
    path = tmp_path / "journal-x-1.log"
    path.write_bytes(b"".join(map(frame, ENTRIES)))
    return path


def test_entries_come_back(segment: Path) -> None:
    found = read_segment(segment)

    assert found.entries == ENTRIES
    assert (found.next_offset, found.state, found.damaged) == (segment.stat().st_size, State.OPEN, 0)


def test_reading_goes_on_where_it_stopped(segment: Path) -> None:
    first = len(frame(ENTRIES[0]))

    assert read_segment(segment, first).entries == ENTRIES[1:]


def test_a_seal_ends_a_segment(segment: Path) -> None:
    segment.write_bytes(segment.read_bytes() + frame(Seal(carried=True, clean=True)))

    assert read_segment(segment).state is State.SEALED


def test_a_torn_tail_is_not_damage(segment: Path) -> None:
    """Cut anywhere, the whole frames before the cut are read."""
    data = segment.read_bytes()
    ends = [sum(len(frame(entry)) for entry in ENTRIES[:count]) for count in range(len(ENTRIES) + 1)]
    for cut in range(len(data)):
        segment.write_bytes(data[:cut])

        found = read_segment(segment)

        whole = max(count for count, end in enumerate(ends) if end <= cut)
        assert found.entries == ENTRIES[:whole]
        assert found.next_offset == ends[whole]
        assert found.state is (State.OPEN if cut in ends else State.TORN)
        assert found.damaged == 0


def test_damage_costs_one_entry(segment: Path) -> None:
    """A flipped bit anywhere in a frame loses that entry and is counted; its neighbours stay."""
    data = segment.read_bytes()
    start = len(frame(ENTRIES[0])) + len(frame(ENTRIES[1]))
    for at in range(start, start + len(frame(ENTRIES[2]))):
        hurt = bytearray(data)
        hurt[at] ^= 0x10
        segment.write_bytes(hurt)

        found = read_segment(segment)

        assert found.entries == ENTRIES[:2] + ENTRIES[3:], at
        assert found.damaged == 1


def test_garbage_is_survived(tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    print("seed", seed)
    dice = random.Random(seed)
    path = tmp_path / "journal-x-1.log"
    for _ in range(50):
        pieces = [
            dice.choice([frame(opened(1)), MAGIC, dice.randbytes(dice.randrange(40))]) for _ in range(20)
        ]
        path.write_bytes(b"".join(pieces))

        entries = read_segment(path).entries

        assert all(entry == opened(1) for entry in entries)


def test_a_live_reader_waits_for_the_rest() -> None:
    """Without `final`, an incomplete frame is not passed over."""
    whole = frame(opened(1))
    torn = frame(opened(2))[:-3]

    payloads, used, damaged = split(whole + torn, final=False)

    assert (len(payloads), used, damaged) == (1, len(whole), 0)


def test_an_unknown_kind_of_entry_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "journal-x-1.log"
    payload = b"\x91\x09"
    from zlib import crc32

    path.write_bytes(HEADER.pack(MAGIC, len(payload), crc32(payload)) + payload + frame(opened(1)))

    found = read_segment(path)

    assert (found.entries, found.damaged) == ([opened(1)], 1)


@pytest.mark.parametrize(
    "entry",
    [opened(1, model="\ud800"), opened(1, model="x" * 200_000), settled(1, input_tokens=2**70),
     settled(1, output_tokens=2**63, upstream_id="\udfff" * 10)],
)  # fmt: skip
def test_no_value_is_too_strange(entry: object, tmp_path: Path) -> None:
    """Whatever a client or an upstream puts into an entry, it has a frame."""
    path = tmp_path / "journal-x-1.log"
    path.write_bytes(frame(entry))  # type: ignore[arg-type]

    (found,) = read_segment(path).entries

    assert found.request_id == "req_000000000001"  # type: ignore[union-attr]


def test_taming_keeps_what_is_sound() -> None:
    assert tamed(settled(1)) == settled(1)
    assert tamed(settled(1, input_tokens=2**64)).input_tokens == 2**63 - 1
