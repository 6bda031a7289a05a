"""The conformance kit for plugin authors.

In a test module of your own:

    from zoo_core.testing import Conformance

    class TestMyPlugin(Conformance):
        plugin = "hello"

or, without a test module: `zoo plugins check hello`.
"""

from __future__ import annotations

from zoo_core.testing.checks import CheckResult as CheckResult
from zoo_core.testing.checks import Conformance as Conformance
from zoo_core.testing.checks import check_plugin as check_plugin
