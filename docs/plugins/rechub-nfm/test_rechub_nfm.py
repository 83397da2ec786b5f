"""The model keeps rechub's contract."""

import pytest
from rechub_nfm import NFM

from rechub_cli.testing import CHECKS


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_nfm_keeps_the_contract(check):
    check(NFM, hidden_dims=[16])
