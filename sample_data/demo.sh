#!/bin/sh
# Raw files in; a trained click model, its metrics and scores for new rows out.
set -eu
here=$(dirname "$0")/ctr
scores=${RECHUB_RUNS_DIR:-runs}/demo_scores.csv

show() { printf '\n$ %s\n' "$*" >&2; "$@"; }

run=$(show rechub train-ctr "$here/deepfm.yaml")
show rechub evaluate "$run" --data "$here/test.parquet"
show rechub predict "$run" --data "$here/test.csv" --keep user_id,item_id --output "$scores" --overwrite

printf '\nScores of the first rows of test.csv, in %s:\n' "$scores"
head -4 "$scores"
printf '\nThe training curves are in %s/log_table.html\n' "$run"
