from __future__ import annotations

from pathlib import Path

import pytest

from llmgw.stores.alone_log import AloneLog, AloneTake, logs, read


def take(request: str, amount: int = 100, key: str = "quota|acme") -> AloneTake:
    return AloneTake(request, "share-1", key, amount, 1_800_000_000_000_000)


def everything(directory: Path) -> list[AloneTake]:
    return [one for _, file in logs(directory) for one in read(file)]


def test_what_was_taken_is_found_by_whoever_follows(tmp_path: Path) -> None:
    AloneLog(tmp_path / "shares", "0-77").took([take("a"), take("b", key="quota|ächme\t\n")])

    assert everything(tmp_path / "shares") == [take("a"), take("b", key="quota|ächme\t\n")]
    assert [name for name, _ in logs(tmp_path / "shares")] == ["0-77"]


def test_what_has_ended_counts_with_what_it_used(tmp_path: Path) -> None:
    log = AloneLog(tmp_path, "0-77")
    log.took([take("a"), take("b")])
    log.ended("a", "quota|acme", 30)
    log.ended("unknown", "quota|acme", 30)

    assert everything(tmp_path) == [take("a", 30), take("b")]


def test_what_is_removed_is_only_what_was_there_then(tmp_path: Path) -> None:
    log = AloneLog(tmp_path, "0-77")
    log.took([take("a")])
    files = log.turn()
    log.took([take("b")])

    log.remove(files)

    assert everything(tmp_path) == [take("b")]
    log.remove(log.turn())
    assert everything(tmp_path) == []


def test_a_line_that_was_cut_was_not_acted_on(tmp_path: Path) -> None:
    log = AloneLog(tmp_path, "0-77")
    log.took([take("a"), take("b")])
    (file,) = log.turn()
    file.write_bytes(file.read_bytes()[:-10])

    assert everything(tmp_path) == [take("a")]


def test_files_are_found_by_process(tmp_path: Path) -> None:
    for name in ("0-7", "0-77", "1-7"):
        AloneLog(tmp_path, name).took([take(name)])

    assert [name for name, _ in logs(tmp_path, "0-7")] == ["0-7"]
    assert len(logs(tmp_path)) == 3
    assert logs(tmp_path / "missing") == []


def test_a_directory_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "shares").write_text("a file")

    with pytest.raises(OSError, match="shares"):
        AloneLog(tmp_path / "shares", "0-77").took([take("a")])


def test_a_key_that_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="surrogates"):
        AloneLog(tmp_path, "0-77").took([take("a", key="\ud800")])
