"""Run Jinja chat templates that nobody vouches for: no attributes, no files, bounded work and bounded memory.

Jinja's own sandbox stops templates from reaching Python objects, but not from looping for ever or from building a string
of gigabytes. Here every pass through a loop or a macro is counted, and every operation that makes text is measured.
Knows nothing of conversations; it gets a context and gives text.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from jinja2 import TemplateError as JinjaError
from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame, operators
from jinja2.ext import Extension
from jinja2.filters import do_round, do_sum
from jinja2.runtime import Macro, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace, pass_environment

from zoo_core.errors import TemplateError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from jinja2.parser import Parser

#: A template's own text, in characters. The longest in use for published models are about 20,000.
MAX_TEMPLATE = 100_000
#: Any text that a template makes on the way, in characters: more than the longest context in use holds.
MAX_TEXT = 8_000_000
#: Passes through loops and macros in one rendering.
MAX_STEPS = 200_000
#: What `range()` may span, and what a list or a mapping may hold, those inside it included.
MAX_RANGE = 10_000
MAX_ITEMS = 100_000
#: Characters that all operations of one rendering may read and write together.
MAX_WORK = 200_000_000

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


class _MeasuringGenerator(CodeGenerator):
    """Compiles what joins texts and what makes lists and mappings so that the results are measured."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        self.write("environment.measured_concat((")
        for each in node.nodes:
            self.visit(each, frame)
            self.write(", ")
        self.write("))")

    def visit_Call(self, node: nodes.Call, frame: Frame, forward_caller: bool = False) -> None:
        if isinstance(node.node, nodes.EnvironmentAttribute):  # a counting step: in every pass, so as cheap as can be
            self.write(f"environment.{node.node.name}()")
            return
        super().visit_Call(node, frame, forward_caller=forward_caller)

    def visit_Compare(self, node: nodes.Compare, frame: Frame) -> None:
        self.write("(")
        self._visit_measured(node.expr, frame)
        for each in node.ops:
            self.visit(each, frame)
        self.write(")")

    def visit_Operand(self, node: nodes.Operand, frame: Frame) -> None:
        self.write(f" {operators[node.op]} ")
        self._visit_measured(node.expr, frame)

    def visit_Getitem(self, node: nodes.Getitem, frame: Frame) -> None:
        if not isinstance(node.arg, nodes.Slice):
            super().visit_Getitem(node, frame)
            return
        self.write("environment.measured(")
        super().visit_Getitem(node, frame)
        self.write(")")

    def _visit_measured(self, node: nodes.Expr, frame: Frame) -> None:
        if isinstance(node, nodes.Const):
            self.visit(node, frame)
            return
        self.write("environment.measured(")
        self.visit(node, frame)
        self.write(")")

    def visit_List(self, node: nodes.List, frame: Frame) -> None:
        self.write("environment.measured(")
        super().visit_List(node, frame)
        self.write(")")

    def visit_Tuple(self, node: nodes.Tuple, frame: Frame) -> None:
        if node.ctx == "store":  # the names that a loop or an assignment unpacks into
            super().visit_Tuple(node, frame)
            return
        self.write("environment.measured(")
        super().visit_Tuple(node, frame)
        self.write(")")

    def visit_Dict(self, node: nodes.Dict, frame: Frame) -> None:
        self.write("environment.measured(")
        super().visit_Dict(node, frame)
        self.write(")")


class _GenerationTag(Extension):
    """`{% generation %}…{% endgeneration %}`: marks what the assistant says, as in transformers' chat templates."""

    tags = {"generation"}  # noqa: RUF012 (Jinja reads it from the class)

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_mark"), [], [], body).set_lineno(line)

    def _mark(self, caller: Callable[[], str]) -> str:
        mark = getattr(self.environment, "mark", "")
        return f"<{mark}>{caller()}</{mark}>"


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox of one template: its counters live as long as one rendering."""

    code_generator_class = _MeasuringGenerator
    intercepted_binops = frozenset({"*", "**", "%", "+"})

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.loopcontrols", _GenerationTag],
            cache_size=0,
            optimized=False,  # folding constants takes a time that grows with the cube of an expression's depth
            finalize=self._output,
        )
        self.mark = ""
        self.steps = self.work = 0
        self.concat = self.measured_concat  # type: ignore[method-assign]
        for name in _REFUSED_FILTERS:
            del self.filters[name]
        self.filters.update(tojson=_to_json, replace=_replace, join=_join, round=_round, sum=_sum)
        for name in self.filters.keys() - _CHEAP_FILTERS:
            self.filters[name] = self._measured_filter(self.filters[name])
        for name in _COMPARING_TESTS:
            test: Any = self.tests[name]
            self.tests[name] = self._measured_filter(test)
        self.globals = {"range": _range, "namespace": _Namespace, "dict": dict, "raise_exception": _raise_exception}

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
        self.work += _size(value)
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
                raise _too_long()
        return str(self.measured("".join(texts)))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "%" and isinstance(left, str):
            raise TemplateError("the operator % on text is not allowed in a template")
        if operator == "**" or (operator == "*" and not _are_numbers(left, right)):
            raise TemplateError(f"the operator {operator} is allowed in a template only between small numbers")
        return self.measured(super().call_binop(context, operator, left, right))

    def wrap_str_format(self, value: Any) -> Any:
        if isinstance(getattr(value, "__self__", None), str | int) and value.__name__ in _REFUSED_METHODS:
            raise TemplateError(f"the method {value.__name__}() is not allowed in a template")
        return None

    def call(self, context: Any, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        owner, name = getattr(function, "__self__", None), getattr(function, "__name__", "")
        if isinstance(owner, str) and name not in _CHEAP_METHODS:
            self.measured(owner)
        if isinstance(owner, str) and name == "replace":
            return self.measured(_replace(owner, *args, **kwargs))
        if isinstance(owner, str) and name == "join":
            return self.measured(_join(args[0], owner))
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

    def rendered(context: Mapping[str, Any], mark: str) -> str:
        environment.mark, environment.steps, environment.work = mark, 0, 0
        try:
            return environment.measured_concat(template.root_render_func(template.new_context(dict(context))))
        except TemplateError as error:
            raise TemplateError(f"The template was stopped: {str(error).rstrip('.')}.") from error
        except RecursionError as error:
            raise TemplateError("The template was stopped: it calls itself without end.") from error
        except Exception as error:  # whatever a template does is the template's fault
            what = str(error)[:500].rstrip(".")
            raise TemplateError(f"The template failed: {type(error).__name__}: {what}.") from error

    return rendered


def _size(value: Any) -> int:
    """Characters and items of a value, those inside it included. Raises `TemplateError` when there are too many."""
    size = items = 0
    stack = [value]
    while stack:
        each = stack.pop()
        if isinstance(each, str):
            size += len(each)
        elif isinstance(each, dict):
            stack.extend(each.keys())
            stack.extend(each.values())
        elif isinstance(each, list | tuple):
            stack.extend(each)
        elif isinstance(each, range):
            items += len(each)
        elif isinstance(each, int) and each.bit_length() > 256:
            raise TemplateError("the template makes a number of more than 256 bits")
        items += 1
        if size > MAX_TEXT:
            raise _too_long()
        if items + len(stack) > MAX_ITEMS:
            raise TemplateError(f"the template makes a list of more than {MAX_ITEMS:,} items")
    return size + items


def _too_long() -> TemplateError:
    return TemplateError(f"the template makes a text of more than {MAX_TEXT:,} characters")


def _are_numbers(*values: Any) -> bool:
    return all(isinstance(value, int | float) for value in values)


def _range(*limits: int) -> range:
    span = range(*limits)
    if len(span) > MAX_RANGE:
        raise TemplateError(f"range() may span at most {MAX_RANGE:,} numbers")
    return span


def _raise_exception(message: str) -> NoReturn:
    """Templates of published models call this to refuse a conversation."""
    raise TemplateError(str(message)[:500])


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, sort_keys: bool = False) -> str:
    """As in transformers: characters outside ASCII stay readable, nothing is escaped for HTML."""
    indent = min(indent, 8) if indent else None
    texts: list[str] = []
    length = 0
    for text in json.JSONEncoder(ensure_ascii=ensure_ascii, indent=indent, sort_keys=sort_keys).iterencode(value):
        texts.append(text)
        length += len(text)
        if length > MAX_TEXT:
            raise _too_long()
    return "".join(texts)


def _replace(text: Any, old: Any, new: Any, count: int = -1) -> str:
    text, old, new = str(text), str(old), str(new)
    if len(text) + text.count(old) * len(new) > MAX_TEXT:
        raise _too_long()
    return str(text.replace(old, new, -1 if count is None else count))


def _join(values: Any, separator: Any = "", attribute: str | None = None) -> str:
    if attribute is not None:
        raise TemplateError("the filter join takes no attribute in a template; use map first")
    separator = str(separator)
    texts: list[str] = []
    length = 0
    for value in values:
        texts.append(str(value))
        length += len(texts[-1]) + len(separator)
        if length > MAX_TEXT:
            raise _too_long()
    return str(separator.join(texts))


def _round(value: Any, precision: int = 0, method: Any = "common") -> Any:
    if not _are_numbers(value, precision) or abs(precision) > 100:
        raise TemplateError("the filter round takes a number and at most 100 digits")
    return do_round(value, precision, method)


@pass_environment
def _sum(environment: Any, values: Any, attribute: str | int | None = None, start: Any = 0) -> Any:
    if not _are_numbers(start):  # lists that are added one by one are copied again and again
        raise TemplateError("the filter sum adds only numbers in a template")
    return do_sum(environment, values, attribute, start)
