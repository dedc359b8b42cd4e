"""What keeps requests together."""

from __future__ import annotations

from llmgw.core.principal import Principal
from llmgw.engine.sticky import by_conversation, by_header, by_user
from tests.fakes.exchanges import exchange


def test_by_user_falls_back_to_the_key_and_the_address() -> None:
    assert by_user(exchange(principal=Principal("acme", "alice", "k1"))) == "acme/alice"
    assert by_user(exchange(principal=Principal("acme", None, "k1"))) == "acme/k1"
    assert by_user(exchange(principal=Principal("acme"))) == "acme/127.0.0.1"


def test_by_header_keeps_only_those_who_send_it() -> None:
    assert by_header("x-session")(exchange(fields={b"x-session": b"7"})) == "7"
    assert by_header("x-session")(exchange()) is None


def test_a_conversation_is_known_by_its_first_user_turn() -> None:
    begun = by_conversation(exchange({"model": "m", "messages": [{"role": "user", "content": "a"}]}))
    later = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    other = by_conversation(exchange({"model": "m", "messages": [{"role": "user", "content": "b"}]}))

    assert begun is not None
    assert by_conversation(exchange({"model": "m", "messages": later})) == begun
    assert other != begun


def test_what_has_no_turns_is_kept_nowhere() -> None:
    assert by_conversation(exchange({"model": "m", "input": "text"})) is None
    assert by_conversation(exchange({"model": "m", "messages": [7]})) is None
