# Two commands do all the set-up: `make crawl` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: crawl test check fuzz chaos minutes bench bench-peers clean

# Crawl SITE=https://example.com; without it, the sample site that is shipped here, served on loopback.
crawl: $(VENV)/installed
ifdef SITE
	$(BIN)/python -m crawler $(SITE)
else
	PATH="$(CURDIR)/$(BIN):$$PATH" sh examples/sample.sh
endif

# WORKERS=3 tests at a time, as many wait for timers and processes; then, each by itself, those that bound times.
test: $(VENV)/tested
	$(BIN)/python -m pytest -n $(or $(WORKERS),3) --dist worksteal -m "not alone"
	$(BIN)/python -m pytest -m alone

# What else CI asks: style and types.
check: $(VENV)/tested
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# Mutated input for every reader of what strangers send, for SECONDS=600 in all, with another seed each time.
fuzz: $(VENV)/tested
	$(BIN)/python tests/fuzzing.py --seconds $(or $(SECONDS),600)

# Processes killed, links cut and machines stopped at random, then ledger, files and the site's own record held against
# each other; CHAOS="--seed 7 --images 100000 --kills 200", and --help tells more. Hosts are network namespaces for root.
chaos: $(VENV)/tested
	$(BIN)/python tests/chaos.py $(CHAOS)

# A real cron daemon that starts a job every minute for MINUTES=10, while its processes are killed; for root.
minutes: $(VENV)/tested
	$(BIN)/python tests/minutes.py --minutes $(or $(MINUTES),10)

# Images a second, of this crawler and others, on loopback; QUICK=1 takes minutes. benchmarks/README.md says more.
bench: $(VENV)/benched
	$(BIN)/python benchmarks/throughput.py $(if $(QUICK),--quick)

# The other tools that are Python, each into an environment of its own; names the Debian packages that are missing.
bench-peers: $(VENV)/benched
	$(BIN)/python benchmarks/environments.py

$(VENV)/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/tested: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	@sh tests/debian-packages.sh
	touch $@

$(VENV)/benched: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	touch $@

clean:
	rm -rf $(VENV) .sample
