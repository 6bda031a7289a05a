"""What the front matter of a model's README claims: licence, languages, what the model was made from.

In a folder it is read from the file, on a hub it is what the hub tells of it. Knows nothing of weights.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from zoo_core.cards.parts import License
from zoo_core.errors import CardError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from zoo_core.checkpoints.inspection import View

#: SPDX identifiers that hubs write in small letters.
_SPDX = (
    *("Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0"),
    *("CC-BY-NC-SA-4.0", "GPL-3.0", "AGPL-3.0", "LGPL-3.0", "MPL-2.0", "ISC", "Unlicense"),
)
#: The longest README that is looked at, in bytes.
_MAX_README = 1_000_000


class Readme:
    """The front matter of a model's README: that of its folder, or as its hub tells it."""

    def __init__(self, view: View) -> None:
        """Look for it. What cannot be read is told in `notes`."""
        self.notes: list[str] = []
        if view.repository is not None:
            hub = view.repository
            self.data: Mapping[str, Any] = hub.metadata | ({"license": hub.license} if hub.license else {})
            return
        self.data = {}
        if any(file.path == "README.md" for file in view.files):
            text = view.read("README.md", 0, _MAX_README).decode("utf-8", errors="replace")
            head = re.match(r"\ufeff?---[ \t]*\r?\n(.*?\n)---[ \t]*(?:\r?\n|\Z)", text, re.DOTALL)
            self.data = self._parsed(head[1]) if head else {}

    def _parsed(self, text: str) -> dict[str, Any]:
        from zoo_core.cards.reading import parse_mapping

        try:
            return parse_mapping(text.encode(), "README.md")[0]
        except CardError as error:
            self.notes.append(f"nothing from the README: {error}")
            return {}

    def words(self, key: str, pattern: str) -> list[str]:
        """The texts under a key, which may be one or a list, that follow a pattern."""
        said = self.data.get(key)
        texts = said if isinstance(said, list) else [said]
        return list(dict.fromkeys(each for each in texts if isinstance(each, str) and re.fullmatch(pattern, each)))

    def license(self, gated: bool) -> License:
        """The licence that the README claims."""
        several = self.words("license", ".+")
        said = several[0] if len(several) == 1 else ""
        if said == "other":
            said = next(iter(self.words("license_name", ".+")), said)
        spdx = {each.lower(): each for each in _SPDX}.get(said.lower(), "")
        link = next(iter(self.words("license_link", r"https?://\S+")), "")
        return License(spdx=spdx, name="" if spdx else said, link=link, acceptance=gated)
