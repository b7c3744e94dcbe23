# On a machine with Python 3.10 or later and make: `make demo`. Everything made here lies in .venv and goes by `make clean`.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
ARGS ?=
SECONDS ?= 60

# An active virtualenv or the user's pip settings may choose the index, but not where things are installed.
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_USER := 0
unexport PIP_NO_DEPS PIP_PREFIX PIP_PYTHON PIP_ROOT PIP_TARGET PYTHONHOME PYTHONPATH VIRTUAL_ENV

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-all lint audit fuzz sim faults bench bench-setup clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' Makefile
	@echo '  ARGS="..." is handed on to demo, test, test-all, sim, faults and bench; PYTHON=... chooses the interpreter of a new $(VENV).'

demo: $(VENV)/installed ## a cluster on this machine, shown at work
	@$(PY) nodes/demo.py $(ARGS)

test: $(VENV)/installed-dev ## all tests
	@$(PY) -m pytest --numprocesses 2 --dist loadgroup $(ARGS)

test-all: $(VENV)/installed-dev ## the tests that start no processes, on every CPython 3.10 to 3.14 there is here
	@$(PY) -m nox --session tests $(if $(ARGS),-- $(ARGS))

lint: $(VENV)/installed-dev ## ruff, mypy, bandit, and the audit
	@$(PY) -m ruff check .
	@$(PY) -m mypy gossip
	@$(PY) -m bandit --quiet --configfile pyproject.toml --recursive gossip
	@$(MAKE) --no-print-directory audit

audit: $(VENV)/installed-dev ## published vulnerabilities of what is installed; says so where the service cannot be reached
	@$(PY) .ci/audit.py

fuzz: $(VENV)/installed-fuzz ## the codec and the node against a fuzzer, for SECONDS=60; ARGS="codec", "certificate", "node", "court" or "observer" for one
	@$(PY) -m tests.fuzz.run --seconds $(SECONDS) $(ARGS)

sim: $(VENV)/installed-dev ## the whole fault matrix on simulated peers, written into docs/faults.md; hours; ARGS="--quick --seeds 1" is small
	@$(PY) -m tests.simulation.matrix $(or $(ARGS),--everything)

faults: $(VENV)/installed-dev ## the fault matrix on real processes and networks (as root), written into docs/faults-real.json; hours
	@$(PY) -m pytest -m "" --record-faults $(ARGS)

bench: $(VENV)/installed-bench ## all benchmarks beside their anchors, 30 minutes; QUICK=1: 3 minutes, small
	@$(PY) -m benchmarks $(if $(QUICK),--quick) $(ARGS)

bench-setup: $(VENV)/installed-bench ## the servers that benchmarks are measured beside (Debian packages; as root)
	@$(if $(filter 0,$(shell id -u)),,sudo) apt-get install --yes --no-install-recommends redis-server etcd-server serf

clean: ## remove .venv, caches and builds
	rm -rf $(VENV) build dist .coverage .hypothesis .mypy_cache .nox .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(PY):
	@command -v "$(PYTHON)" >/dev/null || { \
		echo "There is no '$(PYTHON)' here. Install Python 3.10 or later, or name one: make PYTHON=/path/to/python3 ..." >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
		echo "'$(PYTHON)' is $$("$(PYTHON)" --version 2>&1); Python 3.10 or later is needed. Name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "'$(PYTHON)' cannot make a virtual environment: its venv or ensurepip is missing (on Debian and Ubuntu: apt install python3-venv)." >&2; exit 1; }
	@echo "making $(VENV) with $$("$(PYTHON)" --version) ..."
	@"$(PYTHON)" -m venv --clear $(VENV) || { rm -rf $(VENV); exit 1; }

# The stamps: what is installed, as of which pyproject.toml. The developer's install includes the user's.
$(VENV)/installed: $(PY) pyproject.toml
	@echo "installing gossip-registry into $(VENV) ..."
	@$(PY) -m pip install --quiet --editable .
	@touch $@

$(VENV)/installed-dev: $(PY) pyproject.toml
	@echo "installing gossip-registry and its development tools into $(VENV) ..."
	@$(PY) -m pip install --quiet --editable '.[dev,hosts,http,cli,api,sign]'
	@touch $(VENV)/installed $@

$(VENV)/installed-bench: $(VENV)/installed
	@echo "installing the tools of the benchmarks into $(VENV) ..."
	@$(PY) -m pip install --quiet --editable '.[bench,http,sign]'
	@touch $@

# atheris has no wheels for some systems; there the fuzzer's corpus is run without it, and that is said.
$(VENV)/installed-fuzz: $(VENV)/installed-dev
	@$(PY) -m pip install --quiet --only-binary atheris --editable '.[fuzz]' || echo "atheris cannot be installed here"
	@touch $@
