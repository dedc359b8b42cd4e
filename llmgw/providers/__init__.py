"""Which class serves which kind. A class is imported when a configuration uses its kind."""

CLASSES: dict[str, str] = {
    "anthropic": "llmgw.providers.anthropic:Anthropic",
    "echo": "llmgw.providers.echo:Echo",
    "gemini": "llmgw.providers.gemini:Gemini",
    "openai": "llmgw.providers.openai:OpenAI",
    "openai_compatible": "llmgw.providers.openai_compatible:OpenAICompatible",
}
