from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from llmgw.server.memory import Cgroup, MemoryWatch
from tests.fakes.gateway import RunningGateway
from tests.fakes.raw_client import chat
from tests.fakes.upstream import ScriptedUpstream, json_reply

REPLY = json_reply({"id": "x", "usage": {"prompt_tokens": 1, "completion_tokens": 1}})


def group(tmp_path: Path, limit: str, used: int, inactive: int = 0) -> Cgroup:
    """A control group of version 2, as a container sees it."""
    own = tmp_path / "own"
    own.write_text("0::/\n")
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.current").write_text(f"{used}\n")
    (tmp_path / "memory.stat").write_text(f"anon 5\ninactive_file {inactive}\n")
    return Cgroup(tmp_path, own)


def test_the_share_leaves_out_what_the_kernel_gives_up_first(tmp_path: Path) -> None:
    assert group(tmp_path, "1000", 900, 400).share() == 0.5


def test_without_a_limit_nothing_is_short(tmp_path: Path) -> None:
    assert group(tmp_path, "max", 900).share() == 0.0
    assert Cgroup(tmp_path / "none", tmp_path / "none").share() == 0.0


def test_the_first_version(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("9:name=systemd:/\n4:memory:/pod/one\n0::/\n")
    place = tmp_path / "memory" / "pod" / "one"
    place.mkdir(parents=True)
    (place / "memory.limit_in_bytes").write_text("1000\n")
    (place / "memory.usage_in_bytes").write_text("700\n")
    (place / "memory.stat").write_text("cache 1\ntotal_inactive_file 200\n")
    assert Cgroup(tmp_path, own).share() == 0.5
    (place / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert Cgroup(tmp_path, own).limit is None


@dataclass
class Told:
    events: list[str] = field(default_factory=list)

    def log_event(self, level: str, event: str, **fields: object) -> None:
        self.events.append(event)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/chat/completions?by=asgi"])
async def test_b11_requests_are_asked_to_come_again_while_memory_is_short(tmp_path: Path, path: str) -> None:
    cgroup, told = group(tmp_path, "1000", 100), Told()
    async with ScriptedUpstream() as upstream, RunningGateway(upstream) as gateway:
        upstream.default(REPLY)
        watch = MemoryWatch(gateway.gateway, told, cgroup)

        async def ask(used: int) -> tuple[int, str | None, str | None]:
            (tmp_path / "memory.current").write_text(str(used))
            watch.look()
            answer = await gateway.ask(chat(), path=path)
            return answer.status, answer.headers.get("connection"), answer.headers.get("retry-after")

        assert await ask(900) == (200, None, None)
        assert await ask(930) == (200, "close", None)
        assert await ask(960) == (503, "close", "1")
        assert await ask(970) == (503, "close", "1")
        assert await ask(500) == (200, None, None)
    assert told.events == ["memory_short", "memory_free_again"]
