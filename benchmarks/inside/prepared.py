"""A process like the command's, before torch is imported; and how results are told."""

from __future__ import annotations

import json

from rechub_cli.cli.threads import settle_threads

settle_threads()


def report(**values: object) -> None:
    print("RESULT " + json.dumps(values), flush=True)
