"""Conditions on columns."""

import datetime

import pyarrow as pa
import pytest

from rechub_cli.data.filter import Filter
from rechub_cli.errors import SpecError

TABLE = pa.table(
    {
        "n": pa.array([1, 2, None, 4, 5]),
        "big": pa.array([2**63 + 1, 2, 3, 4, None], pa.uint64()),
        "x": pa.array([0.5, 1.5, 2.5, None, float("nan")]),
        "city": pa.array(["Rome", "Bonn", None, "Rome", "it's"]).dictionary_encode(),
        "is new": [True, False, None, False, True],
        "day": pa.array([datetime.date(2026, 1, i) for i in range(1, 6)]),
        "at": pa.array([i * 86400 for i in range(5)], pa.timestamp("s", "UTC")),
    }
)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("n == 2", [1]),
        ("n = 2", [1]),
        ("n != 2", [0, 3, 4]),
        ("n > 1.5", [1, 3, 4]),
        ("2 >= n", [0, 1]),
        ("n < -1", []),
        ("n < x", []),
        ("x <= n", [0, 1]),
        ("n is null", [2]),
        ("n is not null and x is not null", [0, 1, 4]),
        ("city == 'Rome'", [0, 3]),
        ('city != "Rome"', [1, 4]),
        (r"city == 'it\'s'", [4]),
        ('city in ["Bonn", "it\'s"]', [1, 4]),
        ("city not in ('Rome')", [1, 4]),
        ("n in [1, 4.0, 2.5]", [0, 3]),
        ("big in [9223372036854775809]", [0]),
        ("big == 9223372036854775809 or big == 4", [0, 3]),
        ("not n == 2", [0, 3, 4]),
        ("not not n == 2", [1]),
        ("n == 1 or n == 2 and x > 9", [0]),
        ("(n == 1 or n == 2) and x > 1", [1]),
        ("n == 99 or city is null", [2]),
        ("NOT (n == 1 OR n == 2) AND n IS NOT NULL", [3, 4]),
        ("`is new`", [0, 4]),
        ("not `is new`", [1, 3]),
        ("`is new` == true", [0, 4]),
        ("`is new` != false and n > 1", [4]),
        ("day >= '2026-01-04'", [3, 4]),
        ("'2026-01-02' > day", [0]),
        ("day in ['2026-01-02', '2026-01-09']", [1]),
        ("at < '1970-01-02 12:00:00'", [0, 1]),
        ("true", [0, 1, 2, 3, 4]),
    ],
)
def test_a_condition_keeps_the_rows_it_describes(text, kept):
    assert Filter(text, TABLE.schema).mask(TABLE).nonzero()[0].tolist() == kept


def test_it_names_the_columns_it_needs():
    assert Filter("n == 1 and (`is new` or n > 3)", TABLE.schema).columns == ["n", "is new"]


@pytest.mark.parametrize(
    ("text", "message", "place"),
    [
        ("citi == 1", "no column 'citi'; did you mean 'city'", 0),
        ("city == Rome", "no column 'Rome'; text is written in quotes", 8),
        ("n ==  ", "expected a column or a value", 4),
        ("n ==", "expected a column or a value", 4),
        ("n == 1 n == 2", "expected `and`, `or` or the end", 7),
        ("n", "expected a comparison: this is of kind integer", 0),
        ("(n == 1", r"expected `\)`", 7),
        ("n in [1, 2", r"expected `\]`", 10),
        ("n in [1, city]", "expected a value", 9),
        ("n in []", "expected a column or a value", 6),
        ("n == 'x'", "integer cannot be compared with a string", 0),
        ("city == 5", "write the number in quotes", 0),
        ("city in ['a', 5]", "string cannot be compared with a integer|string cannot be compared", 14),
        ("day == 'soon'", "'soon' is no date", 0),
        ("n == null", "write `is null`", 5),
        ("n is 5", "expected `null`", 5),
        ("n == 1 and __import__('os')", "no column '__import__'", 11),
        ("n == 1; drop", "this is not understood", 6),
        ("n == 'open", "this is not understood", 5),
        ("", "expected a column or a value", 0),
        ("(" * 5000 + "n == 1" + ")" * 5000, "too deeply nested", 50),
    ],
)
def test_a_wrong_condition_is_a_spec_error_that_points_at_the_place(text, message, place):
    with pytest.raises(SpecError, match=message) as caught:
        Filter(text, TABLE.schema)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("data.filter: ")
    assert lines[-1].index("^") - 2 == place
