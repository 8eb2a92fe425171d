# Each target syncs .venv to the extras it needs; a stamp file for each set of extras remembers that it did.
# With PY=python3 a target uses that interpreter as it is, and installs nothing.

PYTHON ?= python3
VENV := .venv

ifdef PY
RUN := $(PY)
BASE :=
TEST :=
else
RUN := $(VENV)/bin/python
BASE := $(VENV)/stamp-base
TEST := $(VENV)/stamp-test
endif

.PHONY: demo test lint gpu-test bench banks notebooks clean

demo: $(BASE)
	$(RUN) -m cscopt.cli demo

test: lint
	$(RUN) -m pytest -m alone tests
	$(RUN) -m pytest -m "not gpu and not alone" -n logical --maxprocesses 8 --dist worksteal \
		--nbmake-timeout=600 --nbmake notebooks tests

lint: $(TEST)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(RUN) -c "import sys; from importlinter.cli import lint_imports_command as lint; sys.argv = ['lint-imports']; lint()"

gpu-test: $(TEST)
	$(RUN) -m pytest -m gpu -rs tests

bench: $(TEST)
	$(RUN) benchmarks/csc.py

banks: $(TEST)
	$(RUN) data/build.py

notebooks: $(TEST)
	$(RUN) -m jupytext --to ipynb --execute --set-kernel python3 notebooks/*.py

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/stamp-base: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/stamp-test: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,sporco,learned,notebooks,cluster]'
	touch $@
