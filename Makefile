# Everything a developer types. `make` alone lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CFN := .venv-cfn
# docs/aws.md claims these.
REGIONS := ap-northeast-1 ap-southeast-1 ap-southeast-2 ca-central-1 eu-central-1 eu-north-1 eu-west-1 us-east-1 us-east-2 us-west-2
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help demo setup lint test unit bench bench-flink bench-tail bench-accounts bench-audit bench-verify bench-what-if soak chaos wheel lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | while IFS="$$(printf '\t')" read -r name text; do printf '  make %-14s %s\n' "$$name" "$$text"; done

# pip checks every hash; nothing outside the lock is installed.
$(BIN)/fraudctl: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("fraudctl needs Python 3.11 or newer; this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing fraudctl into $(VENV) …"
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --require-hashes --no-deps -r requirements-build.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(BIN)/fraudctl requirements-dev.lock
	@echo "Installing the development tools …"
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@

# The template's linters pin versions that fraudctl does not share.
$(CFN)/.ready: requirements-cfn.lock
	@test -x $(CFN)/bin/python || $(PYTHON) -m venv $(CFN)
	@echo "Installing the template's linters …"
	@$(CFN)/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements-cfn.lock
	@touch $@

demo: $(BIN)/fraudctl ## deploy the pipeline here, flag accounts, show the first detection
	@$(BIN)/fraudctl demo

setup: $(VENV)/.dev ## make the virtual environment with all tools

lint: $(VENV)/.dev $(CFN)/.ready ## formatting, lint, types, import contracts, the template
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(CFN)/bin/cfn-lint cfn/fraud-detection-stack.yaml --regions $(REGIONS)
	$(CFN)/bin/checkov --quiet --compact --config-file cfn/checkov.yaml
	@sed '/^  KafdropEnabled:/,/Default/s/Default: "false"/Default: "true"/' cfn/fraud-detection-stack.yaml > $(CFN)/with-kafdrop.yaml
	$(CFN)/bin/checkov --quiet --compact --config-file cfn/checkov.yaml --file $(CFN)/with-kafdrop.yaml

test: ## every test: unit, cli, contract, integration, e2e
	@$(MAKE) --no-print-directory -j2 lint unit
	$(BIN)/pytest -m "integration or e2e" -n 2 --dist loadfile

unit: $(VENV)/.dev ## only the tests that start no process
	$(BIN)/pytest -m "not integration and not e2e"

bench: $(VENV)/.dev ## measure the budgets and print them
	$(BIN)/python tests/benchmarks/bench.py

bench-flink: $(VENV)/.dev ## compare the Flink application with a plain SQL join, twenty minutes
	$(BIN)/python tests/benchmarks/bench_flink.py

bench-tail: $(VENV)/.dev ## read 1,000,000 records with tail and with kcat in turn, a minute
	$(BIN)/python tests/benchmarks/bench_tail.py

bench-verify: $(VENV)/.dev ## reconcile 1,000,000 transactions with audit verify, ten minutes
	$(BIN)/python tests/benchmarks/bench_verify.py

bench-audit: $(VENV)/.dev ## how fast detections become audit rows, and where that breaks, eight minutes
	$(BIN)/python tests/benchmarks/bench_audit.py

bench-accounts: $(VENV)/.dev ## list the accounts of 1,000,000 flag events, three minutes
	$(BIN)/python tests/benchmarks/bench_accounts.py

bench-what-if: $(VENV)/.dev ## back-test lists of flags on 1,000,000 transactions, two minutes
	$(BIN)/python tests/benchmarks/bench_what_if.py

soak: $(VENV)/.dev ## twenty kills, 500 seeds, state over 20 minutes, half an hour
	$(BIN)/pytest tests/soak/soak_flink.py -o python_files='soak_*.py' -rP

chaos: $(VENV)/.dev ## kill and hang every component under load, alone and in pairs, half an hour
	$(BIN)/python tests/chaos/chaos.py

wheel: $(VENV)/.dev ## build the wheel, the Flink application in it
	$(BIN)/python -m fraudctl.artifacts fraudctl/_data/built
	$(BIN)/python -m build --wheel --no-isolation

lock: ## pin the dependencies again (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url pyproject.toml -o requirements.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url pyproject.toml --group dev -c requirements.lock -o requirements-dev.lock
	printf 'cfn-lint\ncheckov\n' | uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url - -o requirements-cfn.lock
	printf 'hatchling\neditables\n' | uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url - -c requirements-dev.lock -o requirements-build.lock

clean: ## remove what was built
	rm -rf dist build fraudctl/_data .mypy_cache .pytest_cache .ruff_cache .hypothesis
