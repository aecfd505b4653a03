# Everything a developer runs. `make test` and `make run` work on a fresh machine; so does CI, which calls `make check`.

PYTHON ?= python3
VENV ?= .venv
PEERS ?= .peers
WORKERS ?= 4
# In CI a failure is tried once more, and both are reported: a test that needs it is a defect to be mended.
PYTEST_ARGS ?= $(if $(CI),--reruns 1 -rR)

# What a daemon must do with workers as well as without: these tests run twice.
WITH_WORKERS = $(addprefix tests/system/,client faults ipmi exec/test_in_daemon.py test_behaviour.py \
	test_client_terminal.py test_command_line.py test_devices.py test_logs.py test_queries.py test_reload.py \
	test_robustness.py test_sessions.py)

BIN = $(VENV)/bin
READY = $(VENV)/.ready
ORIGINAL = $(PEERS)/conman-0.3.1

.PHONY: help run test check lint types bench soak sdist rpm clean packages original

help:
	@echo 'make run    start the daemon on a demo site: three pretend nodes, no hardware'
	@echo 'make test   install what the tests need and run them all'
	@echo 'make check  what CI runs: lint, strict types, all tests'
	@echo 'make bench  measure against the original ConMan and print a table'
	@echo 'make soak   half an hour of mixed load, then check every log byte by byte'
	@echo 'make sdist  source distribution and wheel, in dist/'
	@echo 'make rpm    source and binary RPMs, in dist/rpm/'
	@echo 'make clean  remove what these made'

run: $(READY)
	@exec $(BIN)/python -m demo.run

test: packages $(READY) original
	CONMAN_ORIGINAL=$(abspath $(ORIGINAL)) $(BIN)/python -m pytest -n $(WORKERS) $(PYTEST_ARGS)
	CONMAN_ORIGINAL=$(abspath $(ORIGINAL)) CONMAN_TEST_WORKERS=4 \
		$(BIN)/python -m pytest -n $(WORKERS) $(PYTEST_ARGS) $(WITH_WORKERS)

check: lint types test

lint: $(READY)
	$(BIN)/ruff check .

types: $(READY)
	$(BIN)/mypy

bench: packages $(READY) original
	CONMAN_ORIGINAL=$(abspath $(ORIGINAL)) $(BIN)/python -m bench
	CONMAN_ORIGINAL=$(abspath $(ORIGINAL)) $(BIN)/python -m bench.scale
	CONMAN_ORIGINAL=$(abspath $(ORIGINAL)) $(BIN)/python -m bench.exec_scripts
	CONMAN_ORIGINAL=$(abspath $(ORIGINAL)) $(BIN)/python -m bench.exec_consoles
	CONMAN_ORIGINAL=$(abspath $(ORIGINAL)) $(BIN)/python -m bench.ipmi

# Half an hour of mixed load, then every log is checked byte by byte: make soak MINUTES=480 SOAK_ARGS='-- --workers 2'
MINUTES ?= 30
soak: $(READY)
	$(BIN)/python -m tests.soak --minutes $(MINUTES) $(SOAK_ARGS)

# The wheel is built from the source distribution, which shows that nothing is missing there.
sdist: $(READY)
	$(BIN)/python -m build --outdir dist

# RPM_ARGS='--without check' does not run the tests.
rpm: packages
	packaging/make-rpm dist/rpm $(RPM_ARGS)

# As root the packages are installed; anybody else is told which are missing.
packages:
	@PYTHON=$(PYTHON) tests/install-packages

# The original ConMan 0.3.1, as a reference and peer of the tests; nothing is installed from it.
original:
	@tests/fetch-original $(ORIGINAL)

$(READY): setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,lint]'
	touch $@

clean:
	rm -rf $(VENV) $(PEERS) .tox .mypy_cache .ruff_cache .hypothesis build dist *.egg-info bench/results
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
