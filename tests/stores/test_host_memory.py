from __future__ import annotations

from pathlib import Path

from llmgw.stores.host_memory import allocate


def test_a_file_is_whole_and_its_owners(tmp_path: Path) -> None:
    path = tmp_path / "table"
    path.write_bytes(b"old")
    with path.open("rb") as old:
        allocate(path, 8192, b"head")
        assert old.read() == b"old"

    assert path.read_bytes() == b"head" + bytes(8188)
    found = path.stat()
    assert found.st_mode & 0o777 == 0o600
    assert found.st_blocks * 512 >= 8192
