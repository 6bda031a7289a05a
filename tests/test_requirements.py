"""What a card requires of Python packages is compared with what is installed."""

from __future__ import annotations

import pytest

from zoo_core.errors import CardError, MissingDependency
from zoo_core.requirements import require_packages


@pytest.mark.parametrize(
    "requirement", ["click", "click>=8", "click>=8,<100", "click>=999; python_version < '3'", "Click>=8"]
)
def test_what_is_installed_is_enough(requirement: str) -> None:
    require_packages("x", ["pluggy", requirement])


@pytest.mark.parametrize(
    ("requirement", "says"),
    [
        ("click>=999", "'x' requires 'click>=999', but 8."),
        ("no-such-package>=1", "'x' requires 'no-such-package>=1', which is not installed."),
    ],
)
def test_what_is_missing_is_named(requirement: str, says: str) -> None:
    with pytest.raises(MissingDependency) as caught:
        require_packages("x", ["click", requirement])
    assert str(caught.value).startswith(says)
    assert str(caught.value).endswith(f"Install it with: pip install '{requirement}'")


def test_what_is_no_requirement_is_the_cards_mistake() -> None:
    with pytest.raises(CardError, match="which is no requirement of a Python package"):
        require_packages("x", ["click >= four"])
