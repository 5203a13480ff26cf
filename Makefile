# Two commands set everything up on a fresh machine: `make run` and `make test`. `make web` needs no token.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run web test test-fast lint locales clean

run: token $(VENV)/.run
	@$(BIN)/python start.py

web: $(VENV)/.web
	@$(BIN)/python start.py web

# Tests start Python about a hundred times: compiled modules are kept, whatever the environment says.
unexport PYTHONDONTWRITEBYTECODE

# Each test goes to the next free process; those of one file in TOGETHER share what they start. See tests/conftest.py.
PYTEST = $(BIN)/python -m pytest -n auto --dist loadgroup --no-loadscope-reorder $(if $(STALLS),--stalls $(STALLS))

# STALLS=0.01: with moments in which the processes stand still, to find tests that pass only on a fast machine.
test: $(VENV)/.test
	$(PYTEST)

# All tests but those that start the whole program or a browser, or take a second of a core or four of waiting.
test-fast: $(VENV)/.test
	$(PYTEST) -m "not slow"

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Bring the message catalogues in line with the code and compile them, after an edit of either.
locales: $(VENV)/.test
	$(BIN)/python -m tests.support.refresh_locales

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache

# Said before anything is installed, where nobody could type a token in.
.PHONY: token
token:
	@if [ -z "$$BOT_TOKEN" ] && ! grep -Eqs '^(export +)?BOT_TOKEN=.' .env && ! [ -t 0 ]; then \
	  echo 'error: BOT_TOKEN is not set. Get a token from @BotFather in Telegram, then either put the line' >&2; \
	  echo '  BOT_TOKEN=<the token>' >&2; \
	  echo 'into a file named .env beside start.py, or set it in the environment: BOT_TOKEN=<the token> make run' >&2; \
	  exit 2; \
	fi

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'error: Python 3.11 or later is needed; name one: make PYTHON=python3.12 …' >&2; exit 2; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# TORCH=cpu: PyTorch without CUDA (1 GB instead of 5), from its own index, which the machine must reach, and ONNX Runtime.
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check
CPU_TORCH = $(if $(filter cpu,$(TORCH)),$(PIP) --index-url https://download.pytorch.org/whl/cpu)
FOR_CPU = $(if $(CPU_TORCH), -r requirements-cpu.txt)

$(VENV)/.run: requirements.txt requirements-bot.txt requirements-cpu.txt | $(BIN)/python
	$(and $(CPU_TORCH),$(CPU_TORCH) torch)
	$(PIP) -r requirements.txt$(FOR_CPU)
	@touch $@

$(VENV)/.web: requirements.txt requirements-bot.txt requirements-web.txt requirements-cpu.txt | $(BIN)/python
	$(and $(CPU_TORCH),$(CPU_TORCH) torch)
	$(PIP) -r requirements.txt -r requirements-web.txt$(FOR_CPU)
	@touch $@

$(VENV)/.test: requirements.txt requirements-bot.txt requirements-voice.txt requirements-web.txt requirements-sentry.txt requirements-edit.txt requirements-cpu.txt requirements-dev.txt | $(BIN)/python
	$(and $(CPU_TORCH),$(CPU_TORCH) torch torchvision)
	$(PIP) -r requirements-dev.txt
	@touch $@ $(VENV)/.run $(VENV)/.web
