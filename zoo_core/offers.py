"""Offers: a name and where the thing behind it lives. The only place that imports targets.

An offer knows nothing about what its target does; the hook that returns it says which protocol the target implements.
"""

from __future__ import annotations

from typing import Any

import msgspec

from zoo_core.errors import MissingDependency, PluginError

#: The name of the zoo's own distribution.
DISTRIBUTION = "llm-zoo"


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a plugin can do, named so that choosing it imports nothing.

    `target` is `"module:attribute"`, imported by `load` on first use. `extra` names the extra of `distribution` that
    brings what the target imports; it is quoted when a library is missing. `supports` says what the target can be used
    for, for example `{"format": ["safetensors"]}`.
    """

    name: str
    target: str
    summary: str = ""
    extra: str = ""
    distribution: str = DISTRIBUTION
    supports: dict[str, list[str]] = {}

    def load(self) -> Any:
        """Import the target and return it.

        Raises `MissingDependency` when a library is not installed, `PluginError` when the target is not there.
        """
        import importlib

        module_name, _, attribute = self.target.partition(":")
        try:
            return getattr(importlib.import_module(module_name), attribute)
        except ImportError as error:
            if (error.name or "").partition(".")[0] in {module_name.partition(".")[0], "zoo_core"}:
                raise self._broken(error) from error
            raise MissingDependency(self._missing(error)) from error
        except (Exception, SystemExit) as error:  # whatever a plugin's module does on import is the plugin's fault
            raise self._broken(error) from error

    def _broken(self, error: BaseException) -> PluginError:
        reason = " ".join(str(error).split()) or "no message"
        return PluginError(
            f"'{self.name}' points at '{self.target}', which cannot be loaded "
            f"({type(error).__name__}: {reason}); report it to its plugin."
        )

    def _missing(self, error: ImportError) -> str:
        # Some libraries put a sentence where the name of the package belongs.
        named = isinstance(error, ModuleNotFoundError) and all(map(str.isidentifier, (error.name or "").split(".")))
        needs = f"needs the package '{error.name}'" if named else f"cannot be imported ({error})"
        return f"'{self.name}' {needs}. {self._install()}"

    def _install(self) -> str:
        return f"Install it with: pip install {install_name(self.extra, self.distribution)}"


def install_name(extra: str, distribution: str = DISTRIBUTION) -> str:
    """What to write after `pip install` to get an extra, quoted for every shell."""
    return f"'{distribution}[{extra}]'" if extra else distribution
