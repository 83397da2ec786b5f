"""What a model plugin has to keep, as checks that any test-suite can run."""

from rechub_cli.testing.match_rows import MATCH_SCHEMA
from rechub_cli.testing.matching import MATCH_CHECKS, check_match_model
from rechub_cli.testing.ranking import CHECKS, SCHEMA, check_model

__all__ = ["CHECKS", "MATCH_CHECKS", "MATCH_SCHEMA", "SCHEMA", "check_match_model", "check_model"]
