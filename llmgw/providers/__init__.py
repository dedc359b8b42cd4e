"""Which class serves which kind. A class is imported when a configuration uses its kind."""

CLASSES: dict[str, str] = {
    "echo": "llmgw.providers.echo:Echo",
    "openai": "llmgw.providers.openai:OpenAI",
    "openai_compatible": "llmgw.providers.openai_compatible:OpenAICompatible",
}
