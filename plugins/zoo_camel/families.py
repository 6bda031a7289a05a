"""Load HuatuoGPT, HuatuoGPT-II and the models that they were made from; the base class does all of it.

Knows nothing of conversations.
"""

from __future__ import annotations

from zoo_weights import TransformersFamily


class CamelFamily(TransformersFamily):
    """Models of an architecture that transformers knows, or whose code the checkpoint brings, such as Baichuan's."""

    model_class = "AutoModelForCausalLM"


class ZiyaFamily(TransformersFamily):
    """Ziya, a LLaMA with a longer vocabulary; published as a delta."""

    model_class = "LlamaForCausalLM"
