"""Chat templates that nobody vouches for: what hostile ones are refused, and what published ones must be able to do."""

from __future__ import annotations

import re
from typing import Any

import pytest

from zoo_core import sandbox
from zoo_core.errors import TemplateError
from zoo_core.sandbox import MAX_TEMPLATE, compile_template

MARK = "m"
TALK = [
    {"role": "user", "content": " Hi "},
    {"role": "assistant", "content": "Yo"},
    {"role": "user", "content": "Bye"},
]


def rendered(template: str, **context: Any) -> str:
    given = {"messages": TALK, "system": "", "roles": {}, "add_generation_prompt": True}
    return compile_template(template)(given | context, MARK)


#: The start of a template that makes `ns.s` a text of 4,194,304 characters.
LONG = "{% set ns = namespace(s='abcdefgh') %}{% for i in range(19) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}"
#: The same without an end, by whatever stands in place of `ns.s ~ ns.s`.
DOUBLING = LONG.replace("19", "60")
#: The start of a template with a macro `m`, whose `varargs` hold themselves twice, 30 levels deep, when `body` runs.
NESTED = (
    "{{% macro m(d) %}}{{% if d %}}{{{{ m(d - 1, varargs, varargs) }}}}{{% else %}}{}{{% endif %}}{{% endmacro %}}"
    "{{{{ m(30, 1) }}}}"
)
#: The start of a template that makes `ns.x` a namespace in whose text 2 ** 30 namespaces would stand.
SPACES = "{% set ns = namespace(x=0) %}{% for i in range(30) %}{% set ns.x = namespace(a=ns.x, b=ns.x) %}{% endfor %}"


def grown(start: str, step: str) -> str:
    """A template in which `ns.x` doubles 60 times."""
    return f"{{% set ns = namespace(x={start}) %}}{{% for i in range(60) %}}{{% set ns.x = {step} %}}{{% endfor %}}"


ATTRIBUTES = {
    "class": "{{ ''.__class__ }}",
    "class of a list": "{{ [].__class__.__base__.__subclasses__() }}",
    "subscript": "{{ ''['__class__'] }}",
    "filter attr": "{{ ''|attr('__class__')|attr('mro') }}",
    "mapped attribute": "{{ ['']|map(attribute='__class__')|list|string|length // 0 }}",
    "globals of a function": "{{ raise_exception.__globals__['__builtins__'] }}",
    "globals of a macro": "{% macro m() %}{% endmacro %}{{ m._func.__globals__ }}",
    "init of a namespace": "{{ namespace.__init__.__globals__ }}",
    "type of dict": "{{ dict.__mro__[1] }}",
    "mro": "{{ dict.mro() }}",
    "self": "{{ self._TemplateReference__context.environment }}",
    "self printed": "{{ self }}",
    "loop printed": "{% for m in messages %}{{ loop }}{% endfor %}",
    "macro printed": "{% macro m() %}{% endmacro %}{{ m }}",
    "function printed": "{{ range }}",
    "method printed": "{{ ''.upper }}",
    "generator printed": "{{ messages|map('upper') }}",
    "generator frame": "{{ ([1]|map('string')).gi_frame.f_globals }}",
    "cycler": "{{ cycler('a').__init__.__globals__ }}",
    "lipsum": "{{ lipsum() }}",
    "builtins": "{{ __import__('os').system('true') }}",
    "open": "{{ open('/etc/passwd') }}",
    "change of the conversation": "{{ messages.append(1) }}",
    "change by pop": "{{ messages[0].pop('content') }}",
    "change by update": "{{ messages[0].update(role='system') }}",
    "change by clear": "{{ messages.clear() }}",
}

FILES = {
    "include": "{% include '/etc/passwd' %}",
    "include of one that may be missing": "{% include 'x' ignore missing %}{{ 1 // 0 }}",
    "import": "{% import '/etc/passwd' as x %}",
    "from import": "{% from 'x' import y %}",
    "extends": "{% extends '/etc/passwd' %}",
}

LOOPS = {
    "loop in loops": "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
    "loop over text": LONG + "{% for sign in ns.s %}{% endfor %}",
    "loop whose condition is never true": LONG + "{% for sign in ns.s if false %}{% endfor %}",
    "loop that continues": "{% for a in range(9999) %}{% for b in range(99) %}{% continue %}{% endfor %}{% endfor %}",
    "recursive loop": "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
    "doubling recursive loop": (
        "{% for x in range(40) recursive %}{% if loop.depth < 9 %}{{ loop(range(40)) }}{{ loop(range(40)) }}{% endif %}"
        "{% endfor %}"
    ),
    "macro that calls itself": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "macros that call each other": "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}",
    "macro that doubles": "{% macro m(d) %}{% if d %}{{ m(d - 1) }}{{ m(d - 1) }}{% endif %}{% endmacro %}{{ m(40) }}",
    "caller that calls itself": "{% macro m() %}{% call m() %}{{ caller() }}{% endcall %}{% endmacro %}{{ m() }}",
    "block that calls itself": "{% block a %}{{ self.a() }}{% endblock %}",
    "blocks that double": "{% block a %}{% endblock %}".replace("a", "b0")
    + "".join(f"{{% block b{n + 1} %}}{{{{ self.b{n}() }}}}{{{{ self.b{n}() }}}}{{% endblock %}}" for n in range(30)),
    "counting step with another meaning": (
        "{% set __step = dict %}{% set step = dict %}{% set environment = dict %}"
        "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}"
    ),
    "lazy filter": "{% for i in range(99) %}{% if range(9999)|map('string')|select('eq', 'x')|first %}{% endif %}{% endfor %}",
}

MEMORY = {
    "text times number": "{{ 'a' * 1000000000 }}",
    "number times text": "{{ 1000000000 * 'a' }}",
    "list times number": "{{ [0] * 1000000000 }}",
    "text times text's length": LONG + "{{ ns.s * (ns.s|length) }}",
    "power": "{{ 10 ** 100000000 }}",
    "small power": "{{ 2 ** 3 }}",
    "squares": "{% set ns = namespace(n=9) %}{% for i in range(40) %}{% set ns.n = ns.n * ns.n %}{% endfor %}",
    "number from text": "{{ ('f' * 1)|int(0, 16) }}" + LONG.replace("abcdefgh", "ffffffff") + "{{ ns.s|int(0, 16) }}",
    "doubling by ~": DOUBLING,
    "doubling by +": DOUBLING.replace("~", "+"),
    "doubling by join": DOUBLING.replace("ns.s ~ ns.s", "[ns.s, ns.s]|join"),
    "doubling by str.join": DOUBLING.replace("ns.s ~ ns.s", "ns.s.join(['', '', ''])"),
    "doubling by replace": DOUBLING.replace("ns.s ~ ns.s", "ns.s|replace('a', 'aa')|replace('b', 'bb')"),
    "growing by str.replace": DOUBLING.replace("ns.s ~ ns.s", "ns.s.replace('', ns.s)"),
    "doubling by set block": DOUBLING.replace(
        "{% set ns.s = ns.s ~ ns.s %}", "{% set x %}{{ ns.s }}{{ ns.s }}{% endset %}{% set ns.s = x %}"
    ),
    "doubling by tojson": DOUBLING.replace("ns.s ~ ns.s", "[ns.s, ns.s]|tojson"),
    "doubling by string": DOUBLING.replace("ns.s ~ ns.s", "[ns.s, ns.s]|string"),
    "growing by escape": LONG.replace("abcdefgh", "&&&&&&&&") + "{{ ns.s|forceescape|length }}",
    "growing by urlencode": LONG.replace("abcdefgh", "%%%%%%%%") + "{{ ns.s|urlencode|length }}",
    "doubling of a list": grown("[0]", "ns.x + ns.x"),
    "lists in lists": grown("[0]", "[ns.x, ns.x]"),
    "tuples in tuples": grown("(0,)", "(ns.x, ns.x)"),
    "mappings in mappings": grown("0", "{1: ns.x, 2: ns.x}"),
    "mappings by dict()": grown("0", "dict(a=ns.x, b=ns.x)"),
    "text of namespaces": SPACES + "{{ 1 // ([ns.x]|string|length - 13) }}",
    "refusal with namespaces": SPACES + "{{ raise_exception(ns.x) }}",
    "nested arguments printed": NESTED.format("{{ varargs }}"),
    "nested arguments joined": NESTED.format("{{ ''.join(varargs) }}"),
    "nested arguments as key": NESTED.format("{{ {varargs: 1} }}"),
    "nested arguments looked for": NESTED.format("{{ ['a'].index(varargs) }}"),
    "nested arguments refused with": NESTED.format("{{ raise_exception(varargs) }}"),
    "nested named arguments": NESTED.replace("varargs, varargs", "a=kwargs, b=kwargs")
    .replace("(30, 1)", "(30, a=1)")
    .format("{{ kwargs }}"),
    "long output": LONG + "{{ ns.s }}{{ ns.s }}",
    "long output of a loop": LONG + "{% for i in range(9) %}{{ ns.s }}{% endfor %}",
    "constant output of a loop": "{% for i in range(9999) %}" + "x" * 9_000 + "{% endfor %}",
    "slices that are kept": LONG + "".join(f"{{% set a{n} = ns.s[{n}:] %}}" for n in range(100)),
    "long range": "{{ range(10000000)|list }}",
    "endless range": "{{ range(10 * 1000000000000000000000000) }}",
    "list of characters": LONG + "{{ ns.s|list|length }}",
    "split": LONG + "{{ ns.s.split('a')|length }}",
    "sum of lists": "{% set big = range(9999)|list %}{{ range(9999)|map(attribute='no', default=big)|sum(start=[])|length }}",
    "join by attribute": "{{ messages|join(attribute='role') }}",
    "join of repeated text": LONG + "{{ range(9999)|map(attribute='no', default=ns.s)|join }}",
    "join of repeated lists": LONG + "{{ ''.join(range(9999)|map(attribute='no', default=[ns.s])) }}",
    "round with many digits": "{{ 5|round(-1000000000) }}",
    "round up with many digits": "{{ 5|round(1000000000, 'ceil') }}",
    "round of text": "{{ 'a'|round }}",
    "encode": "{{ 'a'.encode() }}",
    "bytes of a number": "{{ (5).to_bytes(1000000000, 'big')|length }}",
    "translate": LONG + "{{ ns.s.translate({97: ns.s}) }}",
    "center": "{{ 'a'.center(1000000000) }}",
    "center by attr": "{{ ('a'|attr('center'))(1000000000) }}",
    "ljust": "{{ 'a'.ljust(1000000000) }}",
    "rjust": "{{ 'a'.rjust(1000000000) }}",
    "zfill": "{{ 'a'.zfill(1000000000) }}",
    "expandtabs": "{{ '\t'.expandtabs(1000000000) }}",
    "method of safe text": "{{ ('a'|safe).center(1000000000) }}",
    "filter center": "{{ 'a'|center(1000000000) }}",
    "filter indent": "{{ 'a\nb'|indent(1000000000) }}",
    "filter wordwrap": "{{ 'a b'|wordwrap(1, wrapstring='x') }}",
    "filter batch": "{{ [1]|batch(1000000000, 0)|list }}",
    "filter slice": "{{ [1]|slice(1000000000)|list }}",
    "filter pprint": "{{ messages|pprint }}",
    "filter random": "{{ messages|random }}",
    "tojson of deep lists": (
        "{% set ns = namespace(x=range(9999)|list) %}"
        "{% for i in range(150) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x|tojson(indent=8) }}"
    ),
    "tojson of endless depth": (
        "{% set ns = namespace(x=1) %}{% for i in range(1100) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x|tojson }}"
    ),
    "refusal of great length": LONG + "{{ raise_exception([ns.s, ns.s]) }}",
}

WORK = {
    "slices": LONG + "{% for i in range(9999) %}{% if ns.s[1:] %}{% endif %}{% endfor %}",
    "comparisons": LONG + "{% set t = ns.s ~ '' %}{% for i in range(9999) %}{% if t == ns.s %}{% endif %}{% endfor %}",
    "searches": LONG + "{% for i in range(9999) %}{% if 'x' in ns.s %}{% endif %}{% endfor %}",
    "searches by a test": LONG + "{{ range(9999)|map('string')|select('in', ns.s)|list|length }}",
    "searches by a method": LONG + "{% for i in range(9999) %}{% if ns.s.count('x') %}{% endif %}{% endfor %}",
    "filters": LONG + "{% for i in range(9999) %}{% if ns.s|upper %}{% endif %}{% endfor %}",
    "tags": "{{ '<>'|striptags }}",
    "tags by a method": "{{ ('<>'|safe).striptags() }}",
}

FORMATS = {
    "str.format": "{{ '{0.__class__}'.format('') }}",
    "str.format_map": "{{ '{a.__class__}'.format_map({'a': ''}) }}",
    "wide str.format": "{{ '{:1000000000}'.format(1) }}",
    "format of safe text": "{{ ('{0.__class__}'|safe).format('') }}",
    "format by attr": "{{ ('{0.__class__}'|attr('format'))('') }}",
    "format by map": "{{ ['{0.__class__}']|map(attribute='format')|list }}",
    "percent": "{{ '%s' % 'a' }}",
    "wide percent": "{{ '%1000000000d' % 1 }}",
    "percent of safe text": "{{ ('%s'|safe) % 'a' }}",
    "filter format": "{{ '%1000000000d'|format(1) }}",
}

SYNTAX = {
    "no end": "{% for m in messages %}",
    "no tag": "{% trans %}x{% endtrans %}",
    "do": "{% do messages %}",
    "debug": "{% debug %}",
    "unknown filter": "{{ 'a'|no_such_filter }}",
    "unknown test": "{{ 'a' is no_such_test }}",
    "unknown function": "{{ strftime_now('%d') }}",
    "nothing of nothing": "{{ a.b.c }}",
    "division by zero": "{{ 1 / 0 }}",
    "parentheses": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "negations": "{{ " + "not " * 9000 + "1 }}",
    "additions": "{{ " + "1+" * 9000 + "1 }}",
    "attributes": "{{ a" + ".a" * 9000 + " }}",
    "subscripts": "{{ a" + "[0]" * 9000 + " }}",
    "conditions": "{% if a %}" * 900 + "{% endif %}" * 900,
    "loops": "{% for a in b %}" * 100 + "{% endfor %}" * 100,
    "too long": "x" * (MAX_TEMPLATE + 1),
}


@pytest.mark.parametrize(
    "template",
    [
        pytest.param(template, id=f"{kind}: {name}")
        for kind, table in {
            "attributes": ATTRIBUTES,
            "files": FILES,
            "loops": LOOPS,
            "memory": MEMORY,
            "work": WORK,
            "formats": FORMATS,
            "syntax": SYNTAX,
        }.items()
        for name, template in table.items()
    ],
)
def test_hostile_and_broken_templates_are_refused(monkeypatch: pytest.MonkeyPatch, template: str) -> None:
    monkeypatch.setattr(sandbox, "MAX_STEPS", 20_000)  # the same limits, sooner reached
    monkeypatch.setattr(sandbox, "MAX_WORK", 40_000_000)
    with pytest.raises(TemplateError) as caught:
        rendered(template)
    message = str(caught.value)
    assert re.match(r"The template (was stopped|failed|cannot be read|is nested too deeply|has 100,001)", message)
    assert len(message) < 700
    assert message.endswith(".")
    assert not message.endswith("..")


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (LOOPS["loop in loops"], "The template was stopped: the template takes more than 200,000 steps."),
        (LOOPS["macro that calls itself"], "The template was stopped: it calls itself without end."),
        (LONG + "{{ ns.s }}{{ ns.s }}", "The template was stopped: the template makes a text of more than 8,000,000"),
        ("{{ range(10001) }}", "The template was stopped: range() may span at most 10,000 numbers."),
        ("{{ messages|tojson / 0 }}", "The template failed: TypeError: unsupported operand type(s) for /"),
        ("{{ raise_exception('Roles must alternate.') }}", "The template was stopped: Roles must alternate."),
        ("a\n{% if %}", "The template cannot be read (line 2): Expected an expression, got 'end of statement block'."),
        ("x" * 100_001, "The template has 100,001 characters; at most 100,000 are allowed."),
        ("{{ 'a'.encode() }}", "The template was stopped: the method encode() is not allowed in a template."),
    ],
    ids=lambda each: each[:40],
)
def test_the_message_says_what_was_wrong(template: str, message: str) -> None:
    with pytest.raises(TemplateError, match=f"^{re.escape(message)}"):
        rendered(template)


def test_the_limits_hold_for_each_rendering_and_not_for_all_together() -> None:
    run = compile_template("{% for a in range(300) %}{% for b in range(300) %}{% endfor %}{% endfor %}{{ x }}")
    assert [run({"x": number}, MARK) for number in range(4)] == ["0", "1", "2", "3"]


def test_a_refusal_does_not_spoil_the_next_rendering() -> None:
    run = compile_template("{{ range(n)|list|length }}")
    with pytest.raises(TemplateError):
        run({"n": 10_001}, MARK)
    assert run({"n": 10_000}, MARK) == "10000"


def test_long_conversations_are_within_the_limits() -> None:
    """As templates in use do it: the number of messages is asked for in every turn."""
    template = (
        "{% for message in messages %}{% if loop.index0 == messages|length - 1 and message.role == 'user' %}last: {% endif %}"
        "{{ message.content|trim }}{% endfor %}"
    )
    talk = [{"role": "user", "content": "word " * 200}] * 2000
    assert len(rendered(template, messages=talk)) == 2000 * 999 + 6


def test_the_context_is_not_changed() -> None:
    context = {"messages": [{"role": "user", "content": "a"}]}
    assert compile_template("{% set messages = [] %}{% set x = 1 %}{{ messages|length }}")(context, MARK) == "0"
    assert context == {"messages": [{"role": "user", "content": "a"}]}


def test_a_template_is_compiled_once() -> None:
    assert compile_template("{{ 1 }}") is compile_template("{{ 1 }}")


# -- what must work ----------------------------------------------------------------------------------------------------

CONSTRUCTS = {
    "namespace": (
        "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
        "3",
    ),
    "namespace with any names": (
        "{% set ns = namespace(context='a', function='b', self='c') %}{{ ns.context ~ ns.function ~ ns.self }}",
        "abc",
    ),
    "macro with any names": (
        "{% macro m(function, context) %}{{ function }}{{ context }}{% endmacro %}{{ m(context=1, function=2) }}",
        "21",
    ),
    "macro with more arguments": (
        "{% macro m() %}{{ varargs|join }}{{ kwargs.a }}{% endmacro %}{{ m(1, 2, a=3) }}",
        "123",
    ),
    "loop.first and loop.last": (
        "{% for m in messages %}{{ '<' if loop.first }}{{ loop.index }}{{ '>' if loop.last }}{% endfor %}",
        "<123>",
    ),
    "loop.index0 and loop.length": (
        "{% for m in messages %}{{ loop.index0 }}/{{ loop.length }} {% endfor %}",
        "0/3 1/3 2/3 ",
    ),
    "loop.previtem and loop.nextitem": (
        "{% for m in messages %}{{ loop.nextitem.role if loop.nextitem is defined }},{% endfor %}",
        "assistant,user,,",
    ),
    "loop.cycle": ("{% for m in messages %}{{ loop.cycle('a', 'b') }}{% endfor %}", "aba"),
    "break": ("{% for m in messages %}{{ m.role }}{% break %}{% endfor %}", "user"),
    "continue": (
        "{% for m in messages %}{% if m.role == 'user' %}{% continue %}{% endif %}{{ m.role }}{% endfor %}",
        "assistant",
    ),
    "for with if": (
        "{% for m in messages if m.role == 'user' %}{{ loop.index }}{{ m.content }}{% endfor %}",
        "1 Hi 2Bye",
    ),
    "for with else": ("{% for m in [] %}x{% else %}none{% endfor %}", "none"),
    "for over pairs": (
        "{% for key, value in messages[0].items() %}{{ key }}={{ value }};{% endfor %}",
        "role=user;content= Hi ;",
    ),
    "for over the filter items": ("{% for key, value in messages[1]|items %}{{ key }}{% endfor %}", "rolecontent"),
    "nested for": (
        "{% for a in range(2) %}{% for b in range(2) %}{{ a }}{{ b }} {% endfor %}{% endfor %}",
        "00 01 10 11 ",
    ),
    "recursive for": ("{% for x in [[1, [2]]] recursive %}{{ loop(x) if x is iterable else x }}{% endfor %}", "12"),
    "raise_exception not reached": ("{% if not messages %}{{ raise_exception('none') }}{% endif %}ok", "ok"),
    "strip": (
        "{{ messages[0].content.strip() }}|{{ messages[0]['content'].lstrip() }}|{{ 'xax'.strip('x') }}",
        "Hi|Hi |a",
    ),
    "trim": ("{{ messages[0].content|trim }}", "Hi"),
    "split": (
        "{{ 'a</think>b'.split('</think>')[-1] }}{{ 'a b'.split() }}{{ 'a,b'.rsplit(',', 1)[0] }}",
        "b['a', 'b']a",
    ),
    "startswith and endswith": ("{{ 'abc'.startswith('a') }}{{ 'abc'.endswith(('b', 'c')) }}", "TrueTrue"),
    "upper, lower, title, capitalize": (
        "{{ 'aB'.upper() }}{{ 'aB'|lower }}{{ 'ab cd'|title }}{{ 'aB'|capitalize }}",
        "ABabAb CdAb",
    ),
    "replace": (
        "{{ 'aaa'.replace('a', 'b', 1) }}{{ 'aaa'|replace('a', 'b') }}{{ 'aaa'|replace('a', 'b', 2) }}",
        "baabbbbba",
    ),
    "join": (
        "{{ ', '.join(['a', 'b']) }}{{ ['a', 1]|join('-') }}{{ messages|map(attribute='role')|join('+') }}",
        "a, ba-1user+assistant+user",
    ),
    "find and count": ("{{ 'abc'.find('c') }}{{ 'aba'.count('a') }}{{ 'abc'.index('b') }}", "221"),
    "slices": (
        "{{ messages[1:]|length }}{{ messages[:-1]|length }}{{ messages[::-1][0].content }}{{ 'abc'[1:] }}{{ 'abc'[-1] }}",
        "22Byebcc",
    ),
    "in": ("{{ 'a' in 'abc' }}{{ 'x' not in ['a'] }}{{ 'role' in messages[0] }}", "TrueTrueTrue"),
    "comparisons": (
        "{{ 1 < 2 <= 2 }}{{ 1 != 2 }}{{ messages[0].role == 'user' }}{{ (1, 2) == (1, 2) }}",
        "TrueTrueTrueTrue",
    ),
    "is defined": ("{{ tools is defined }}{{ messages is not none }}{{ x is undefined }}", "FalseTrueTrue"),
    "kinds": (
        "{{ 'a' is string }}{{ {} is mapping }}{{ [] is iterable }}{{ [] is sequence }}{{ 1 is number }}",
        "TrueTrueTrueTrueTrue",
    ),
    "is true, is false": ("{{ add_generation_prompt is true }}{{ x is defined and x is false }}", "TrueFalse"),
    "default": ("{{ x|default('none') }}{{ ''|default('empty', true) }}{{ x or 'or' }}", "noneemptyor"),
    "map and select": (
        "{{ [1, 2, 3]|select('odd')|list }}{{ [1, 2]|reject('odd')|list }}{{ ['a']|map('upper')|list }}",
        "[1, 3][2]['A']",
    ),
    "selectattr": (
        "{{ messages|selectattr('role', 'equalto', 'user')|list|length }}{{ messages|rejectattr('role', '==', 'user')|first }}",
        "2{'role': 'assistant', 'content': 'Yo'}",
    ),
    "selectattr in": ("{{ (messages|selectattr('role', 'in', ['assistant'])|list)[0].content }}", "Yo"),
    "first, last, length": (
        "{{ (messages|first).content }}{{ (messages|last).content }}{{ messages|length }}{{ 'abc'|count }}",
        " Hi Bye33",
    ),
    "reverse, sort, unique": (
        "{{ [1, 2]|reverse|list }}{{ [2, 1]|sort }}{{ [1, 1]|unique|list }}{{ 'ab'|reverse }}",
        "[2, 1][1, 2][1]ba",
    ),
    "sum, min, max, round, abs": (
        "{{ [1, 2]|sum }}{{ [1, 2]|min }}{{ [1, 2]|max }}{{ 1.26|round(1) }}{{ -1|abs }}{{ [{'n': 2}]|sum(attribute='n') }}",
        "3121.312",
    ),
    "dictsort and groupby": (
        "{{ {'b': 1, 'a': 2}|dictsort }}"
        "{% for role, turns in messages|groupby('role') %}{{ role }}{{ turns|length }}{% endfor %}",
        "[('a', 2), ('b', 1)]assistant1user2",
    ),
    "arithmetic": ("{{ 7 // 2 }}{{ 7 % 2 }}{{ 2 * 3 }}{{ 1 + 2 - 3 }}{{ 1 / 2 }}{{ -1 }}", "31600.5-1"),
    "lists by +": ("{{ [1] + [2] }}{{ (messages + [{'role': 'x'}])|length }}", "[1, 2]4"),
    "texts by + and ~": ("{{ 'a' + 'b' ~ 1 ~ none }}", "ab1None"),
    "numbers as text": ("{{ 1|string + '%' }}{{ '7'|int + 1 }}{{ '1.5'|float }}", "1%81.5"),
    "tojson": ("{{ {'b': 'é<', 'a': [1, none, true]}|tojson }}", '{"b": "é<", "a": [1, null, true]}'),
    "tojson with indent": ("{{ {'a': [1]}|tojson(indent=4) }}", '{\n    "a": [\n        1\n    ]\n}'),
    "tojson as in transformers": (
        "{{ {'b': 1, 'a': 'é'}|tojson(ensure_ascii=True, sort_keys=True) }}{{ 'é'|tojson(ensure_ascii=false) }}",
        '{"a": "\\u00e9", "b": 1}"é"',
    ),
    "set block": ("{% set x %}a{{ 1 }}{% endset %}{{ x }}{% set y, z = 1, 2 %}{{ y + z }}", "a13"),
    "macro with call": (
        "{% macro m(a, b='x') %}{{ a }}{{ b }}{{ caller() }}{% endmacro %}{% call m(1) %}!{% endcall %}",
        "1x!",
    ),
    "with and filter": ("{% with a = 1 %}{{ a }}{% endwith %}{% filter upper %}b{% endfilter %}", "1B"),
    "raw": ("{% raw %}{{ x }}{% endraw %}", "{{ x }}"),
    "if, elif, else": ("{% if x %}1{% elif messages %}2{% else %}3{% endif %}{{ 'a' if x else 'b' }}", "2b"),
    "block": ("{% block a %}x{% endblock %}{{ self.a() }}", "xx"),
    "dict()": ("{{ dict(a=1, **{'b': 2}) }}{{ {'a': 1}.get('b', 2) }}", "{'a': 1, 'b': 2}2"),
    "a message's missing field": ("{{ messages[0].tool_calls }}{{ messages[0].get('name') }}", "None"),
    "white space control": ("a  \n  {%- if true -%}  \n b  {%- endif %}\n c", "ab c"),
    "trim_blocks and lstrip_blocks": ("a\n    {% if true %}\nb\n    {% endif %}\nc", "a\nb\nc"),
    "generation": (
        "{% generation %}a{% endgeneration %}{%- generation -%} b {%- endgeneration -%}",
        "<m>a</m><m>b</m>",
    ),
    "generation in loop and if": (
        "{% for m in messages %}{% if m.role == 'assistant' %}"
        "{% generation %}{{ m.content }}{% endgeneration %}{% endif %}{% endfor %}",
        "<m>Yo</m>",
    ),
}


@pytest.mark.parametrize(("template", "expected"), CONSTRUCTS.values(), ids=CONSTRUCTS.keys())
def test_constructs_of_published_templates_work(template: str, expected: str) -> None:
    assert rendered(template) == expected


CHATML = """\
{%- for message in messages -%}
    {{- '<|im_start|>' + message['role'] + '\\n' -}}
    {%- if message.role == 'assistant' -%}
        {%- generation -%}{{- message.content + '<|im_end|>' -}}{%- endgeneration -%}
    {%- else -%}
        {{- message.content + '<|im_end|>' -}}
    {%- endif -%}
    {{- '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""
BRACKETS = (
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
    "{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}"
    "{% set system_message = false %}{% endif %}{% for message in loop_messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% if loop.index0 == 0 and system_message != false %}"
    "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
    "{% else %}{% set content = message['content'] %}{% endif %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + content.strip() + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + content.strip() + ' </s>' }}{% endif %}{% endfor %}"
)
THINKING = """\
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content %}
    {%- if '</think>' in content %}
        {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
    {%- endif %}
    {{- message.role + ':' + content + ('*' if loop.index0 == ns.last_query_index else '') + '\\n' }}
{%- endfor %}
"""  # noqa: E501 (as it is published)


@pytest.mark.parametrize(
    ("template", "messages", "expected"),
    [
        pytest.param(
            CHATML,
            TALK,
            "<|im_start|>user\n Hi <|im_end|>\n<|im_start|>assistant\n<m>Yo<|im_end|></m>\n"
            "<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n",
            id="ChatML",
        ),
        pytest.param(
            BRACKETS,
            [{"role": "system", "content": "S"}, *TALK],
            "[INST] <<SYS>>\nS\n<</SYS>>\n\n Hi [/INST] Yo </s>[INST] Bye [/INST]",
            id="brackets",
        ),
        pytest.param(
            THINKING,
            [TALK[0], {"role": "assistant", "content": "<think>a</think>\n\nb"}, TALK[2]],
            "user: Hi \nassistant:b\nuser:Bye*\n",
            id="thinking",
        ),
    ],
)
def test_templates_in_the_style_of_published_models(template: str, messages: list[Any], expected: str) -> None:
    assert rendered(template, messages=messages) == expected
