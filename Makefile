# `make` alone lists what there is to do.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
INFRA_VENV := .venv-infra
INFRA_INSTALLED := $(INFRA_VENV)/.installed

.PHONY: help install infra-tools run test check lint types layers cover bench fmt system-tools clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' $(MAKEFILE_LIST) | column -t -s '|'

install: $(INSTALLED) ## make .venv with the command receiver in it

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	# The official client of DataForSEO pins an urllib3 that boto3 has outgrown; it runs with this one.
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps dataforseo-client
	@touch $@

infra-tools: $(INFRA_INSTALLED) ## make .venv-infra with the linters of infra/ in it

$(INFRA_INSTALLED): tests/infra/requirements.txt
	$(PYTHON) -m venv $(INFRA_VENV)
	$(INFRA_VENV)/bin/python -m pip install --quiet --no-deps --requirement $<
	@touch $@

# Ctrl-C reaches the shell, too: with a trap it waits for the receiver, and make reports no error.
run: install ## serve on 127.0.0.1:8000, archive in data/archive; prints what to try
	@trap : INT; $(BIN)/receiver serve || test $$? -eq 130

test: install infra-tools ## all tests
	$(BIN)/python -m pytest -n 3 --dist loadfile

check: lint types layers test ## everything that CI checks

lint: install ## formatting and lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: install ## mypy, strict
	$(BIN)/mypy receiver tests

layers: install ## who may import whom
	$(BIN)/lint-imports

bench: install ## measure; writes a table and a plot to bench-results/
	$(BIN)/python -m tests.tools.bench

fmt: install ## fix formatting and what lint can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

system-tools: ## install what tests and benchmark use beyond Python (Debian, as root)
	apt-get update --quiet=2
	DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet=2 --no-install-recommends \
		curl haproxy jq nginx openjdk-17-jre-headless prometheus strace systemd wrk

clean: ## remove what the above made
	rm -rf $(VENV) $(INFRA_VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	rm -rf .hypothesis bench-results
