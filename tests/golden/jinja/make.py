#!/usr/bin/env python3
"""Makes cases.json: templates and what Python's jinja2 gives for them, set up as Hugging Face's
apply_chat_template sets it up. Needs jinja2. usage: make.py > cases.json

A case is [template, text], or [template, null] when rendering or parsing must fail. All are
rendered with DATA below, which the file carries too."""
import json
import sys
from datetime import datetime, timezone

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

NOW = 1764000000
DATA = {
    "messages": [
        {"role": "system", "content": " Be brief.\n"},
        {"role": "user", "content": "Hello <|end|> \"you\" & 'me' \u00e9\u65e5\u672c\U0001f600"},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "a1", "function": {"name": "f", "arguments": {"x": 1, "y": [1.5, None, True]}}}]},
        {"role": "tool", "content": "ok"},
    ],
    "tools": [{"type": "function", "function": {
        "name": "weather", "description": "line\none \t tab", "parameters": {
            "type": "object", "properties": {"city": {"type": "string"}, "n": {"type": "integer"}},
            "required": ["city"]}}}],
    "bos_token": "<s>", "eos_token": "</s>",
    "n": 7, "neg": -3, "pi": 3.14159, "big": 1e22, "small": 1e-7, "whole": 2.0, "zero": 0,
    "yes": True, "no": False, "nothing": None, "empty": "", "blank": "  ", "elist": [], "edict": {},
    "s": "Hello World", "u": "Stra\u00dfe \u00c9t\u00e9", "digits": "12345", "csv": "a,b,,c", "t": " \t pad \n",
    "l": [3, 1, 2], "ls": ["b", "A", "c"], "mixed": [1, "a", None, 2.5, True, [1], {"k": "v"}],
    "d": {"b": 2, "a": 1, "C": 3}, "items": [{"k": "x", "v": 1}, {"k": "y", "v": 2}, {"k": "x", "v": 3}],
    "nested": {"a": {"b": {"c": [10, 20, {"z": "deep"}]}}}, "quote": "it's", "dq": "say \"hi\"",
    "both": "it's \"x\"", "ctl": "a\x00b\x7f\u200b\u2028", "keys": {"items": 1, "get": 2, "plain": 3},
}

EXPRESSIONS = r"""
n + 1|n - 10|n * 2|n / 2|n // 2|n % 3|neg // 2|neg % 2|neg % 5|n ** 2|2 ** -1|2 ** 0.5|-n|+n|- -3|n / 0|n // 0|n % 0
7.0 // 2|7.5 % 2|-7.5 % 2|1 / 3|0.1 + 0.2|1e22|big|small|whole|pi|1e100|123456789012345678.0|1e16|1e15|0.0001|0.00001
1_000|0x1F|0o17|0b101|1.5e3|1_0.5|10 == 10.0|true + 1|true == 1|1 == '1'|none == none|none|true|True|none is none
s|s ~ n|s + n|s + s|'a' 'b'|'a' * 3|3 * 'a'|[1] * 2|[1, 2] + [3]|(1, 2) + (3,)|(1,)|()|[]|{}|{'a': 1, 2: [3]}|'%s-%s' % (1, 'b')
'%d %05d %x %X %o %5.2f|%-5s|%5s|%%' % (1, 42, 255, 255, 8, pi, 'ab', 'cd')|'%(a)s' % {'a': 5}|'%s' % n|'%s %s' % 1|'%r' % s
'%e %g %G' % (12345.678, 0.00001234, 1e20)|'%+d % d' % (5, 5)|'{} {}'.format(1, 'x')|'{0}{1}{0}'.format(1, 2)|'{a}'.format(a=3)
'{:>5}|{:<5}|{:^5}|{:05d}|{:.2f}|{:,}'.format('a', 'b', 'c', 42, pi, 1234567)|'{{}}'.format()|'{!r}'.format('x')|'{}'.format()
s == 'Hello World'|s != 'x'|1 < 2 < 3|1 < 3 < 2|'a' < 'b'|'a' < 1|[1, 2] < [1, 3]|1 <= 1 >= 1|'a' in s|'World' in s|1 in l|4 not in l
'a' in d|'z' in d|not 'a' in d|1 in 'a'|'x' in undefinedvar|not yes|not nothing|yes and no|no or 'x'|'' or 0|1 and 2|not not 1
n if yes else 'b'|n if no else 'b'|n if no|(n if no) is undefined|'a' if no else 'b' if no else 'c'|undefinedvar|undefinedvar.x|undefinedvar['x']
undefinedvar + 1|undefinedvar ~ 'x'|undefinedvar == nothing|undefinedvar|default('d')|undefinedvar|length|undefinedvar|list|undefinedvar is defined
s[0]|s[-1]|s[100]|s[1:3]|s[::-1]|s[:-1]|s[-3:]|s[::2]|s[5:1]|l[0]|l[-1]|l[5]|l[1:]|l[::-1]|l[:2]|l[-2:]|(1,2,3)[1:]|l['a']|l.0|u[4]|u[::-1]
s[10:2:-2]|l[10::-1]|l[:-10:-1]|l[0:0]|s[None:2]|s['a':]|l[::0]
d['a']|d.a|d.zz|d['zz']|d.zz.y|d.items()|d.keys()|d.values()|d.items()|list|d.get('a')|d.get('q')|d.get('q', 5)|d.pop('a')|d.update({'x': 1})
keys['items']|keys.plain|keys['get']|nested.a.b.c[2].z|nested['a']['b'].c[-1]['z']|nested.a.b.c.0|messages[0].role|messages[-1]['content']
l.append(4)|l.index(1)|l.count(1)|l.index(9)|l.pop()|l.sort()|(1, 1).count(1)|l.copy()|l.__class__|s.__len__()|''.__class__.__mro__|d.__foo__|x.__class__ is defined
s.upper()|s.lower()|s.title()|s.swapcase()|u.upper()|u.lower()|u.capitalize()|'hello world-foo bar'.title()|'they\'re'.title()|s.split()|csv.split(',')|csv.split(',', 1)|csv.rsplit(',', 1)
'a b  c'.split(' ')|' a  b '.split()|' a b c '.split(None, 1)|' a b c '.rsplit(None, 1)|'a'.split('')|'a\nb\r\nc'.splitlines()|'a\nb\n'.splitlines(true)|'a-b-c'.partition('-')|'a-b-c'.rpartition('-')|'abc'.partition('-')|'abc'.rpartition('-')
t.strip()|t.lstrip()|t.rstrip()|'xxaxx'.strip('x')|'xyaxy'.strip('xy')|'xyaxy'.lstrip('xy')|'xyaxy'.rstrip('yx')|'\u3000a\u00a0'.strip()|s.startswith('Hell')|s.startswith(('x', 'H'))|s.endswith('ld')|s.startswith('ello', 1)|s.startswith('')|s.endswith(('a', 'd'))
s.replace('l', 'L')|s.replace('l', 'L', 1)|s.replace('', '-')|s.replace('xyz', 'q')|'aaa'.replace('aa', 'b')|s.find('o')|s.find('o', 5)|s.rfind('o')|s.find('zz')|s.index('o')|s.index('zz')|s.count('l')|s.count('')|u.find('\u00c9')|'-'.join(ls)|'-'.join([1])
'a'.ljust(4, '.')|'a'.rjust(4, '.')|'a'.center(4, '.')|'ab'.center(5, '.')|'42'.zfill(5)|'-42'.zfill(5)|'a\tb'.expandtabs(4)|'abc'.removeprefix('a')|'abc'.removesuffix('c')|'abc'.removesuffix('x')|'abc'.removeprefix('')|'abc'.removesuffix('')
digits.isdigit()|s.isdigit()|''.isdigit()|s.isalpha()|'abc'.isalpha()|'ab1'.isalnum()|'  '.isspace()|s.islower()|'abc'.islower()|'ABC'.isupper()|'\u65e5'.isalpha()|'a'.isascii()|u.isascii()|'1.5'.isdecimal()
s|upper|s|lower|s|title|s|capitalize|'foo (bar) [baz]-qux'|title|s|length|u|length|l|length|d|length|n|length|t|trim|'xax'|trim('x')|s|reverse|l|reverse|list|l|reverse|length|s|list|d|list|n|list|nothing|list
l|first|l|last|elist|first|elist|last|s|first|s|last|d|first|l|min|l|max|elist|max|ls|min|ls|max|ls|sort|ls|sort(case_sensitive=true)|l|sort|l|sort(reverse=true)|mixed|sort|items|sort(attribute='v', reverse=true)|map(attribute='v')|list
items|map(attribute='k')|list|items|map(attribute='zz', default='q')|list|items|map('length')|list|ls|map('upper')|list|ls|map('upper')|join(',')|ls|map('nofilter')|list|l|map('string')|list|l|select('odd')|list|l|reject('odd')|list|l|select('gt', 1)|list|l|select|list
items|selectattr('k', 'equalto', 'x')|list|items|selectattr('k', '==', 'x')|map(attribute='v')|list|items|rejectattr('k', 'equalto', 'x')|list|items|selectattr('v')|list|items|selectattr('zz')|list|items|selectattr('zz', 'defined')|list|items|rejectattr('k', 'in', ['x'])|list
nothing|selectattr('a')|list|nothing|map('upper')|list|nothing|select|list|items|groupby('k')|items|groupby('k')|map(attribute='grouper')|list|items|groupby('k')|map(attribute='list')|map('length')|list|items|unique(attribute='k')|map(attribute='v')|list|[1, 2, 1]|unique|list|['a', 'A']|unique|list|['a', 'A']|unique(true)|list
l|sum|items|sum(attribute='v')|l|sum(start=10)|elist|sum|[[1], [2]]|sum(start=[])|l|join|l|join('-')|ls|join(', ')|items|join(',', attribute='k')|s|join('-')|nothing|join|[1, none, 'a']|join('|')|l|batch(2)|list|l|batch(2, 'x')|list|l|slice(2)|list|l|slice(2, 'x')|list
d|dictsort|d|dictsort(true)|d|dictsort(by='value')|d|dictsort(reverse=true)|d|items|list|undefinedvar|items|list|n|items|d|tojson|d|attr('a')|d|attr('zz')|s|attr('upper')|'5'|int|'5.7'|int|'x'|int|'x'|int(3)|'0x1f'|int(base=16)|'ff'|int(0, 16)|5.9|int|-5.9|int|'1e3'|int|nothing|int|' 7 '|int|'1_000'|int|true|int
'3.5'|float|'x'|float|'x'|float(1.5)|n|float|'inf'|float|'nan'|float|-5|abs|-5.5|abs|s|abs|3.7|round|2.5|round|3.5|round|2.675|round(2)|3.14159|round(3)|3.2|round(method='ceil')|3.7|round(method='floor')|1234|round(-2)|n|round|3.14159|round(2, 'floor')|nothing|default('x')|nothing|default('x', true)|empty|d('x')|empty|d('x', true)|0|default(1, boolean=true)
n|string|l|string|s|wordcount|'a-b c'|wordcount|'a\nb\n\nc'|indent|'a\nb'|indent(2, true)|'a\n\nb'|indent(2, blank=true)|'a\nb'|indent('> ')|'a\n'|indent|''|indent(2, true)|s|truncate(5)|s|truncate(5, true, '', 0)|'hello wide world foo bar'|truncate(12)|'hello wide world foo bar'|truncate(12, true)|'hello wide world'|truncate(12, false, '~', 0)|s|truncate(2)|s|center(21)|'ab'|center(5)
'<a href="x">&\'</a>'|e|'<b>'|escape|'<b>'|safe|'<b>'|safe|e|'<b>'|e|e|'<b>'|e|forceescape|('<b>'|safe) + '<c>'|'<c>' + ('<b>'|safe)|('<b>'|safe) ~ '<c>'|('<b>'|e) + '&'|('<b>'|safe) is escaped|'a b&c/d\u00e9'|urlencode|'%s %s'|format(1, 2)|'%(a)s'|format(a=1)|s|replace('o', '0')|s|replace('o', '0', 1)|n|replace('7', '8')
s|tojson|u|tojson|u|tojson(ensure_ascii=true)|ctl|tojson|both|tojson|mixed|tojson|nested|tojson|nested|tojson(indent=2)|elist|tojson(indent=2)|{}|tojson(indent=2)|d|tojson(separators=(',', ':'))|d|tojson(sort_keys=true)|d|tojson(indent=4, sort_keys=true)|pi|tojson|big|tojson|1.0|tojson|nothing|tojson|yes|tojson|undefinedvar|tojson|{1: 2, none: 3, true: 4, 1.5: 5}|tojson|(1, 2)|tojson|tools|tojson(indent=None)|d|tojson(indent='--')|messages[1].content|tojson|messages[1].content|tojson(true)|items|map(attribute='k')|tojson
mixed|nested|both|quote|dq|ctl|u|tools[0].function|[quote, dq, both]|[1.0, none, true, undefinedvar]|['\n\t\\\r']|{'a': 'b\'c'}|d.items()|range(3)|range(1, 10, 3)|range(5)|list|range(3, 0, -1)|list|range(0)|list|range(3)|length|range(3)[1]|2 in range(3)|range('a')|range(200000)|length|dict(a=1, b=2)|dict([('a', 1)])|dict({'a': 1}, b=2)|namespace(a=1).a|namespace(a=1)['a']|namespace(a=1).b|namespace(_a=1)
n is number|s is number|true is number|n is integer|pi is float|true is integer|true is boolean|n is boolean|yes is true|1 is true|no is false|nothing is none|nothing is not none|s is string|n is string|d is mapping|l is mapping|l is iterable|s is iterable|n is iterable|d is iterable|l is sequence|s is sequence|d is sequence|n is sequence|d.items() is sequence|d.items() is iterable|d.keys() is mapping
n is odd|n is even|n is divisibleby 7|n is divisibleby(2)|n is eq 7|n is equalto 7|n is ne 7|n is gt 3|n is ge 7|n is lt 3|n is le 7|n is lessthan 8|n is greaterthan 8|n is in [7]|'a' is in 'abc'|1 is in l|s is lower|'abc' is lower|'ABC' is upper|l is sameas l|nothing is sameas none|true is sameas true|range is callable|s is callable|undefinedvar is undefined|s is undefined|s is defined|d.zz is defined|'upper' is filter|'nope' is filter|'odd' is test|n is nosuchtest|n is not odd
not n is odd|n is odd and n is number|n is odd or no|n is number if yes|(n is odd)|string|s is string and s|length > 3|n is divisibleby 7 and yes|n == 7 is true|1 is not defined|n|string|length|-n|abs|-1|abs|2 - -1|l|length + 1|l|length > 2|s|upper ~ '!'|l|join(',')|length|'a'|upper + 'b'|lower
s.nosuch()|s()|n.x|n.x.y|nothing.x|nothing.x.y|nothing['x']|n[0]|s.x|l.x|{'a': {'b': 1}}.a.b|{'a': 1}['a']|[1, 2, 3][1]|'abc'[1]|('a', 'b')[0]|[[1, 2], [3]][0][1]|{'x': [1]}['x'][0]|'a'.upper().lower()|(1, 2)|length|[1, 2,]|(1, 2,)|{'a': 1,}|'\x41\u0042\t\101\n'|'a\qb'|"it's"|'a\
b'|raise_exception('stop now')|raise_exception()|strftime_now('%Y')|strftime_now('%d %b %Y')|[]|string|'x'|nosuchfilter|lipsum|bos_token + s|bos_token ~ eos_token|loop|caller
"""

TEMPLATES = [
    "", "\n", "a\n", "a\n\n", "a\r\nb\rc\n", "{{ 1 }}\n", "{{ 1 }}\n\n", "  {% if yes %}\n  x\n  {% endif %}\n  y",
    "{% if yes %}a{% endif %}\n\nb", "{% if yes -%}\n  a  \n{%- endif %}\n  b", "a {%+ if yes %} b {%- endif +%}\n c", "a\n  {{- 1 -}}  \n b",
    "  {# c #}\n  a {# d #} b\n{#- e -#}\n c", "{#- x #}\ny", "a {#+ x +#}\nb", "x {# {{ 1 }} {% if %} #} y", "{{ '{{' }} {{ '%}' }}", "{% raw %}{{ x }} {% if %}{% endraw %}",
    "a\n  {% raw %}\n {{ x }}\n  {% endraw %}\n b", "{%- raw -%}  {{ a }}  {%- endraw -%}  b", "{% raw %}\n  a{% endraw %}\nb", "\t {% set x = 1 %}\n{{ x }}", "a  {% set x = 1 %}  b", "x\n    {%- set y = 2 %}\n    {{ y }}\n",
    "{{ {'a': {'b': 1}}['a']['b'] }}", "{{ {'a': {}} }}", "{{ [1, [2, {}]] }}", "{%if yes%}a{%endif%}", "{%-if yes-%} a {%-endif-%} b", "{{-1}}", "{{- 1 }} {{ -1 -}} x", "{{ 1 -}}\n\n x", "{{ 1 }}\n {{ 2 }}",
    "{% for i in l %}{{ i }}{% endfor %}", "{% for i in elist %}x{% else %}none{% endfor %}", "{% for i in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.revindex }}{{ loop.revindex0 }};{% endfor %}",
    "{% for i in l %}{{ loop.previtem }}<{{ i }}>{{ loop.nextitem }} {% endfor %}", "{% for i in l %}{{ loop.cycle('a', 'b') }}{% endfor %}", "{% for i in [1,1,2,2,1] %}{{ loop.changed(i) }} {% endfor %}", "{% for i in l if i > 1 %}{{ loop.index }}:{{ i }}/{{ loop.length }} {% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "{% for k in d %}{{ k }}{% endfor %}", "{% for k, v in d|dictsort %}{{ k }}{{ v }}{% endfor %}", "{% for c in 'h\u00e9' %}[{{ c }}]{% endfor %}", "{% for i in n %}{% endfor %}", "{% for i in nothing %}{% endfor %}", "{% for i in undefinedvar %}x{% endfor %}y",
    "{% for a, b in [(1, 2), [3, 4]] %}{{ a + b }} {% endfor %}", "{% for a, b in [(1, 2, 3)] %}{% endfor %}", "{% for (a, b), c in [((1, 2), 3)] %}{{ a }}{{ b }}{{ c }}{% endfor %}", "{% for i in range(10) %}{% if i == 3 %}{% continue %}{% endif %}{% if i == 6 %}{% break %}{% endif %}{{ i }}{% endfor %}",
    "{% for i in l %}{% for j in l %}{% if j == 2 %}{% break %}{% endif %}{{ i }}{{ j }} {% endfor %}{% endfor %}", "{% for i in l %}{% break %}{% else %}x{% endfor %}y", "{% break %}", "{% if yes %}{% continue %}{% endif %}", "{% for i in l recursive %}{{ i }}{% if loop.depth < 3 and loop.first %}({{ loop([7, 8]) }}){% endif %}{% endfor %}",
    "{% for x in [{'n': 'a', 'c': [{'n': 'b', 'c': []}]}] recursive %}{{ loop.depth0 }}{{ x.n }}{{ loop(x.c) }}{% endfor %}", "{% for i in l %}{{ loop(l) }}{% endfor %}", "{% set x = 0 %}{% for i in l %}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}", "{% set ns = namespace(x=0) %}{% for i in l %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}",
    "{% set ns = namespace() %}{% set ns.a = [] %}{% for i in l %}{% set ns.a = ns.a + [i] %}{% endfor %}{{ ns.a }}", "{% set ns.x = 1 %}", "{% set d.x = 1 %}", "{% set ns = namespace(a=1) %}{% set ns._x = 1 %}", "{% set a, b = 1, 2 %}{{ a }}{{ b }}", "{% set a = 1, 2 %}{{ a }}", "{% set a, b = [1] %}",
    "{% if no %}{% set q = 1 %}{% endif %}{{ q }}", "{% if yes %}{% set q = 1 %}{% endif %}{{ q }}", "{% set x %}a{{ n }}b{% endset %}[{{ x }}]", "{% set x | upper %}abc{% endset %}{{ x }}", "{% set x | replace('a', 'b') | upper %}aca{% endset %}{{ x }}", "{% set x %}{% set y = 1 %}{% endset %}{{ y }}", "{% filter upper %}ab{{ s }}{% endfilter %}", "{% filter replace('a','b')|upper %}aa{% endfilter %}",
    "{% macro m(a, b=2) %}{{ a }}-{{ b }}{% endmacro %}{{ m(1) }} {{ m(1, 3) }} {{ m(b=5, a=4) }}", "{% macro m(a) %}[{{ a }}]{% endmacro %}{{ m() }}{{ m(1, 2) }}", "{% macro m(a) %}x{% endmacro %}{{ m(z=1) }}", "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, a=3) }}", "{% macro m(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}",
    "{% macro m() %}{{ x }}{% endmacro %}{% set x = 1 %}{{ m() }}", "{% set x = 1 %}{% macro m() %}{{ x }}{% endmacro %}{% set x = 2 %}{{ m() }}", "{% macro m() %}{% set x = 5 %}{% endmacro %}{{ m() }}{{ x }}", "{% macro f(n) %}{% if n > 0 %}{{ n }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(5) }}", "{% for i in l %}{% macro m() %}{{ i }}{% endmacro %}{{ m() }}{% endfor %}",
    "{% macro m() %}<{{ caller() }}>{% endmacro %}{% call m() %}in {{ n }}{% endcall %}", "{% macro m() %}{{ caller(1) }}{{ caller(2) }}{% endmacro %}{% call(x) m() %}[{{ x }}]{% endcall %}", "{% macro m() %}x{% endmacro %}{% call m() %}y{% endcall %}", "{% macro m() %}a\n  b{% endmacro %}{{ m() | upper }}|{{ m() | trim }}|{{ m().split() }}", "{{ m() }}{% macro m() %}x{% endmacro %}",
    "{% macro outer() %}{% macro inner() %}i{% endmacro %}{{ inner() }}o{% endmacro %}{{ outer() }}", "{% macro m(x) %}{{ x.role }}{% endmacro %}{% for q in messages %}{{ m(q) }},{% endfor %}", "{% with a=1, b=2 %}{{ a + b }}{% endwith %}{{ a }}", "{% with %}{% set z = 1 %}{{ z }}{% endwith %}{{ z }}", "{% set x = 1 %}{% with x=2, y=x %}{{ x }}{{ y }}{% endwith %}{{ x }}", "{% print n, s %}", "{{ n, s }}", "{{ (n, s) }}",
    "{% generation %}abc{% endgeneration %}", "{% set x = 1 %}{% generation %}{% set x = 2 %}{{ x }}{% endgeneration %}{{ x }}", "{% for m in messages %}{% generation %}{{ m.role }}{% endgeneration %}\n{% endfor %}", "  {% generation %}\n a\n  {% endgeneration %}\nb",
    "{% if n > 5 and s %}a{% elif n %}b{% else %}c{% endif %}", "{% if no %}a{% elif yes %}b{% else %}c{% endif %}", "{% if elist %}a{% elif empty %}b{% elif zero %}c{% elif edict %}d{% elif nothing %}e{% else %}f{% endif %}", "{% if undefinedvar %}a{% else %}b{% endif %}", "{% if items|selectattr('zz') %}generators are true{% endif %}", "{% if d.items() %}a{% endif %}{% if edict.items() %}b{% endif %}",
    "{% set g = items|map(attribute='k') %}{{ g|list }}{{ g|list }}", "{% set g = items|map(attribute='k') %}{{ g|first }}{{ g|list }}", "{{ items|map(attribute='k')|length }}", "{{ items|map(attribute='k')|last }}", "{{ l|reverse|last }}", "{{ l|map('string')|join }}", "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{% set _ = c.reset() %}{{ c.current }}", "{% set j = joiner('|') %}{% for i in l %}{{ j() }}{{ i }}{% endfor %}",
    "{% for m in messages %}{% if not loop.first %}\n{% endif %}{{ '<|' + m.role + '|>' }}\n{{ m.content }}{% endfor %}", "{% for m in messages %}{% if m.tool_calls is defined and m.tool_calls %}{% for c in m.tool_calls %}{{ c.function.name }}({{ c.function.arguments|tojson }}){% endfor %}{% else %}{{ m['content']|trim }}{% endif %}{% endfor %}",
    "{%- for t in tools %}\n    {{- t | tojson(indent=4) }}\n    {{- '\\n\\n' }}\n{%- endfor %}", "{%- if tools is defined and tools is not none %}\n{{- 'T: ' + (tools | map(attribute='function') | map(attribute='name') | join(', ')) }}\n{%- endif %}",
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set sys = messages[0]['content'] %}{% endif %}{{ loop_messages|length }}{{ sys }}", "{% for m in messages[::-1] %}{{ m.role }} {% endfor %}", "{% set ns = namespace(i=-1) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.i = loop.index0 %}{% endif %}{% endfor %}{{ ns.i }}",
    # must fail
    "{{", "{% if %}", "{% if yes %}", "{% endif %}", "{{ 1 + }}", "{{ (1 }}", "{{ 1) }}", "{{ 'a }}", "{% for %}", "{% for i in %}", "{% set %}", "{% set x %}", "{# a", "{% raw %}", "{{ a b }}", "{{ 1 if }}", "{% nosuch %}", "{{ a.}}", "{{ a[ }}", "{{ [1 }}", "{{ {1} }}", "{% macro %}", "{% macro m( %}", "{{ 'a'|upper( }}",
    "{% else %}", "{% for i in l %}{% endif %}", "{{ @ }}", "{{ a! }}", "{% set 1 = 2 %}", "{{ x is }}", "{{ f(a=1, 2) }}", "{% include 'x' %}", "{{ l[1:2:3:4] }}", "{% if yes %}{{ 'x'|nosuch }}{% endif %}", "{% if no %}{{ 'x'|nosuch }}{% endif %}ok", "{{ 'x'|nosuch if no }}ok",
]


def environment():
    class Generation(jinja2.ext.Extension):
        tags = {"generation"}

        def parse(self, parser):
            line = next(parser.stream).lineno
            body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
            return jinja2.nodes.CallBlock(self.call_method("_same"), [], [], body).set_lineno(line)

        def _same(self, caller):
            return caller()

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                          sort_keys=sort_keys)

    class TemplateNamespace(jinja2.utils.Namespace):
        def __init__(*args, **kwargs):
            self, args = args[0], args[1:]
            for name in dict(*args, **kwargs):
                TemplateNamespace.check(name)
            jinja2.utils.Namespace.__init__(self, dict(*args, **kwargs))

        def __setitem__(self, name, value):
            TemplateNamespace.check(name)
            jinja2.utils.Namespace.__setitem__(self, name, value)

        @staticmethod
        def check(name):
            if name.startswith("_"):
                raise jinja2.exceptions.SecurityError(name)

    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                        extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda f: datetime.fromtimestamp(NOW, timezone.utc).strftime(f)
    env.globals["namespace"] = TemplateNamespace
    return env


def split_expressions(text):
    """Expressions are parted by '|' without blanks that begins no filter: here simply tried."""
    env = environment()
    for line in text.strip().split("\n"):
        parts, at = line.split("|"), 0
        while at < len(parts):
            best = at + 1
            for end in range(at + 1, min(at + 6, len(parts)) + 1):
                try:
                    env.parse("{{ " + "|".join(parts[at:end]) + " }}")
                except jinja2.TemplateError:
                    continue
                tail = "|".join(parts[at:end])
                if end == at + 1 or parts[end - 1].split("(")[0].strip().split(" ")[0].split(".")[0] in env.filters:
                    best = end
                else:
                    break
            yield "|".join(parts[at:best])
            at = best


def main():
    env = environment()
    cases = []
    templates = ["{{ " + e + " }}" for e in split_expressions(EXPRESSIONS)] + TEMPLATES
    for template in templates:
        try:
            text = env.from_string(template).render(**json.loads(json.dumps(DATA)))
        except Exception:
            text = None
        if text is not None and (" at 0x" in text or "<built-in" in text or "<bound" in text):
            continue
        cases.append([template, text])
    out = [json.dumps(c, ensure_ascii=False) for c in cases]
    sys.stdout.write('{"now": %d,\n"data": %s,\n"cases": [\n' % (NOW, json.dumps(DATA)))
    sys.stdout.write(",\n".join(out) + "\n]}\n")
    sys.stderr.write("%d cases, %d fail\n" % (len(cases), sum(c[1] is None for c in cases)))


main()
