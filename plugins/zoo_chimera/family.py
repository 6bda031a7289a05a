"""Load models of the LLaMA architecture, and add Chimera's deltas to it. Knows nothing of conversations."""

from __future__ import annotations

from zoo_weights import TransformersFamily


class ChimeraFamily(TransformersFamily):
    """Models of the LLaMA architecture (Touvron et al., 2023), from which Chimera was made."""

    model_class = "LlamaForCausalLM"
