"""A process like the command's, before torch is imported; and how results are told."""

from __future__ import annotations

import json

from rechub_cli.cli.environment import settle_environment

settle_environment()


def report(**values: object) -> None:
    print("RESULT " + json.dumps(values), flush=True)
