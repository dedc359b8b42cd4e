"""The families of Anthropic, Gemini and Bedrock."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.fakes.eventstream import event_frame
from tests.fakes.families import (
    CACHED,
    INPUT,
    OUTPUT,
    SIGNATURE,
    Asked,
    Family,
    Frames,
    Said,
    sse,
    text_of,
    thirds,
)

# Anthropic.


def read_anthropic(_: str, body: Any) -> Asked:
    asked = Asked(bool(body.get("stream")), text_of(body.get("system")))
    asked.max_output = body["max_tokens"]
    asked.schema = (body.get("output_config") or {}).get("format", {}).get("schema")
    for tool in body.get("tools", ()):
        asked.tools[tool["name"]] = tool["input_schema"]
    for message in body["messages"]:
        content = message["content"]
        for block in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            match block["type"]:
                case "text" if message["role"] == "user":
                    asked.texts.append(block["text"])
                case "image":
                    asked.images.append((block["source"]["media_type"], block["source"]["data"]))
                case "tool_use":
                    asked.calls.append((block["id"], block["name"], block["input"]))
                case "tool_result":
                    asked.results.append((block["tool_use_id"], text_of(block["content"])))
                case "thinking":
                    asked.thoughts.append((block["thinking"], block["signature"]))
    return asked


def _anthropic_blocks(said: Said) -> list[Any]:
    blocks: list[Any] = []
    if said.thinking:
        blocks.append({"type": "thinking", "thinking": said.thinking, "signature": SIGNATURE})
    if said.text:
        blocks.append({"type": "text", "text": said.text})
    blocks += (
        {"type": "tool_use", "id": call, "name": name, "input": arguments}
        for call, name, arguments in said.calls
    )
    return blocks


ANTHROPIC_USAGE = {
    "input_tokens": INPUT - CACHED,
    "cache_read_input_tokens": CACHED,
    "cache_creation_input_tokens": 0,
    "output_tokens": OUTPUT,
}


def anthropic_whole(_: str, said: Said) -> Any:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "upstream",
        "content": _anthropic_blocks(said),
        "stop_reason": "tool_use" if said.calls else "end_turn",
        "stop_sequence": None,
        "usage": ANTHROPIC_USAGE,
    }


def anthropic_stream(path: str, said: Said) -> Frames:
    whole = anthropic_whole(path, said)
    start = {**whole, "content": [], "stop_reason": None, "usage": {**ANTHROPIC_USAGE, "output_tokens": 1}}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": start}]
    for at, block in enumerate(whole["content"]):
        kind = block["type"]
        empty = {
            "thinking": {"thinking": "", "signature": ""},
            "text": {"text": ""},
            "tool_use": {"input": {}},
        }
        opened = {**block, **empty[kind]}
        events.append({"type": "content_block_start", "index": at, "content_block": opened})
        if kind == "tool_use":
            pieces = thirds(json.dumps(block["input"]))
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
        else:
            deltas = [{"type": f"{kind}_delta", kind: piece} for piece in thirds(block[kind])]
        if kind == "thinking":
            deltas.append({"type": "signature_delta", "signature": SIGNATURE})
        events += ({"type": "content_block_delta", "index": at, "delta": delta} for delta in deltas)
        events.append({"type": "content_block_stop", "index": at})
    delta = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    events.append({"type": "message_delta", "delta": delta, "usage": {"output_tokens": OUTPUT}})
    events.append({"type": "message_stop"})
    return [sse(event, event["type"]) for event in events]


def anthropic_error(status: int, context: bool) -> tuple[dict[str, str], Any]:
    kinds = {400: "invalid_request_error", 404: "not_found_error", 429: "rate_limit_error"}
    kind = kinds.get(status, "overloaded_error" if status == 529 else "api_error")
    message = "prompt is too long: 300000 tokens > 200000 maximum" if context else "as you see"
    return {}, {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}


# Gemini.

STANDARD = str.maketrans("-_", "+/")
"""Google's SDKs write base64 in the alphabet for URLs."""


def read_gemini(path: str, body: Any) -> Asked:
    asked = Asked(":streamGenerateContent" in path)
    asked.system = text_of((body.get("systemInstruction") or {}).get("parts"))
    tuning = body.get("generationConfig") or {}
    asked.max_output = tuning.get("maxOutputTokens")
    asked.schema = tuning.get("responseJsonSchema") or tuning.get("responseSchema")
    for tool in body.get("tools", ()):
        for function in tool["functionDeclarations"]:
            names = ("parametersJsonSchema", "parameters_json_schema", "parameters")
            schema = next(function[name] for name in names if name in function)
            asked.tools[function["name"]] = schema
    for content in body["contents"]:
        for part in content["parts"]:
            if content["role"] == "model":
                if "functionCall" in part:
                    call = part["functionCall"]
                    asked.calls.append((call["name"], call["name"], call["args"]))
                if "thoughtSignature" in part or part.get("thought"):
                    signature = part.get("thoughtSignature")
                    signature = signature and signature.translate(STANDARD)
                    asked.thoughts.append((part.get("text", ""), signature))
            elif "text" in part:
                asked.texts.append(part["text"])
            elif "inlineData" in part:
                blob = part["inlineData"]
                media_type = blob.get("mimeType") or blob["mime_type"]
                asked.images.append((media_type, blob["data"].translate(STANDARD)))
            elif "functionResponse" in part:
                answer = part["functionResponse"]
                asked.results.append((answer["name"], "".join(map(str, answer["response"].values()))))
    return asked


def _gemini_parts(said: Said) -> list[Any]:
    parts: list[Any] = []
    if said.thinking:
        parts.append({"text": said.thinking, "thought": True})
    parts += ({"text": piece} for piece in thirds(said.text))
    for at, (_, name, arguments) in enumerate(said.calls):
        signed = {"thoughtSignature": SIGNATURE} if said.thinking and not at else {}
        parts.append({"functionCall": {"name": name, "args": arguments}, **signed})
    return parts


def _gemini(parts: list[Any], last: bool) -> Any:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": 0}
    if last:
        candidate["finishReason"] = "STOP"
    usage = {
        "promptTokenCount": INPUT,
        "cachedContentTokenCount": CACHED,
        "candidatesTokenCount": OUTPUT - 2,
        "thoughtsTokenCount": 2,
        "totalTokenCount": INPUT + OUTPUT,
    }
    return {
        "candidates": [candidate],
        "usageMetadata": usage,
        "modelVersion": "upstream",
        "responseId": "r1",
    }


def gemini_whole(_: str, said: Said) -> Any:
    return _gemini(_gemini_parts(said), last=True)


def gemini_stream(_: str, said: Said) -> Frames:
    parts = _gemini_parts(said)
    return [sse(_gemini([part], at == len(parts) - 1)) for at, part in enumerate(parts)]


def gemini_error(status: int, context: bool) -> tuple[dict[str, str], Any]:
    words = {400: "INVALID_ARGUMENT", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE"}
    long = "The input token count (2000000) exceeds the maximum number of tokens allowed (1048576)."
    word = words.get(status, "INTERNAL")
    return {}, {"error": {"code": status, "message": long if context else "as you see", "status": word}}


# Bedrock.


def read_bedrock(path: str, body: Any) -> Asked:
    asked = Asked(path.endswith("/converse-stream"), text_of(body.get("system")))
    asked.max_output = (body.get("inferenceConfig") or {}).get("maxTokens")
    for tool in (body.get("toolConfig") or {}).get("tools", ()):
        spec = tool["toolSpec"]
        asked.tools[spec["name"]] = spec["inputSchema"]["json"]
    format_ = (body.get("outputConfig") or {}).get("textFormat") or {}
    schema = (format_.get("structure") or {}).get("jsonSchema", {}).get("schema")
    asked.schema = json.loads(schema) if isinstance(schema, str) else schema
    for message in body["messages"]:
        for block in message["content"]:
            if "text" in block and message["role"] == "user":
                asked.texts.append(block["text"])
            elif "image" in block:
                image = block["image"]
                asked.images.append((f"image/{image['format']}", image["source"]["bytes"]))
            elif "toolUse" in block:
                use = block["toolUse"]
                asked.calls.append((use["toolUseId"], use["name"], use["input"]))
            elif "toolResult" in block:
                result = block["toolResult"]
                asked.results.append((result["toolUseId"], text_of(result["content"])))
            elif "reasoningContent" in block:
                thought = block["reasoningContent"]["reasoningText"]
                asked.thoughts.append((thought["text"], thought.get("signature")))
    return asked


BEDROCK_USAGE = {
    "inputTokens": INPUT - CACHED,
    "cacheReadInputTokens": CACHED,
    "outputTokens": OUTPUT,
    "totalTokens": INPUT + OUTPUT,
}


def bedrock_whole(_: str, said: Said) -> Any:
    blocks: list[Any] = []
    if said.thinking:
        thought = {"text": said.thinking, "signature": SIGNATURE}
        blocks.append({"reasoningContent": {"reasoningText": thought}})
    if said.text:
        blocks.append({"text": said.text})
    for call, name, arguments in said.calls:
        blocks.append({"toolUse": {"toolUseId": call, "name": name, "input": arguments}})
    return {
        "output": {"message": {"role": "assistant", "content": blocks}},
        "stopReason": "tool_use" if said.calls else "end_turn",
        "usage": BEDROCK_USAGE,
    }


def bedrock_stream(path: str, said: Said) -> Frames:
    frames = [event_frame("messageStart", {"role": "assistant"})]
    whole = bedrock_whole(path, said)
    for at, block in enumerate(whole["output"]["message"]["content"]):
        deltas: list[Any]
        if "toolUse" in block:
            use = block["toolUse"]
            start = {"toolUse": {"toolUseId": use["toolUseId"], "name": use["name"]}}
            frames.append(event_frame("contentBlockStart", {"contentBlockIndex": at, "start": start}))
            deltas = [{"toolUse": {"input": piece}} for piece in thirds(json.dumps(use["input"]))]
        elif "text" in block:
            deltas = [{"text": piece} for piece in thirds(block["text"])]
        else:
            deltas = [{"reasoningContent": {"text": piece}} for piece in thirds(said.thinking)]
            deltas.append({"reasoningContent": {"signature": SIGNATURE}})
        for delta in deltas:
            frames.append(event_frame("contentBlockDelta", {"contentBlockIndex": at, "delta": delta}))
        frames.append(event_frame("contentBlockStop", {"contentBlockIndex": at}))
    frames.append(event_frame("messageStop", {"stopReason": whole["stopReason"]}))
    return [*frames, event_frame("metadata", {"usage": BEDROCK_USAGE, "metrics": {"latencyMs": 1}})]


def bedrock_error(status: int, context: bool) -> tuple[dict[str, str], Any]:
    kinds = {400: "ValidationException", 404: "ResourceNotFoundException", 429: "ThrottlingException"}
    kind = kinds.get(status, "ServiceUnavailableException" if status == 503 else "InternalServerException")
    message = "Input is too long for requested model." if context else "as you see"
    return {"x-amzn-errortype": kind}, {"message": message}


CLOUDS: Mapping[str, Family] = {
    "anthropic": Family(read_anthropic, anthropic_whole, anthropic_stream, anthropic_error),
    "gemini": Family(read_gemini, gemini_whole, gemini_stream, gemini_error),
    "bedrock": Family(
        read_bedrock, bedrock_whole, bedrock_stream, bedrock_error, "application/vnd.amazon.eventstream"
    ),
}
