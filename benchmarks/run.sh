#!/bin/sh
# `make bench`: environments for the other libraries, then the data, the measures and the report.
# Arguments go to `bench.py run`: --quick, --rounds N, --only MEASURE...
set -eu
cd "$(dirname "$0")"
work="${BENCH_WORK:-$PWD/work}"
python="$PWD/../.venv/bin/python"
mkdir -p "$work"

# environment NAME PACKAGE...: pip reads PIP_EXTRA_INDEX_URL, e.g. for a PyTorch without CUDA.
environment() {
    name="$1"
    shift
    [ -e "$work/$name/.installed" ] || {
        "$python" -m venv "$work/$name" &&
            "$work/$name/bin/pip" install --quiet "torch==2.13.0" "$@" &&
            touch "$work/$name/.installed"
    }
}

environment peers "torch-rechub==0.9.0" "fuxictr==2.3.10" "polars<2" "deepctr-torch==0.3.0" lightgbm
environment recbole "recbole==1.2.1" "numpy<2" "pandas<3" "pyarrow<20" || echo "RecBole cannot be installed here: going on without it" >&2

status=0
"$python" bench.py run --work "$work" "$@" || status=$?
"$python" bench.py report --work "$work" -o "${BENCH_REPORT:-../docs/benchmarks.md}"
exit "$status"
