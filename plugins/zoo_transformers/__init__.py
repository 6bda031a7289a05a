"""The default engine: runs models with transformers, on the CPU or a GPU."""
