"""Offers: a name and where the thing behind it lives. The only place that imports targets.

An offer knows nothing about what its target does; the hook that returns it says which protocol the target implements.
"""

from __future__ import annotations

from typing import Any

import msgspec

from zoo_core.errors import MissingDependency, PluginError

#: Import names of libraries and the extra that installs them, where the offer itself names none.
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
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            missing = error.name or str(error)
            if missing.partition(".")[0] == module_name.partition(".")[0]:
                raise PluginError(
                    f"'{self.name}' points at '{self.target}', but {error}; report it to its plugin."
                ) from error
            raise MissingDependency(self._missing(missing)) from error
        except ImportError as error:
            raise MissingDependency(f"'{self.name}' cannot be imported ({error}). {self._install()}") from error
        try:
            return getattr(module, attribute)
        except AttributeError as error:
            message = f"'{self.name}' points at '{self.target}', which does not exist; report it to its plugin."
            raise PluginError(message) from error

    def _missing(self, package: str) -> str:
        return f"'{self.name}' needs the package '{package}'. {self._install()}"

    def _install(self) -> str:
        return f"Install it with: pip install {install_name(self.extra, self.distribution)}"


def install_name(extra: str, distribution: str = DISTRIBUTION) -> str:
    """What to write after `pip install` to get an extra, quoted for every shell."""
    return f"'{distribution}[{extra}]'" if extra else distribution
