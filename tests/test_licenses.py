"""What licences allow: the table, the forms of identifiers, a card's own word, and whether card and hub say the same."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest

from zoo_core.cards.parts import License
from zoo_core.lineage.licenses import _table, allowance, claimed, normal, said, same_license


@pytest.mark.parametrize(
    ("identifier", "kind", "commercial"),
    [
        ("Apache-2.0", "permissive", "yes"),
        ("apache-2.0", "permissive", "yes"),
        (" MIT ", "permissive", "yes"),
        ("BSD-3-Clause", "permissive", "yes"),
        ("CC0-1.0", "permissive", "yes"),
        ("CC-BY-4.0", "permissive", "yes"),
        ("ODC-By", "permissive", "yes"),
        ("BSL-1.0", "permissive", "yes"),
        ("CC-BY-SA-3.0", "copyleft", "yes"),
        ("CC-BY-SA", "copyleft", "yes"),
        ("GPL-3.0-only", "copyleft", "yes"),
        ("GPL-2.0-or-later", "copyleft", "yes"),
        ("GPL-2.0+", "copyleft", "yes"),
        ("agpl-3.0", "copyleft", "yes"),
        ("LGPL-2.1", "copyleft", "yes"),
        ("openrail++", "restricted", "restricted"),
        ("bigscience-bloom-rail-1.0", "restricted", "restricted"),
        ("CreativeML-OpenRAIL-M", "restricted", "restricted"),
        ("llama2", "restricted", "restricted"),
        ("llama3.1", "restricted", "restricted"),
        ("gemma", "restricted", "restricted"),
        ("CC-BY-ND-4.0", "restricted", "yes"),
        ("llama", "non-commercial", "no"),
        ("CC-BY-NC-4.0", "non-commercial", "no"),
        ("cc-by-nc-sa-2.0", "non-commercial", "no"),
        ("CC-BY-NC-ND-3.0", "non-commercial", "no"),
        ("", "unknown", "unknown"),
        ("other", "unknown", "unknown"),
        ("unknown", "unknown", "unknown"),
        ("cc", "unknown", "unknown"),
        ("bsl-1.1", "unknown", "unknown"),  # the Business Source License is not Boost's
        ("llama9", "unknown", "unknown"),
        ("mit-like", "unknown", "unknown"),
        ("MIT License", "unknown", "unknown"),
        ("-1.0", "unknown", "unknown"),
        ("A licence of my own", "unknown", "unknown"),
        ("MIT OR GPL-3.0-only", "permissive", "yes"),
        ("llama OR llama2 OR unknown", "unknown", "unknown"),
        ("MIT AND GPL-3.0-only", "copyleft", "yes"),
        ("MIT AND Something-Else", "unknown", "unknown"),
        ("MIT AND CC-BY-NC-4.0", "non-commercial", "no"),
        ("llama AND gemma OR MIT AND 0BSD", "permissive", "yes"),
        ("MIT and Apache-2.0", "unknown", "unknown"),
        ("(llama OR MIT OR gemma) AND llama", "unknown", "unknown"),
        ("GPL-2.0-only WITH Classpath-exception-2.0", "unknown", "unknown"),
        ("MIT OR ", "unknown", "unknown"),
        (" OR MIT", "unknown", "unknown"),
        ("MIT AND ", "unknown", "unknown"),
        ("ⅯIT", "unknown", "unknown"),  # a Roman numeral
        (" OR " * 200_000, "unknown", "unknown"),
    ],
    ids=lambda each: each[:45] if isinstance(each, str) else None,
)
def test_what_a_licence_allows(identifier: str, kind: str, commercial: str) -> None:
    found = allowance(identifier)
    assert (found.kind, found.commercial) == (kind, commercial)


def test_the_table_is_sorted_in_small_letters_and_every_link_is_a_web_address() -> None:
    assert all(first < second for first, second in pairwise(_table()))
    for name, entry in _table().items():
        assert name == name.lower() == normal(name)
        assert entry.link.startswith("https://") or not entry.link
        assert entry.kind != "unknown"


def test_a_link_comes_with_its_licence() -> None:
    assert allowance("llama2").link == "https://ai.meta.com/llama/license/"
    assert said("llama2", "no").link == "https://ai.meta.com/llama/license/"


@pytest.mark.parametrize(
    ("identifier", "word", "kind", "commercial"),
    [
        ("MIT", "", "permissive", "yes"),
        ("MIT", "yes", "permissive", "yes"),
        ("MIT", "restricted", "restricted", "restricted"),
        ("MIT", "no", "non-commercial", "no"),
        ("GPL-3.0-only", "yes", "copyleft", "yes"),
        ("CC-BY-ND-4.0", "yes", "restricted", "yes"),
        ("CC-BY-ND-4.0", "restricted", "restricted", "restricted"),
        ("llama2", "yes", "restricted", "restricted"),
        ("llama2", "no", "non-commercial", "no"),
        ("llama", "yes", "non-commercial", "no"),
        ("Mine", "", "unknown", "unknown"),
        ("Mine", "yes", "unknown", "yes"),
        ("Mine", "restricted", "restricted", "restricted"),
        ("", "no", "non-commercial", "no"),
    ],
)
def test_the_word_of_a_card_counts_where_it_allows_less(identifier: str, word: str, kind: str, commercial: str) -> None:
    found = said(identifier, word)
    assert (found.kind, found.commercial) == (kind, commercial)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ""),
        ({"name": "Mine"}, "Mine"),
        ({"spdx": "MIT", "name": "Mine"}, "MIT"),
        ({"spdx": "MIT", "name": "Mine", "weights": "llama"}, "llama"),
    ],
)
def test_the_licence_that_a_card_claims(fields: dict[str, str], expected: str) -> None:
    assert claimed(License(**fields)) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "hub", "same"),
    [
        ({"spdx": "Apache-2.0"}, "apache-2.0", True),
        ({"spdx": "Apache-2.0"}, "mit", False),
        ({"spdx": "Apache-2.0"}, "other", False),
        ({"spdx": "Apache-2.0"}, "unknown", False),
        ({"spdx": "Apache-2.0"}, "", False),
        ({"spdx": "GPL-3.0-or-later"}, "gpl-3.0", True),
        ({"spdx": "GPL-2.0-only"}, "gpl-3.0", False),
        ({"spdx": "CC-BY-4.0"}, "cc-by-3.0", False),
        ({"spdx": "Apache-2.0", "weights": "bigscience-bloom-rail-1.0"}, "apache-2.0", True),
        ({"spdx": "Apache-2.0", "weights": "bigscience-bloom-rail-1.0"}, "bigscience-bloom-rail-1.0", True),
        ({"spdx": "Apache-2.0", "weights": "bigscience-bloom-rail-1.0"}, "other", False),
        ({"spdx": "Apache-2.0", "weights": "llama"}, "other", True),
        ({"name": "openrail++"}, "openrail++", True),
        ({"name": "openrail++"}, "openrail", False),
        ({"name": "A licence of my own"}, "other", True),
        ({"name": "A licence of my own"}, "mit", False),
        ({"name": "other"}, "other", True),
        ({}, "other", False),
        ({}, "mit", False),
        ({}, "", True),
        ({}, "unknown", True),
        ({"name": "unknown"}, "", True),
    ],
)
def test_whether_card_and_hub_name_the_same_licence(fields: dict[str, str], hub: str, same: bool) -> None:
    license_ = msgspec.convert(fields, License)
    assert same_license(license_, hub) is same
    assert same_license(license_, hub.upper()) is same
