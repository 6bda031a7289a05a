"""What can go wrong, as exceptions whose message is one sentence for the user: what, which, and what to do next."""

from __future__ import annotations


class ZooError(Exception):
    """An error that the user can act upon; the command line prints its message without a traceback."""

    exit_code = 1


class UsageProblem(ZooError):
    """The command was called in a way that cannot be understood."""

    exit_code = 2


class NotFound(ZooError):
    """A name that nothing in the zoo answers to."""


class CardError(ZooError):
    """A card that cannot be read or breaks a rule of the schema."""


class PluginError(ZooError):
    """A plugin that breaks a rule of the house."""


class MissingDependency(ZooError):
    """A library of an extra that is not installed."""


class WeightsError(ZooError):
    """Weights that are absent, incomplete or not those that the card names."""


class Unreachable(ZooError):
    """A hub or registry that does not answer; another one may."""


class RegistryError(ZooError):
    """A registry whose files are refused: damaged, rolled back, wrongly signed, or none at all."""


class TemplateError(ZooError):
    """A conversation template that cannot be compiled or rendered safely."""


class ContextOverflow(ZooError):
    """A prompt that does not fit into the model's context."""


class HistoryError(ZooError):
    """A conversation history that cannot be read or written."""
