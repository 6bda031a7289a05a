"""BLOOM with a fast attention: transformers' model, with the same weights under the same names, and other arithmetic inside.

The classes are subclasses, so stock models in the same process stay as they are; and they have the names of their parents,
because `save_pretrained` writes the name of a class into the configuration, where every other program reads it.
"""

from __future__ import annotations

from typing import Any

import torch
import transformers
from torch import nn
from transformers import BloomConfig, DynamicCache
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions, CausalLMOutputWithCrossAttentions
from transformers.modeling_utils import slice_logits_to_keep
from transformers.models.bloom.modeling_bloom import BloomPreTrainedModel
from transformers.utils import can_return_tuple
from transformers.utils.deprecation import deprecate_kwarg

from zoo_core import ZooError
from zoo_phoenix.attention import Bias, FusedAttention, Plan, documents_of, plan_for
from zoo_phoenix.caching import make_roomy

#: How collators tell of packed documents beside `position_ids`; without those, documents would run into each other.
PACKING = ("cu_seq_lens_q", "cu_seq_lens_k", "seq_idx")


class BloomModel(transformers.BloomModel):  # type: ignore[misc]
    """BLOOM's layers, with `FusedAttention` and PyTorch's own GELU."""

    _supports_sdpa = True
    _can_compile_fullgraph = False  # what a token sees is decided in Python

    def __init__(self, config: BloomConfig) -> None:
        """Make the layers. No random number is drawn that stock BLOOM does not draw."""
        super().__init__(config)
        if self.config._attn_implementation not in (None, "sdpa"):
            raise ZooError(
                f"Phoenix's BLOOM computes attention in one way, 'sdpa'; for '{self.config._attn_implementation}' "
                "load the model with transformers."
            )
        if config.slow_but_exact and config.pretraining_tp > 1:
            raise ZooError(
                "Phoenix's BLOOM does not know slow_but_exact: set it to false in config.json, as BLOOM has it."
            )
        for block in self.h:
            block.self_attention = FusedAttention(block.self_attention)
            block.mlp.gelu_impl = nn.GELU(approximate="tanh")

    @can_return_tuple  # type: ignore[untyped-decorator]
    @deprecate_kwarg("past_key_values", "5.40.0", new_name="cache")  # type: ignore[untyped-decorator]
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        cache: Any = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        **others: Any,
    ) -> BaseModelOutputWithPastAndCrossAttentions:
        """As stock BLOOM's, but `position_ids` that begin anew begin a document, which sees nothing of those before it."""
        if (input_ids is None) == (inputs_embeds is None):
            raise ZooError("BLOOM wants input_ids or inputs_embeds, one of them.")
        if output_attentions or (output_attentions is None and self.config.output_attentions):
            raise ZooError(
                "A fused attention has no matrix to show; for output_attentions load the model with transformers."
            )
        if position_ids is None and (told := next((each for each in PACKING if others.get(each) is not None), None)):
            raise ZooError(
                f"Packed documents are told by position_ids; {told} alone would let them run into each other."
            )
        embeds = self.word_embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        plan, cache = self._prepare(embeds, cache, attention_mask, position_ids, use_cache)
        keep = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        hidden, states = self.run(embeds, plan, cache, keep=keep)
        return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=hidden, cache=cache, hidden_states=states)

    def run(
        self, embeds: torch.Tensor, plan: Plan, cache: Any, *, keep: bool = False
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...] | None]:
        """The last hidden states of embedded tokens, which see what `plan` says; and those of all layers, to `keep` them."""
        hidden = self.word_embeddings_layernorm(embeds)
        states = []
        for block in self.h:
            states += [hidden] if keep else []
            hidden = block(hidden, alibi=None, attention_mask=plan, layer_past=cache)[0]
        hidden = self.ln_f(hidden)
        return hidden, (*states, hidden) if keep else None

    def _prepare(
        self,
        embeds: torch.Tensor,
        cache: Any,
        attention_mask: torch.Tensor | None,
        position_ids: torch.Tensor | None,
        use_cache: bool | None,
    ) -> tuple[Plan, Any]:
        """What the tokens see, and the cache that they go to: a new one where one is wanted and none is given."""
        batch, queries, _ = embeds.shape
        past = int(cache.get_seq_length()) if cache is not None else 0
        documents = documents_of(attention_mask, position_ids, past, (batch, queries))
        if documents is not None and bool((documents > 1).any()):
            if cache is not None or use_cache:
                raise ZooError("Packed documents cannot be continued from one cache; send them with use_cache=False.")
            use_cache = False
        if self.gradient_checkpointing and self.training:  # the second pass over a layer would fill its cache again
            if cache is not None:
                raise ZooError("Gradient checkpointing cannot go with a cache; send the tokens without one.")
            use_cache = False
        if cache is None and (self.config.use_cache if use_cache is None else use_cache):
            cache = DynamicCache(config=self.config)
        if cache is not None:
            make_roomy(cache)
        if documents is not None:
            documents = documents.to(embeds.device)
        bias = Bias(self.num_heads, embeds.device, embeds.dtype)
        return plan_for(bias, documents, queries, past + queries), cache


class BloomForCausalLM(transformers.BloomForCausalLM):  # type: ignore[misc]
    """A BLOOM that continues text."""

    _supports_sdpa = True
    _can_compile_fullgraph = False

    def __init__(self, config: BloomConfig) -> None:
        """Make the layers and the head, in the order of stock BLOOM, whose own `__init__` would make its layers."""
        BloomPreTrainedModel.__init__(self, config)
        self.transformer = BloomModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    @can_return_tuple  # type: ignore[untyped-decorator]
    @deprecate_kwarg("past_key_values", "5.40.0", new_name="cache")  # type: ignore[untyped-decorator]
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        cache: Any = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        **others: Any,
    ) -> CausalLMOutputWithCrossAttentions:
        """As stock BLOOM's, but packed documents do not see each other; `others` are for the loss."""
        output = self.transformer(
            input_ids,
            cache=cache,
            attention_mask=attention_mask,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=True,
            **{name: others[name] for name in PACKING if name in others},
        )
        logits = self.lm_head(slice_logits_to_keep(output.last_hidden_state, logits_to_keep))
        loss = None
        if labels is not None:
            loss = self.loss_function(logits, labels, vocab_size=self.config.vocab_size, **others)
        return CausalLMOutputWithCrossAttentions(
            loss=loss, logits=logits, cache=output.cache, hidden_states=output.hidden_states
        )

    def init_continuous_batching(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse: transformers' batching does not know ALiBi, and would log an error and answer with nothing."""
        raise ZooError(
            "BLOOM cannot run in transformers' continuous batching; use zoo_phoenix.batching.ContinuousBatch."
        )
