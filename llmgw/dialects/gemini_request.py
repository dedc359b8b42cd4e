"""Reads a Gemini request: `generateContent`, `streamGenerateContent`, `countTokens`.

The model and whether to stream are in the path, not in the body. Calls may have no id: those get one
by their place in the conversation, and a result without an id answers the first call of its name that
nothing has answered yet.

What has no field of ours is kept in `extra` by its path: `safetySettings`, `tools.googleSearch`,
`generationConfig.responseModalities`, `contents[0].parts[1].videoMetadata`.
"""

from __future__ import annotations

import msgspec

from llmgw.core.chat import (
    ChatRequest,
    File,
    Format,
    Image,
    Message,
    Part,
    Reasoning,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from llmgw.core.errors import InvalidRequest, UnsupportedOperation
from llmgw.dialects.gemini_members import Members
from llmgw.dialects.gemini_parts import SKIP_SIGNATURE, inline_media, linked_media
from llmgw.dialects.gemini_results import parse_response
from llmgw.dialects.gemini_schema import json_schema
from llmgw.dialects.gemini_signatures import read_signature
from llmgw.dialects.gemini_wire import make_call_id

_ROLES = {None: "user", "user": "user", "function": "user", "tool": "user", "model": "assistant"}
_MODES = {"AUTO": "auto", "MODE_UNSPECIFIED": "auto", "VALIDATED": "auto", "ANY": "required", "NONE": "none"}
_FOREIGN_PARTS = ("executableCode", "codeExecutionResult", "toolCall", "toolResponse")
_JSON = "application/json"
_NOTHING = b"{}"


def parse_request(body: bytes, model: str, stream: bool) -> ChatRequest:
    """What a client asks. Raises InvalidRequest and UnsupportedOperation, naming the member."""
    return _Reader(_body(body)).request(model, stream)


def parse_count_request(body: bytes, model: str) -> ChatRequest:
    """What a client wants counted: contents alone, or a whole `generateContentRequest`."""
    top = _body(body)
    whole = top.members("generateContentRequest")
    return _Reader(top if whole is None else whole).request(model, False)


def _body(body: bytes) -> Members:
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError:
            raise InvalidRequest("the body is not valid UTF-8") from None
    return Members(body, "")


class _Reader:
    """Reads one request. extra: what has no field, by path."""

    def __init__(self, top: Members) -> None:
        self._top = top
        self._extra: dict[str, str] = {}
        self._unanswered: list[tuple[str, str]] = []
        self._calls = 0

    def request(self, model: str, stream: bool) -> ChatRequest:
        top = self._top
        contents = top.array("contents")
        if not contents:
            raise InvalidRequest(f"'{top.at('contents')}' must not be empty", param=top.at("contents"))
        messages = tuple(
            self._message(Members(raw, top.at(f"contents[{at}]"))) for at, raw in enumerate(contents)
        )
        tools = self._tools()
        choice, allowed = self._tool_choice()
        if allowed:
            tools = tuple(tool for tool in tools if tool.name in allowed)
        config = top.members("generationConfig") or Members(_NOTHING, top.at("generationConfig"))
        choices = config.whole("candidateCount")
        if choices is not None and choices < 1:
            raise InvalidRequest("there must be at least one candidate", param=config.at("candidateCount"))
        request = ChatRequest(
            model=model,
            messages=messages,
            system=self._system(),
            tools=tools,
            tool_choice=choice,
            max_output=config.whole("maxOutputTokens"),
            temperature=config.number("temperature"),
            top_p=config.number("topP"),
            top_k=config.whole("topK"),
            stop=tuple(config.strings("stopSequences") or ()),
            seed=config.whole("seed"),
            presence_penalty=config.number("presencePenalty"),
            frequency_penalty=config.number("frequencyPenalty"),
            choices=1 if choices is None else choices,
            format=self._format(config),
            reasoning=self._reasoning(config),
            stream=stream,
            extra=self._extra,
        )
        self._modalities(config)
        self._keep(config, "generationConfig.")
        top.raw("model")
        self._keep(top, "")
        return request

    def _keep(self, members: Members, prefix: str) -> None:
        for name in members.left():
            self._extra[prefix + name] = members.json(name) or ""

    # Turns.

    def _message(self, content: Members) -> Message:
        role = content.text("role")
        if role not in _ROLES:
            raise InvalidRequest(f"'{content.at('role')}' must be user or model", param=content.at("role"))
        parts: list[Part] = []
        for at, raw in enumerate(content.array("parts") or ()):
            self._part(Members(raw, content.at(f"parts[{at}]")), parts)
        self._keep(content, f"{content.path}.")
        return Message(_ROLES[role], tuple(parts))

    def _part(self, part: Members, out: list[Part]) -> None:
        for name in _FOREIGN_PARTS:
            if name in part:
                raise UnsupportedOperation(
                    f"'{part.at(name)}' cannot be given to this model's provider", param=part.at(name)
                )
        signature = part.text("thoughtSignature")
        thought = part.flag("thought")
        text = part.text("text")
        call = part.members("functionCall")
        if call is not None:
            out.append(self._call(call, None if signature == SKIP_SIGNATURE else signature))
        elif thought and text:
            out.append(Thinking(text, read_signature(signature)))
        else:
            known = len(out)
            self._other(part, text, out)
            if signature is not None:
                out.append(Thinking("", read_signature(signature)))
            elif len(out) == known and text is None and part.left():
                name = part.left()[0]
                raise UnsupportedOperation(f"'{part.at(name)}' is not a known part", param=part.at(name))
        self._keep(part, f"{part.path}.")

    def _other(self, part: Members, text: str | None, out: list[Part]) -> None:
        if text:
            out.append(Text(text))
            return
        blob = part.members("inlineData")
        if blob is not None:
            out.append(_inline(blob))
            return
        link = part.members("fileData")
        if link is not None:
            out.append(_linked(link))
            return
        result = part.members("functionResponse")
        if result is not None:
            out.append(self._result(result))

    def _call(self, call: Members, signature: str | None) -> ToolCall:
        name = _required(call, "name")
        call_id = call.text("id") or make_call_id(self._calls)
        self._calls += 1
        self._unanswered.append((call_id, name))
        args = call.members("args")
        return ToolCall(call_id, name, "" if args is None else call.json("args") or "", signature)

    def _result(self, result: Members) -> ToolResult:
        name = _required(result, "name")
        call_id = result.text("id")
        for at, (known, called) in enumerate(self._unanswered):
            if known == call_id or (not call_id and called == name):
                call_id = known
                del self._unanswered[at]
                break
        if not call_id:
            raise InvalidRequest(f"'{result.path}' answers no call of '{name}'", param=result.path)
        try:
            texts, failed = parse_response(result.raw("response"))
        except ValueError:
            path = result.at("response")
            raise InvalidRequest(f"'{path}' must be a JSON object", param=path) from None
        media = tuple(
            _result_media(Members(raw, result.at(f"parts[{at}]")))
            for at, raw in enumerate(result.array("parts") or ())
        )
        self._keep(result, f"{result.path}.")
        return ToolResult(call_id, (*texts, *media), name, failed)

    def _system(self) -> tuple[Text, ...]:
        content = self._top.members("systemInstruction")
        if content is None:
            return ()
        texts = []
        for at, raw in enumerate(content.array("parts") or ()):
            part = Members(raw, content.at(f"parts[{at}]"))
            text = part.text("text")
            if text is None:
                raise UnsupportedOperation(f"'{part.path}' must be text", param=part.path)
            texts.append(Text(text))
        return tuple(texts)

    # Tools.

    def _tools(self) -> tuple[Tool, ...]:
        tools: list[Tool] = []
        top = self._top
        for at, raw in enumerate(top.array("tools") or ()):
            group = Members(raw, top.at(f"tools[{at}]"))
            for number, declared in enumerate(group.array("functionDeclarations") or ()):
                tools.append(self._tool(Members(declared, group.at(f"functionDeclarations[{number}]"))))
            self._keep(group, "tools.")
        return tuple(tools)

    def _tool(self, declared: Members) -> Tool:
        name = _required(declared, "name")
        parameters = declared.json("parametersJsonSchema")
        own = declared.json("parameters")
        if parameters is None and own is not None:
            parameters = json_schema(own, declared.at("parameters"))
        tool = Tool(name, declared.text("description"), parameters)
        self._keep(declared, f"{declared.path}.")
        return tool

    def _tool_choice(self) -> tuple[ToolChoice | None, frozenset[str]]:
        """How tools are chosen, and which may be when several are named."""
        config = self._top.members("toolConfig")
        if config is None:
            return None, frozenset()
        calling = config.members("functionCallingConfig")
        self._keep(config, "toolConfig.")
        if calling is None:
            return None, frozenset()
        mode = (calling.text("mode") or "AUTO").upper()
        names = calling.strings("allowedFunctionNames") or []
        if mode not in _MODES:
            raise InvalidRequest(f"'{calling.at('mode')}' is not a mode", param=calling.at("mode"))
        if mode == "VALIDATED":
            self._extra["toolConfig.functionCallingConfig.mode"] = '"VALIDATED"'
        self._keep(calling, "toolConfig.functionCallingConfig.")
        if mode == "ANY" and len(names) == 1:
            return ToolChoice("tool", names[0]), frozenset()
        return ToolChoice(_MODES[mode]), frozenset(names) if mode in ("ANY", "VALIDATED") else frozenset()

    # Configuration.

    def _format(self, config: Members) -> Format | None:
        kind = config.text("responseMimeType")
        schema = config.json("responseJsonSchema")
        own = config.json("responseSchema")
        if kind not in (None, "", "text/plain", _JSON):
            path = config.at("responseMimeType")
            raise UnsupportedOperation(f"'{path}' must be text/plain or {_JSON}", param=path)
        if schema is None and own is not None:
            schema = json_schema(own, config.at("responseSchema"))
        if schema is not None:
            return Format("schema", schema)
        return Format("json") if kind == _JSON else None

    def _reasoning(self, config: Members) -> Reasoning | None:
        thinking = config.members("thinkingConfig")
        if thinking is None:
            return None
        shown = thinking.flag("includeThoughts")
        budget = thinking.whole("thinkingBudget")
        level = (thinking.text("thinkingLevel") or "").lower()
        self._keep(thinking, "generationConfig.thinkingConfig.")
        if budget == 0:
            return Reasoning(enabled=False, shown=shown)
        if budget is not None and budget < 0:
            # -1 leaves the budget to the model.
            self._extra["generationConfig.thinkingConfig.thinkingBudget"] = str(budget)
            budget = None
        if level == "thinking_level_unspecified":
            level = ""
        return Reasoning(effort=level or None, budget=budget, shown=shown)

    def _modalities(self, config: Members) -> None:
        raw = config.json("responseModalities")
        wanted = config.strings("responseModalities")
        if raw is not None and [kind.upper() for kind in wanted or ()] not in ([], ["TEXT"]):
            self._extra["generationConfig.responseModalities"] = raw


def _required(members: Members, name: str) -> str:
    value = members.text(name)
    if not value:
        raise InvalidRequest(f"'{members.at(name)}' is required", param=members.at(name))
    return value


def _inline(blob: Members) -> Part:
    data = _required(blob, "data")
    part = inline_media(blob.text("mimeType"), data)
    name = blob.text("displayName")
    return msgspec.structs.replace(part, name=name) if name and isinstance(part, File) else part


def _linked(link: Members) -> Image | File:
    part = linked_media(link.text("mimeType"), _required(link, "fileUri"))
    name = link.text("displayName")
    return msgspec.structs.replace(part, name=name) if name and isinstance(part, File) else part


def _result_media(part: Members) -> Image | File:
    blob = part.members("inlineData")
    if blob is not None:
        media = _inline(blob)
        if isinstance(media, (Image, File)):
            return media
    link = part.members("fileData")
    if link is not None:
        return _linked(link)
    raise UnsupportedOperation(f"'{part.path}' must be an image or a file", param=part.path)
