"""The input of the responses API: a flat list of items, against turns of ours.

What the model said in one turn is several items: thoughts, messages, calls. They become one
message of the assistant; outputs of calls, with the user's message after them, one of the user.
"""

from __future__ import annotations

from hashlib import blake2b

import msgspec
from msgspec import Struct

from llmgw.core.chat import ChatRequest, Message, Part, Refusal, Text, Thinking, ToolCall, ToolResult
from llmgw.core.errors import InvalidRequest, UnsupportedOperation
from llmgw.dialects.openai_responses_items import (
    Content,
    Item,
    Json,
    call_signatures,
    parse_content,
    render_content,
    returned_thinking,
)
from llmgw.dialects.openai_responses_signatures import unpack
from llmgw.dialects.unsaid import is_marked, is_signed

_LONGEST_ID = 64  # of a call

_decode_output = msgspec.json.Decoder(str | list[Content] | None).decode


class _Turn(Struct):
    role: str
    parts: list[Part]
    open: bool
    """Whether further items of the same kind belong to it."""
    at: str | None = None


def parse_input(
    wire: str | list[Item] | None, stateful: bool
) -> tuple[tuple[Text, ...], tuple[Message, ...]]:
    """The system text and the messages.

    Raises InvalidRequest for an output without its call, unless `stateful`: then the call may be
    with the provider.
    """
    if wire is None:
        return (), ()
    if isinstance(wire, str):
        return (), (Message("user", (Text(wire),)),)
    system: list[Text] = []
    turns: list[_Turn] = []
    signatures = call_signatures(wire)
    called: set[str] = set()
    for at, item in enumerate(wire):
        param = f"input[{at}]"
        if item.type in (None, "message") and item.role is not None:
            parts = _message_parts(item, param)
            if item.role in ("system", "developer"):
                texts = _system_text(parts, param)
                if turns:
                    turns.append(_Turn("system", [*texts], False, param))
                else:
                    system.extend(texts)
            elif item.role == "assistant":
                _assistant(turns).parts.extend(parts)
            elif item.role == "user":
                _user(turns).parts.extend(parts)
            else:
                raise InvalidRequest(f"role '{item.role}' is not known", param=f"{param}.role")
        elif item.type == "function_call":
            call = _call(item, signatures, param)
            called.add(call.id)
            _assistant(turns).parts.append(call)
        elif item.type == "function_call_output":
            result = _result(item, param)
            if result.call_id not in called and not stateful:
                raise InvalidRequest(f"there is no call '{result.call_id}' before its output", param=param)
            _results(turns).parts.append(result)
        elif item.type == "reasoning":
            thought = returned_thinking(item, stateful)
            if thought is not None:
                _assistant(turns).parts.append(thought)
        elif item.type in (None, "item_reference"):
            raise UnsupportedOperation("an item kept by the provider cannot be referred to", param=param)
        else:
            raise UnsupportedOperation(f"an item of type '{item.type}' is not supported", param=param)
    return tuple(system), tuple(
        Message(turn.role, tuple(turn.parts), at=turn.at) for turn in turns if turn.parts
    )


def _assistant(turns: list[_Turn]) -> _Turn:
    if not turns or turns[-1].role != "assistant":
        turns.append(_Turn("assistant", [], True))
    return turns[-1]


def _results(turns: list[_Turn]) -> _Turn:
    if not turns or turns[-1].role != "user" or not turns[-1].open:
        turns.append(_Turn("user", [], True))
    return turns[-1]


def _user(turns: list[_Turn]) -> _Turn:
    """The turn of a user's message: that of the outputs before it, if there are any."""
    if not turns or turns[-1].role != "user" or not turns[-1].open:
        turns.append(_Turn("user", [], False))
    turns[-1].open = False
    return turns[-1]


def _message_parts(item: Item, param: str) -> list[Part]:
    if item.content is None:
        raise InvalidRequest("a message has no content", param=f"{param}.content")
    if isinstance(item.content, str):
        return [Text(item.content)]
    return [parse_content(content, f"{param}.content[{at}]") for at, content in enumerate(item.content)]


def _system_text(parts: list[Part], param: str) -> list[Text]:
    texts = [part for part in parts if isinstance(part, Text)]
    if len(texts) < len(parts):
        raise UnsupportedOperation("system messages can only hold text", param=f"{param}.content")
    return texts


def _call(item: Item, signatures: dict[str, str], param: str) -> ToolCall:
    if not item.call_id or not item.name or not isinstance(item.arguments, str):
        raise InvalidRequest("a function call needs 'call_id', 'name' and 'arguments'", param=param)
    return ToolCall(item.call_id, item.name, item.arguments, signatures.get(item.call_id))


def _result(item: Item, param: str) -> ToolResult:
    if not item.call_id:
        raise InvalidRequest("an output of a call needs 'call_id'", param=f"{param}.call_id")
    try:
        output = _decode_output(item.output)
    except msgspec.ValidationError:
        raise InvalidRequest("an output must be a text or a list", param=f"{param}.output") from None
    if not output:
        return ToolResult(item.call_id, (), item.name)
    if isinstance(output, str):
        return ToolResult(item.call_id, (Text(output),), item.name)
    parts = []
    for at, content in enumerate(output):
        part = parse_content(content, f"{param}.output[{at}]")
        if isinstance(part, Refusal):
            raise InvalidRequest("an output cannot hold a refusal", param=f"{param}.output[{at}]")
        parts.append(part)
    return ToolResult(item.call_id, tuple(parts), item.name)


def has_encrypted(messages: tuple[Message, ...]) -> bool:
    """Whether thoughts that this API encrypted are among the messages."""
    return any(
        isinstance(part, Thinking) and (own := unpack(part.signature or part.redacted)) is not None and own[1]
        for message in messages
        for part in message.parts
    )


def render_input(request: ChatRequest, stateful: bool, dropped: list[str]) -> tuple[str | None, list[Json]]:
    """`instructions` and `input`. dropped: gets the names of what is not said.

    One system text becomes the instructions. More, or one with a mark, become a message.
    """
    items: list[Json] = []
    instructions = None
    if len(request.system) == 1 and not (stateful and request.system[0].cached is not None):
        instructions = request.system[0].text
    elif request.system:
        items.append(
            {"role": "system", "content": [render_content(text, stateful) for text in request.system]}
        )
    for message in request.messages:
        if message.name is not None:
            dropped.append("name")
        if message.role == "assistant":
            _render_assistant(message, items, stateful, dropped)
        elif message.role == "system":
            items.append({"role": "system", "content": _plain_or_list(list(message.parts), stateful)})
        else:
            _render_user(message, items, stateful, dropped)
    if not stateful and is_marked(request):
        dropped.append("cache_control")
    if is_signed(request):
        dropped.append("signature")
    return instructions, items


def _render_user(message: Message, items: list[Json], stateful: bool, dropped: list[str]) -> None:
    content: list[Part] = []
    for part in message.parts:
        if not isinstance(part, ToolResult):
            content.append(part)
            continue
        if content:
            items.append(_user_item(content, stateful))
            content = []
        if part.failed:
            dropped.append("is_error")
        item: Json = {"type": "function_call_output", "call_id": _call_id(part.call_id)}
        item["output"] = _plain_or_list(list(part.parts), stateful)
        if stateful and part.name is not None:
            item["name"] = part.name
        items.append(item)
    if content:
        items.append(_user_item(content, stateful))


def _user_item(parts: list[Part], stateful: bool) -> Json:
    return {"role": "user", "content": _plain_or_list(parts, stateful)}


def _plain_or_list(parts: list[Part], stateful: bool) -> str | list[Json]:
    if not parts:
        return ""
    first = parts[0]
    if len(parts) == 1 and isinstance(first, Text) and not (stateful and first.cached is not None):
        return first.text
    rendered = []
    for part in parts:
        body = render_content(part, stateful)
        if body is None:
            raise _unsupported(part)
        rendered.append(body)
    return rendered


def _render_assistant(message: Message, items: list[Json], stateful: bool, dropped: list[str]) -> None:
    said: list[Text | Refusal] = []
    for part in message.parts:
        if isinstance(part, Text | Refusal):
            said.append(part)
            continue
        if said:
            items.append(_said_item(said))
            said = []
        if isinstance(part, ToolCall):
            items.append(
                {
                    "type": "function_call",
                    "call_id": _call_id(part.id),
                    "name": part.name,
                    "arguments": part.arguments or "{}",
                }
            )
        elif isinstance(part, Thinking):
            item = _thinking_item(part, stateful)
            if item is None:
                dropped.append("thinking")
            else:
                items.append(item)
        else:
            raise _unsupported(part)
    if said:
        items.append(_said_item(said))


def _call_id(call_id: str) -> str:
    """The id, or what stands for one that would be refused: the same for call and result."""
    if len(call_id) <= _LONGEST_ID:
        return call_id
    return "call_" + blake2b(call_id.encode(), digest_size=12).hexdigest()


def _said_item(parts: list[Text | Refusal]) -> Json:
    first = parts[0]
    if len(parts) == 1 and isinstance(first, Text):
        return {"role": "assistant", "content": first.text}
    content = [
        {"type": "refusal", "refusal": part.text}
        if isinstance(part, Refusal)
        else {"type": "output_text", "text": part.text}
        for part in parts
    ]
    return {"role": "assistant", "content": content}


def _thinking_item(part: Thinking, stateful: bool) -> Json | None:
    """A thought that goes back to its maker; None when that cannot be shown.

    OpenAI refuses a reasoning item that it has neither kept nor encrypted.
    """
    token = part.signature or part.redacted
    own = unpack(token)
    if (token is not None and own is None) or not (stateful or (own is not None and own[1])):
        return None
    item: Json = {"type": "reasoning"}
    item["summary"] = [{"type": "summary_text", "text": part.text}] if part.text else []
    if own is not None and own[0]:
        item["id"] = own[0]
    if own is not None and own[1]:
        item["encrypted_content"] = own[1]
    return item


def _unsupported(part: Part) -> UnsupportedOperation:
    kind = type(part).__name__.lower()
    return UnsupportedOperation(f"a part of kind '{kind}' cannot be said here", param="messages")
