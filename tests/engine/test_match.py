"""Which route a request takes."""

from __future__ import annotations

import pytest

from llmgw.engine.match import Asked, Route, Routes, header_fits, host_is, model_is, path_is, tenant_is


def asked(**said: object) -> Asked:
    plain: dict[str, object] = {
        "path": "/v1/messages",
        "prefix": "",
        "host": "",
        "fields": {},
        "tenant": "acme",
        "user": None,
        "labels": (),
        "model": "gpt-4o",
    }
    return Asked(**{**plain, **said})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("glob", "path", "fits"),
    [
        ("/v1/**", "/v1/messages", True),
        ("/v1/**", "/v1x/messages", False),
        ("/v1/*", "/v1/chat/completions", False),
        ("/**/chat/*", "/a/b/chat/completions", True),
        ("/**/a*c", "/abc/x/abbc", True),
        ("/v1/**/x", "/v1/y", False),
    ],
)
def test_paths(glob: str, path: str, fits: bool) -> None:
    assert path_is(glob).holds(asked(path=path)) is fits


@pytest.mark.parametrize(
    ("pattern", "host", "fits"),
    [
        ("*.example.com", "a.example.com", True),
        ("*.example.com", "example.com", False),
        ("{tenant}.example.com", "acme.example.com", True),
        ("{tenant}.example.com", "rival.example.com", False),
    ],
)
def test_hosts(pattern: str, host: str, fits: bool) -> None:
    assert host_is(pattern).holds(asked(host=host)) is fits


def test_a_long_value_fits_no_pattern() -> None:
    fits = header_fits("x", "a+").holds

    assert fits(asked(fields={b"x": b"a" * 256}))
    assert not fits(asked(fields={b"x": b"a" * 257}))


def test_first_match_wins_and_the_others_are_told() -> None:
    routes = Routes(
        [
            Route("rival", "", (tenant_is("rival"),)),
            Route("fast", "/fast", (path_is("/fast/**"),)),
            Route("gpt", "", (model_is("gpt-*"),)),
        ]
    )

    assert routes.first(asked()) == "gpt"
    assert routes.first(asked(path="/fast/v1/messages", prefix="/fast")) == "fast"
    assert routes.first(asked(model="claude")) is None
    assert routes.considered(asked())[0] == ("rival", "tenant is rival")
