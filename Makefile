# make demo: the main job on Iris.  make test: the tests.  make docs: the site, in docs/_build.
# Each makes the environment first if it is not there.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test lint docs bench wheel clean

demo: $(VENV)/.installed
	$(BIN)/emnet compare iris

test: $(VENV)/.installed
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || echo "note: no chromium and chromedriver here (apt-get install chromium chromium-driver): the report's tests in a browser are skipped"
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.docs
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -W --keep-going -q docs docs/_build

bench: $(VENV)/.installed
	$(BIN)/python -m benchmarks

wheel: $(VENV)/.installed
	$(BIN)/python -m build --wheel --outdir dist

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[io,report,onnx,tensorboard,mlflow]" --group dev
	touch $@

$(VENV)/.docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group docs
	touch $@

clean:
	rm -rf $(VENV) dist docs/_build docs/gallery docs/reference/api
