"""Load a model of any architecture that transformers has a causal language model of; the base class does all of it.

For folders and repositories without a card, whose own tokenizer brings the template. Knows nothing of conversations.
"""

from __future__ import annotations

from zoo_weights import TransformersFamily


class GeneralFamily(TransformersFamily):
    """Models of which only the checkpoint says what they are."""

    model_class = "AutoModelForCausalLM"
