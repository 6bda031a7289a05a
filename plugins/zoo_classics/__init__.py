"""The families and conversation templates of the open chat models of spring 2023 that LLM Zoo's overview lists."""
