"""Load the models of the overview and put together those that are published as deltas or adapters.

All of it is done by the base class; what differs is the architecture. Knows nothing of conversations.
"""

from __future__ import annotations

from zoo_weights import TransformersFamily


class LlamaFamily(TransformersFamily):
    """Models of the LLaMA architecture (Touvron et al., 2023)."""

    model_class = "LlamaForCausalLM"


class GptJFamily(TransformersFamily):
    """Models of the GPT-J architecture (Wang and Komatsuzaki, 2021)."""

    model_class = "GPTJForCausalLM"


class ChatGlmFamily(TransformersFamily):
    """The first ChatGLM, whose checkpoint brings the code of its architecture and registers it as `AutoModel` alone."""

    model_class = "AutoModel"


class MossFamily(TransformersFamily):
    """MOSS, whose checkpoint brings the code of its architecture."""

    model_class = "AutoModelForCausalLM"
