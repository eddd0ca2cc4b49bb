# The two commands a person needs are `make demo` and `make test`; both install what is missing.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?=
SCENARIOS := $(notdir $(basename $(wildcard sims/scenarios/*.toml)))
LARGE_SCENARIOS := community-20 community-100 community-1000
SMALL_SCENARIOS := $(filter-out swarm $(LARGE_SCENARIOS),$(SCENARIOS))

.PHONY: demo test simulate bench lint types imports nightly lock proto install clean

demo: install
	$(BIN)/wice demo

test: install
	$(BIN)/pytest -m "not nightly" $(PYTEST_ARGS)

# The tests run the swarm's first 20 seeds, and the small scenarios with another seed than this.
simulate: install
	$(BIN)/wice sim grid --ip 4
	$(BIN)/wice sim grid --ip 6
	set -e; for scenario in $(SMALL_SCENARIOS); do $(BIN)/wice sim run $$scenario; done
	$(BIN)/wice sim swarm --first-seed 21 --seeds 40

nightly: install
	set -e; for scenario in $(LARGE_SCENARIOS); do $(BIN)/wice sim run $$scenario; done
	set -e; for scenario in $(SMALL_SCENARIOS); do $(BIN)/wice sim swarm $$scenario --seeds 20; done
	$(BIN)/wice sim swarm --seeds 1000
	$(BIN)/pytest -m "nightly" $(PYTEST_ARGS)

bench: install
	$(BIN)/python -m tests.bench --json build/bench.json

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

imports: install
	$(BIN)/lint-imports

install: $(VENV)/installed

# System packages come first: fastecdsa, which libp2p needs, compiles against libgmp.
$(VENV)/installed: requirements.lock debian-packages.txt pyproject.toml
	$(PYTHON) tools/install_debian_packages.py debian-packages.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes --requirement requirements.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	# libp2p brings trio-typing, whose stubs of an old trio would hide trio's own types from mypy.
	rm -rf $(VENV)/lib/python3*/site-packages/trio-stubs
	touch $@

# Versions and hashes only: no index is named.
lock:
	$(BIN)/pip install --quiet pip-tools
	$(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras \
	  --no-header --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-annotate \
	  --output-file requirements.lock pyproject.toml requirements-dev.in

proto: install
	$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. wice/proto/*.proto

clean:
	rm -rf $(VENV)
