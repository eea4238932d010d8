"""YAML becomes what JSON would have said, in bounded time."""

from __future__ import annotations

import orjson
import pytest

from keyturn.server.console.yaml_text import MAX_NODES, MAX_YAML, as_json
from keyturn.server.domain.errors import Refusal


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("200: ok", {"200": "ok"}),
        ("a: true\nb: no\nc: ~\nd:", {"a": True, "b": "no", "c": None, "d": None}),
        (
            "a: 12\nb: -0.5\nc: 1:20\nd: 010\ne: 3.1.0",
            {**{"a": 12, "b": -0.5}, **{"c": "1:20", "d": "010", "e": "3.1.0"}},
        ),
        ("a: 12\nb: -0.5\nc: 1:20", {"a": 12, "b": -0.5, "c": "1:20"}),
        ("a: 010\nb: 3.1.0\nc: 1e9", {"a": "010", "b": "3.1.0", "c": "1e9"}),
        ("a: 2026-01-02\nb: '7'\nc: \"true\"", {"a": "2026-01-02", "b": "7", "c": "true"}),
        ("a: 12345678901234567890123", {"a": "12345678901234567890123"}),
        ("a: |\n  two\n  lines\nb: [x, {y: z}]", {"a": "two\nlines\n", "b": ["x", {"y": "z"}]}),
        ("a: {x: 1}\nb: {x: 1}", {"a": {"x": 1}, "b": {"x": 1}}),
    ],
)
def test_means_what_json_can_say(text: str, meant: object) -> None:
    assert orjson.loads(as_json(text, "document")) == meant


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]",
        "a: &a\n  <<: *a",
        "a: !!int '1:1:1'",
        "a: !!binary aGk=",
        "- " * 51 + "x",
        "{" * 51,
        "a: 1\n---\nb: 2",
        "",
        "? [a]\n: 1",
        "[" * 40 + "1," * MAX_NODES,
        "x" * (MAX_YAML + 1),
        "%TAG !a! b\n--- a",
        "\ufeff%YAML 1.2\n--- a",
        "a: 1\n...\r%TAG !a! b\u2028%TAG !b! b\n--- a",
    ],
)
def test_refuses_at_its_field_what_costs_more_than_it_is_long(text: str) -> None:
    with pytest.raises(Refusal) as refused:
        as_json(text, "document")
    assert refused.value.field == "document"
