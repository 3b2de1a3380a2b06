# `make` alone lists the targets.
.DEFAULT_GOAL := help
PYTHON ?= python3
# Three environments: what the receiver needs, what its development needs, and the linters of
# infra/, whose packages contradict those of the other two.
RUN := .venv
DEV := .venv-dev
INFRA := .venv-infra
BIN := $(DEV)/bin
PIP_INSTALL := -m pip install --quiet --constraint constraints.txt

.PHONY: help install dev infra-tools run quick test check lint types layers bench fmt system-tools \
	pins clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1 /p' $(MAKEFILE_LIST) | \
		while read -r name text; do printf '%-14s%s\n' "$$name" "$$text"; done

install: $(RUN)/.installed ## make .venv: the command receiver and the packages it needs

$(RUN)/.installed: pyproject.toml constraints.txt
	@echo "Setting up $(RUN): the receiver and the packages it needs, about 130 MB. This is done once."
	@$(PYTHON) -m venv --clear $(RUN)
	@$(RUN)/bin/python $(PIP_INSTALL) --editable .
	@touch $@

dev: $(DEV)/.installed ## make .venv-dev: what tests, linters and benchmarks need

$(DEV)/.installed: pyproject.toml constraints.txt
	@echo "Setting up $(DEV): what tests, linters and benchmarks need, about 1.3 GB. This is done once."
	@$(PYTHON) -m venv $(DEV)
	@$(BIN)/python $(PIP_INSTALL) --editable '.[dev]'
	@# DataForSEO's official client pins an older urllib3 than boto3 needs; it works with this one.
	@$(BIN)/python $(PIP_INSTALL) --no-deps dataforseo-client
	@touch $@

infra-tools: $(INFRA)/.installed ## make .venv-infra: the linters of infra/

$(INFRA)/.installed: tests/infra/requirements.txt
	@echo "Setting up $(INFRA): the linters of infra/, about 600 MB. This is done once."
	@$(PYTHON) -m venv $(INFRA)
	@$(INFRA)/bin/python -m pip install --quiet --no-deps --requirement $<
	@touch $@

# Ctrl-C reaches the shell, too: with a trap it waits for the receiver, and make reports no error.
run: install ## serve on 127.0.0.1:8000, archive in data/archive; prints what to try
	@trap : INT; $(RUN)/bin/receiver serve || test $$? -eq 130

quick: dev ## the tests that start no process and open no socket
	$(BIN)/python -m pytest -n 2 -m "not system and not integration"

# Most of the time is spent waiting for other processes, so there are more workers than cores.
test: dev infra-tools ## all tests
	$(BIN)/python -m pytest -n 5 --dist loadfile --no-loadscope-reorder

check: lint types layers test ## everything that CI checks

lint: dev ## formatting and lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: dev ## mypy, strict
	$(BIN)/mypy receiver tests

layers: dev ## who may import whom
	$(BIN)/lint-imports

bench: dev ## measure; writes a table and a plot to bench-results/
	$(BIN)/python -m tests.tools.bench

fmt: dev ## fix formatting and what lint can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

system-tools: ## install what tests and benchmarks use beyond Python (Debian, as root)
	apt-get update --quiet=2
	DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet=2 --no-install-recommends \
		curl haproxy jq nginx openjdk-17-jre-headless prometheus strace systemd wrk

pins: ## write constraints.txt anew, with the current releases
	$(PYTHON) -m venv --clear $(DEV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --no-deps dataforseo-client
	$(BIN)/python -m pip freeze --exclude-editable | LC_ALL=C sort --ignore-case > constraints.txt
	@touch $(DEV)/.installed

clean: ## remove what the above made
	rm -rf $(RUN) $(DEV) $(INFRA) build *.egg-info .pytest_cache .mypy_cache .ruff_cache
	rm -rf .import_linter_cache .hypothesis bench-results
