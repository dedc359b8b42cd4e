"""One rich conversation, as a client of the messages API says it and as we have it."""

from __future__ import annotations

from llmgw.core.chat import (
    ChatRequest,
    File,
    Format,
    Image,
    Message,
    Reasoning,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)

SCHEMA = '{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}'

WIRE = r"""{
  "model": "claude-opus-4-6",
  "max_tokens": 20000,
  "system": [
    {"type": "text", "text": "Be brief."},
    {"type": "text", "text": "You know the weather.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
  ],
  "messages": [
    {"role": "user", "content": [
      {"type": "text", "text": "Where is this, and how is the weather in the two towns?"},
      {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
      {"type": "image", "source": {"type": "url", "url": "https://example.test/a.jpg"},
       "cache_control": {"type": "ephemeral"}},
      {"type": "document", "title": "Map",
       "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}},
      {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "North is up."}},
      {"type": "document", "source": {"type": "url", "url": "https://example.test/b.pdf"}}
    ]},
    {"role": "assistant", "content": [
      {"type": "thinking", "thinking": "Two towns.", "signature": "EqoBsig"},
      {"type": "redacted_thinking", "data": "EmwKsecret"},
      {"type": "text", "text": "Let me look."},
      {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city":  "Mölln", "n": 1.50}},
      {"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}}
    ]},
    {"role": "user", "content": [
      {"type": "tool_result", "tool_use_id": "toolu_1", "content": [
        {"type": "text", "text": "sunny"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "/9j/4AAQ"}}
      ], "cache_control": {"type": "ephemeral"}},
      {"type": "tool_result", "tool_use_id": "toolu_2", "content": "no clock", "is_error": true},
      {"type": "text", "text": "And tomorrow?"}
    ]},
    {"role": "assistant", "content": "Tomorrow"}
  ],
  "tools": [
    {"name": "weather", "description": "Tells the weather.", "input_schema": %s, "strict": true},
    {"name": "now", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}}
  ],
  "tool_choice": {"type": "auto", "disable_parallel_tool_use": true},
  "thinking": {"type": "enabled", "budget_tokens": 5000, "display": "summarized"},
  "output_config": {"effort": "medium", "format": {"type": "json_schema", "schema": %s}},
  "temperature": 1,
  "top_k": null,
  "stop_sequences": ["END", "\n\nHuman:"],
  "metadata": {"user_id": "u-1"},
  "service_tier": "standard_only",
  "container": "container_1",
  "stream": true
}""".replace("%s", SCHEMA).encode()

REQUEST = ChatRequest(
    model="claude-opus-4-6",
    system=(Text("Be brief."), Text("You know the weather.", cached="1h")),
    messages=(
        Message(
            "user",
            (
                Text("Where is this, and how is the weather in the two towns?"),
                Image("image/png", "iVBORw0KGgo="),
                Image(url="https://example.test/a.jpg", cached=""),
                File("application/pdf", "JVBERi0=", name="Map"),
                File("text/plain", text="North is up."),
                File("application/pdf", url="https://example.test/b.pdf"),
            ),
        ),
        Message(
            "assistant",
            (
                Thinking("Two towns.", "EqoBsig"),
                Thinking("", None, "EmwKsecret"),
                Text("Let me look."),
                ToolCall("toolu_1", "weather", '{"city":  "Mölln", "n": 1.50}'),
                ToolCall("toolu_2", "now", "{}"),
            ),
        ),
        Message(
            "user",
            (
                ToolResult("toolu_1", (Text("sunny"), Image("image/jpeg", "/9j/4AAQ")), cached=""),
                ToolResult("toolu_2", (Text("no clock"),), failed=True),
                Text("And tomorrow?"),
            ),
        ),
        Message("assistant", (Text("Tomorrow"),)),
    ),
    tools=(
        Tool("weather", "Tells the weather.", SCHEMA, strict=True),
        Tool("now", None, '{"type": "object"}', cached=""),
    ),
    tool_choice=ToolChoice("auto"),
    parallel_tools=False,
    max_output=20000,
    temperature=1.0,
    stop=("END", "\n\nHuman:"),
    format=Format("schema", SCHEMA),
    reasoning=Reasoning(effort="medium", budget=5000, shown=True),
    stream=True,
    user="u-1",
    extra={"service_tier": '"standard_only"', "container": '"container_1"'},
)
