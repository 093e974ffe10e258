# One verb per chore. `make` or `make help` lists them.
# Needs Python >= 3.11 and make; everything else is installed into .venv from requirements.lock.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(firstword $(foreach name,python3 python3.14 python3.13 python3.12 python3.11,\
	$(shell $(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && command -v $(name))))
READY := $(VENV)/.ready

PACKAGES := core/unicorn_graph core/unicorn_core core/unicorn_kube executor/unicorn_executor builder/unicorn_builder \
	store/unicorn_store connectors/unicorn_connectors operator/unicorn_operator gateway/unicorn_gateway devcluster/unicorn_devcluster
AGENT := core/unicorn_graph executor/unicorn_executor
EXAMPLE ?= hello
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help venv lint format generate test test-fast bench demo demo-down base-image lock

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | awk -F'|' '{printf "  make %-10s %s\n", $$1, $$2}'

venv: $(READY) ## the virtual environment .venv, with everything in it

$(READY): requirements.lock pyproject.toml devcluster/venv.sh
	@sh devcluster/venv.sh "$(PYTHON)" $(VENV)
	@touch $@

lint: $(READY) ## style, types, layers, generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(PACKAGES)
	$(BIN)/lint-imports
	$(BIN)/vermin --quiet --no-tips --target=3.9- --violations $(AGENT)
	$(BIN)/python -m unicorn_core.resources.crds --check crds/
	$(BIN)/python -m unicorn_core.resources.reference --check docs/reference.md

format: $(READY) ## put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

generate: $(READY) ## write crds/ and docs/reference.md anew from the models
	$(BIN)/python -m unicorn_core.resources.crds crds/
	$(BIN)/python -m unicorn_core.resources.reference docs/reference.md

test: $(READY) ## all tests, on a real PostgreSQL and a real Kubernetes (ARGS="..." goes to pytest)
	$(BIN)/python -m pytest $(ARGS)

test-fast: $(READY) ## the tests that need neither database nor cluster
	$(BIN)/python -m pytest -m "not database and not cluster and not pods and not tools" $(ARGS)

bench: $(READY) ## the numbers, as tables (BENCH=task_gap: one of bench/)
	@for file in $(if $(BENCH),bench/$(BENCH).py,$(sort $(wildcard bench/[a-z]*.py))); do \
		echo "== $$file" && $(BIN)/python $$file $(ARGS) || exit 1; done

demo: $(READY) ## a Kubernetes, PostgreSQL, operator and gateway; runs examples/hello (EXAMPLE=failure-edges: another)
	@$(BIN)/python -m unicorn_devcluster.demo $(EXAMPLE)

demo-down: $(READY) ## end the demo and remove everything of it
	@$(BIN)/python -m unicorn_devcluster.demo --down

base-image: $(READY) ## a Debian with Python to build upon, made by debootstrap (TO=HOST/NAME:TAG, else the demo's registry)
	@$(BIN)/python -m unicorn_devcluster.images base $(if $(TO),--to $(TO)) $(ARGS)

lock: $(READY) ## write requirements.lock anew from pyproject.toml
	$(BIN)/uv pip compile --quiet --no-emit-index-url --universal --python-version 3.11 --extra dev pyproject.toml -o requirements.lock
