"""The families and conversation templates of HuatuoGPT and HuatuoGPT-II, the medical models of LLM Zoo."""
