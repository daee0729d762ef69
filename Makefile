# Every target does its own set-up: a fresh machine needs Python 3.11+ and make, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-for-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
DATA ?= ../shared/data

.PHONY: demo test lint bench figures clean

demo: $(STAMP)  ## train on three tasks plainly and by I-LoRA, join the checkpoints, draw the barriers: runs/demo
	$(BIN)/modeconn demo --output-dir runs/demo

# Without the last option the files of few tests come last, which are the longest: one core would wait for them.
test: $(STAMP)-quantised  ## the whole test suite
	$(BIN)/python -m pytest -q -n auto --dist loadfile --no-loadscope-reorder

lint: $(STAMP)  ## ruff (style, imports, docstrings) and pyright (types)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

bench: $(STAMP)  ## every benchmark in analysis/benchmarks
	for file in analysis/benchmarks/*.py; do MODECONN_DATA=$(DATA) $(BIN)/python $$file || exit 1; done

figures: $(STAMP)  ## every image of the gallery from its committed table
	for file in figures/*.py; do $(BIN)/python $$file || exit 1; done

clean:  ## remove the environment and the runs
	rm -rf $(VENV) runs

# torch is pinned first and alone: constraints.txt says which build, so that no other package picks one.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,lint,demo]'
	touch $@

# PEFT imports torchao and bitsandbytes wherever they are: what needs neither starts sooner without.
$(STAMP)-quantised: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[quantised]'
	touch $@
