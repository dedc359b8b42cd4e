"""OpenAI-compatible services as rows of data: where they are and how they differ.

Facts from each vendor's own API documentation; a base URL ends before `/chat/completions`.
A vendor that refuses or ignores `stream_options` sends usage with its streams unasked.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Vendor:
    """One service.

    key_env: the environment variable its documentation uses, None when it needs no key.
    local: runs on the operator's own network, so private addresses are expected.
    stream_usage: accepts `stream_options.include_usage`.
    """

    base_url: str
    key_env: str | None = None
    local: bool = False
    stream_usage: bool = True


VENDORS: dict[str, Vendor] = {
    "baseten": Vendor("https://inference.baseten.co/v1", "BASETEN_API_KEY"),
    "cerebras": Vendor("https://api.cerebras.ai/v1", "CEREBRAS_API_KEY"),
    # in Singapore; other regions and workspaces have hosts of their own
    "dashscope": Vendor("https://dashscope-intl.aliyuncs.com/compatible-mode/v1", "DASHSCOPE_API_KEY"),
    "deepinfra": Vendor("https://api.deepinfra.com/v1/openai", "DEEPINFRA_API_KEY"),
    "deepseek": Vendor("https://api.deepseek.com/v1", "DEEPSEEK_API_KEY"),
    "fireworks": Vendor("https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY"),
    "github": Vendor("https://models.github.ai/inference", "GITHUB_TOKEN"),
    "groq": Vendor("https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    "huggingface": Vendor("https://router.huggingface.co/v1", "HF_TOKEN"),
    "hyperbolic": Vendor("https://api.hyperbolic.xyz/v1", "HYPERBOLIC_API_KEY"),
    # does not name stream_options among what it takes
    "minimax": Vendor("https://api.minimax.io/v1", "MINIMAX_API_KEY", stream_usage=False),
    # answers 422 to members it does not know, stream_options among them
    "mistral": Vendor("https://api.mistral.ai/v1", "MISTRAL_API_KEY", stream_usage=False),
    "jina": Vendor("https://api.jina.ai/v1", "JINA_API_KEY"),
    "moonshot": Vendor("https://api.moonshot.ai/v1", "MOONSHOT_API_KEY"),
    "nebius": Vendor("https://api.tokenfactory.nebius.com/v1", "NEBIUS_API_KEY"),
    "novita": Vendor("https://api.novita.ai/openai/v1", "NOVITA_API_KEY"),
    "nvidia": Vendor("https://integrate.api.nvidia.com/v1", "NVIDIA_API_KEY"),
    "openrouter": Vendor("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    # usage comes with every chunk; the last one is the total
    "perplexity": Vendor("https://api.perplexity.ai", "PERPLEXITY_API_KEY", stream_usage=False),
    "sambanova": Vendor("https://api.sambanova.ai/v1", "SAMBANOVA_API_KEY"),
    "together": Vendor("https://api.together.xyz/v1", "TOGETHER_API_KEY"),
    "voyage": Vendor("https://api.voyageai.com/v1", "VOYAGE_API_KEY"),
    "xai": Vendor("https://api.x.ai/v1", "XAI_API_KEY"),
    # usage comes with the last chunk unasked; stream_options is not among what they take
    "zai": Vendor("https://api.z.ai/api/paas/v4", "ZAI_API_KEY", stream_usage=False),
    "zhipu": Vendor("https://open.bigmodel.cn/api/paas/v4", "ZHIPUAI_API_KEY", stream_usage=False),
    # on the operator's own machines
    "litellm": Vendor("http://127.0.0.1:4000/v1", local=True),
    "llamacpp": Vendor("http://127.0.0.1:8080/v1", local=True),
    "lmstudio": Vendor("http://127.0.0.1:1234/v1", local=True),
    "ollama": Vendor("http://127.0.0.1:11434/v1", local=True),
    "sglang": Vendor("http://127.0.0.1:30000/v1", local=True),
    "tgi": Vendor("http://127.0.0.1:3000/v1", local=True),
    "vllm": Vendor("http://127.0.0.1:8000/v1", local=True),
}
