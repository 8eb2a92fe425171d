# Each target syncs .venv to the extras it needs (a stamp file remembers them). With PY=python3 a target
# uses that interpreter as it is, and installs nothing.

PYTHON ?= python3
VENV := .venv
ifdef PY
RUN := $(PY)
else
RUN := $(VENV)/bin/python
endif

.PHONY: demo test lint gpu-test bench banks notebooks clean

# $(call sync,NAME,EXTRAS): a stamp that is newer than everything the environment depends on
define sync
ifdef PY
.PHONY: sync-$(1)
sync-$(1):
else
.PHONY: sync-$(1)
sync-$(1): $(VENV)/stamp-$(1)
$(VENV)/stamp-$(1): pyproject.toml constraints.txt
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.$(2)'
	@touch $$@
endif
endef
$(eval $(call sync,demo,))
$(eval $(call sync,test,[test$(comma)sporco$(comma)learned$(comma)notebooks]))

demo: sync-demo
	$(RUN) -m cscopt.cli demo

test: sync-test lint
	$(RUN) -m pytest

lint: sync-test
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(RUN) -m importlinter.cli lint 2>/dev/null || $(RUN) -c "from importlinter.cli import lint_imports_command as c; c()"

gpu-test:
	$(or $(PY),$(RUN)) -m pytest -m gpu -rs tests

bench: sync-test
	$(RUN) benchmarks/csc.py

banks: sync-test
	$(RUN) data/build.py

notebooks: sync-test
	$(RUN) -m jupytext --sync --execute notebooks/*.py

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
