# make demo: set up and train a VAE on 400 real faces. make test: set up and run the tests.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
LOWEST ?= .venv-lowest

RESUMES = test_resumes_bit_for_bit_from_a_checkpoint_in_the_middle_of_an_epoch

# Each process gets one half of the tests: what the tests of a file share is made once.
ON_2_CORES = -n 2 --dist worksteal

.PHONY: demo test test-lowest test-slow fuzz notebooks lint docs docs-links clean

demo: $(VENV)/.installed
	$(BIN)/keras-faces train vae --data orl --split all --batch-size 32 --steps 2500 \
		--learning-rate 0.002 --schedule cosine --decay-steps 2500 --ema 0.99

test: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest $(ON_2_CORES) --durations 12
	KERAS_BACKEND=jax $(BIN)/python -m pytest $(ON_2_CORES) tests/test_training.py -k "not learn_the_same" \
		tests/test_keras_doors.py tests/test_identity.py::test_descriptors_are_dlibs \
		"tests/test_contract.py::$(RESUMES)[vae]" "tests/test_contract.py::$(RESUMES)[wgan]"

test-lowest: $(LOWEST)/.installed
	$(LOWEST)/bin/python -m pytest $(ON_2_CORES) --durations 12

test-slow: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow -s
	KERAS_BACKEND=jax $(BIN)/python -m pytest $(ON_2_CORES) tests/test_contract.py

fuzz: $(VENV)/.dev
	$(BIN)/python tests/fuzz.py

notebooks: $(VENV)/.dev
	$(BIN)/python notebooks/execute.py

docs: $(VENV)/.dev
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build
	@echo "Open docs/_build/index.html"

docs-links: $(VENV)/.dev
	$(BIN)/sphinx-build -q -b linkcheck docs docs/_build/links

lint: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(VENV)/.installed: requirements.txt setup.py
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
		{ echo "keras_faces needs Python 3.11 to 3.13; give one with: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.installed requirements-dev.txt
	$(BIN)/python -m pip install --quiet --requirement requirements-dev.txt
	touch $@

$(LOWEST)/.installed: setup.py
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
		{ echo "The lowest versions are those for Python 3.11: make PYTHON=python3.11 test-lowest"; exit 1; }
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet uv
	$(LOWEST)/bin/uv pip install --quiet --python $(LOWEST)/bin/python --resolution lowest-direct --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) $(LOWEST) docs/_build build dist *.egg-info
