"""The recipe that the options of `zoo train` describe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from zoo_core.errors import UsageProblem

if TYPE_CHECKING:
    from zoo_core.training import Data, Recipe
    from zoo_core.zoo import Zoo


def recipe_of(zoo: Zoo, options: dict[str, Any]) -> Recipe:
    """A recipe from `--recipe`, or from MODEL and `--data`, with the other options applied. Raises `UsageProblem`."""
    from zoo_core.training import Recipe, read_recipe

    if options["recipe"]:
        if options["model"] or options["data"]:
            raise UsageProblem("A recipe says model and data itself; leave MODEL and --data out.")
        recipe = read_recipe(zoo, options["recipe"])
    else:
        if not (options["model"] and options["data"]):
            raise UsageProblem(
                "Name a MODEL and --data, or a --recipe. Example: zoo train MODEL --data talks.jsonl --out mine"
            )
        recipe = Recipe(base=options["model"], data=data_of(options["data"]))
    changes: dict[str, Any] = {key: options[key] for key in ("trainer", "seed") if options[key] is not None}
    changes["options"] = recipe.options | _pairs(options["option"])
    changes["data"] = msgspec.structs.replace(recipe.data, options=recipe.data.options | _pairs(options["data_option"]))
    return msgspec.structs.replace(recipe, **changes)


def data_of(text: str) -> Data:
    """The conversations that an option names: a file of them, or a data builder."""
    from zoo_core.training import Data

    is_file = text.endswith((".json", ".jsonl")) or Path(text).exists()
    return Data(builder="file", options={"path": text}) if is_file else Data(builder=text)


def _pairs(words: tuple[str, ...]) -> dict[str, str]:
    pairs = [word.partition("=") for word in words]
    if wrong := [name for name, sign, _ in pairs if not sign or not name]:
        raise UsageProblem(f"'{wrong[0]}' is not of the form NAME=VALUE.")
    return {name: value for name, _, value in pairs}
