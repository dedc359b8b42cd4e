from __future__ import annotations

import os
import stat
import time
from pathlib import Path

from llmgw.core.api_key import digest
from llmgw.ports.stores import KeyEntry
from llmgw.stores.known_keys import KnownKeys

ENTRIES = [
    KeyEntry("a", "acme", "alice", digest("k"), ("x", "y*"), 5.5, {"team": "b"}),
    KeyEntry("b", "other", None, digest("l")),
]


def test_what_was_seen_comes_back_with_its_age(tmp_path: Path) -> None:
    kept = KnownKeys(tmp_path)
    assert kept.read() is None
    kept.write(ENTRIES)
    os.utime(tmp_path / "keys.seen", (time.time() - 60, time.time() - 60))

    found = KnownKeys(tmp_path).read()
    assert found is not None
    assert 59 < found[0] < 70
    assert found[1] == ENTRIES

    kept.confirm()
    confirmed = kept.read()
    assert confirmed is not None
    assert confirmed[0] < 30


def test_nobody_else_reads_it(tmp_path: Path) -> None:
    KnownKeys(tmp_path).write(ENTRIES)

    assert stat.S_IMODE((tmp_path / "keys.seen").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["keys.seen"]


def test_what_is_damaged_or_cannot_be_written_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "keys.seen").write_bytes(b"[{")
    assert KnownKeys(tmp_path).read() is None

    nowhere = KnownKeys(tmp_path / "nowhere")
    nowhere.write(ENTRIES)
    nowhere.confirm()
    assert nowhere.read() is None
