# Everything from a fresh machine with python3 and make: `make demo` and `make test` set up what they need.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ANOMALIB := .venv-anomalib
ANOMALIB_READY := $(ANOMALIB)/.ready
SWIFT := .venv-swift
SWIFT_READY := $(SWIFT)/.ready
CEPH_PACKAGES := radosgw ceph-mon ceph-osd ceph-mgr

.PHONY: demo test browser test-anomalib test-ceph test-gpu lint bench docs site setup clean

setup: $(READY)

# Exact versions that were tested stand in constraints.txt; a half-made environment has no .ready and is made anew.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "fod-bench needs Python 3.10 or newer; set PYTHON=python3.x"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $(READY)

# OpenStack Swift, a real S3 server for the tests, wants packages of its own.
$(SWIFT_READY): tests/helpers/swift-constraints.txt
	test -x $(SWIFT)/bin/python || $(PYTHON) -m venv $(SWIFT)
	$(SWIFT)/bin/python -m pip install --quiet --disable-pip-version-check --constraint tests/helpers/swift-constraints.txt swift
	@touch $(SWIFT_READY)

demo: setup
	$(BIN)/fod-bench run jobs/quickstart.yaml

# A browser for the tests of pages. Where it cannot be installed these tests are skipped, and say so.
browser:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || \
	if test "$$(id -u)" = 0 && grep -q '^ID=debian' /etc/os-release; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install --yes -qq --no-install-recommends chromium || \
			echo "chromium could not be installed: the tests of pages in a browser are skipped"; \
	else echo "no chromium, and no Debian with root to install it on: the tests of pages in a browser are skipped"; fi

test: setup browser $(SWIFT_READY)
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile

# The same contract against a real Ceph gateway, from Debian's packages: Debian or Ubuntu, and root where they are missing.
test-ceph: setup
	@{ command -v radosgw && command -v ceph-mon && command -v ceph-osd && command -v ceph-mgr; } >/dev/null || { \
		command -v apt-get >/dev/null || { echo "test-ceph needs $(CEPH_PACKAGES), and there is no apt-get to install them"; exit 1; }; \
		test "$$(id -u)" = 0 || { echo "test-ceph needs root to install $(CEPH_PACKAGES): sudo apt-get install them, or run as root"; exit 1; }; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install --yes -qq --no-install-recommends $(CEPH_PACKAGES); }
	$(BIN)/python -m pytest -vv -m ceph

# anomalib brings some thirty packages, which the other tests are to pass without: it has an environment of its own.
$(ANOMALIB_READY): pyproject.toml constraints.txt tests/helpers/anomalib-constraints.txt
	test -x $(ANOMALIB)/bin/python || $(PYTHON) -m venv $(ANOMALIB)
	$(ANOMALIB)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--constraint tests/helpers/anomalib-constraints.txt --editable '.[dev,anomalib]'
	@touch $(ANOMALIB_READY)

test-anomalib: $(ANOMALIB_READY)
	$(ANOMALIB)/bin/python -m pytest -vv tests/methods/anomalib tests/system/test_run_anomalib.py

# What only a GPU shows; the other tests are of a CPU on every machine.
test-gpu: setup
	FOD_BENCH_TEST_DEVICE=cuda $(BIN)/python -m pytest -vv -m gpu

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup $(SWIFT_READY)
	$(BIN)/python -m benchmarks

docs: setup
	$(BIN)/python -m fod_bench.job.reference_page > docs/job-reference.md
	$(BIN)/python -m benchmarks.backbones > docs/backbones.md
	$(BIN)/python -m fod_bench.report.tables_page > docs/tables.md

# The pages of docs/ as a site in build/site, which opens from a disk; a link that leads nowhere ends it.
site: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) $(ANOMALIB) $(SWIFT) build dist *.egg-info results/store
