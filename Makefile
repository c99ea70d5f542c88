# Two commands for a fresh machine: `make demo` and `make test`. Nothing but Python 3.11+, Java and make is needed.
PYTHON ?= python3
BIN := .venv/bin
export PYSPARK_PYTHON := $(CURDIR)/$(BIN)/python

.PHONY: setup demo test check bench clean

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	@command -v java >/dev/null || test -x "$$JAVA_HOME/bin/java" || { echo "Java 17 or 21 is missing. Install it: apt-get install openjdk-17-jre-headless (Debian, Ubuntu), brew install openjdk@17 (macOS)"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	$(BIN)/python -m resight.session
	@touch $@

demo: setup
	$(BIN)/python -m resight.demo demo
	$(BIN)/resight run --workspace demo/workspace --source demo/photos --ground-truth demo/truth.csv --spark-conf conf/spark/local.conf

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: check
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --durations 20

bench: setup
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev,bench]"
	$(BIN)/python benchmarks/run.py

clean:
	rm -rf .venv demo
