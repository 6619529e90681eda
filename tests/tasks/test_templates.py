"""Templates word rows faithfully, and a hostile one ends quickly with a reason."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosstune.tasks.templates import MAX_SECONDS, Unrenderable, rendered

ROW = {"s": "b", "l": [1, 2, 3], "n": None, "d": [{"t": "q"}, {"t": "r"}], "a b": 7}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("plain\n", "plain\n"),
        ("{{ s }}{{ l[0] }}", "b1"),
        ("{% for x in l %}{{ x }}{% if not loop.last %}-{% endif %}{% endfor %}", "1-2-3"),
        ("{{ ['a', 'b'].index(s) }}", "1"),
        ("{{ d | map(attribute='t') | join(', ') }}", "q, r"),
        ("{{ ' x #### 12 '.split('####')[-1].strip() }}", "12"),
        ("{{ 'a1b22' | regex_replace('[0-9]+', '.') }}", "a.b."),
        ("{% set up = s | upper %}{{ up ~ '!' * 2 }}", "B!!"),
        ("{{ row['a b'] + 1 }}", "8"),
        ("{% if gone is defined %}yes{% else %}no{% endif %}", "no"),
        ("{% for i in range(3) %}{% for x in [i, i] %}{{ x }}{% endfor %}{% endfor %}", "001122"),
    ],
)
def test_what_a_template_gives(template: str, text: str) -> None:
    assert rendered(template, ROW) == text


@settings(deadline=None)
@given(st.text())
def test_text_of_a_row_is_never_read_as_a_template(text: str) -> None:
    assert rendered("[{{ s }}]", {"s": text}) == f"[{text}]"


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ gone }}", r"the field 'gone' is missing \(fields: s, l, n, d, a b\)"),
        ("{{ n }}", "null"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{{ s ", "refused"),
        ("{{ d.gone }}", "fails"),
    ],
)
def test_a_template_that_fails_says_why(template: str, reason: str) -> None:
    with pytest.raises(Unrenderable, match=reason):
        rendered(template, ROW)


SET = "{% set a = 'xxxxxxxxxxxxxxxxx' %}"
ATTACKS = {
    "classes": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "globals": "{{ cycler.__init__.__globals__ }}",
    "function globals": "{{ range.__globals__ }}",
    "attribute by filter": "{{ s | attr('__class__') }}",
    "attribute by map": "{{ l | map(attribute='__class__.__mro__') | list }}",
    "formatted attribute": "{{ '{0.__class__}'.format(s) }}",
    "formatted width": "{{ '{:>999999999}'.format(s) }}",
    "percent width": "{{ '%999999999s' % s }}",
    "rounding": "{{ 5 | round(-300000000) }}",
    "rounding up": "{{ 5 | round(100000000, 'ceil') }}",
    "indent": "{{ [1] | tojson(indent=900000000) }}",
    "padding": "{{ s.center(999999999) }}",
    "padding filter": "{{ s | center(999999999) }}",
    "bytes": "{{ (1).to_bytes(999999999, 'big') }}",
    "changed row": "{{ l.append(4) }}",
    "import": "{% import 'os' as os %}",
    "include": "{% include '/etc/passwd' %}",
    "long range": "{% for i in range(10000000000) %}a{% endfor %}",
    "power": "{{ 9 ** 9 ** 9 }}",
    "product": "{{ 'x' * 10000000000 }}",
    "product of lists": "{{ [0] * 10000000000 }}",
    "growing numbers": "{% set a = 99999999 %}" + "{% set a = a * a %}" * 40 + "{{ a }}",
    "growing by ~": SET + "{% set a = a ~ a %}" * 40 + "{{ a }}",
    "growing by +": SET + "{% set a = a + a %}" * 40 + "{{ a }}",
    "growing by replace": SET + "{% set a = a.replace('x', a) %}" * 9 + "{{ a }}",
    "growing by filter": SET + "{% set a = a | replace('x', a) %}" * 9 + "{{ a }}",
    "growing by join": SET + "{% set a = a.join(a) %}" * 9 + "{{ a }}",
    "growing lists": "{% set a = [1] %}" + "{% set a = [a, a] %}" * 60 + "{{ a }}",
    "growing comparison": (
        "{% set a = [1] %}{% set b = [1] %}"
        + "{% set a = (a, a) %}{% set b = (b, b) %}" * 60
        + "{{ a == b }}"
    ),
    "silent loops": "{% for i in range(99999) %}" * 2 + "{% endfor %}" * 2,
    "loops over text": "{% for i in t %}" * 3 + "{% endfor %}" * 3,
    "recursive loop": "{% for i in l recursive %}{{ loop(l) }}{% endfor %}",
    "recursive macro": "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
    "block in a loop": "{% set a %}{% for i in range(99999) %}{{ t }}{% endfor %}{% endset %}",
    "large output": "{% for i in range(9999) %}{{ t }}{% endfor %}",
    "backtracking": "{{ ('a' * 60 ~ 'b') | regex_replace('(a|a)*$', '') }}",
    "deep nesting": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
}


def test_what_is_refused_depends_on_steps_and_not_on_the_machine() -> None:
    loops = "{% for i in range(N) %}{% for j in range(N) %}{% endfor %}{% endfor %}done"
    assert rendered(loops.replace("N", "300"), {}) == "done"
    with pytest.raises(Unrenderable, match="100,000 steps"):
        rendered(loops.replace("N", "400"), {})


def test_there_is_no_formatting_method() -> None:
    for template in ("{{ '{}'.format(s) }}", "{{ '{s}'.format_map(row) }}"):
        with pytest.raises(Unrenderable, match="unsafe"):
            rendered(template, ROW)


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_ends_soon_and_is_refused(name: str) -> None:
    row = {"s": "b", "l": [1, 2, 3], "t": "text" * 1000}
    start = time.monotonic()
    with pytest.raises(Unrenderable):
        rendered(ATTACKS[name], row)
    assert time.monotonic() - start < 3 * MAX_SECONDS
    assert row["l"] == [1, 2, 3]
