"""A tokenizer as llama.cpp wants it: byte pairs with the name of the rule by which text is cut, or pieces with scores.

What llama.cpp would cut in another way than the tokenizer does is refused: a wrong prompt gives bad answers and no error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from gguf import GGUFWriter, TokenType
from tokenizers.pre_tokenizers import ByteLevel

from zoo_core import ZooError
from zoo_gguf.header import ENDS, PREFIX

#: The expressions by which byte-level tokenizers cut text into words, and what llama.cpp calls them.
_WORDS = {
    r" ?[^(\s|[.,!?…。，、।۔،])]+": "bloom",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+": (
        "llama-bpe"
    ),
}
#: The name of the expression that is built into the byte-level cutter itself.
_BUILT_IN = "gpt-2"
#: The one of them with which a word that is a token is never cut.
_WHOLE_WORDS = "llama-bpe"


class Vocabulary(msgspec.Struct, frozen=True, kw_only=True):
    """What goes into a GGUF file. `prefix` says where text gets a space in front, as the engine `gguf` reads it."""

    model: str
    cutting: str
    tokens: list[str]
    types: list[int]
    merges: list[str] = []
    scores: list[float] = []
    prefix: str = ""
    specials: dict[str, int] = {}
    ends: list[int] = []
    adds_begin: bool = False

    def describe(self, writer: GGUFWriter) -> None:
        """Write it."""
        writer.add_tokenizer_model(self.model)
        writer.add_tokenizer_pre(self.cutting)
        writer.add_token_list(self.tokens)
        writer.add_token_types(self.types)
        writer.add_token_merges(self.merges)
        writer.add_token_scores(self.scores)
        for name, token in self.specials.items():
            writer.add_uint32(f"tokenizer.ggml.{name}_token_id", token)
        writer.add_add_bos_token(self.adds_begin)
        if self.prefix:
            writer.add_add_space_prefix(self.prefix in ("always", "prepend"))
            writer.add_string(PREFIX, self.prefix)
        writer.add_array(ENDS, self.ends)


def vocabulary_of(model: str, tokenizer: Any, rows: int, ends: Sequence[int]) -> Vocabulary:
    """The vocabulary of a transformers tokenizer, filled up to the `rows` of the embedding. `ends` are the ids that end a
    reply beside the tokenizer's own. Raises `ZooError` for what llama.cpp cannot do, with the name of the `model`.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ZooError(f"The tokenizer of '{model}' is not one of the tokenizers library, so it cannot be exported.")
    data = json.loads(backend.to_str())
    if data["model"]["type"] != "BPE":
        raise ZooError(
            f"The tokenizer of '{model}' is a {data['model']['type']}, but GGUF takes byte pairs and pieces."
        )
    added = {each["id"]: each for each in data["added_tokens"]}
    for each in added.values():
        if each["lstrip"] or each["rstrip"] or each["single_word"]:
            raise ZooError(
                f"The token '{each['content'][:80]}' of '{model}' takes what is beside it, which GGUF cannot say."
            )
    tokens = _filled(model, data["model"]["vocab"], added, rows)
    all_ends = list(dict.fromkeys(each for each in (tokenizer.eos_token_id, *ends) if each is not None))
    rest = {
        "tokens": tokens,
        "types": [_type(token, added.get(number), data) for number, token in enumerate(tokens)],
        "specials": _specials(tokenizer, all_ends),
        "ends": all_ends,
        "adds_begin": bool(tokenizer("")["input_ids"]),
    }
    if data["model"]["byte_fallback"]:
        return _in_pieces(model, data, added, rest)
    return _in_bytes(model, data, rest)


def _in_bytes(model: str, data: Mapping[str, Any], rest: dict[str, Any]) -> Vocabulary:
    """Byte pairs, as GPT-2 has them."""
    cutting = _cutting(data["pre_tokenizer"])
    if data["normalizer"] is not None or cutting is None or (cutting == _WHOLE_WORDS) != data["model"]["ignore_merges"]:
        raise ZooError(f"The tokenizer of '{model}' prepares text in a way that llama.cpp does not know.")
    if not set(rest["tokens"]) >= set(ByteLevel.alphabet()):
        raise ZooError(f"The tokenizer of '{model}' cannot spell every byte, which llama.cpp would drop in silence.")
    merges = [each if isinstance(each, str) else " ".join(each) for each in data["model"]["merges"]]
    return Vocabulary(model="gpt2", cutting=cutting, merges=merges, **rest)


def _cutting(rule: Mapping[str, Any] | None) -> str | None:
    """The name of the rule by which text is cut into words, or None for an unknown one."""
    match rule:
        case {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}:
            return _BUILT_IN
        case {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": words}, "behavior": "Isolated", "invert": False},
                {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
            ],
        }:
            return _WORDS.get(words)
    return None


def _in_pieces(model: str, data: Mapping[str, Any], added: Mapping[int, Any], rest: dict[str, Any]) -> Vocabulary:
    """Pieces with scores, as SentencePiece has them: the earlier a piece is merged, the higher its score."""
    prefix = _prefix(data["normalizer"], data["pre_tokenizer"])
    if prefix is None or not {f"<0x{number:02X}>" for number in range(256)} <= set(rest["tokens"]):
        raise ZooError(f"The tokenizer of '{model}' prepares text in a way that llama.cpp does not know.")
    merges = [tuple(each.split(" ", 1)) if isinstance(each, str) else tuple(each) for each in data["model"]["merges"]]
    order: dict[str, int] = {}
    for number, (left, right) in enumerate(merges):
        order.setdefault(left + right, number)
    _require_all_merges(model, {*rest["tokens"]} - {each["content"] for each in added.values()}, set(merges))
    scores = [-float(order.get(token, len(merges))) for token in rest["tokens"]]
    return Vocabulary(model="llama", cutting="default", scores=scores, prefix=prefix, **rest)


def _prefix(normalizer: Mapping[str, Any] | None, cutter: Mapping[str, Any] | None) -> str | None:
    """Where text gets a space in front; None for a tokenizer that does something else to it."""
    spaces = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    match normalizer, cutter:
        case {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, last]}, None if last == spaces:
            return "prepend"
        case {"type": "Sequence", "normalizers": [only]}, None if only == spaces:
            return "never"
        case None, {"type": "Metaspace", "replacement": "▁", "split": False, "prepend_scheme": scheme}:
            return str(scheme)
    return None


def _require_all_merges(model: str, tokens: set[str], merges: set[tuple[str, ...]]) -> None:
    """Raise `ZooError` unless any two pieces that make a third one are merged, as llama.cpp does it without a list."""
    for token in tokens:
        for cut in range(1, len(token)):
            if (pair := (token[:cut], token[cut:])) not in merges and tokens.issuperset(pair):
                raise ZooError(
                    f"The tokenizer of '{model}' does not merge '{pair[0]}' with '{pair[1]}', but llama.cpp would."
                )


def _filled(model: str, vocabulary: Mapping[str, int], added: Mapping[int, Any], rows: int) -> list[str]:
    """The tokens in the order of their ids, with stand-ins for rows of the embedding that have none."""
    by_id = {number: token for token, number in vocabulary.items()} | {
        number: each["content"] for number, each in added.items()
    }
    if beyond := sorted(number for number in by_id if number >= rows):
        raise ZooError(
            f"The tokenizer of '{model}' has the token '{by_id[beyond[0]][:80]}' with the id {beyond[0]:,}, but its embedding "
            f"has {rows:,} rows."
        )
    return [by_id.get(number, f"[PAD{number}]") for number in range(rows)]


def _type(token: str, added: Mapping[str, Any] | None, data: Mapping[str, Any]) -> int:
    if added is not None:
        return TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED
    if data["model"]["byte_fallback"] and token.startswith("<0x") and len(token) == 6:
        return TokenType.BYTE
    return TokenType.NORMAL if token in data["model"]["vocab"] else TokenType.UNUSED


def _specials(tokenizer: Any, ends: Sequence[int]) -> dict[str, int]:
    """The tokens with a meaning of their own, by the names that llama.cpp gives them."""
    found = {
        "bos": tokenizer.bos_token_id,
        "eos": next(iter(ends), None),
        "eot": next(iter(ends[1:]), None),
        "unknown": tokenizer.unk_token_id,
        "padding": tokenizer.pad_token_id,
    }
    return {name: token for name, token in found.items() if token is not None}
