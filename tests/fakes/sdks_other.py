"""The SDKs of Google, Mistral, Ollama and Cohere, as `tests.fakes.sdks` has them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from itertools import groupby
from typing import Any

import ollama
from google import genai
from google.genai import types
from mistralai.client import Mistral as MistralClient
from mistralai.client.errors import SDKError

from tests.fakes.families import PIXEL
from tests.fakes.sdks import (
    AUTH,
    BROKEN,
    CITY,
    FORBIDDEN,
    INVALID,
    LIMIT,
    LIMITED,
    NOT_FOUND,
    PERSON_SCHEMA,
    SYSTEM,
    TOOL,
    Reply,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import cohere

FUNCTION = {"name": TOOL, "description": "of a city", "parameters": CITY}
DATA_URL = f"data:image/png;base64,{PIXEL}"


class Google:
    errors: Mapping[str, type[Exception]] = {
        AUTH: genai.errors.ClientError,
        FORBIDDEN: genai.errors.ClientError,
        NOT_FOUND: genai.errors.ClientError,
        INVALID: genai.errors.ClientError,
        LIMITED: genai.errors.ClientError,
        BROKEN: genai.errors.ServerError,
    }

    def __init__(self, root: str, key: str) -> None:
        retries = types.HttpRetryOptions(attempts=1)
        options = types.HttpOptions(base_url=root, retry_options=retries)
        self._client = genai.Client(api_key=key, http_options=options)

    def close(self) -> None:
        self._client.close()

    def user(self, text: str, image: bool = False) -> Any:
        parts = [types.Part(text=text)]
        if image:
            import base64

            parts.append(types.Part.from_bytes(data=base64.b64decode(PIXEL), mime_type="image/png"))
        return types.Content(role="user", parts=parts)

    def ask(self, model: str, history: list[Any], **how: Any) -> Reply:
        more: dict[str, Any] = {}
        if how.get("tools"):
            declared = types.FunctionDeclaration(
                name=TOOL, description="of a city", parameters_json_schema=CITY
            )
            more["tools"] = [types.Tool(function_declarations=[declared])]
        if how.get("schema"):
            more |= {"response_mime_type": "application/json", "response_json_schema": PERSON_SCHEMA}
        if how.get("think"):
            more["thinking_config"] = types.ThinkingConfig(include_thoughts=True, thinking_budget=1024)
        config = types.GenerateContentConfig(system_instruction=SYSTEM, max_output_tokens=LIMIT, **more)
        if how.get("stream"):
            answers = list(
                self._client.models.generate_content_stream(model=model, contents=history, config=config)
            )
        else:
            answers = [self._client.models.generate_content(model=model, contents=history, config=config)]
        parts = [
            part
            for answer in answers
            for candidate in answer.candidates or ()
            for part in (candidate.content.parts if candidate.content else None) or ()
        ]
        last = answers[-1]
        used = last.usage_metadata
        return Reply(
            types.Content(role="model", parts=parts),
            "".join(part.text or "" for part in parts if not part.thought),
            "".join(part.text or "" for part in parts if part.thought),
            [
                (part.function_call.id or "", part.function_call.name, part.function_call.args)
                for part in parts
                if part.function_call
            ],
            last.candidates[0].finish_reason,
            (used.prompt_token_count, (used.candidates_token_count or 0) + (used.thoughts_token_count or 0)),
        )

    def goes_on(self, history: list[Any], reply: Reply, results: list[str]) -> list[Any]:
        parts = [
            types.Part(
                function_response=types.FunctionResponse(
                    id=call or None, name=name, response={"output": text}
                )
            )
            for (call, name, _), text in zip(reply.calls, results, strict=True)
        ]
        return [*history, reply.native, types.Content(role="user", parts=parts)]


class Mistral:
    errors: Mapping[str, type[Exception]] = dict.fromkeys(
        (AUTH, FORBIDDEN, NOT_FOUND, INVALID, LIMITED, BROKEN), SDKError
    )

    def __init__(self, root: str, key: str) -> None:
        self._client = MistralClient(api_key=key, server_url=root)
        self._client.__enter__()

    def close(self) -> None:
        self._client.__exit__(None, None, None)

    def user(self, text: str, image: bool = False) -> Any:
        parts = [{"type": "text", "text": text}, {"type": "image_url", "image_url": DATA_URL}]
        return {"role": "user", "content": parts if image else text}

    def ask(self, model: str, history: list[Any], **how: Any) -> Reply:
        more: dict[str, Any] = {"max_tokens": LIMIT}
        if how.get("tools"):
            more["tools"] = [{"type": "function", "function": FUNCTION}]
        if how.get("schema"):
            schema = {"name": "person", "schema": PERSON_SCHEMA, "strict": True}
            more["response_format"] = {"type": "json_schema", "json_schema": schema}
        if how.get("think"):
            more["reasoning_effort"] = "high"
        messages = [{"role": "system", "content": SYSTEM}, *history]
        if how.get("stream"):
            return self._gathered(self._client.chat.stream(model=model, messages=messages, **more))
        answer = self._client.chat.complete(model=model, messages=messages, **more)
        message = answer.choices[0].message
        text, thinking = _mistral_content(message.content)
        calls = [
            (call.id, call.function.name, _arguments(call.function.arguments))
            for call in message.tool_calls or ()
        ]
        used = (answer.usage.prompt_tokens, answer.usage.completion_tokens)
        return Reply(message, text, thinking, calls, answer.choices[0].finish_reason, used)

    def _gathered(self, stream: Any) -> Reply:
        reply = Reply(None)
        calls: dict[int, list[str]] = {}
        with stream as events:
            for event in events:
                chunk = event.data
                if chunk.usage is not None and chunk.usage.prompt_tokens:
                    reply.usage = (chunk.usage.prompt_tokens, chunk.usage.completion_tokens)
                for choice in chunk.choices:
                    text, thinking = _mistral_content(choice.delta.content)
                    reply.text += text
                    reply.thinking += thinking
                    reply.stop = choice.finish_reason or reply.stop
                    for call in choice.delta.tool_calls or ():
                        known = calls.setdefault(call.index or 0, ["", "", ""])
                        known[0] = known[0] or (call.id if call.id != "null" else "")
                        known[1] = known[1] or call.function.name
                        known[2] += call.function.arguments
        reply.calls = [(call, name, json.loads(arguments)) for call, name, arguments in calls.values()]
        made = [
            {"id": call, "function": {"name": name, "arguments": arguments}}
            for call, name, arguments in calls.values()
        ]
        reply.native = {"role": "assistant", "content": reply.text, "tool_calls": made}
        return reply

    def goes_on(self, history: list[Any], reply: Reply, results: list[str]) -> list[Any]:
        answers = [
            {"role": "tool", "tool_call_id": call, "name": name, "content": text}
            for (call, name, _), text in zip(reply.calls, results, strict=True)
        ]
        return [*history, reply.native, *answers]


def _mistral_content(content: Any) -> tuple[str, str]:
    if not content:
        return "", ""
    if isinstance(content, str):
        return content, ""
    text = "".join(part.text for part in content if part.type == "text")
    thoughts = (inner for part in content if part.type == "thinking" for inner in part.thinking)
    return text, "".join(inner.text for inner in thoughts)


def _arguments(arguments: Any) -> Any:
    return json.loads(arguments) if isinstance(arguments, str) else arguments


class Ollama:
    errors: Mapping[str, type[Exception]] = dict.fromkeys(
        (AUTH, FORBIDDEN, NOT_FOUND, INVALID, LIMITED, BROKEN), ollama.ResponseError
    )

    def __init__(self, root: str, key: str) -> None:
        self._client = ollama.Client(host=root, headers={"authorization": f"Bearer {key}"})

    def close(self) -> None:
        self._client.close()

    def user(self, text: str, image: bool = False) -> Any:
        return {"role": "user", "content": text, **({"images": [PIXEL]} if image else {})}

    def ask(self, model: str, history: list[Any], **how: Any) -> Reply:
        more: dict[str, Any] = {"options": {"num_predict": LIMIT}}
        if how.get("tools"):
            more["tools"] = [{"type": "function", "function": FUNCTION}]
        if how.get("schema"):
            more["format"] = PERSON_SCHEMA
        if how.get("think"):
            more["think"] = True
        messages = [{"role": "system", "content": SYSTEM}, *history]
        answers = self._client.chat(model=model, messages=messages, stream=bool(how.get("stream")), **more)
        lines = list(answers) if how.get("stream") else [answers]
        text = "".join(line.message.content or "" for line in lines)
        thinking = "".join(line.message.thinking or "" for line in lines)
        calls = [call for line in lines for call in line.message.tool_calls or ()]
        native = {"role": "assistant", "content": text, "thinking": thinking, "tool_calls": calls}
        last = lines[-1]
        return Reply(
            native,
            text,
            thinking,
            [("", call.function.name, call.function.arguments) for call in calls],
            last.done_reason,
            (last.prompt_eval_count, last.eval_count),
        )

    def goes_on(self, history: list[Any], reply: Reply, results: list[str]) -> list[Any]:
        answers = [
            {"role": "tool", "tool_name": name, "content": text}
            for (_, name, _), text in zip(reply.calls, results, strict=True)
        ]
        return [*history, reply.native, *answers]


class Cohere:
    errors: Mapping[str, type[Exception]] = {
        AUTH: cohere.UnauthorizedError,
        FORBIDDEN: cohere.ForbiddenError,
        NOT_FOUND: cohere.NotFoundError,
        INVALID: cohere.BadRequestError,
        LIMITED: cohere.TooManyRequestsError,
        BROKEN: cohere.core.api_error.ApiError,
    }

    def __init__(self, root: str, key: str) -> None:
        import httpx

        self._http = httpx.Client(timeout=20)
        self._client = cohere.ClientV2(api_key=key, base_url=root, httpx_client=self._http, max_retries=0)

    def close(self) -> None:
        self._http.close()

    def user(self, text: str, image: bool = False) -> Any:
        parts = [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": DATA_URL}}]
        return {"role": "user", "content": parts if image else text}

    def ask(self, model: str, history: list[Any], **how: Any) -> Reply:
        more: dict[str, Any] = {"max_tokens": LIMIT}
        if how.get("tools"):
            more["tools"] = [{"type": "function", "function": FUNCTION}]
        if how.get("schema"):
            more["response_format"] = {"type": "json_object", "json_schema": PERSON_SCHEMA}
        if how.get("think"):
            more["thinking"] = {"type": "enabled", "token_budget": 1024}
        messages = [{"role": "system", "content": SYSTEM}, *history]
        if how.get("stream"):
            return _cohere_gathered(self._client.chat_stream(model=model, messages=messages, **more))
        answer = self._client.chat(model=model, messages=messages, **more)
        message = answer.message
        content = message.content or ()
        return Reply(
            message.model_dump(exclude_none=True),
            "".join(block.text for block in content if block.type == "text"),
            "".join(block.thinking for block in content if block.type == "thinking")
            + (message.tool_plan or ""),
            [
                (call.id, call.function.name, json.loads(call.function.arguments))
                for call in message.tool_calls or ()
            ],
            answer.finish_reason,
            (int(answer.usage.tokens.input_tokens), int(answer.usage.tokens.output_tokens)),
        )

    def goes_on(self, history: list[Any], reply: Reply, results: list[str]) -> list[Any]:
        answers = [
            {"role": "tool", "tool_call_id": call, "content": text}
            for (call, *_), text in zip(reply.calls, results, strict=True)
        ]
        return [*history, reply.native, *answers]


def _cohere_gathered(events: Any) -> Reply:
    reply = Reply(None)
    blocks: list[tuple[str, str]] = []
    calls: list[dict[str, Any]] = []
    plan = ""
    for event in events:
        match event.type:
            case "content-delta":
                content = event.delta.message.content
                kind = "thinking" if content.thinking else "text"
                blocks.append((kind, content.thinking or content.text))
            case "tool-plan-delta":
                plan += event.delta.message.tool_plan
            case "tool-call-start":
                assert event.index == len(calls)
                calls.append(event.delta.message.tool_calls.model_dump())
            case "tool-call-delta":
                arguments = event.delta.message.tool_calls.function.arguments
                calls[event.index]["function"]["arguments"] += arguments
            case "message-end":
                tokens = event.delta.usage.tokens
                reply.usage = (int(tokens.input_tokens), int(tokens.output_tokens))
                reply.stop = event.delta.finish_reason
    joined = [
        {"type": kind, kind: "".join(text for _, text in pieces)}
        for kind, pieces in groupby(blocks, key=lambda block: block[0])
    ]
    reply.text = "".join(block["text"] for block in joined if block["type"] == "text")
    reply.thinking = "".join(block["thinking"] for block in joined if block["type"] == "thinking") + plan
    reply.calls = [
        (call["id"], call["function"]["name"], json.loads(call["function"]["arguments"])) for call in calls
    ]
    reply.native = {"role": "assistant"}
    if joined:
        reply.native["content"] = joined
    if plan:
        reply.native["tool_plan"] = plan
    if calls:
        reply.native["tool_calls"] = calls
    return reply
