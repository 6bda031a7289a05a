"""How models of the family `hello` are loaded and made. Imported when such a model is used."""

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from zoo_core import LoadedModel


class HelloFamily:
    def load_tokenizer(self, folder, *, remote_code=False):
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)

    def load_model(self, folder, loading):
        model = LlamaForCausalLM.from_pretrained(
            folder, dtype=getattr(torch, loading.dtype), local_files_only=True, use_safetensors=True
        )
        return model.to(loading.device).eval()

    def create(self, texts, options, *, seed):
        from tokenizers import ByteLevelBPETokenizer

        trained = ByteLevelBPETokenizer()
        trained.train_from_iterator(texts, vocab_size=600, special_tokens=["</s>"], show_progress=False)
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=trained._tokenizer, eos_token="</s>", pad_token="</s>")
        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=600, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4
        )
        return LoadedModel(LlamaForCausalLM(config), tokenizer)
