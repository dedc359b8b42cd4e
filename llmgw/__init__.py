"""llmgw: an LLM gateway. One program, one YAML file, exact usage."""

__version__ = "0.1.0"
