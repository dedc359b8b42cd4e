"""The official SDKs before a gateway that keeps answers: alone, with two workers, and on two hosts."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import anthropic
import openai
import pytest

from tests.fakes.process import GatewayProcess, llmgw, rows, within
from tests.fakes.redis import RedisServer, redis_server

CONFIG = """
version: 1
server: {{workers: {workers}, lame_duck: 0s}}
storage: {{redis: {redis}}}
providers: {{demo: {{kind: echo, first_token: 5ms}}}}
models: {{echo: {{targets: [{{provider: demo, model: echo}}]}}}}
limits: {{per_user: {{requests: 10k}}, per_tenant: {{requests: 10k}}}}
cache: {{mode: exact, memory: 4MiB}}
tenants: {{acme: {{}}, rival: {{}}}}
"""
MESSAGES = [{"role": "user", "content": "Hello there, gateway"}]


class Place:
    """One host. keys: by tenant."""

    def __init__(self, directory: Path, workers: int = 1, redis: str = "null") -> None:
        directory.mkdir(exist_ok=True)
        self.directory = directory
        (directory / "llmgw.yaml").write_text(CONFIG.format(workers=workers, redis=redis))
        self.process = GatewayProcess(directory)
        self.keys = {
            tenant: str(rows("keys", "create", "--tenant", tenant, cwd=directory)["key"])
            for tenant in ("acme", "rival")
        }

    @property
    def root(self) -> str:
        return self.process.url.removesuffix("/v1")

    def openai(self, tenant: str = "acme") -> openai.OpenAI:
        return openai.OpenAI(base_url=self.process.url, api_key=self.keys[tenant], max_retries=0)

    def anthropic(self, tenant: str = "acme") -> anthropic.Anthropic:
        return anthropic.Anthropic(base_url=self.root, api_key=self.keys[tenant], max_retries=0)

    def metric(self, name: str) -> float:
        found = re.search(rf"^{name} (\S+)$", self.process.admin("/metrics"), re.MULTILINE)
        assert found is not None
        return float(found[1])


@pytest.fixture(scope="module", params=[1, 2], ids=["one worker", "two workers"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("place"), request.param)
    with place.process:
        assert request.param == 1 or within(
            20, lambda: len(place.process.events("worker_ready")) == request.param
        )
        yield place


def asked(client: openai.OpenAI, text: str, **more: object) -> tuple[str | None, str | None]:
    """What was said, and what the head says of the cache."""
    messages = [{"role": "user", "content": text}]
    answer = client.chat.completions.with_raw_response.create(model="echo", messages=messages, **more)  # type: ignore[call-overload]
    return answer.parse().choices[0].message.content, answer.headers["x-llmgw-cache"]


def test_openai(place: Place) -> None:
    """Each SDK client is a connection of its own, which any worker may have."""
    first = asked(place.openai(), "a whole answer")
    again = [asked(place.openai(), "a whole answer") for _ in range(8)]

    assert first == ("a whole answer", "miss")
    assert again == [("a whole answer", "hit")] * 8


def test_openai_streams(place: Place) -> None:
    def heard() -> tuple[list[object], str | None]:
        raw = place.openai().chat.completions.with_raw_response.create(
            model="echo",
            messages=[{"role": "user", "content": "a streamed answer"}],
            stream=True,
            stream_options={"include_usage": True},
        )
        return [chunk.model_dump() for chunk in raw.parse()], raw.headers["x-llmgw-cache"]

    first, state = heard()
    again = [heard() for _ in range(4)]

    assert state == "miss"
    assert len(first) > 3
    assert again == [(first, "hit")] * 4


def test_openai_responses(place: Place) -> None:
    def heard() -> tuple[str, str | None]:
        raw = place.openai().responses.with_raw_response.create(model="echo", input="a response")
        return raw.parse().output_text, raw.headers["x-llmgw-cache"]

    assert [heard() for _ in range(3)] == [
        ("a response", "miss"), ("a response", "hit"), ("a response", "hit"),
    ]  # fmt: skip


def test_anthropic(place: Place) -> None:
    def heard() -> tuple[dict[str, object], str | None]:
        raw = place.anthropic().messages.with_raw_response.create(
            model="echo", max_tokens=100, messages=[{"role": "user", "content": "a message"}]
        )
        return raw.parse().model_dump(), raw.headers["x-llmgw-cache"]

    first, state = heard()

    assert state == "miss"
    assert heard() == (first, "hit")


def test_anthropic_streams(place: Place) -> None:
    def heard() -> tuple[str, list[str], str | None]:
        with place.anthropic().messages.stream(
            model="echo", max_tokens=100, messages=[{"role": "user", "content": "a streamed message"}]
        ) as stream:
            kinds = [event.type for event in stream]
            return stream.get_final_text(), kinds, stream.response.headers["x-llmgw-cache"]

    text, kinds, state = heard()

    assert (text, state) == ("a streamed message", "miss")
    assert heard() == (text, kinds, "hit")


def test_i01_tenants(place: Place) -> None:
    assert asked(place.openai("acme"), "between us")[1] == "miss"
    assert asked(place.openai("rival"), "between us")[1] == "miss"
    assert asked(place.openai("rival"), "between us")[1] == "hit"


def test_what_is_measured_and_recorded(place: Place) -> None:
    before = place.metric("llmgw_cache_hits")
    for _ in range(3):
        asked(place.openai(), "counted")

    assert within(5, lambda: place.metric("llmgw_cache_hits") == before + 2)
    assert place.metric("llmgw_cache_bytes") > 0
    assert place.metric("llmgw_cache_stored") > 0

    def outcomes() -> dict[str, int]:
        report = rows("usage", "report", "--by", "outcome", "-c", "llmgw.yaml", cwd=place.directory)
        return {row["outcome"]: row["requests"] for row in report}

    assert within(10, lambda: outcomes().get("cache", 0) >= 2)
    assert llmgw("usage", "verify", "-c", "llmgw.yaml", cwd=place.directory).returncode == 0


def test_route_explain_says_what_is_kept(place: Place) -> None:
    explained = rows("route", "explain", "--model", "echo", "--tenant", "acme", cwd=place.directory)

    assert explained["cache"]["mode"] == "exact"
    assert explained["cache"]["ttl_s"] == 3600.0
    told = llmgw("route", "explain", "--model", "echo", "--tenant", "acme", cwd=place.directory).stdout
    assert "Answers are kept for 3600 s" in told


def test_a_reload_that_switches_it_off(tmp_path: Path) -> None:
    """From the next request on; and on again, when nothing of before is there."""
    place = Place(tmp_path, workers=2)
    file = tmp_path / "llmgw.yaml"
    on = file.read_text()
    with place.process as process:
        assert within(20, lambda: len(process.events("worker_ready")) == 2)
        assert [asked(place.openai(), "x")[1] for _ in range(3)] == ["miss", "hit", "hit"]

        file.write_text(on.replace("mode: exact", "mode: off"))
        assert within(10, lambda: len(process.events("config_reloaded")) >= 1)
        with pytest.raises(KeyError):
            asked(place.openai(), "x")

        file.write_text(on)
        assert within(10, lambda: len(process.events("config_reloaded")) >= 2)
        assert asked(place.openai(), "x")[1] == "miss"
        assert asked(place.openai(), "x")[1] == "hit"


def test_i11_a_tenant_that_is_removed(tmp_path: Path) -> None:
    """Its keys are refused at once, and what was kept for it is gone when its name comes back."""
    place = Place(tmp_path, workers=2)
    file = tmp_path / "llmgw.yaml"
    both = file.read_text()
    with place.process as process:
        assert within(20, lambda: len(process.events("worker_ready")) == 2)
        assert [asked(place.openai(), "x")[1] for _ in range(2)] == ["miss", "hit"]
        assert [asked(place.openai("rival"), "x")[1] for _ in range(2)] == ["miss", "hit"]

        file.write_text(both.replace("acme: {}, ", ""))
        assert within(10, lambda: len(process.events("config_reloaded")) >= 1)
        with pytest.raises(openai.APIStatusError):
            asked(place.openai(), "x")

        file.write_text(both)
        assert within(10, lambda: len(process.events("config_reloaded")) >= 2)
        assert asked(place.openai(), "x")[1] == "miss"
        assert asked(place.openai("rival"), "x")[1] == "hit"


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    """What the workers shared is gone when the gateway has ended."""
    before = set(os.listdir("/dev/shm"))
    place = Place(tmp_path, workers=2)
    with place.process as process:
        assert within(20, lambda: len(process.events("worker_ready")) == 2)
        asked(place.openai(), "x")
        made = set(os.listdir("/dev/shm")) - before
        mine = {name for name in made if name.endswith(".cache")}
        assert process.stop() == 0

    assert mine
    assert not mine & set(os.listdir("/dev/shm"))


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as server:
        yield server


def test_hosts_share_answers(redis: RedisServer, tmp_path: Path) -> None:
    """What one host was told, the other gives; each has its own keys and database."""
    one, other = (Place(tmp_path / name, redis=f'"{redis.url}?budget=500ms"') for name in ("one", "other"))
    with one.process, other.process:
        assert within(10, lambda: asked(one.openai(), "over there")[1] == "hit")
        # Each database has its tenants' keys, and the same tenants.
        assert asked(other.openai(), "over there") == ("over there", "hit")
        assert asked(other.openai("rival"), "over there")[1] == "miss"


def test_i10_redis_goes_and_comes(redis: RedisServer, tmp_path: Path) -> None:
    """Nobody fails meanwhile, and nobody is told of an answer that is not there."""
    place = Place(tmp_path / "one", redis=f'"{redis.url}?budget=500ms"')
    with place.process:
        assert within(10, lambda: asked(place.openai(), "x")[1] == "hit")
        redis.stop()
        assert within(10, lambda: bool(place.process.events("cache_lost")))
        assert [asked(place.openai(), "x") for _ in range(3)] == [("x", "miss")] * 3

        redis.start()
        assert within(20, lambda: bool(place.process.events("cache_back")))
        assert within(10, lambda: asked(place.openai(), "x")[1] == "hit")
