"""What a model plugin has to keep, as checks that any test-suite can run."""

from rechub_cli.testing.ranking import CHECKS, SCHEMA, check_model

__all__ = ["CHECKS", "SCHEMA", "check_model"]
