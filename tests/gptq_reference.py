"""AutoGPTQ's layout of GPTQ weights, written down a second time: slowly, from its description, with Python's own whole numbers.

The tests pack with this and unpack with the plugin. A column is one whole number of unlimited size; its words are cut from it.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file, save_file


class Reference(NamedTuple):
    """A packed layer, and the weights `[in, out]` that it stands for."""

    tensors: dict[str, torch.Tensor]
    weight: torch.Tensor


def packed(numbers: list[int], bits: int) -> list[int]:
    """The words of 32 bits, as signed numbers, that hold the numbers, the first one lowest."""
    stream = sum(number << (bits * place) for place, number in enumerate(numbers))
    count = -(-len(numbers) * bits // 32)
    words = [(stream >> (32 * place)) & 0xFFFFFFFF for place in range(count)]
    return [word - 2**32 if word >= 2**31 else word for word in words]


def layer(
    bits: int, rows: int, out: int, group_size: int, *, act_order: bool = False, seed: int = 0, minus_one: bool = True
) -> Reference:
    """A layer of random numbers. Zero points have every value, also 0, which is stored as the largest number."""
    draw = torch.Generator().manual_seed(seed)
    size = rows if group_size == -1 else group_size
    groups = -(-rows // size)
    numbers = torch.randint(2**bits, (rows, out), generator=draw)
    zeros = torch.randint(2**bits, (groups, out), generator=draw)
    scales = (0.01 + torch.rand(groups, out, generator=draw) / 50).half()
    g_idx = torch.tensor([row // size for row in range(rows)])
    if act_order:
        g_idx = g_idx[torch.randperm(rows, generator=draw)]
    weight = torch.empty(rows, out)
    for row in range(rows):
        group = int(g_idx[row])
        weight[row] = scales[group].float() * (numbers[row] - zeros[group])
    stored = [[(zero - minus_one) % 2**bits for zero in group] for group in zeros.tolist()]
    tensors = {
        "qweight": torch.tensor([packed(column, bits) for column in numbers.t().tolist()], dtype=torch.int32)
        .t()
        .contiguous(),
        "qzeros": torch.tensor([packed(group, bits) for group in stored], dtype=torch.int32),
        "scales": scales,
        "g_idx": g_idx.int(),
    }
    return Reference(tensors, weight)


def checkpoint(
    source: Path, folder: Path, *, bits: int = 4, group_size: int = 32, act_order: bool = False, minus_one: bool = True
) -> Path:
    """Pack the linear layers of a tiny model as AutoGPTQ does, and give a folder with the same numbers unpacked.

    They are other numbers than the source's: what is compared is loading, not quantizing. All else is copied.
    """
    dense = folder.with_name(f"{folder.name}-dense")
    whole = load_file(source / "model.safetensors")
    packed_too = dict(whole)
    for number, name in enumerate(sorted(whole)):
        weight = whole[name]
        if weight.dim() < 2 or not any(part in name for part in (".h.", ".layers.")):
            continue
        out, rows = weight.shape
        made = layer(bits, rows, out, group_size, act_order=act_order, seed=number, minus_one=minus_one)
        whole[name] = made.weight.t().contiguous()
        packed_too |= {name.replace("weight", part): tensor for part, tensor in made.tensors.items()}
        del packed_too[name]
    for place, tensors in ((dense, whole), (folder, packed_too)):
        shutil.copytree(source, place)
        save_file(tensors, place / "model.safetensors", {"format": "pt"})
    return dense


def rename_weights(folder: Path, name: str) -> None:
    """Give the only file of weights another name."""
    (folder / "model.safetensors").rename(folder / name)
