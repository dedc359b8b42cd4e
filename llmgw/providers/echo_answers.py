"""What `echo` answers: the request's own words, in OpenAI's shapes.

Pure and deterministic: the same body gives the same bytes. A token is a word or a mark of
punctuation with the space before it, so that what is counted is what is streamed.
"""

from __future__ import annotations

import base64
import hashlib
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

_encode = msgspec.json.Encoder().encode
_TOKEN = re.compile(r"\s*(?:\w+|[^\w\s])|\s+$")
_CALL = re.compile(r"\bcall ([A-Za-z0-9_-]+)")
CREATED = 1_700_000_000
_DIMENSIONS = 16
_MODERATED = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)
_PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

Json = dict[str, Any]
"""Any: a request is whatever its caller wrote."""


class BadEchoRequest(ValueError):
    """The request cannot be answered. The message is for the caller."""


def tokens_of(text: str) -> list[str]:
    """`text` in tokens that join to it."""
    return _TOKEN.findall(text)


@dataclass(frozen=True, slots=True)
class Answer:
    """What to say: tokens of text, or a tool call. finish: OpenAI's finish reason."""

    id: str
    model: str
    pieces: tuple[str, ...]
    finish: str
    input_tokens: int
    call: tuple[str, str] | None = None
    choices: int = 1

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def output_tokens(self) -> int:
        return len(self.pieces) * self.choices

    def chat_usage(self) -> Json:
        return {
            "prompt_tokens": self.input_tokens,
            "completion_tokens": self.output_tokens,
            "total_tokens": self.input_tokens + self.output_tokens,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        }

    def responses_usage(self) -> Json:
        return {
            "input_tokens": self.input_tokens,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": self.output_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": self.input_tokens + self.output_tokens,
        }


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a request says. last: its last words, which are echoed."""

    texts: tuple[str, ...]
    last: str
    from_user: bool = True
    body: Json = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        return sum(len(tokens_of(text)) for text in self.texts)


def read_prompt(body: Json) -> Prompt:
    """What is said in a chat, completion, embedding or responses request."""
    messages = body.get("messages", body.get("input", body.get("prompt", "")))
    if isinstance(messages, str):
        texts = [messages]
        last, from_user = messages, True
    elif isinstance(messages, list):
        texts = [_text_of(message) for message in messages]
        last = texts[-1] if texts else ""
        role = messages[-1].get("role", "user") if messages and isinstance(messages[-1], dict) else "user"
        from_user = role == "user"
    else:
        raise BadEchoRequest("messages, input or prompt must be text or a list")
    instructions = body.get("instructions")
    if isinstance(instructions, str):
        texts.insert(0, instructions)
    return Prompt(tuple(texts), last, from_user, body)


def _text_of(message: object) -> str:
    if isinstance(message, str):
        return message
    if isinstance(message, int):
        return "x"
    if isinstance(message, list):
        return " ".join(map(_text_of, message))
    if isinstance(message, dict):
        for name in ("content", "text", "output"):
            if message.get(name) is not None:
                return _text_of(message[name])
    return ""


def compose(raw: bytes, prompt: Prompt, text: str) -> Answer:
    """The answer to a request whose words, less any directives, are `text`."""
    body = prompt.body
    model = str(body.get("model", "echo"))
    digest = hashlib.sha256(raw).hexdigest()[:24]
    call = _tool_call(body, prompt, text)
    if call is not None:
        pieces = tuple(tokens_of(call[1]))
        return Answer(digest, model, pieces, "tool_calls", prompt.tokens, call)
    pieces = tuple(tokens_of(text))
    finish = "stop"
    limit = next(
        (
            body[name]
            for name in ("max_completion_tokens", "max_tokens", "max_output_tokens")
            if body.get(name) is not None
        ),
        None,
    )
    if limit is not None:
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
            raise BadEchoRequest("the token limit must be a whole number of at least 1")
        if len(pieces) > limit:
            pieces, finish = pieces[:limit], "length"
    choices = body.get("n") or 1
    if not isinstance(choices, int) or not 1 <= choices <= 16:
        raise BadEchoRequest("n must be a whole number from 1 to 16")
    return Answer(digest, model, pieces, finish, prompt.tokens, None, choices)


def _tool_call(body: Json, prompt: Prompt, text: str) -> tuple[str, str] | None:
    """The name and arguments of a call: forced, or asked for in words ("call get_weather")."""
    tools = _tools(body)
    choice = body.get("tool_choice", "auto")
    if not tools or choice == "none" or not prompt.from_user:
        return None
    name: str | None = None
    if isinstance(choice, dict):
        chosen = choice.get("function", choice)
        wanted = chosen.get("name") if isinstance(chosen, dict) else None
        name = wanted if isinstance(wanted, str) else None
        if name is not None and name not in tools:
            raise BadEchoRequest("tool_choice names a tool that is not among the tools")
    elif choice == "required":
        name = next(iter(tools))
    asked = _CALL.search(text)
    if asked and asked[1] in tools and not isinstance(choice, dict):
        name = asked[1]
    if name is None:
        return None
    parameters = tools[name].get("parameters")
    properties = parameters.get("properties") if isinstance(parameters, dict) else None
    members = properties.items() if isinstance(properties, dict) else ()
    return name, _encode({key: _example(key, schema) for key, schema in members}).decode()


def _tools(body: Json) -> dict[str, Json]:
    """The functions offered, by name."""
    offered = body.get("tools") or []
    if not isinstance(offered, list):
        raise BadEchoRequest("tools must be a list")
    functions = [tool.get("function", tool) for tool in offered if isinstance(tool, dict)]
    return {
        function["name"]: function
        for function in functions
        if isinstance(function, dict) and isinstance(function.get("name"), str)
    }


def _example(name: str, schema: object) -> object:
    kind = schema.get("type") if isinstance(schema, dict) else None
    if isinstance(schema, dict) and isinstance(schema.get("enum"), list) and schema["enum"]:
        return schema["enum"][0]
    return {"integer": 1, "number": 1.5, "boolean": True, "array": [], "object": {}}.get(str(kind), name)


def chat_body(answer: Answer, usage: bool) -> bytes:
    message: Json = {"role": "assistant", "content": answer.text, "refusal": None}
    if answer.call is not None:
        message = {"role": "assistant", "content": None, "refusal": None, "tool_calls": [_call_json(answer)]}
    body: Json = {
        "id": f"chatcmpl-{answer.id}",
        "object": "chat.completion",
        "created": CREATED,
        "model": answer.model,
        "choices": [
            {"index": index, "message": message, "logprobs": None, "finish_reason": answer.finish}
            for index in range(answer.choices)
        ],
        "system_fingerprint": "fp_echo",
    }
    if usage:
        body["usage"] = answer.chat_usage()
    return _encode(body)


def _call_json(answer: Answer) -> Json:
    assert answer.call is not None
    name, arguments = answer.call
    return {
        "id": f"call_{answer.id}",
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


def chat_events(answer: Answer, usage: bool, ask_usage: bool) -> Iterator[bytes]:
    """The data of each event of a stream, first the role, last `[DONE]`."""

    def chunk(index: int, delta: Json, finish: str | None = None) -> bytes:
        data: Json = {
            "id": f"chatcmpl-{answer.id}",
            "object": "chat.completion.chunk",
            "created": CREATED,
            "model": answer.model,
            "system_fingerprint": "fp_echo",
            "choices": [{"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}],
        }
        if ask_usage:
            data["usage"] = None
        return _encode(data)

    for index in range(answer.choices):
        if answer.call is None:
            yield chunk(index, {"role": "assistant", "content": "", "refusal": None})
            for piece in answer.pieces:
                yield chunk(index, {"content": piece})
        else:
            call = _call_json(answer)
            head = {**call, "index": 0, "function": {"name": answer.call[0], "arguments": ""}}
            yield chunk(index, {"role": "assistant", "content": None, "tool_calls": [head]})
            for piece in answer.pieces:
                yield chunk(index, {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
        yield chunk(index, {}, answer.finish)
    if ask_usage and usage:
        yield _encode(
            {
                "id": f"chatcmpl-{answer.id}",
                "object": "chat.completion.chunk",
                "created": CREATED,
                "model": answer.model,
                "system_fingerprint": "fp_echo",
                "choices": [],
                "usage": answer.chat_usage(),
            }
        )
    yield b"[DONE]"


def completion_body(answer: Answer, usage: bool) -> bytes:
    body = _completion(answer, answer.text, answer.finish)
    if usage:
        body["usage"] = answer.chat_usage()
    return _encode(body)


def completion_events(answer: Answer, usage: bool, ask_usage: bool) -> Iterator[bytes]:
    for piece in answer.pieces:
        yield _encode(_completion(answer, piece, None))
    yield _encode(_completion(answer, "", answer.finish))
    if ask_usage and usage:
        yield _encode({**_completion(answer, "", None), "choices": [], "usage": answer.chat_usage()})
    yield b"[DONE]"


def _completion(answer: Answer, text: str, finish: str | None) -> Json:
    return {
        "id": f"cmpl-{answer.id}",
        "object": "text_completion",
        "created": CREATED,
        "model": answer.model,
        "choices": [
            {"index": index, "text": text, "logprobs": None, "finish_reason": finish}
            for index in range(answer.choices)
        ],
    }


def embeddings_body(body: Json, prompt: Prompt) -> bytes:
    """A unit vector for each input, made of its digest."""
    inputs = body.get("input", "")
    if not isinstance(inputs, (str, list)) or not inputs:
        raise BadEchoRequest("input must be text or a list of at least one input")
    single = isinstance(inputs, str) or all(isinstance(item, int) for item in inputs)
    items = [inputs] if single else list(inputs)
    dimensions = body.get("dimensions") or _DIMENSIONS
    if not isinstance(dimensions, int) or not 1 <= dimensions <= 4096:
        raise BadEchoRequest("dimensions must be a whole number from 1 to 4096")
    data = []
    for index, item in enumerate(items):
        vector: Any = _vector(_encode(item), dimensions)
        if body.get("encoding_format") == "base64":
            vector = base64.b64encode(struct.pack(f"<{dimensions}f", *vector)).decode()
        data.append({"object": "embedding", "index": index, "embedding": vector})
    usage = {"prompt_tokens": prompt.tokens, "total_tokens": prompt.tokens}
    return _encode({"object": "list", "data": data, "model": body.get("model"), "usage": usage})


def _vector(seed: bytes, dimensions: int) -> list[float]:
    raw = hashlib.shake_256(seed).digest(dimensions * 2)
    values = [number / 32768 - 1 for number in struct.unpack(f"<{dimensions}H", raw)]
    length = sum(value * value for value in values) ** 0.5 or 1.0
    return [value / length for value in values]


def moderation_body(body: Json) -> bytes:
    inputs = body.get("input", "")
    count = len(inputs) if isinstance(inputs, list) else 1
    result = {
        "flagged": False,
        "categories": dict.fromkeys(_MODERATED, False),
        "category_scores": dict.fromkeys(_MODERATED, 0.0),
        "category_applied_input_types": {name: ["text"] for name in _MODERATED},
    }
    return _encode({"id": "modr-echo", "model": body.get("model"), "results": [result] * count})


def image_body() -> bytes:
    return _encode({"created": CREATED, "data": [{"b64_json": _PNG}]})


def speech_body() -> bytes:
    """A tenth of a second of silence: 8 kHz, mono, 16 bits."""
    samples = b"\0\0" * 800
    head = struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF",
        36 + len(samples),
        b"WAVE",
        b"fmt ",
        16,
        1,
        1,
        8000,
        16000,
        2,
        16,
        b"data",
        len(samples),
    )
    return head + samples


def transcription_body() -> bytes:
    return _encode({"text": "echo", "usage": {"type": "duration", "seconds": 1}})
