"""Run Jinja chat templates that nobody vouches for: no attributes, no files, bounded work and bounded memory.

Jinja's own sandbox stops templates from reaching Python objects, but not from looping for ever or from building a string
of gigabytes. Here every pass through a loop or a macro is counted, and every operation that makes text is measured.
Knows nothing of conversations; it gets a context and gives text.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from jinja2 import TemplateError as JinjaError
from jinja2 import nodes
from jinja2.runtime import Macro, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from zoo_core.errors import TemplateError
from zoo_core.sandbox_compiler import GenerationTag, MeasuringGenerator
from zoo_core.sandbox_limits import (
    MAX_STEPS,
    MAX_TEMPLATE,
    MAX_TEXT,
    MAX_WORK,
    are_numbers,
    join,
    raise_exception,
    replace,
    round_number,
    size_of,
    small_range,
    sum_numbers,
    to_json,
    too_long,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from jinja2 import Template


#: Methods of texts and numbers that can make a text of any length from little, or bytes, which nothing here measures.
_REFUSED_METHODS = frozenset(
    {
        *("center", "encode", "expandtabs", "format", "format_map", "ljust", "rjust", "striptags", "to_bytes"),
        *("translate", "zfill"),
    }
)
#: Filters that do, or that show memory addresses, draw at random, or take a time that grows with the text's square.
_REFUSED_FILTERS = (
    *("batch", "center", "filesizeformat", "format", "indent", "pprint", "random", "slice", "striptags", "urlize"),
    *("wordwrap", "xmlattr"),
)
#: Filters and methods whose work does not grow with what they are given; templates call them in every turn.
_CHEAP_FILTERS = frozenset({"count", "d", "default", "first", "last", "length"})
_CHEAP_METHODS = frozenset({"endswith", "startswith"})
#: Tests that compare, and so read all that they are given.
_COMPARING_TESTS = (
    *("!=", "<", "<=", "==", ">", ">=", "eq", "equalto", "ge", "greaterthan", "gt", "in", "le", "lessthan", "lower"),
    *("lt", "ne", "upper"),
)


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox of one template: its counters live as long as one rendering."""

    code_generator_class = MeasuringGenerator
    intercepted_binops = frozenset({"*", "**", "%", "+"})

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.loopcontrols", GenerationTag],
            cache_size=0,
            optimized=False,  # folding constants takes a time that grows with the cube of an expression's depth
            finalize=self._output,
        )
        self.mark = ""
        self.steps = self.work = 0
        self.concat = self.measured_concat  # type: ignore[method-assign]
        for name in _REFUSED_FILTERS:
            del self.filters[name]
        self.filters.update(tojson=to_json, replace=replace, join=join, round=round_number, sum=sum_numbers)
        for name in self.filters.keys() - _CHEAP_FILTERS:
            self.filters[name] = self._measured_filter(self.filters[name])
        for name in _COMPARING_TESTS:
            test: Any = self.tests[name]
            self.tests[name] = self._measured_filter(test)
        self.globals = {"range": small_range, "namespace": _Namespace, "dict": dict, "raise_exception": raise_exception}

    def parse_counted(self, source: str) -> nodes.Template:
        """Parse, and put a counting step at the start of every loop, macro and block, and into every loop's condition."""
        tree = self.parse(source)
        for kind in (nodes.For, nodes.Macro, nodes.CallBlock, nodes.Block):
            for node in tree.find_all(kind):
                assert isinstance(node, nodes.For | nodes.Macro | nodes.CallBlock | nodes.Block)
                # An attribute of the environment: a name could be given another meaning by the template.
                step = nodes.Call(nodes.EnvironmentAttribute("step"), [], [], None, None)
                node.body.insert(0, nodes.ExprStmt(step).set_lineno(node.lineno))
                if isinstance(node, nodes.For) and node.test is not None:
                    node.test = nodes.And(step, node.test).set_lineno(node.lineno)
        return tree

    def measured(self, value: Any) -> Any:
        """Return `value` if it is small, and count it as work done."""
        self.work += size_of(value)
        if self.work > MAX_WORK:
            raise TemplateError(f"the template handles more than {MAX_WORK:,} characters")
        return value

    def measured_concat(self, parts: Iterable[Any]) -> str:
        """Join texts, and stop as soon as they are too long."""
        texts: list[str] = []
        length = 0
        for part in parts:
            texts.append(str(self._output(part)))
            length += len(texts[-1])
            if length > MAX_TEXT:
                raise too_long()
        return str(self.measured("".join(texts)))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "%" and isinstance(left, str):
            raise TemplateError("the operator % on text is not allowed in a template")
        if operator == "**" or (operator == "*" and not are_numbers(left, right)):
            raise TemplateError(f"the operator {operator} is allowed in a template only between small numbers")
        return self.measured(super().call_binop(context, operator, left, right))

    def unsafe_undefined(self, obj: Any, attribute: str) -> NoReturn:
        raise TemplateError(f"the attribute '{attribute}' is not allowed in a template")

    def wrap_str_format(self, value: Any) -> Any:
        if isinstance(getattr(value, "__self__", None), str | int) and value.__name__ in _REFUSED_METHODS:
            raise TemplateError(f"the method {value.__name__}() is not allowed in a template")
        return None

    def call(self, context: Any, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        owner, name = getattr(function, "__self__", None), getattr(function, "__name__", "")
        if isinstance(owner, str) and name not in _CHEAP_METHODS:
            self.measured(owner)
        if isinstance(owner, str) and name == "replace":
            return self.measured(replace(owner, *args, **kwargs))
        if isinstance(owner, str) and name == "join":
            return self.measured(join(args[0], owner))
        if isinstance(function, Macro) and (function.catch_varargs or function.catch_kwargs):
            self.measured([args, kwargs])  # they become a tuple and a mapping of the template's
        self.measured([value for value in args if isinstance(value, str)])
        return self.measured(super().call(context, function, *args, **kwargs))

    def _measured_filter(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)  # keeps Jinja's marks for filters that want the context
        def measured(*args: Any, **kwargs: Any) -> Any:
            self.measured([value for value in args if isinstance(value, str | list | tuple | dict | range)])
            result = function(*args, **kwargs)
            return self._counted(result) if isinstance(result, Iterator) else self.measured(result)

        return measured

    def _counted(self, values: Iterator[Any]) -> Iterator[Any]:
        """Measure what a filter makes one by one."""
        for value in values:
            self.step()
            yield self.measured(value)

    def _output(self, value: Any) -> Any:
        """Only what has a text of bounded length may be printed."""
        if value is None or isinstance(value, str | int | float | list | tuple | dict | Undefined):
            return self.measured(value)
        raise TemplateError(f"a template cannot print a {type(value).__name__}")

    def step(self) -> bool:
        """Count one pass. True, so that it can stand in a condition."""
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise TemplateError(f"the template takes more than {MAX_STEPS:,} steps")
        return True


class _Namespace(Namespace):
    """A namespace without a text: that of nested ones would double with each of them."""

    def __repr__(self) -> str:
        return "<namespace>"


@functools.lru_cache(maxsize=64)
def compile_template(text: str) -> Callable[[Mapping[str, Any], str], str]:
    """Compile a template once; what comes back takes a context and the mark to put around what the assistant says.

    Raises `TemplateError` for syntax errors, and when rendering for anything that the sandbox refuses.
    """
    if len(text) > MAX_TEMPLATE:
        raise TemplateError(f"The template has {len(text):,} characters; at most {MAX_TEMPLATE:,} are allowed.")
    environment = _Environment()
    try:
        # The tree is compiled without `Environment.compile`, whose syntax errors would show a made-up file.
        code = environment.compile(environment.parse_counted(text))
        template = environment.template_class.from_code(environment, code, environment.make_globals(None))
    except JinjaError as error:
        line = getattr(error, "lineno", None)
        what = str(error).rstrip(".")
        raise TemplateError(f"The template cannot be read{f' (line {line})' if line else ''}: {what}.") from error
    except (RecursionError, SyntaxError) as error:
        raise TemplateError("The template is nested too deeply.") from error

    lock = threading.Lock()  # the counters are the environment's

    def rendered(context: Mapping[str, Any], mark: str) -> str:
        with lock:
            environment.mark, environment.steps, environment.work = mark, 0, 0
            return _render(environment, template, context)

    return rendered


def _render(environment: _Environment, template: Template, context: Mapping[str, Any]) -> str:
    """Render, and turn whatever happens into a `TemplateError` of one sentence."""
    try:
        return environment.measured_concat(template.root_render_func(template.new_context(dict(context))))
    except TemplateError as error:
        raise TemplateError(f"The template was stopped: {str(error).rstrip('.')}.") from error
    except RecursionError as error:
        raise TemplateError("The template was stopped: it calls itself without end.") from error
    except Exception as error:  # whatever a template does is the template's fault
        what = str(error)[:500].rstrip(".")
        raise TemplateError(f"The template failed: {type(error).__name__}: {what}.") from error
