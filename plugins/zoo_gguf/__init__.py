"""GGUF: run models with llama.cpp, and write GGUF files from safetensors."""
