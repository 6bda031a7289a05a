"""Arithmetic on safetensors: deltas, adapters, conversion. The names below are what other plugins may use.

They are imported on first use (PEP 562), because all of them need PyTorch.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from zoo_weights.adapter import merge_adapter as merge_adapter
    from zoo_weights.checkpoint import Checkpoint as Checkpoint
    from zoo_weights.delta import Policy as Policy
    from zoo_weights.delta import apply_delta as apply_delta
    from zoo_weights.delta import check_delta as check_delta
    from zoo_weights.delta import looks_like_delta as looks_like_delta
    from zoo_weights.delta import make_delta as make_delta
    from zoo_weights.families import TransformersFamily as TransformersFamily
    from zoo_weights.layout import Planned as Planned
    from zoo_weights.remote_code import UNCHOSEN as UNCHOSEN
    from zoo_weights.remote_code import running as running
    from zoo_weights.small_files import copy_small_files as copy_small_files
    from zoo_weights.writing import forget_journal as forget_journal
    from zoo_weights.writing import write_checkpoint as write_checkpoint

_HOMES = {
    "merge_adapter": "adapter",
    "Checkpoint": "checkpoint",
    "Policy": "delta",
    "apply_delta": "delta",
    "check_delta": "delta",
    "looks_like_delta": "delta",
    "make_delta": "delta",
    "TransformersFamily": "families",
    "Planned": "layout",
    "UNCHOSEN": "remote_code",
    "running": "remote_code",
    "copy_small_files": "small_files",
    "forget_journal": "writing",
    "write_checkpoint": "writing",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> object:
    """Import a public name from its home module on first use."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'zoo_weights' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"zoo_weights.{home}"), name)
    globals()[name] = value
    return value
