"""The rows of a listing: chosen, sorted, as a table and as data."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from zoo_core.cards.index import Row
    from zoo_core.catalog import Catalog

SORT_KEYS = ("name", "family", "released", "size", "status")


def chosen(catalog: Catalog, patterns: Sequence[str], filters: Mapping[str, Any]) -> list[Row]:
    """The rows that match a pattern, if any is given, and pass all filters that are set: kind, family, language, license_,
    commercial, status, format_.
    """
    license_, commercial = filters["license_"] or "", filters["commercial"]
    rows = [row for row in catalog.rows(patterns) if _matches(row, filters)]
    if not license_ and not commercial:
        return rows
    from zoo_core.lineage.licenses import KINDS, normal
    from zoo_core.lineage.terms import terms_of_rows

    kind = license_.lower() if license_.lower() in KINDS else ""
    if license_ and not kind:
        rows = [row for row in rows if normal(license_) in {normal(row.license), normal(row.weights_license)}]
    if kind or commercial:
        terms = terms_of_rows(catalog.rows())  # all: what may be done with a model depends on its ancestors too
        rows = [row for row in rows if not kind or terms[row.id].kind == kind]
        rows = [row for row in rows if not commercial or terms[row.id].commercial == "yes"]
    return rows


def _matches(row: Row, filters: Mapping[str, Any]) -> bool:
    language = filters["language"]
    return (
        filters["kind"] in (row.kind, "all")
        and (not filters["family"] or row.family == filters["family"])
        and (not language or language in row.languages or language in {tag.partition("-")[0] for tag in row.languages})
        and (not filters["status"] or row.status == filters["status"])
        and (not filters["format_"] or row.format == filters["format_"])
    )


def sort_key(row: Row, sort: str) -> tuple[object, str]:
    """The value of a row to sort by; rows of one value go by name."""
    if sort == "size":
        found = re.search(r"([0-9]+(?:\.[0-9]+)?)\s*([KMBT])", row.size, re.IGNORECASE)
        number = float(found[1]) * {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}[found[2].upper()] if found else 0.0
        return (number, row.id)
    value = {"name": row.id, "family": row.family, "released": row.released, "status": row.status}[sort]
    return (value, row.id)


def table(rows: list[Row], wide: bool = False) -> list[list[str]]:
    """Head and rows of the listing."""
    head = ["NAME", "FAMILY", "BACKBONE", "SIZE", "LANGUAGES", "LICENSE", "RELEASED", "STATUS"]
    body = [
        [
            row.id,
            row.family or row.kind,
            row.backbone,
            row.size,
            row.languages_note or " ".join(row.languages),
            row.license,
            row.released,
            row.status,
        ]
        for row in rows
    ]
    if wide:
        head[5:5] = ["WEIGHTS", "DATA", "INSTRUCTION", "CONVERSATION"]
        words = {True: "open", False: "closed", None: ""}
        for row, cells in zip(rows, body, strict=True):
            cells[5:5] = [words[row.open_weights], words[row.open_data], row.instruction, row.conversation]
    return [head, *body]


def rows_as_data(rows: list[Row]) -> list[dict[str, object]]:
    """Rows as JSON objects, fields that say nothing left out."""
    from msgspec.structs import asdict

    return [{key: value for key, value in asdict(row).items() if value not in ("", [], None)} for row in rows]
