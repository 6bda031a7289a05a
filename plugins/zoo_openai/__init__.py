"""Models behind an OpenAI-compatible API: the engine `openai`, the cards `openai:NAME`, and the command `zoo keys`."""
