"""Publish a card into a static registry in a folder, beside the cards that it has."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from zoo_core import (
    Change,
    PublishRequest,
    RegistryDraft,
    RegistryError,
    UsageProblem,
    draft_registry,
    read_key,
    registry_lock,
    write_registry,
)


class FolderCards:
    """The card source `dir:`."""

    def publish(self, request: PublishRequest) -> FolderPublication:
        """Draft the registry with this card in it; nothing is written yet."""
        try:
            root = Path(request.address).expanduser()
            _refuse_other_folder(root)
        except RuntimeError as error:
            raise UsageProblem(f"'{request.address[:200]}' begins in the home folder of nobody here.") from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise RegistryError(f"The folder '{request.address[:200]}' cannot be read: {reason}.") from error
        key = os.environ.get("ZOO_REGISTRY_KEY")
        return FolderPublication(
            draft_registry(root, [request.card], key=read_key(Path(key)) if key else None, add=True)
        )


class FolderPublication:
    """A card on its way into a folder."""

    def __init__(self, draft: RegistryDraft) -> None:
        """`draft` is the registry as it will be."""
        self.where = str(draft.root)
        self.notes: Sequence[str] = ()
        self.changes = list(_changes(draft))
        self._draft = draft

    def carry_out(self) -> str:
        """Write the registry; refused when it was changed since it was drafted."""
        with registry_lock(self._draft.root):
            write_registry(self._draft)
        return f"The registry in {self.where} has serial {self._draft.serial}; copy the folder to where it is served."


def _refuse_other_folder(root: Path) -> None:
    if root.exists() and not root.is_dir():
        raise RegistryError(f"{root} is no folder.")
    if root.is_dir() and not (root / "index.json").exists() and any(root.iterdir()):
        raise RegistryError(f"{root} is no static registry; name one, or a new folder to begin one in.")


def _changes(draft: RegistryDraft) -> list[Change]:
    files: list[tuple[str, bytes | None, bytes | None]] = [(path, None, card) for path, card in draft.cards.items()]
    files += [("index.json", draft.before, draft.index), ("index.json.sig", draft.signed_before, draft.signatures)]
    return [
        Change(path=path, before=None if before is None else before.decode(), after=after.decode())
        for path, before, after in files
        if after is not None and after != before
    ]
