"""Hooks of the plugin `openai`. Light: names things, imports nothing heavy."""

from __future__ import annotations

from pathlib import Path

from zoo_core import Offer, Template, hookimpl


@hookimpl
def zoo_engines() -> list[Offer]:
    """The engine for models that others host."""
    return [
        Offer(
            name="openai",
            target="zoo_openai.engine:OpenAIEngine",
            summary="any service that speaks OpenAI's chat completions, on the web or on this machine",
            extra="openai",
            supports={"format": ["api"], "needs": []},
        )
    ]


@hookimpl
def zoo_conversation_templates() -> list[Template]:
    """The messages as they are sent: one rendering path, also for models whose prompt only their service knows."""
    return [
        Template.from_file(
            Path(__file__).parent / "templates" / "openai.jinja",
            summary="the JSON messages that an OpenAI-compatible API is sent",
        )
    ]


@hookimpl
def zoo_card_sources() -> list[Offer]:
    """Cards for models by their names at a service, such as `openai:NAME`."""
    return [
        Offer(
            name="openai",
            target="zoo_openai.cards:OpenAICards",
            summary="models of an OpenAI-compatible API, by the names that they have there",
            supports={"does": ["read"]},
        )
    ]


@hookimpl
def zoo_commands() -> list[Offer]:
    """The command `zoo keys`."""
    return [
        Offer(
            name="keys",
            target="zoo_openai.command:command",
            summary="Store, list and remove the keys of model services.",
        )
    ]
