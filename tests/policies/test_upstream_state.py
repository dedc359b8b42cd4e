from __future__ import annotations

import pytest

from llmgw.core.errors import InvalidRequest, NotFound, UnsupportedOperation
from llmgw.core.principal import Principal
from llmgw.dialects.endpoints import GENERATE
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


KEPT = "https://generativelanguage.googleapis.com/v1beta/files/abc"


@pytest.mark.parametrize(
    "link", [KEPT, KEPT.replace("/", "\\/"), KEPT.replace("files", "file%73"), "files/abc"]
)
@pytest.mark.parametrize("member", ["fileUri", "file_uri"])
def test_an_uploaded_file_is_refused_however_its_link_is_written(member: str, link: str) -> None:
    body = f'{{"contents":[{{"parts":[{{"fileData":{{"{member}":"{link}"}}}}]}}]}}'
    ex = exchange(body.encode())
    ex.endpoint = GENERATE

    with pytest.raises(UnsupportedOperation, match="share"):
        UpstreamState(KnownResponses()).admit(ex)


def test_a_link_that_anybody_can_read_goes_on() -> None:
    ex = exchange(b'{"contents":[{"parts":[{"fileData":{"fileUri":"https://example.com/a.png"}}]}]}')
    ex.endpoint = GENERATE

    UpstreamState(KnownResponses()).admit(ex)


LINKING = [
    {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": KEPT}}]}]},
    {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": KEPT}}]}]},
    {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": KEPT.upper()}]}]},
    {"input": [{"role": "user", "content": [{"type": "input_file", "file_url": KEPT}]}]},
    {"messages": [{"role": "user", "content": [{"type": "document_url", "document_url": KEPT}]}]},
]


@pytest.mark.parametrize("body", LINKING)
def test_an_uploaded_file_of_gemini_is_refused_in_other_dialects_too(body: object) -> None:
    """Its link becomes a `fileUri` where Gemini answers; elsewhere it is a link like any other."""
    with pytest.raises(UnsupportedOperation, match="share"):
        UpstreamState(KnownResponses(), links=True).admit(exchange(body))
    UpstreamState(KnownResponses()).admit(exchange(body))


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "user", "content": f"what is {KEPT}?"}]},
        {"messages": [{"role": "user", "content": [{"image_url": {"url": "https://a.test/files/1.png"}}]}]},
    ],
)
def test_what_is_no_link_to_geminis_files_goes_on(body: object) -> None:
    UpstreamState(KnownResponses(), links=True).admit(exchange(body))
