"""The versions of Python packages that a card asks for, compared with what is installed. Installs nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo_core.errors import CardError, MissingDependency

if TYPE_CHECKING:
    from collections.abc import Sequence


def require_packages(name: str, requirements: Sequence[str]) -> None:
    """Raise unless every requirement (PEP 508, such as `transformers>=4.40`) of the card called `name` is installed.

    Raises `MissingDependency` for a package that is absent or of another version, `CardError` for what is no requirement.
    """
    if not requirements:
        return
    from importlib.metadata import PackageNotFoundError, version

    from packaging.requirements import InvalidRequirement, Requirement

    for text in requirements:
        try:
            wanted = Requirement(text)
        except InvalidRequirement as error:
            raise CardError(
                f"The card of '{name}' requires '{text}', which is no requirement of a Python package: {error}."
            ) from None
        if wanted.marker is not None and not wanted.marker.evaluate():
            continue
        try:
            found = version(wanted.name)
        except PackageNotFoundError:
            found = ""
        if not found or not wanted.specifier.contains(found, prereleases=True):
            state = f"but {found} is installed" if found else "which is not installed"
            raise MissingDependency(f"'{name}' requires '{text}', {state}. Install it with: pip install '{text}'")
