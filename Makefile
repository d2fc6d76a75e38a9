# The commands of this project. CI runs the same ones.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# What the installed environment depends on; a change of either installs again.
SOURCES := pyproject.toml constraints.txt
ARGS ?=
QUICK := $(BIN)/python -m pytest -n auto --dist loadfile
WHOLE := $(BIN)/python -m pytest -n 2 --dist loadfile
ALONE := $(BIN)/python -m pytest
BENCHES := ctr balance memory features scorer search soak trust drift viewers train freshness loop

.PHONY: help install up test deep again check bench chaos kafka clean

help: ## show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1	\2/' | expand -t 18

install: $(STAMP) ## make .venv with exactly the versions of constraints.txt

$(STAMP): $(SOURCES)
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
		|| { echo "streamrec needs Python 3.11 to 3.13; try: make PYTHON=python3.11" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[all,dev]"
	@touch $@

up: install ## start the whole system on this machine, with simulated viewers (ARGS="--for 60s")
	@$(BIN)/streamrec up $(ARGS)

# Tests share two cores: no library starts a thread for each.
test deep again: export OMP_NUM_THREADS := 1
test deep again: export OPENBLAS_NUM_THREADS := 1
test deep again: export XLA_FLAGS := --xla_cpu_multi_thread_eigen=false

test: install ## units and laws, then whole paths and a real Apache Kafka; whole systems one at a time
	@failed=0; \
	$(QUICK) -m "not deep" tests/unit tests/laws $(ARGS) || failed=1; \
	$(WHOLE) -m "not deep and not long" tests/flow tests/broker $(ARGS) || failed=1; \
	$(ALONE) -m "not deep and long" tests/flow tests/broker $(ARGS) || failed=1; \
	exit $$failed

deep: install ## what costs much and changes seldom: faults, clusters, TLS, rebuilds, the loop (CI runs it too)
	@failed=0; \
	$(QUICK) -m deep tests/unit tests/laws $(ARGS) || failed=1; \
	$(WHOLE) -m "deep and not long" tests/flow tests/broker $(ARGS) || failed=1; \
	$(ALONE) -m "deep and long" tests/flow tests/broker $(ARGS) || failed=1; \
	exit $$failed

again: install ## what failed last, once more, one at a time
	$(ALONE) --last-failed --last-failed-no-failures none tests $(ARGS)

check: install ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: install ## what the system is worth: every bench in turn, an hour, or one (ARGS="features --rounds 5")
	@set -e; if [ -n "$(ARGS)" ]; then $(BIN)/streamrec bench $(ARGS); \
		else for each in $(BENCHES); do $(BIN)/streamrec bench $$each; done; fi

chaos: install ## 100 kills and faults under load on a real Kafka and Redis; nothing lost, nothing twice (20 min)
	@$(BIN)/streamrec chaos $(ARGS)

kafka: install ## run a real Apache Kafka in the foreground and print its address
	@$(BIN)/python -m infra.kafka.apache $(ARGS)

clean: ## remove the environment and every cache
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
