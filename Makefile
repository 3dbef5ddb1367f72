# Everything a user does, each from a fresh checkout: `make explore`, `make test`. The environment lives in .venv.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
FILE ?= ../shared/seed/test_compression_concurrent_fork.py
WORKERS ?= 2

.PHONY: explore ledger test test-long test-overnight upstream-test upstream-interleave lint types docs counts overhead peers mutants trials hermes check clean

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $(STAMP)

explore: $(STAMP)  ## every ordering of the compression fork, for every protocol of the ladder, without faults and with them
	$(BIN)/simharness explore scenarios/compression_fork.py --workers $(WORKERS)

ledger: $(STAMP)  ## reports from production: where each is found, and where its repair is verified
	$(BIN)/simharness explore scenarios/ledger.py --by-scenario --no-timelines --workers $(WORKERS)

test: $(STAMP)  ## the test suite, some six minutes on two cores
	$(BIN)/python tests/suite.py --workers $(WORKERS)

test-long: $(STAMP)  ## the test suite with the long tests
	$(BIN)/python tests/suite.py --workers $(WORKERS) -m 'long or not long'

test-overnight: $(STAMP)  ## all of the long tests: `make test-long` takes a share of the largest families
	$(BIN)/python tests/suite.py --workers $(WORKERS) -m 'long or not long' --overnight

upstream-test: $(STAMP)  ## an upstream regression test, unmodified, against hermes_state: make upstream-test FILE=...
	PYTHONPATH=.:tests/upstream $(BIN)/python -m pytest -q -p no:cacheprovider -o pythonpath= -o addopts= --rootdir=$(dir $(FILE)) $(FILE)

upstream-interleave: $(STAMP)  ## the same test, unmodified, under every ordering: make upstream-interleave FILE=... HERMES_STATE_PROTOCOL=lease
	PYTHONPATH=.:tests/upstream $(BIN)/python -m pytest -q --interleave -p no:cacheprovider -o pythonpath= -o addopts= \
		-o interleave_corpus=$(CURDIR)/.simharness --rootdir=$(dir $(FILE)) $(FILE)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(STAMP)
	$(BIN)/mypy

docs: $(STAMP)  ## runs the examples of the README, the docs and the docstrings
	$(BIN)/python -m pytest -q tests/test_docs.py

counts: $(STAMP)
	$(BIN)/python benchmarks/counts.py

overhead: $(STAMP)
	$(BIN)/python benchmarks/overhead.py

mutants: $(STAMP)  ## the engine broken in some fifty places, one at a time: the tests must notice each
	$(BIN)/python tests/mutants.py --jobs $(WORKERS)

peers: $(STAMP)  ## the store workload under other tools too, each in an environment of its own
	for tool in frontrun detangle; do \
		test -x .peers/$$tool/bin/python || { $(PYTHON) -m venv .peers/$$tool && .peers/$$tool/bin/python -m pip install -q $$tool; } || true; \
	done
	$(BIN)/python benchmarks/peers.py

trials:  ## threaded tests of well-known packages under every ordering, in an environment of their own: docs/trials.md
	test -x .trials/bin/python || $(PYTHON) -m venv .trials
	.trials/bin/python -m pip install --quiet --disable-pip-version-check --editable . -r benchmarks/trials/requirements.txt
	rm -rf benchmarks/trials/.corpus
	cd benchmarks/trials && ../../.trials/bin/python -m pytest -c pytest.ini --rootdir . $(RUN)
	cd benchmarks/trials && ../../.trials/bin/python checks.py

hermes:  ## releases of the real hermes-agent, each in an environment of its own, and a table of what holds in which: docs/hermes.md
	$(PYTHON) benchmarks/hermes.py --jobs $(WORKERS) $(RUN)

check: lint types test

clean:
	rm -rf $(VENV) .hermes .mypy_cache .ruff_cache .hypothesis
