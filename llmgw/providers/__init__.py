"""Which class serves which kind. A class is imported when a configuration uses its kind."""

CLASSES: dict[str, str] = {
    "anthropic": "llmgw.providers.anthropic:Anthropic",
    "azure_openai": "llmgw.providers.azure_openai:AzureOpenAI",
    "bedrock": "llmgw.providers.bedrock:Bedrock",
    "cohere": "llmgw.providers.cohere:Cohere",
    "echo": "llmgw.providers.echo:Echo",
    "gemini": "llmgw.providers.gemini:Gemini",
    "mistral": "llmgw.providers.mistral:Mistral",
    "ollama": "llmgw.providers.ollama:Ollama",
    "openai": "llmgw.providers.openai:OpenAI",
    "openai_compatible": "llmgw.providers.openai_compatible:OpenAICompatible",
    "vertex": "llmgw.providers.vertex:Vertex",
}
