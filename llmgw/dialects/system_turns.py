"""System text amid a conversation, for upstreams that have one system prompt before it.

System and developer messages that a conversation begins with are its system prompt everywhere. One that
comes later holds from there on (Claude Code and Codex send such), and only some upstreams know that:
OpenAI, Responses, Cohere, Ollama, and the Claude models that `anthropic_models` names. For all others it
is moved to the end of the system prompt, where it keeps its authority, which it would not in a user's
turn, and stays after what it may amend. That it holds for the whole conversation then is a loss, named
by where it stood: `messages[3].position`. `on_loss: reject` refuses it.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import structs

from llmgw.core.chat import ChatRequest, Message, Text


def amid(parts: tuple[Text, ...], at: str) -> Message:
    """System text where it stands. at: the client's name for that place, such as `messages[3]`."""
    return Message("system", parts, at=at)


def texts_of(message: Message) -> tuple[Text, ...]:
    """The texts of a system message; others it does not have."""
    return tuple(part for part in message.parts if isinstance(part, Text))


def moved(
    request: ChatRequest,
    drop: Callable[[str], None],
    fits: Callable[[str | None, str | None], bool] | None = None,
) -> ChatRequest:
    """The request with its later system messages in the system prompt.

    drop: told the loss of each. fits: whether one may stay between turns of these roles, if any may.
    """
    for message in request.messages:
        if message.role == "system":
            break
    else:
        return request
    system = list(request.system)
    messages: list[Message] = []
    before: str | None = None
    for number, message in enumerate(request.messages):
        if message.role != "system":
            before = message.role
            messages.append(message)
            continue
        others = (later.role for later in request.messages[number:] if later.role != "system")
        if fits is not None and fits(before, next(others, None)):
            messages.append(message)
            continue
        system += texts_of(message)
        drop(f"{message.at or 'messages'}.position")
    return structs.replace(request, system=tuple(system), messages=tuple(messages))
