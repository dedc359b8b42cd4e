"""Client paths and what is spoken there.

OpenAI's paths, Anthropic's, Ollama's and Cohere's, as their API references list them.
"""

from __future__ import annotations

from llmgw.core.operation import ARRAY, LINES, BodyKind, Endpoint, Operation

OPENAI = "openai"
ANTHROPIC = "anthropic"
GEMINI = "gemini"
BEDROCK = "bedrock"
OLLAMA = "ollama"
COHERE = "cohere"
VERTEX = "vertex"
"""Of embeddings alone."""

CHAT_COMPLETIONS = Endpoint(
    "/v1/chat/completions", OPENAI, Operation.CHAT, "/chat/completions", stream_usage=True
)
GENERATE = Endpoint("generateContent", GEMINI, Operation.CHAT, ":generateContent")
STREAM_GENERATE = Endpoint("streamGenerateContent", GEMINI, Operation.CHAT, ":streamGenerateContent?alt=sse")
STREAM_ARRAY = Endpoint(
    "streamGenerateContent?alt=json",
    GEMINI,
    Operation.CHAT,
    ":streamGenerateContent?alt=sse",
    stream=ARRAY,
)
"""The model stands in the path, so these have no one path of ours. Upstreams are asked for events only."""
CONVERSE = Endpoint("converse", BEDROCK, Operation.CHAT, "/converse")
CONVERSE_STREAM = Endpoint("converse-stream", BEDROCK, Operation.CHAT, "/converse-stream")
INVOKE = Endpoint("invoke", BEDROCK, Operation.EMBEDDINGS, "/invoke")
"""Likewise, after the model."""
OLLAMA_CHAT = Endpoint("/api/chat", OLLAMA, Operation.CHAT, "/api/chat", stream=LINES)
OLLAMA_GENERATE = Endpoint("/api/generate", OLLAMA, Operation.CHAT, "/api/generate", stream=LINES)
COHERE_CHAT = Endpoint("/v2/chat", COHERE, Operation.CHAT, "/v2/chat")
EMBEDDINGS = Endpoint("/v1/embeddings", OPENAI, Operation.EMBEDDINGS, "/embeddings")
OLLAMA_EMBED = Endpoint("/api/embed", OLLAMA, Operation.EMBEDDINGS, "/api/embed")
OLLAMA_EMBED_ONE = Endpoint("/api/embeddings", OLLAMA, Operation.EMBEDDINGS, "/api/embeddings")
EMBED_CONTENT = Endpoint("embedContent", GEMINI, Operation.EMBEDDINGS, ":embedContent")
BATCH_EMBED_CONTENTS = Endpoint("batchEmbedContents", GEMINI, Operation.EMBEDDINGS, ":batchEmbedContents")
COHERE_EMBED = Endpoint("/v2/embed", COHERE, Operation.EMBEDDINGS, "/v2/embed")
RERANK = Endpoint("/v1/rerank", OPENAI, Operation.RERANK, "/rerank")
"""Jina's, which vLLM, Together and others serve beside OpenAI's API; Cohere's first version is alike."""
COHERE_RERANK = Endpoint("/v2/rerank", COHERE, Operation.RERANK, "/v2/rerank")
MESSAGES = Endpoint("/v1/messages", ANTHROPIC, Operation.CHAT, "/v1/messages")
_OF_VERTEX: tuple[tuple[str, bytes | None], ...] = (
    ("model", None),
    ("anthropic_version", b'"vertex-2023-10-16"'),
)
RAW_PREDICT = Endpoint("rawPredict", ANTHROPIC, Operation.CHAT, ":rawPredict", members=_OF_VERTEX)
STREAM_RAW_PREDICT = Endpoint(
    "streamRawPredict", ANTHROPIC, Operation.CHAT, ":streamRawPredict", members=_OF_VERTEX
)
"""Messages on Vertex AI, after the model."""
_OF_MISTRAL: tuple[tuple[str, bytes | None], ...] = (("stream_options", None),)
MISTRAL_RAW_PREDICT = Endpoint(
    "mistral rawPredict", OPENAI, Operation.CHAT, ":rawPredict", members=_OF_MISTRAL
)
MISTRAL_STREAM_RAW_PREDICT = Endpoint(
    "mistral streamRawPredict", OPENAI, Operation.CHAT, ":streamRawPredict", members=_OF_MISTRAL
)
"""Mistral's chat completions there, which refuse members that they do not know."""
VERTEX_PREDICT = Endpoint("predict", VERTEX, Operation.EMBEDDINGS, ":predict")

_TABLE = (
    CHAT_COMPLETIONS,
    Endpoint("/v1/completions", OPENAI, Operation.COMPLETION, "/completions", stream_usage=True),
    EMBEDDINGS,
    Endpoint("/v1/responses", OPENAI, Operation.RESPONSES, "/responses"),
    Endpoint("/v1/moderations", OPENAI, Operation.MODERATION, "/moderations"),
    Endpoint("/v1/images/generations", OPENAI, Operation.IMAGE, "/images/generations"),
    Endpoint("/v1/images/edits", OPENAI, Operation.IMAGE_EDIT, "/images/edits", BodyKind.MULTIPART),
    Endpoint("/v1/images/variations", OPENAI, Operation.IMAGE_EDIT, "/images/variations", BodyKind.MULTIPART),
    Endpoint("/v1/audio/speech", OPENAI, Operation.SPEECH, "/audio/speech"),
    Endpoint(
        "/v1/audio/transcriptions",
        OPENAI,
        Operation.TRANSCRIPTION,
        "/audio/transcriptions",
        BodyKind.MULTIPART,
    ),
    Endpoint(
        "/v1/audio/translations", OPENAI, Operation.TRANSCRIPTION, "/audio/translations", BodyKind.MULTIPART
    ),
    MESSAGES,
    OLLAMA_CHAT,
    OLLAMA_GENERATE,
    COHERE_CHAT,
    OLLAMA_EMBED,
    OLLAMA_EMBED_ONE,
    COHERE_EMBED,
    RERANK,
    Endpoint("/rerank", OPENAI, Operation.RERANK, "/rerank"),
    COHERE_RERANK,
)

ENDPOINTS: dict[str, Endpoint] = {endpoint.path: endpoint for endpoint in _TABLE}

_METHODS = (
    ":generateContent",
    ":streamGenerateContent",
    ":countTokens",
    ":embedContent",
    ":batchEmbedContents",
)

DIALECT_PREFIXES: tuple[tuple[str, str], ...] = (
    ("/v1beta/", GEMINI),
    ("/v1/messages", ANTHROPIC),
    ("/v1/", OPENAI),
    ("/openai/", OPENAI),
    ("/v2/", COHERE),
    ("/rerank", OPENAI),
    ("/api/chat", OLLAMA),
    ("/api/embed", OLLAMA),
    ("/api/show", OLLAMA),
    ("/api/generate", OLLAMA),
    ("/api/tags", OLLAMA),
    ("/api/version", OLLAMA),
)
"""Where errors are written in a dialect's shape; elsewhere they are flat."""


def dialect_of(path: str) -> str | None:
    """The dialect whose clients ask for `path`, or None off the dialect paths."""
    if path.startswith("/v1/models/") and path.endswith(_METHODS):
        return GEMINI
    for prefix, dialect in DIALECT_PREFIXES:
        if path.startswith(prefix):
            return dialect
    return None
