#!/bin/sh
# `make bench`: data, an environment for the other libraries, then the comparison (an hour or so on two cores).
set -eu
cd "$(dirname "$0")"
work="${BENCH_WORK:-$PWD/work}"
mkdir -p "$work"
if [ ! -e "$work/peers/.installed" ]; then
    python3 -m venv "$work/peers"
    "$work/peers/bin/pip" install --quiet "torch==2.13.0" "torch-rechub==0.9.0" "fuxictr==2.3.10" "polars<2" lightgbm
    touch "$work/peers/.installed"
fi
[ -e "$work/criteo/ids/meta.json" ] || ../.venv/bin/python data.py "$work/criteo"
exec ../.venv/bin/python bench.py --work "$work" --peers "$work/peers/bin/python" "$@"
