# Needs only Python (3.11 or newer) and make; everything else goes into .venv.
PYTHON ?= python3
TORCH_INDEX ?=            # e.g. https://download.pytorch.org/whl/cpu for a CPU-only torch
FUZZ_SECONDS ?= 600
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: demo test chaos fuzz lint bench gates daily traps clean

.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "rechub needs Python 3.11 or newer; try: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt $(if $(strip $(TORCH_INDEX)),--extra-index-url $(strip $(TORCH_INDEX))) --editable '.[dev]'
	@touch $@

demo: .venv/.installed
	sample_data/demo.sh

test: .venv/.installed lint
	$(BIN)/python -m pytest -n logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder

chaos: .venv/.installed
	$(BIN)/python tests/chaos/chaos.py $(if $(KILLS),--kills $(KILLS))

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/.installed
	$(if $(strip $(TORCH_INDEX)),PIP_EXTRA_INDEX_URL=$(strip $(TORCH_INDEX)) )benchmarks/run.sh

gates: .venv/.installed
	$(BIN)/python benchmarks/gates.py

daily: .venv/.installed
	$(BIN)/python benchmarks/daily.py --work $${BENCH_WORK:-benchmarks/work}/daily

traps: .venv/.installed
	$(BIN)/python tests/traps/naive.py

fuzz: .venv/.installed
	for kind in specs files runs; do $(BIN)/python tests/fuzz/fuzz.py $$kind --seed $$(date +%j) --seconds $(FUZZ_SECONDS) --real-every 100 || exit 1; done
	$(BIN)/python -m pip install --quiet --editable '.[fuzz]'
	for target in spec encoder vocabulary checkpoint; do $(BIN)/python tests/fuzz/coverage_guided.py $$target -max_total_time=$(FUZZ_SECONDS) || exit 1; done

clean:
	rm -rf .venv build dist *.egg-info runs
