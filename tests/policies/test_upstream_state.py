from __future__ import annotations

import pytest

from llmgw.core.errors import InvalidRequest, NotFound, UnsupportedOperation
from llmgw.core.principal import Principal
from llmgw.policies.upstream_state import KnownResponses, UpstreamState
from tests.fakes.exchanges import exchange

RESPONSES = "/v1/responses"


@pytest.mark.parametrize(
    "body",
    [
        {"input": [{"content": [{"type": "input_file", "file_id": "file-1"}]}]},
        {"messages": [{"content": [{"type": "file", "file": {"file_id": "file-1"}}]}]},
        {"tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]},
        {"tools": [{"type": "code_interpreter", "container": "cntr_1"}]},
        {"conversation": "conv_1"},
        {"conversation": {"id": "conv_1"}},
        {"input": [{"type": "item_reference", "id": "msg_1"}]},
        b'{"input":[{"file\\u005fid":"file-1"}]}',
    ],
)
def test_references_to_shared_state_are_refused(body: object) -> None:
    """Whoever made it, it lies in an account that tenants share; escapes do not hide it."""
    with pytest.raises(UnsupportedOperation, match="share"):
        UpstreamState(KnownResponses()).admit(exchange(body, path=RESPONSES))


@pytest.mark.parametrize(
    "body",
    [
        {"input": "what is a file_id?"},
        {"input": 'say "file_id"'},
        {"conversation": None},
        {"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]},
        {
            "tools": [
                {
                    "type": "function",
                    "name": "f",
                    "parameters": {"properties": {"file_id": {"type": "string"}}},
                }
            ]
        },
    ],
)
def test_what_only_looks_like_a_reference_goes_on(body: object) -> None:
    UpstreamState(KnownResponses()).admit(exchange(body, path=RESPONSES))


def test_a_response_is_known_to_the_tenant_that_made_it() -> None:
    """The next turn is let through for its tenant; for another it does not exist."""
    known = KnownResponses(capacity=2)
    policy = UpstreamState(known)
    first = exchange({"input": "a"}, path=RESPONSES, principal=Principal("acme"))
    ticket = policy.admit(first)
    first.upstream_id = "resp_1"
    ticket.settle(first)
    turn = {"input": "b", "previous_response_id": "resp_1"}

    policy.admit(exchange(turn, path=RESPONSES, principal=Principal("acme")))
    with pytest.raises(NotFound) as other:
        policy.admit(exchange(turn, path=RESPONSES, principal=Principal("rival")))
    known.add("resp_2", "acme")
    known.add("resp_3", "acme")
    with pytest.raises(NotFound) as forgotten:
        policy.admit(exchange(turn, path=RESPONSES, principal=Principal("acme")))

    assert other.value.message == forgotten.value.message


def test_previous_response_id_must_be_text() -> None:
    with pytest.raises(InvalidRequest, match="string"):
        UpstreamState(KnownResponses()).admit(exchange({"previous_response_id": 5}, path=RESPONSES))
