"""The list of traps stays in step with the code: `make traps` makes each mistake and runs its test."""

import pytest
from naive import ROOT, TRAPS


@pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: trap.name)
def test_the_mistake_can_be_made_in_one_place_and_has_a_test(trap):
    assert (ROOT / "rechub_cli" / trap.file).read_text().count(trap.right) == 1
    file, _, name = trap.test.partition("::")
    assert f"def {name.partition('[')[0]}(" in (ROOT / file).read_text() if name else (ROOT / file).is_file()
