"""The requests and answers that every scenario sends, sized as the figures ask.

Shapes follow the public OpenAI chat API: requests without white space as its SDKs write them, an
indented completion object, and stream events padded by `obfuscation` as the provider pads them.
That padding carries the moment the event was sent.
"""

from __future__ import annotations

import json

KEY = "sk-llmgw-bench-0123456789abcdef0123456789abcdef"
UPSTREAM_KEY = "sk-upstream"
MODEL = "gpt-4o"
PATH = "/v1/chat/completions"
EVENT_BYTES = 340
STAMP = b'"obfuscation":"T'
STAMP_DIGITS = 20


def _compact(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def chat_body(size: int, *, stream: bool = False) -> bytes:
    """A chat request of exactly `size` bytes."""
    document = {
        "model": MODEL,
        "messages": [
            {"role": "system", "content": "You are a helpful assistant. Answer briefly."},
            {"role": "user", "content": ""},
        ],
        "temperature": 0.2,
        "max_tokens": 256,
        **({"stream": True} if stream else {}),
    }
    padding = size - len(_compact(document))
    if padding < 0:
        raise ValueError(f"a chat request takes {size - padding} bytes, asked for {size}")
    words = "Where does the time of a request go, and who pays for it? "
    document["messages"][1]["content"] = (words * (padding // len(words) + 1))[:padding]  # type: ignore[index]
    return _compact(document)


def chat_answer(size: int) -> bytes:
    """A chat completion of exactly `size` bytes, usage included."""

    def render(content: str) -> bytes:
        return json.dumps(
            {
                "id": "chatcmpl-BenchBenchBenchBenchBenchBen",
                "object": "chat.completion",
                "created": 1760000000,
                "model": "gpt-4o-2024-08-06",
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": content, "refusal": None},
                        "logprobs": None,
                        "finish_reason": "stop",
                    }
                ],
                "usage": {
                    "prompt_tokens": 220,
                    "completion_tokens": 90,
                    "total_tokens": 310,
                    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
                    "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
                },
                "service_tier": "default",
                "system_fingerprint": "fp_0123456789",
            },
            indent=2,
        ).encode()

    words = "Most of it is spent in the kernel, copying bytes between two sockets. "
    padding = size - len(render(""))
    return render((words * (padding // len(words) + 1))[:padding])


def chat_request(authority: str, body: bytes) -> bytes:
    """The whole request, head and body."""
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: {authority}\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Type: application/json\r\nAccept: application/json\r\nUser-Agent: llmgw-bench\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def event_parts() -> tuple[bytes, bytes]:
    """What stands before and after the stamp in an event of EVENT_BYTES bytes."""
    before = (
        b'data: {"id":"chatcmpl-BenchBenchBenchBenchBenchBen","object":"chat.completion.chunk",'
        b'"created":1760000000,"model":"gpt-4o-2024-08-06","service_tier":"default",'
        b'"system_fingerprint":"fp_0123456789","choices":[{"index":0,"delta":{"content":" token"},'
        b'"logprobs":null,"finish_reason":null}],' + STAMP
    )
    padding = EVENT_BYTES - len(before) - STAMP_DIGITS - len(b'"}\n\n')
    return before, b"x" * padding + b'"}\n\n'


FINISH_EVENT = (
    b'data: {"id":"chatcmpl-BenchBenchBenchBenchBenchBen","object":"chat.completion.chunk",'
    b'"created":1760000000,"model":"gpt-4o-2024-08-06","choices":[{"index":0,"delta":{},'
    b'"logprobs":null,"finish_reason":"stop"}]}\n\n'
)
USAGE_EVENT = (
    b'data: {"id":"chatcmpl-BenchBenchBenchBenchBenchBen","object":"chat.completion.chunk",'
    b'"created":1760000000,"model":"gpt-4o-2024-08-06","choices":[],"usage":{"prompt_tokens":220,'
    b'"completion_tokens":90,"total_tokens":310}}\n\n'
)
DONE_EVENT = b"data: [DONE]\n\n"
