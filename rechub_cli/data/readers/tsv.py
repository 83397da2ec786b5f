"""Tab-separated text with a header line."""

from __future__ import annotations

from rechub_cli.data.readers.csv import CSV


class TSV(CSV):
    """TSV: as CSV, with tabs."""

    suffixes = (".tsv", ".tab")
    delimiter = "\t"
