"""What `echo` answers to the responses API, whole and as a stream.

The order of a stream's events: OpenAI API reference, "Streaming events" of responses.
"""

from __future__ import annotations

from collections.abc import Iterator

from llmgw.providers.echo_answers import CREATED, Answer, Json


def response_object(answer: Answer, status: str, usage: bool) -> Json:
    """A response of the responses API."""
    done = status != "in_progress"
    return {
        "id": f"resp_{answer.id}",
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "instructions": None,
        "metadata": {},
        "model": answer.model,
        "output": [_output_item(answer, status)] if done else [],
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": answer.responses_usage() if done and usage else None,
    }


def _output_item(answer: Answer, status: str) -> Json:
    if answer.call is not None:
        name, arguments = answer.call
        return {
            "id": f"fc_{answer.id}",
            "type": "function_call",
            "status": "completed",
            "call_id": f"call_{answer.id}",
            "name": name,
            "arguments": arguments,
        }
    return {
        "id": f"msg_{answer.id}",
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": [{"type": "output_text", "text": answer.text, "annotations": [], "logprobs": []}],
    }


def response_status(answer: Answer) -> str:
    return "incomplete" if answer.finish == "length" else "completed"


def response_events(answer: Answer, usage: bool) -> Iterator[Json]:
    """Every event of a streamed response, less its sequence number."""
    status = response_status(answer)
    started = response_object(answer, "in_progress", usage)
    item = _output_item(answer, status)
    at = {"item_id": item["id"], "output_index": 0}
    yield {"type": "response.created", "response": started}
    yield {"type": "response.in_progress", "response": started}
    if answer.call is not None:
        opened = {**item, "status": "in_progress", "arguments": ""}
        yield {"type": "response.output_item.added", "output_index": 0, "item": opened}
        for piece in answer.pieces:
            yield {"type": "response.function_call_arguments.delta", **at, "delta": piece}
        yield {
            "type": "response.function_call_arguments.done",
            **at,
            "name": answer.call[0],
            "arguments": answer.call[1],
        }
    else:
        part = item["content"][0]
        opened = {**item, "status": "in_progress", "content": []}
        yield {"type": "response.output_item.added", "output_index": 0, "item": opened}
        yield {"type": "response.content_part.added", **at, "content_index": 0, "part": {**part, "text": ""}}
        for piece in answer.pieces:
            yield {
                "type": "response.output_text.delta",
                **at,
                "content_index": 0,
                "delta": piece,
                "logprobs": [],
            }
        yield {
            "type": "response.output_text.done",
            **at,
            "content_index": 0,
            "text": answer.text,
            "logprobs": [],
        }
        yield {"type": "response.content_part.done", **at, "content_index": 0, "part": part}
    yield {"type": "response.output_item.done", "output_index": 0, "item": item}
    yield {"type": f"response.{status}", "response": response_object(answer, status, usage)}
