"""Azure's client paths: the deployment in the path is the model, the key is in `api-key`."""

from __future__ import annotations

from collections.abc import AsyncIterator

import openai
import pytest

from tests.fakes.gateway import RunningGateway
from tests.fakes.raw_client import Answer, chat
from tests.fakes.upstream import ScriptedUpstream, json_reply

ANSWER = {
    "id": "c1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13},
}
FORM = "multipart/form-data; boundary=b"


@pytest.fixture
async def gateway(upstream: ScriptedUpstream) -> AsyncIterator[RunningGateway]:
    async with RunningGateway(upstream) as running:
        yield running
        await running.quiet()


async def ask(gateway: RunningGateway, name: str, body: object, *, rest: str = "chat/completions") -> Answer:
    path = f"/openai/deployments/{name}/{rest}?api-version=2024-10-21"
    fields = {"api-key": "sk-test"}
    if isinstance(body, bytes):
        fields["content-type"] = FORM
    return await gateway.ask(body, path=path, key=None, headers=fields)


async def test_the_sdk_chats_and_streams(gateway: RunningGateway) -> None:
    client = openai.AsyncAzureOpenAI(
        azure_endpoint=f"http://127.0.0.1:{gateway.port}",
        api_key="sk-test",
        api_version="2024-10-21",
        max_retries=0,
    )
    async with client:
        answer = await client.chat.completions.create(
            model="echo", messages=[{"role": "user", "content": "hello there"}]
        )
        stream = await client.chat.completions.create(
            model="echo", messages=[{"role": "user", "content": "one two"}], stream=True
        )
        text = "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])
        with pytest.raises(openai.NotFoundError) as unknown:
            await client.embeddings.create(model="nobody", input="x")

    assert "hello there" in (answer.choices[0].message.content or "")
    assert "one two" in text
    assert unknown.value.code == "model_not_found"


@pytest.mark.parametrize("body", [{"messages": []}, {"messages": [], "model": "other"}, {}])
async def test_the_deployment_is_the_model_whatever_the_body_says(
    gateway: RunningGateway, upstream: ScriptedUpstream, body: dict[str, object]
) -> None:
    upstream.script(json_reply(ANSWER))
    answer = await ask(gateway, "gpt-4o", body)
    await gateway.quiet()

    assert answer.status == 200
    assert upstream.requests[0].target == "/v1/chat/completions"
    assert upstream.requests[0].json == {**body, "model": "gpt-4o"}
    assert gateway.records[0].model == "gpt-4o"


async def test_the_targets_own_name_goes_up(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    upstream.script(json_reply(ANSWER))
    await ask(gateway, "renamed", {"messages": []})

    assert upstream.requests[0].json["model"] == "upstream/name"


@pytest.mark.parametrize("named", [False, True])
async def test_a_form_is_given_the_model(
    gateway: RunningGateway, upstream: ScriptedUpstream, named: bool
) -> None:
    upstream.script(json_reply({"text": "hi"}))
    field = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper\r\n' if named else b""
    body = field + (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\nRIFF\r\n--b--\r\n'
    )
    answer = await ask(gateway, "gpt-4o", body, rest="audio/transcriptions")

    assert answer.status == 200
    assert upstream.requests[0].target == "/v1/audio/transcriptions"
    assert b'name="model"\r\n\r\ngpt-4o\r\n' in upstream.requests[0].body
    assert upstream.requests[0].body.count(b'name="model"') == 1


async def test_a_name_cannot_add_fields_to_a_form(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nx\r\n--b--\r\n'
    answer = await ask(gateway, "a%0D%0A--b--%0D%0A", body, rest="audio/transcriptions")

    assert answer.status == 404
    assert not upstream.requests


async def test_what_is_not_there_is_told_in_openais_shape(gateway: RunningGateway) -> None:
    nothing = await ask(gateway, "gpt-4o", chat(), rest="nothing")
    escaped = await ask(gateway, "gpt-4o", chat(), rest="chat%2Fcompletions")
    got = await gateway.ask(path="/openai/deployments/gpt-4o/embeddings", method="GET")
    stranger = await gateway.ask(
        chat(), path="/openai/deployments/gpt-4o/chat/completions", key=None, headers={"api-key": "x"}
    )

    assert [nothing.status, escaped.status, got.status, stranger.status] == [404, 404, 405, 401]
    for answer in (nothing, escaped, got, stranger):
        assert set(answer.json["error"]) == {"message", "type", "param", "code"}


async def test_paths_without_a_version(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    """Azure's newer paths, where the body names the deployment: what its SDK calls the v1 API."""
    upstream.script(json_reply(ANSWER))
    client = openai.AsyncOpenAI(
        base_url=f"http://127.0.0.1:{gateway.port}/openai/v1/", api_key="sk-test", max_retries=0
    )
    async with client:
        answer = await client.chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": "hi"}]
        )
        models = await client.models.list()
    by_key = await gateway.ask(
        chat(model="echo"),
        path="/openai/v1/chat/completions?api-version=preview",
        key=None,
        headers={"api-key": "sk-test"},
    )
    read = await gateway.ask(None, path="/openai/v1/embeddings", method="GET")

    assert answer.choices[0].message.content == "hi"
    assert "echo" in [model.id for model in models.data]
    assert by_key.status == 200
    assert (read.status, read.headers["allow"]) == (405, "POST")
    assert "/openai/v1/embeddings takes POST" in read.json["error"]["message"]
