from __future__ import annotations

from collections.abc import Callable

import pytest

from llmgw.config.load import document_from_text
from llmgw.config.redis_url import RedisSetting, RedisUrl, parse_redis_url

ECHO = "version: 1\nproviders: {demo: {kind: echo}}\n"


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("redis://cache", RedisUrl("single", (("cache", 6379),))),
        ("redis://cache:7000/3", RedisUrl("single", (("cache", 7000),), db=3)),
        ("redis://:p%40ss@[::1]:1/0", RedisUrl("single", (("::1", 1),), password="p@ss")),
        ("redis://u:p@cache", RedisUrl("single", (("cache", 6379),), user="u", password="p")),
        ("rediss://cache?ca=/etc/ca.pem", RedisUrl("single", (("cache", 6379),), tls=True, ca="/etc/ca.pem")),
        ("redis://cache?budget=50ms", RedisUrl("single", (("cache", 6379),), budget_s=0.05)),
        (
            "redis+sentinel://:p@a,b:7/mymaster/2",
            RedisUrl("sentinel", (("a", 26379), ("b", 7)), password="p", db=2, master="mymaster"),
        ),
        ("rediss+cluster://a:1,b:2", RedisUrl("cluster", (("a", 1), ("b", 2)), tls=True)),
    ],
)
def test_says_where_redis_is(text: str, meant: RedisUrl) -> None:
    assert parse_redis_url(text) == meant


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("http://cache", "must look like redis://cache:6379/0"),
        ("redis://", "must name a host"),
        ("redis://cache:0", "must name a host"),
        ("redis://cache:x", "must name a host"),
        ("redis://u@cache", "names a user and no password"),
        ("redis://a,b", "names several hosts"),
        ("redis+sentinel://a", "must name Sentinel's master"),
        ("redis://cache/first", "must end with the number of a database"),
        ("redis+cluster://cache/1", "a cluster has none"),
        ("redis://cache?timeout=1", "takes no options but ?ca= and ?budget="),
        ("redis://cache?budget=2", "must give its budget in milliseconds"),
        ("redis://cache?ca=/x", "has ?ca= without TLS"),
    ],
)
def test_refused(text: str, refusal: str) -> None:
    with pytest.raises(ValueError, match=refusal.replace("?", r"\?")):
        parse_redis_url(text)


def test_its_password_is_never_shown() -> None:
    setting = RedisSetting.checked("redis://u:hunter2@cache/1", None)

    assert str(setting) == "redis://u:********@cache/1"
    assert "hunter2" not in repr(setting)
    assert setting.url.password == "hunter2"


def test_its_password_may_be_a_reference(refusals: Callable[..., list[str]]) -> None:
    document = document_from_text(f"{ECHO}storage: {{redis: 'redis://:${{env:SECRET}}@cache/1'}}")
    assert str(document.storage.redis) == "redis://:${env:SECRET}@cache/1"
    (found,) = refusals(f"{ECHO}storage: {{redis: 'redis://:${{env:SECRET}}@'}}")
    assert "must name a host" in found
