"""Every embeddings SDK against every family of upstreams. Both ends are real sockets."""

from __future__ import annotations

import base64
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import cohere
import ollama
import openai
import pytest
from google import genai

from tests.fakes.gateway import RunningGateway
from tests.fakes.upstream import ScriptedUpstream, Step, UpstreamConnection, json_reply

VECTORS = [[0.25, -1.5, 3.0], [0.5, 0.125, -2.0]]
TEXTS = ["first text", "second text"]
B64 = [base64.b64encode(struct.pack("<3f", *vector)).decode() for vector in VECTORS]


def openai_reply(vectors: list[Any]) -> dict[str, Any]:
    data = [{"object": "embedding", "index": at, "embedding": one} for at, one in enumerate(vectors)]
    usage = {"prompt_tokens": 7, "total_tokens": 7}
    return {"object": "list", "data": data, "model": "m", "usage": usage}


REPLIES: dict[str, Any] = {
    "compatible": openai_reply(VECTORS),
    "mistral": openai_reply(VECTORS),
    "azure": openai_reply(VECTORS),
    "ollama": {"model": "m", "embeddings": VECTORS, "total_duration": 1, "prompt_eval_count": 7},
    "gemini": {
        "embeddings": [{"values": one} for one in VECTORS],
        "usageMetadata": {"promptTokenCount": 7},
    },
    "cohere": {
        "id": "c1",
        "embeddings": {"float": VECTORS},
        "texts": TEXTS,
        "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 7}},
        "response_type": "embeddings_by_type",
    },
}
SENT: dict[str, tuple[str, Any]] = {
    "compatible": ("/v1/embeddings", {"model": "m", "input": TEXTS, "dimensions": 3}),
    "mistral": ("/v1/embeddings", {"model": "m", "input": TEXTS, "output_dimension": 3}),
    "azure": (
        "/openai/deployments/m/embeddings?api-version=2024-10-21",
        {"model": "m", "input": TEXTS, "dimensions": 3},
    ),
    "ollama": ("/api/embed", {"model": "m", "input": TEXTS, "dimensions": 3}),
    "gemini": (
        "/v1beta/models/m:batchEmbedContents",
        {
            "requests": [
                {"model": "models/m", "outputDimensionality": 3, "content": {"parts": [{"text": text}]}}
                for text in TEXTS
            ]
        },
    ),
    "cohere": (
        "/v2/embed",
        {
            "model": "m",
            "texts": TEXTS,
            "input_type": "search_document",
            "embedding_types": ["float"],
            "output_dimension": 3,
        },
    ),
}
OWN = {
    "openai": {"compatible", "mistral", "azure"},
    "ollama": {"ollama"},
    "gemini": {"gemini"},
    "cohere": {"cohere"},
}
"""Upstreams that get the client's own bytes."""


def answering(make: Callable[[Any], object]) -> Step:
    """JSON that depends on the request."""

    async def step(connection: UpstreamConnection) -> None:
        own = [one for one in connection.upstream.requests if one.connection is connection]
        await json_reply(make(own[-1]))(connection)

    return step


@pytest.fixture
async def gateway(upstream: ScriptedUpstream) -> AsyncIterator[RunningGateway]:
    url = upstream.base_url
    providers = (
        f"compatible: {{kind: openai_compatible, base_url: '{url}/v1', api_key: k, allow_private: true}}\n"
        f"mistral: {{kind: mistral, base_url: '{url}/v1', api_key: k, allow_private: true}}\n"
        f"azure: {{kind: azure_openai, base_url: '{url}', api_key: k, allow_private: true}}\n"
        f"ollama: {{kind: ollama, base_url: '{url}'}}\n"
        f"gemini: {{kind: gemini, base_url: '{url}/v1beta', api_key: k, allow_private: true}}\n"
        f"cohere: {{kind: cohere, base_url: '{url}', api_key: k, allow_private: true}}\n"
        f"aws: {{kind: bedrock, region: us-east-1, base_url: '{url}', api_key: k, allow_private: true}}\n"
        f"claude: {{kind: anthropic, base_url: '{url}', api_key: k, allow_private: true}}\n"
    )
    models = "\n".join(
        f"to-{name}: {{targets: [{{provider: {name}, model: m}}]}}" for name in (*REPLIES, "claude")
    )
    models += "\npicky: {on_loss: reject, targets: [{provider: ollama, model: m}]}"
    models += "\ntitan: {targets: [{provider: aws, model: 'amazon.titan-embed-text-v2:0'}]}"
    models += "\nembed-4: {targets: [{provider: aws, model: 'us.cohere.embed-v4:0'}]}"
    extra = "errors: {format: dialect}\n"
    async with RunningGateway(upstream, providers=providers, models=models, extra=extra) as running:
        yield running
        await running.quiet()


def openai_of(gateway: RunningGateway) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        base_url=f"http://127.0.0.1:{gateway.port}/v1", api_key="sk-test", max_retries=0
    )


async def by_openai(gateway: RunningGateway, model: str) -> list[list[float]]:
    async with openai_of(gateway) as client:
        answer = await client.embeddings.create(
            model=model, input=TEXTS, dimensions=3, encoding_format="float"
        )
    assert answer.usage.prompt_tokens == 7
    return [one.embedding for one in answer.data]


async def by_ollama(gateway: RunningGateway, model: str) -> list[list[float]]:
    client = ollama.AsyncClient(
        f"http://127.0.0.1:{gateway.port}", headers={"authorization": "Bearer sk-test"}, trust_env=False
    )
    async with client:
        answer = await client.embed(model, TEXTS, dimensions=3)
    assert answer.prompt_eval_count == 7
    return [list(one) for one in answer.embeddings]


async def by_gemini(gateway: RunningGateway, model: str) -> list[list[float]]:
    options = genai.types.HttpOptions(base_url=f"http://127.0.0.1:{gateway.port}", api_version="v1beta")
    client = genai.Client(api_key="sk-test", http_options=options).aio
    async with client:
        answer = await client.models.embed_content(
            model=model, contents=TEXTS, config={"output_dimensionality": 3}
        )
    return [one.values or [] for one in answer.embeddings or []]


async def by_cohere(gateway: RunningGateway, model: str) -> list[list[float]]:
    client = cohere.AsyncClientV2(api_key="sk-test", base_url=f"http://127.0.0.1:{gateway.port}")
    async with client:
        answer = await client.embed(
            model=model,
            texts=TEXTS,
            input_type="search_document",
            embedding_types=["float"],
            output_dimension=3,
        )
    assert answer.meta.billed_units.input_tokens == 7
    return answer.embeddings.float_


CLIENTS: dict[str, Callable[[RunningGateway, str], Awaitable[list[list[float]]]]] = {
    "openai": by_openai,
    "ollama": by_ollama,
    "gemini": by_gemini,
    "cohere": by_cohere,
}


@pytest.mark.parametrize("family", REPLIES)
@pytest.mark.parametrize("client", CLIENTS)
async def test_each_sdk_gets_its_vectors(
    gateway: RunningGateway, upstream: ScriptedUpstream, client: str, family: str
) -> None:
    # Ollama speaks OpenAI's embeddings beside its own.
    spoken = "compatible" if (client, family) == ("openai", "ollama") else family
    upstream.script(json_reply(REPLIES[spoken]))
    vectors = await CLIENTS[client](gateway, f"to-{family}")
    await gateway.quiet()
    record = gateway.records[0]

    assert vectors == VECTORS
    assert upstream.requests[0].target == SENT[spoken][0]
    if spoken not in OWN[client]:
        sent = upstream.requests[0].json
        # Cohere's SDK must say what the vectors are for.
        tasks = {one.pop("taskType", None) for one in sent.get("requests", ())}
        assert sent == SENT[spoken][1]
        assert tasks <= {None} or (client, tasks) == ("cohere", {"RETRIEVAL_DOCUMENT"})
    assert (record.operation, record.input_tokens, record.output_tokens) == ("embeddings", 7, 0)
    assert record.usage_source == "reported"
    assert not record.streamed


async def test_same_dialect_stays_bytes(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    """Members and types of vectors that we have no word for go on, in both directions."""
    reply = {"embeddings": {"int8": [[1, 2]], "ubinary": [[3]]}, "new": {"a": 1}}
    upstream.script(json_reply(reply))
    body = (
        b'{ "model":"to-cohere", "texts":["a"],"images":null,"embedding_types":["int8","ubinary"],"x":1.50}'
    )
    answer = await gateway.ask(body, path="/v2/embed")

    assert upstream.requests[0].body == body.replace(b"to-cohere", b"m")
    assert answer.json == reply


async def test_the_model_is_renamed_wherever_gemini_names_it(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.script(json_reply(REPLIES["gemini"]))
    requests = [{"model": "models/to-gemini", "content": {"parts": [{"text": "a"}]}, "new": 1}]
    await gateway.ask({"requests": requests}, path="/v1beta/models/to-gemini:batchEmbedContents")

    assert upstream.requests[0].json == {"requests": [{**requests[0], "model": "models/m"}]}


@pytest.mark.parametrize("family", ["gemini", "cohere"])
async def test_base64_is_given_where_the_upstream_has_numbers(
    gateway: RunningGateway, upstream: ScriptedUpstream, family: str
) -> None:
    """OpenAI's SDK asks for it unless it is told otherwise, and reads it back."""
    upstream.script(json_reply(REPLIES[family]))
    async with openai_of(gateway) as client:
        answer = await client.embeddings.create(model=f"to-{family}", input=TEXTS)
    upstream.script(json_reply(REPLIES[family]))
    body = {"model": f"to-{family}", "input": TEXTS, "encoding_format": "base64"}
    raw = await gateway.ask(body, path="/v1/embeddings")

    assert [one.embedding for one in answer.data] == VECTORS
    assert [one["embedding"] for one in raw.json["data"]] == B64


async def test_an_upstream_that_counts_nothing(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    """The client is told an estimate; what is recorded is counted here and says so."""
    upstream.script(json_reply({"embeddings": [{"values": [1.0]}]}))
    body = {"model": "to-gemini", "input": "hello there, world"}
    answer = await gateway.ask(body, path="/v1/embeddings")
    [record] = await gateway.settled()

    assert answer.json["usage"]["prompt_tokens"] > 0
    assert record.usage_source == "estimated"
    assert record.input_tokens == 4


async def test_one_text_by_the_older_path(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    upstream.script(json_reply({**REPLIES["cohere"], "embeddings": {"float": VECTORS[:1]}}))
    answer = await gateway.ask({"model": "to-cohere", "prompt": "a"}, path="/api/embeddings")

    assert answer.json == {"embedding": VECTORS[0]}


async def test_ids_of_tokens_are_refused_where_they_mean_nothing(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    answer = await gateway.ask({"model": "to-gemini", "input": [[1, 2]]}, path="/v1/embeddings")

    assert answer.status == 400
    assert answer.json["error"]["param"] == "input"
    assert "send this model text" in answer.json["error"]["message"]
    assert upstream.requests == []


async def test_loss_is_named(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    upstream.script(json_reply(REPLIES["ollama"]))
    body = {"model": "to-ollama", "texts": TEXTS, "input_type": "search_query", "priority": 3}
    answer = await gateway.ask(body, path="/v2/embed")
    refused = await gateway.ask({**body, "model": "picky"}, path="/v2/embed")

    assert answer.headers["x-llmgw-dropped"] == "input_type, priority"
    assert refused.status == 400
    assert "input_type" in refused.json["message"]


async def test_images_are_refused(gateway: RunningGateway) -> None:
    body = {"model": "to-ollama", "images": ["data:image/png;base64,AA=="], "input_type": "image"}
    answer = await gateway.ask(body, path="/v2/embed")

    assert (answer.status, answer.json["message"]) == (400, "this model is given text only, no images")


async def test_a_provider_without_embeddings(gateway: RunningGateway) -> None:
    answer = await gateway.ask({"model": "to-claude", "input": "a"}, path="/v1/embeddings")

    assert answer.status == 404
    assert "does not serve /v1/embeddings" in answer.json["error"]["message"]


@pytest.mark.parametrize(
    "reply",
    [
        {"embeddings": [{"values": [1.0]}, {"values": [1.0]}]},
        {"embeddings": [{"values": None}]},
        {"candidates": []},
    ],
)
async def test_an_answer_that_is_none(
    gateway: RunningGateway, upstream: ScriptedUpstream, reply: object
) -> None:
    for _ in range(3):
        upstream.script(json_reply(reply))
    answer = await gateway.ask({"model": "to-gemini", "input": "a"}, path="/v1/embeddings")

    assert (answer.status, answer.json["error"]["code"]) == (502, "upstream_malformed")


async def test_a_stream_where_none_belongs(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    for _ in range(3):
        upstream.script(json_reply({}, headers={"content-type": "text/event-stream"}))
    body = {"model": "to-gemini", "input": "a", "stream": True}
    answer = await gateway.ask(body, path="/v1/embeddings")

    assert (answer.status, answer.json["error"]["code"]) == (502, "upstream_malformed")


async def test_an_error_in_the_clients_words(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    error = {"error": {"code": 400, "message": "too long", "status": "INVALID_ARGUMENT"}}
    upstream.script(json_reply(error, status=400))
    answer = await gateway.ask({"model": "to-gemini", "texts": ["a"]}, path="/v2/embed")

    assert (answer.status, answer.json["message"]) == (400, "too long")


async def test_titan_on_bedrock(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    """Its count is in the answer."""
    upstream.script(json_reply({"embedding": VECTORS[0], "inputTextTokenCount": 7}))
    async with openai_of(gateway) as client:
        answer = await client.embeddings.create(model="titan", input="first text", dimensions=3)
    [record] = await gateway.settled()

    assert answer.data[0].embedding == VECTORS[0]
    assert answer.usage.prompt_tokens == 7
    assert upstream.requests[0].target == "/model/amazon.titan-embed-text-v2%3A0/invoke"
    assert upstream.requests[0].headers["authorization"] == "Bearer k"
    assert upstream.requests[0].json == {"inputText": "first text", "dimensions": 3}
    assert (record.input_tokens, record.usage_source) == (7, "reported")


async def test_many_texts_for_titan(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    """It takes one in a request: as many are sent, and the client has one answer and one record."""

    def vector_of(request: Any) -> object:
        return {"embedding": [float(request.json["inputText"][1:])], "inputTextTokenCount": 2}

    upstream.default(answering(vector_of))
    texts = [f"t{number}" for number in range(20)]
    async with openai_of(gateway) as client:
        answer = await client.embeddings.create(model="titan", input=texts)
    [record] = await gateway.settled()

    assert [one.embedding for one in answer.data] == [[float(number)] for number in range(20)]
    assert answer.usage.prompt_tokens == 40
    assert sorted(one.json["inputText"] for one in upstream.requests) == sorted(texts)
    assert (record.input_tokens, record.usage_source, record.attempts) == (40, "reported", 1)


async def test_one_of_many_texts_is_refused(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    upstream.default(json_reply({"embedding": [1.0], "inputTextTokenCount": 2}))
    upstream.script(json_reply({"message": "Too many input tokens"}, status=400))
    answer = await gateway.ask({"model": "titan", "input": ["a"] * 20}, path="/v1/embeddings")
    await gateway.quiet()

    assert (answer.status, answer.json["error"]["message"]) == (400, "Too many input tokens")
    assert len(upstream.requests) < 20


async def test_cohere_on_bedrock(gateway: RunningGateway, upstream: ScriptedUpstream) -> None:
    """It counts in the head of its answer alone."""
    reply = {"id": "c1", "embeddings": {"float": VECTORS}, "response_type": "embeddings_by_type"}
    upstream.script(json_reply(reply, headers={"X-Amzn-Bedrock-Input-Token-Count": "7"}))
    vectors = await by_openai(gateway, "embed-4")
    [record] = await gateway.settled()

    assert vectors == VECTORS
    assert upstream.requests[0].json == {
        "texts": TEXTS,
        "input_type": "search_document",
        "output_dimension": 3,
    }
    assert (record.input_tokens, record.usage_source) == (7, "reported")


async def test_bedrocks_refusal_in_the_clients_words(
    gateway: RunningGateway, upstream: ScriptedUpstream
) -> None:
    upstream.script(json_reply({"message": "Malformed input request"}, status=400))
    answer = await gateway.ask({"model": "titan", "input": "a"}, path="/v1/embeddings")

    assert (answer.status, answer.json["error"]["message"]) == (400, "Malformed input request")
