"""The weights that packed layers of GPTQ stand for, against a second reading of the layout."""

from __future__ import annotations

import gptq_reference
import pytest
import torch

from zoo_gptq.layers import NibbleLinear, PackedLinear, Shape
from zoo_gptq.packing import unpack, words


def packed_layer(
    reference: gptq_reference.Reference, bits: int, group_size: int, *, minus_one: bool = True
) -> PackedLinear:
    """The plugin's layer with the tensors of a reference."""
    tensors = reference.tensors
    rows, out = reference.weight.shape
    size = rows if group_size == -1 else group_size
    layer = PackedLinear(Shape(bits, rows, out, len(tensors["scales"]), size, minus_one, "g_idx" in tensors, False))
    layer.load_state_dict(tensors)
    layer.settle()
    return layer


@pytest.mark.parametrize("act_order", [False, True])
@pytest.mark.parametrize(("rows", "out"), [(128, 32), (160, 96), (352, 32)])
@pytest.mark.parametrize("group_size", [-1, 32, 128])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_weights_are_those_of_the_reference(bits: int, group_size: int, rows: int, out: int, act_order: bool) -> None:
    reference = gptq_reference.layer(bits, rows, out, group_size, act_order=act_order)
    layer = packed_layer(reference, bits, group_size)
    assert torch.equal(layer.dequantized(), reference.weight)
    assert (layer.g_idx is not None) == (act_order and len(reference.tensors["scales"]) > 1)
    x = torch.randn(2, 3, rows)
    torch.testing.assert_close(layer(x), x @ reference.weight)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_second_version_of_the_layout_stores_zero_points_as_they_are(bits: int) -> None:
    reference = gptq_reference.layer(bits, 64, 32, 32, minus_one=False)
    assert torch.equal(packed_layer(reference, bits, 32, minus_one=False).dequantized(), reference.weight)
    assert not torch.equal(packed_layer(reference, bits, 32).dequantized(), reference.weight)


@pytest.mark.parametrize("count", [1, 7, 10, 11, 21, 22, 32, 33, 64, 65])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_any_number_of_numbers_is_unpacked(bits: int, count: int) -> None:
    numbers = torch.randint(2**bits, (count,), generator=torch.Generator().manual_seed(count)).tolist()
    stored = torch.tensor(gptq_reference.packed(numbers, bits), dtype=torch.int32)
    assert len(stored) == words(count, bits)
    assert unpack(stored, bits, count).tolist() == numbers


@pytest.mark.parametrize("order", [None, "zero"])
def test_layer_without_an_order_takes_its_groups_one_after_the_other(order: str | None) -> None:
    reference = gptq_reference.layer(4, 96, 32, 32)
    reference.tensors["g_idx"].zero_()
    if order is None:
        del reference.tensors["g_idx"]
    assert torch.equal(packed_layer(reference, 4, 32).dequantized(), reference.weight)


def test_order_that_names_no_group_is_refused() -> None:
    reference = gptq_reference.layer(4, 96, 32, 32)
    reference.tensors["g_idx"][5] = 3
    with pytest.raises(ValueError, match="groups that it does not have"):
        packed_layer(reference, 4, 32)


@pytest.mark.parametrize("act_order", [False, True])
@pytest.mark.parametrize(("rows", "group_size"), [(128, 32), (512, 128), (256, -1), (1024, 512)])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_fast_layer_computes_the_same(bits: int, rows: int, group_size: int, act_order: bool) -> None:
    reference = gptq_reference.layer(bits, rows, 32, group_size, act_order=act_order)
    packed = packed_layer(reference, bits, group_size)
    draw = torch.Generator().manual_seed(1)
    packed.bias = torch.randn(32, generator=draw)
    fast = NibbleLinear.of(packed)
    assert isinstance(fast, NibbleLinear)
    x = torch.randn(2, 3, rows, generator=draw).bfloat16()
    exact = x.float() @ reference.weight + packed.bias
    assert fast(x).shape == (2, 3, 32)
    assert fast(x).dtype == torch.bfloat16
    assert (fast(x) - exact).norm() / exact.norm() < 0.006  # bfloat16 has steps of 0.004 to 0.008
    assert torch.equal(fast(x[0, 0]), fast(x)[0, 0])


def test_fast_layer_is_small() -> None:
    packed = packed_layer(gptq_reference.layer(4, 512, 128, 128), 4, 128)
    taken = sum(tensor.nbytes for tensor in NibbleLinear.of(packed).buffers())
    assert taken <= 0.35 * 512 * 128 * 2
    assert sum(tensor.nbytes for tensor in packed.buffers()) <= 0.35 * 512 * 128 * 2


@pytest.mark.parametrize(
    ("rows", "out", "group_size"),
    [(160, 32, 128), (96, 32, 48), (128, 40, 32)],
    ids=["unfinished group", "strange group", "strange width"],
)
def test_what_the_kernel_cannot_take_stays_exact(rows: int, out: int, group_size: int) -> None:
    packed = packed_layer(gptq_reference.layer(4, rows, out, group_size, act_order=True), 4, group_size)
    assert NibbleLinear.of(packed) is packed


def test_groups_of_unequal_size_stay_exact() -> None:
    reference = gptq_reference.layer(4, 128, 32, 32)
    reference.tensors["g_idx"][:40] = 1
    packed = packed_layer(reference, 4, 32)
    assert NibbleLinear.of(packed) is packed
