import pytest

from rechub_cli.data.inputs import find_files
from rechub_cli.errors import NoInput, UsageError
from rechub_cli.workflows.dates import dated


def test_days_and_windows_of_days():
    assert dated("log-{date-1}.csv", "2026-03-01") == "log-2026-02-28.csv"
    assert dated("{date-2..date}/x", "2026-03-01") == "{2026-02-27,2026-02-28,2026-03-01}/x"
    assert dated("{date+1..date+1}", "2026-12-31") == "2027-01-01"
    assert dated("{date-x}{day}{date..}", "2026-03-01") == "{date-x}{day}{date..}"
    assert dated(None, None) is None


@pytest.mark.parametrize(
    ("path", "day", "said"),
    [
        ("x", "yesterday", r"--date yesterday: .*; write YYYY-MM-DD"),
        ("{date-1..date-2}", "2026-03-01", "ends before it starts"),
        ("{date-99999..date}", "0100-01-01", "seen from 0100-01-01"),
    ],
)
def test_days_that_are_none(path, day, said):
    with pytest.raises(UsageError, match=said):
        dated(path, day)


def test_one_path_is_no_window():
    with pytest.raises(UsageError, match=r"runs/\{date-1\.\.date\}: \{date-1\.\.date\} is several days"):
        dated("runs/{date-1..date}", "2026-03-01", one=True)


def test_braces_stand_for_several_files_and_all_that_are_missing_are_told(tmp_path):
    for name in ("a-1.csv", "a-2.csv", "b-1.csv", "{x,y}.csv"):
        (tmp_path / name).write_text("c\n1\n")
    names = [file.name for file in find_files(["{a,b}-1.csv"], tmp_path, (".csv",))]
    assert names == ["a-1.csv", "b-1.csv"]
    assert [file.name for file in find_files(["{x,y}.csv"], tmp_path, (".csv",))] == ["{x,y}.csv"]
    with pytest.raises(NoInput, match=r"no file here: a-3.csv, b-2.csv, b-3.csv \(looked in"):
        find_files(["{a,b}-{1,2,3}.csv"], tmp_path, (".csv",))
