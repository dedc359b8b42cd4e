"""How the chat completions of each service differ from OpenAI's, as rows of data.

Facts from each vendor's API reference. What a row does not name is as OpenAI has it.
"""

from __future__ import annotations

from msgspec import Struct

EFFORT, REASONING, THINKING = "effort", "reasoning", "thinking"
"""How thinking is asked for: `reasoning_effort`; OpenRouter's `reasoning`; DeepSeek's `thinking`."""

CONTENT, DETAILS = "content", "reasoning_details"
"""Where earlier thoughts go, when not in a text member of the message."""


class Vendor(Struct, frozen=True):
    """One service.

    cap: the member that caps the answer. seed: the one for the seed.
    reasoning: how thinking is asked for. none: no thinking is an effort of `none` for every model.
    thoughts: where an assistant's earlier thoughts go: a text member's name, `CONTENT`, `DETAILS`,
    or None where they are not taken back.
    own: takes OpenAI's further members, such as `store` and `service_tier`. refusals: takes `refusal` in an
    assistant's message.
    user, top_k, stream_options: takes the member of that name.
    marks: takes `cache_control` on parts.
    document_url: documents go by that kind of part instead of `file`. file_urls: takes them by URL.
    short_ids: a call's id has exactly nine letters and digits.
    system_amid: system messages may come later than first. Where open models are served their templates
    decide, and those of Qwen, Gemma and Mistral refuse them.
    """

    cap: str = "max_tokens"
    seed: str = "seed"
    reasoning: str = EFFORT
    none: bool = False
    thoughts: str | None = None
    own: bool = False
    refusals: bool = False
    user: bool = True
    top_k: bool = False
    stream_options: bool = True
    marks: bool = False
    document_url: bool = False
    file_urls: bool = False
    short_ids: bool = False
    system_amid: bool = False


OPENAI = Vendor(cap="max_completion_tokens", own=True, refusals=True, system_amid=True)
"""OpenAI and Azure. Their newer models refuse `max_tokens`; other services know no other name."""

COMPATIBLE = Vendor()
"""A service that nothing is known of."""

VENDORS: dict[str, Vendor] = {
    "azure": OPENAI,
    # before api-version 2024-09-01-preview
    "azure_older": Vendor(stream_options=False, own=True, refusals=True, system_amid=True),
    "deepseek": Vendor(reasoning=THINKING, thoughts="reasoning_content", system_amid=True),
    "fireworks": Vendor(thoughts="reasoning_content", top_k=True),
    "groq": Vendor(cap="max_completion_tokens", thoughts="reasoning"),
    "llamacpp": Vendor(thoughts="reasoning_content", top_k=True),
    "minimax": Vendor(stream_options=False),
    "mistral": Vendor(
        seed="random_seed",
        none=True,
        thoughts=CONTENT,
        user=False,
        stream_options=False,
        document_url=True,
        file_urls=True,
        short_ids=True,
    ),
    "moonshot": Vendor(thoughts="reasoning_content"),
    "ollama": Vendor(none=True, thoughts="reasoning", system_amid=True),
    "openrouter": Vendor(
        reasoning=REASONING,
        thoughts=DETAILS,
        top_k=True,
        marks=True,
        file_urls=True,
        refusals=True,
        system_amid=True,
    ),
    "perplexity": Vendor(stream_options=False),
    "sglang": Vendor(thoughts="reasoning_content", top_k=True),
    "together": Vendor(top_k=True),
    "vllm": Vendor(thoughts="reasoning_content", top_k=True),
    "zai": Vendor(stream_options=False),
    "zhipu": Vendor(stream_options=False),
}
