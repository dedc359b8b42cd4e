from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmgw.core.claim import BALANCE, CONCURRENCY, FIXED_WINDOW, SLIDING_WINDOW
from llmgw.stores import host_file
from llmgw.stores.host_file import CounterFile, Slot, counter_path, make
from tests.contracts.counters import END, EVERY, MINUTE, RATES, START, claim, rule


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "counters"


def made(path: Path, now: int = START, slots: int = 64, workers: int = 2) -> CounterFile:
    make(path, workers, 0, now, slots, 4)
    return CounterFile(path)


@pytest.fixture
def file(path: Path) -> Iterator[CounterFile]:
    opened = made(path)
    yield opened
    opened.close()


def add(file: CounterFile, algorithm: str, whose: str, *state: int) -> Slot:
    asked = claim(algorithm, 1, whose)
    slot = file.add(asked.key, asked.rule, START)
    assert slot is not None
    file.write(slot, 100, state)
    return slot


STATES = {
    FIXED_WINDOW: (START, 5),
    SLIDING_WINDOW: (START // (MINUTE // 6), 5, 5, 0, 0, 0, 0, 0),
    "token_bucket": (START, 5_000_000),
    CONCURRENCY: (5,),
    BALANCE: (5, 6, END),
}


@pytest.mark.parametrize("algorithm", EVERY)
def test_a_counter_is_found_with_its_state(file: CounterFile, algorithm: str) -> None:
    slot = add(file, algorithm, "acme", *STATES[algorithm])

    assert file.find(claim(algorithm).key) == slot
    assert slot.read(file.map, slot.at) == STATES[algorithm]
    assert slot.leased == (algorithm in (CONCURRENCY, BALANCE))
    assert file.algorithm(slot.index) == algorithm
    assert file.indexes(algorithm) == [slot.index]
    assert file.find("another") is None
    assert file.counters == 1
    if slot.leased:
        assert file.key(slot.index) == claim(algorithm).key


def test_keys_are_any_text(file: CounterFile) -> None:
    for key in ("", "é€😀\x00", "\udc80", "k" * 5_000):
        slot = file.add(key, rule(BALANCE), START)
        assert slot is not None
        assert file.find(key) == slot
        assert key.startswith(file.key(slot.index))
        file.forget(slot.index)


def test_a_forgotten_counter_is_not_found(file: CounterFile) -> None:
    slot = add(file, BALANCE, "acme", 5, 6, END)

    file.forget(slot.index)

    assert file.find(claim(BALANCE).key) is None
    assert not file.is_leased(slot.index, slot.check)
    assert file.map[slot.where] != slot.digest
    assert file.counters == 0


def test_all_slots_can_be_taken_and_no_more(file: CounterFile) -> None:
    for whose in range(64):
        add(file, BALANCE, str(whose), 1, 0, END)

    assert file.add("more", rule(FIXED_WINDOW), START) is None
    assert all(file.find(claim(BALANCE, 1, str(whose)).key) for whose in range(64))
    assert file.add("more", rule(FIXED_WINDOW), END) is not None


def test_a_real_size_fills_by_more_than_half(path: Path) -> None:
    """Keys that the digest sends to the same slots do not run out of room long before the table does."""
    file = made(path, slots=8192)
    balance = rule(BALANCE)
    placed = 0
    while slot := file.add(f"key {placed}", balance, START):
        file.write(slot, 0, (1, 0, END))
        placed += 1
    file.close()

    assert placed > 8192 * 0.6


def test_held_amounts_follow_the_grants(file: CounterFile) -> None:
    place, hold = add(file, CONCURRENCY, "acme", 99), add(file, BALANCE, "acme", 5, 99, END)
    gone = add(file, BALANCE, "gone", 5, 99, END)
    file.grants[0].write(1, "a", [place.index, place.check, 1, hold.index, hold.check, 10])
    file.grants[1].write(0, "b", [hold.index, hold.check, 20, gone.index, gone.check, 7])
    file.forget(gone.index)
    other = add(file, BALANCE, "other", 5, 99, END)

    file.recount()

    assert place.read(file.map, place.at) == (1,)
    assert hold.read(file.map, hold.at) == (5, 30, END)
    assert other.read(file.map, other.at) == (5, 0, END)


class TestTakeOver:
    def test_rates_and_spending_are_kept(self, path: Path, file: CounterFile) -> None:
        for algorithm in EVERY:
            add(file, algorithm, "acme", *STATES[algorithm])

        new = made(path, slots=1024, workers=3)

        for algorithm in RATES:
            slot = new.find(claim(algorithm).key)
            assert slot is not None
            assert slot.read(new.map, slot.at) == STATES[algorithm]
        balance = new.find(claim(BALANCE).key)
        assert balance is not None
        assert balance.read(new.map, balance.at) == (5, 0, END)
        assert new.counters == 4
        new.close()

    def test_what_is_spent_is_not(self, path: Path, file: CounterFile) -> None:
        for algorithm in RATES:
            add(file, algorithm, "acme", *STATES[algorithm])

        new = made(path, START + 3 * MINUTE)

        assert new.counters == 0
        new.close()

    def test_more_than_there_is_room_for_is_left(self, path: Path) -> None:
        old = made(path, slots=256)
        for whose in range(80):
            add(old, BALANCE, str(whose), 1, 0, END)
        old.close()

        new = made(path)

        assert new.counters == 64
        new.close()

    def test_another_boot_begins_anew(
        self, path: Path, file: CounterFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The steady clock says nothing about another boot. Where boots have no name, each may be another."""
        add(file, FIXED_WINDOW, "acme", START, 5)
        boot_id = tmp_path / "boot_id"
        monkeypatch.setattr(host_file, "_BOOT_ID", boot_id)
        for name in (None, "another"):
            if name:
                boot_id.write_text(name)
            new = made(path)
            assert new.counters == 0
            new.close()

    @pytest.mark.parametrize("damage", range(6))
    def test_damaged_slots_are_left(self, path: Path, file: CounterFile, damage: int) -> None:
        sliding = add(file, SLIDING_WINDOW, "acme", *STATES[SLIDING_WINDOW])
        hold = add(file, BALANCE, "acme", 5, 6, END)
        kept = add(file, FIXED_WINDOW, "acme", START, 5)
        kinds, at = 4096, hold.at - 24
        text, window = at + 48, sliding.at - 24 + 136
        where, content = [
            (kinds + hold.index, b"\xff"),
            (text, b"\xff\xff"),
            (text + 2, b"\xff\xfe"),
            (window, bytes(8)),
            (window + 8, b"\x0d" + bytes(7)),
            (window + 8, bytes(8)),
        ][damage]
        file.map[where : where + len(content)] = content

        new = made(path)

        assert new.counters == 2
        assert new.find(claim(FIXED_WINDOW).key) is not None
        assert kept.index < 64
        new.close()


class TestFile:
    def test_it_is_this_user_s_alone(self, path: Path, file: CounterFile) -> None:
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.stat().st_blocks * 512 >= path.stat().st_size
        assert os.listdir(path.parent) == [path.name]

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"llmgwctr",
            b"\x00" * 9000,
            b"llmgwctr" + (2).to_bytes(8, "little") + bytes(9000),
            b"llmgwctr" + (1).to_bytes(8, "little") + bytes(9000),
            b"llmgwctr" + b"".join(n.to_bytes(8, "little") for n in (1, 64, 1, 1, 0)) + bytes(9000),
        ],
    )
    def test_what_is_no_counter_file_is_refused_and_replaced(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"not a counter file|sizes|another size"):
            CounterFile(path)

        new = made(path)

        assert new.counters == 0
        new.close()

    def test_a_truncated_file_is_refused(self, path: Path, file: CounterFile) -> None:
        os.truncate(path, path.stat().st_size - 8)

        with pytest.raises(ValueError, match="another size"):
            CounterFile(path)

    def test_a_link_is_not_followed(self, path: Path, file: CounterFile) -> None:
        link = path.with_name("link")
        link.symlink_to(path)

        with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
            CounterFile(link)

    def test_another_user_s_file_is_refused(
        self, path: Path, file: CounterFile, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)

        with pytest.raises(ValueError, match="not a file of this user"):
            CounterFile(path)

    def test_a_full_disk_leaves_nothing_behind(
        self, path: Path, file: CounterFile, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: int) -> None:
            raise OSError(errno.ENOSPC, "full")

        monkeypatch.setattr(os, "posix_fallocate", full)
        with pytest.raises(OSError, match="full"):
            make(path, 2, 0, START, 64, 4)

        assert os.listdir(path.parent) == [path.name]


class TestPlace:
    def test_in_memory_by_the_directory_s_identity(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(host_file, "_SHM", tmp_path)
        one, other = tmp_path / "one", tmp_path / "other"
        one.mkdir()
        other.mkdir()
        (tmp_path / "alias").symlink_to(one)

        assert counter_path(one, 4).parent == tmp_path
        assert counter_path(one, 4) == counter_path(tmp_path / "alias", 4) != counter_path(other, 4)

    def test_in_the_directory_where_memory_has_no_room(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(host_file, "_SHM", tmp_path / "nowhere")
        assert counter_path(tmp_path, 4) == tmp_path / "counters"

        monkeypatch.setattr(host_file, "_SHM", tmp_path)
        monkeypatch.setattr(host_file, "SLOTS", 2**50)
        assert counter_path(tmp_path, 4) == tmp_path / "counters"

    def test_where_they_are_once_there_is_no_more_room(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The file itself takes the room: a worker looks for it where the supervisor put it."""
        monkeypatch.setattr(host_file, "_SHM", tmp_path)
        path = counter_path(tmp_path, 4)
        path.write_bytes(b"")
        monkeypatch.setattr(host_file, "SLOTS", 2**50)

        assert counter_path(tmp_path, 4) == path
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
        assert counter_path(tmp_path, 4) == tmp_path / "counters"
