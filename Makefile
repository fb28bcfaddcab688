# The same words at the desk and in CI. Everything lands in .venv; nothing else on the machine is touched.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: run up test quick chaos check fix docs bench bench-scale assets screenshots audit fuzz clean help

help:  ## Show this list.
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST)

.venv/run.done: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "p3s needs Python 3.11 or newer; '$(PYTHON)' is older. Name another one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || \
	  { echo "No virtual environment could be made. On Debian and Ubuntu: apt-get install python3-venv" >&2; rm -rf .venv; exit 1; }
	@echo "installing p3s into .venv (once)" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

.venv/test.done: .venv/run.done
	@echo "installing the test tools into .venv (once)" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	@$(BIN)/python assets/fetch.py --axe .venv/axe.js || true
	@touch $@

# Without npm and its registry it says what is missing, and all else works.
.venv/assets.done: .venv/run.done assets/package-lock.json assets/fetch.py
	@echo "fetching what the monitor's pages draw with (once)" >&2
	@$(BIN)/python assets/fetch.py || true
	@touch $@

assets: .venv/run.done  ## Fetch what the monitor's pages draw with, if it is missing.
	@$(BIN)/python assets/fetch.py

run: .venv/assets.done  ## Run the example on real data: server, two pilots, results; then stop.
	@exec $(BIN)/p3s up --run workflows/quakes/quakes.yaml

up: .venv/assets.done  ## Start the server and two pilots, until Ctrl-C.
	@exec $(BIN)/p3s up

# Four at a time on two cores: half of the time, tests wait for leases and processes.
test: .venv/test.done  ## All tests, on SQLite and PostgreSQL, with real processes; installs tests/packages.txt where it may.
	@tests/install_packages.sh
	@$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder

quick: .venv/test.done  ## The tests that need neither a database server nor a browser.
	@$(BIN)/python -m pytest -n 4 --dist loadfile -m "not postgres and not processes"

chaos: .venv/test.done  ## 300 jobs while servers, pilots, PostgreSQL and the network are killed and cut; about 5 minutes.
	@$(BIN)/python -m tests.chaos
	@$(BIN)/python -m tests.chaos --database sqlite --jobs 100 --storm 60

# SECONDS, a number, is for each of the two, all roles and databases together; `make fuzz SECONDS=60` is a look.
fuzz: .venv/test.done  ## Thousands of requests of each role to each route, on both databases, and of broken files; 10 minutes.
	@$(BIN)/python -m tests.fuzz --seconds $(or $(SECONDS),480)
	@$(BIN)/python -m tests.fuzz_files --seconds $(or $(SECONDS),120)

check: .venv/test.done  ## Format, lint, types, architecture contracts, a search for holes.
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/bandit --quiet --configfile pyproject.toml --recursive p3s assets

audit: .venv/test.done  ## Whether dependencies have known holes; it fails where it could not look.
	@$(BIN)/python assets/audit.py

fix: .venv/test.done  ## Format, and mend what the linter can mend.
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

.venv-bench/done: benchmarks/peers/requirements.txt
	@echo "installing other engines into .venv-bench (once)" >&2
	@test -x .venv-bench/bin/python || $(PYTHON) -m venv .venv-bench
	@.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/peers/requirements.txt
	@touch $@

bench: .venv/test.done .venv-bench/done  ## Measure p3s beside its peers; QUICK=1 takes some minutes.
	@$(BIN)/python -m benchmarks.run $(if $(QUICK),--quick)

bench-scale: .venv/test.done  ## A million jobs through pilots without payloads; JOBS=100000 for fewer.
	@$(BIN)/python -m benchmarks.scale $(if $(JOBS),--jobs $(JOBS))

docs: .venv/test.done  ## Build the documentation; a warning is an error.
	@$(BIN)/sphinx-build -q -W -b html docs docs/_build/html

screenshots: .venv/test.done  ## Make the pictures of the monitor in docs/images, from the quakes workflow.
	@$(BIN)/python docs/screenshots.py

clean:  ## Remove the environment and everything built.
	rm -rf .venv .venv-bench p3s/server/static/built docs/_build build dist p3s.egg-info .mypy_cache .ruff_cache .hypothesis
