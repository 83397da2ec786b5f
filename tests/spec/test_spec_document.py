"""YAML text becomes plain values with YAML 1.2's meaning; hostile text becomes one clear refusal."""

from __future__ import annotations

import pytest

from rechub_cli.spec.document import BadText, Span, decode, parse


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("1e-3", 0.001),
        ("1E5", 100000.0),
        (".5", 0.5),
        ("012", 12),
        ("0x1f", 31),
        ("0o17", 15),
        ("-7", -7),
        ("no", "no"),
        ("on", "on"),
        ("y", "y"),
        ("yes", "yes"),
        ("1_000", "1_000"),
        ("12:30:45", "12:30:45"),
        ("2026-01-01", "2026-01-01"),
        ("true", True),
        ("~", None),
        ("", None),
        ("'5'", "5"),
        ("!!str 5", "5"),
        ("18446744073709551615", 2**64 - 1),
    ],
)
def test_a_scalar_means_what_yaml_1_2_says(text: str, meaning: object) -> None:
    value = parse(f"a: {text}").data["a"]
    assert value == meaning
    assert type(value) is type(meaning)


def test_keys_are_always_text_as_written() -> None:
    assert list(parse("{2024: 1, 1e3: 2, no: 3, true: 4, 'a.b': 5}").data) == ["2024", "1e3", "no", "true", "a.b"]


def test_every_key_and_value_knows_its_place() -> None:
    document = parse("a:\n  b: [1, two]\n")
    assert document.keys["a", "b"] == Span(2, 3, 1)
    assert document.values["a", "b", 1] == Span(2, 10, 3)


def test_an_alias_is_the_value_again() -> None:
    assert parse("a: &x {b: [1]}\nc: *x").data["c"] == {"b": [1]}


@pytest.mark.parametrize(
    ("text", "fault", "line", "column"),
    [
        ("a: 1\nb: 2\na: 3", "the key 'a' stands twice (first in line 1)", 3, 1),
        ("a: 1e999", "cannot be held", 1, 4),
        ("a: .inf", "not a finite number", 1, 4),
        ("a: " + "9" * 5000, "5000 digits", 1, 4),
        ("a: 18446744073709551616", "64 bits", 1, 4),
        ("a: !!python/object/apply:os.system [ls]", "the tag !!python/object/apply:os.system", 1, 4),
        ("<<: {a: 1}", "merge keys", 1, 1),
    ],
)
def test_what_can_be_read_around_is_a_fault_with_a_place(text: str, fault: str, line: int, column: int) -> None:
    faults = parse(text).faults
    assert len(faults) == 1
    assert fault in faults[0][0]
    assert (faults[0][1].line, faults[0][1].column) == (line, column)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a:\n\tb: 1", "a tab cannot indent YAML"),
        ("x: y: z", "a second ':' here"),
        ("a: [1,", "not YAML"),
        ("a: 'x", "not YAML"),
        ("a: 1\n---\nb: 2", "a second YAML document"),
        ("a: *x", "the alias *x stands for nothing"),
        ("a: &x [*x]", "the alias *x stands for nothing"),
        ("? [1, 2]\n: 3", "a key must be a plain name"),
        ('a: "\\0"', "a null character"),
        ("a: " + "[" * 100, "nested deeper than 40 levels"),
        ("a: " + "[" * 100_000, "nested deeper than 40 levels"),
        ("".join(" " * i + "a:\n" for i in range(200)), "nested deeper than 40 levels"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_place(text: str, fault: str) -> None:
    with pytest.raises(BadText, match=r".") as caught:
        parse(text)
    assert fault in caught.value.text
    assert caught.value.span is not None


def test_a_billion_laughs_are_refused() -> None:
    laughs = "a0: &a0 [" + "x," * 10 + "]\n"
    laughs += "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12))
    with pytest.raises(BadText, match="more than 200,000 values"):
        parse(laughs)


def test_a_byte_order_mark_and_any_line_ends_are_taken() -> None:
    assert parse(decode(b"\xef\xbb\xbfa: 1\r\nb: 2\rc: 3")).data == {"a": 1, "b": 2, "c": 3}


@pytest.mark.parametrize(
    ("content", "fault", "line", "column"),
    [
        (b"a: 1\nb: \xe9", "not UTF-8", 2, 4),
        (b"\xff\xfea\x00", "not UTF-8", 1, 1),
        (b"a: 1\nb: \x1b[31m", r"control character U\+001B", 2, 4),
        (b"a\x00: 1", r"control character U\+0000", 1, 2),
    ],
)
def test_bytes_that_are_no_text_are_refused_with_a_place(content: bytes, fault: str, line: int, column: int) -> None:
    with pytest.raises(BadText, match=fault) as caught:
        decode(content)
    assert caught.value.span is not None
    assert (caught.value.span.line, caught.value.span.column) == (line, column)


def test_a_file_beyond_all_size_is_refused() -> None:
    with pytest.raises(BadText, match="larger than"):
        decode(b"#" * 5_000_000)
