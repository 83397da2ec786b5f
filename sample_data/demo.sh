#!/bin/sh
# Raw files in; a click model with its metrics and scores for new rows out; then vectors of items and recommendations.
set -eu
data=$(dirname "$0")
runs=${RECHUB_RUNS_DIR:-runs}

show() { printf '\n$ %s\n' "$*" >&2; "$@"; }

run=$(show rechub train-ctr "$data/ctr/deepfm.yaml")
show rechub evaluate "$run" --data "$data/ctr/test.parquet"
show rechub predict "$run" --data "$data/ctr/test.csv" --keep user_id,item_id --output "$runs/demo_scores.csv" --overwrite

match=$(show rechub train-match "$data/match/dssm.yaml")
show rechub embed "$match" --mode item --output "$runs/demo_items.parquet" --overwrite
show rechub recommend "$match" --users "$data/match/test.parquet" -k 10 --exclude-seen \
    --output "$runs/demo_top10.csv" --limit-rows 100 --overwrite

printf '\nScores of the first rows of test.csv, in %s:\n' "$runs/demo_scores.csv"
head -4 "$runs/demo_scores.csv"
printf '\nThe first recommendations, in %s:\n' "$runs/demo_top10.csv"
head -4 "$runs/demo_top10.csv"
printf '\nThe training curves are in %s/log_table.html\n' "$run"
