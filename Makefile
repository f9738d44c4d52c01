# What a person does with a clone; `make help` lists it. Every target installs what it needs first.
# The steps of the install leave stamps, so that a second `make run` starts at once.

PYTHON ?= python3
N ?= 500
PEERS ?=
MINUTES ?= 5
KAFKA ?= 4.3.0
PORT ?= 9092
IMAGE ?= build/image
BIN := .venv/bin
STAMPS := .venv/stamps
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Two workers: many tests wait for processes and timers of their own. One file stays on one worker,
# so that a server or a browser that a file's tests share is started once.
PYTEST := $(BIN)/python -m pytest -q -n 2 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help install run test check format bench bench-kafka crash faults mutants kafka kafka-cluster lock image-check clean

help:  ## list the targets
	@echo "The assistant, from a clone. Start with: make run"
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1@\2/' \
	  | column -t -s @

install: $(STAMPS)/project  ## install all into .venv; the first time llama.cpp is compiled (minutes)

run: install  ## install, fetch the default model if it is used, start on http://127.0.0.1:8080
	@$(BIN)/ai-assistant models fetch --if-needed
	@exec $(BIN)/ai-assistant run

test: install $(STAMPS)/kafka-$(KAFKA)  ## all tests, after fetching the model and the Kafka that some of them talk to
	@$(BIN)/python -m models.fetch
	@$(PYTEST) $(ARGS)

check: install  ## format, lint, types, import rules, tidiness: all that needs no running assistant
	@echo "  ruff: format and lint"
	@$(BIN)/ruff format --quiet --check . || { echo "not formatted: run make format" >&2; exit 1; }
	@$(BIN)/ruff check --quiet .
	@echo "  mypy --strict"
	@$(BIN)/mypy --no-error-summary
	@echo "  import-linter: who may import whom"
	@$(BIN)/lint-imports --no-logo >.venv/imports.log || { cat .venv/imports.log; exit 1; }
	@echo "  tidy tests"
	@$(BIN)/python -m pytest -q tests/tidy

format: install  ## rewrite the code in the one format, and fix what ruff can fix
	@$(BIN)/ruff check --quiet --fix . ; $(BIN)/ruff format .

bench: install  ## measure a turn (4 minutes); PEERS=1 installs other systems and compares
	@test -z "$(PEERS)" || bash bench/peers/setup.sh
	@$(BIN)/python -m bench.turns $(if $(PEERS),,--ours)

bench-kafka: install $(STAMPS)/kafka-$(KAFKA)  ## measure a turn on Kafka (10 minutes); PEERS=1: Faust and Quix Streams too
	@test -z "$(PEERS)" || bash bench/peers/setup.sh faust quix
	@$(BIN)/python -m bench.kafka_turns --minutes $(MINUTES) $(if $(PEERS),--peers) $(ARGS)

crash: install  ## kill the engine N times at random instants and judge by what clients saw
	@$(BIN)/python -m tests.crash --kills $(N)

faults: install  ## all that may happen to a cluster, on real brokers (an hour); SHORT=1: a minute of it
	@$(BIN)/python -m tests.faults $(if $(SHORT),--fault short --messages 300) $(ARGS)

mutants: install  ## seed known defects into copies of the code: the test kit has to find them (an hour)
	@$(BIN)/python -m tests.mutants $(ARGS)

kafka: install $(STAMPS)/kafka-$(KAFKA)  ## start one Kafka broker on PORT (9092), Ctrl-C stops it; data in data/kafka
	@exec $(BIN)/python -m deploy.kafka --version $(KAFKA) --port $(PORT) --folder data/kafka

kafka-cluster: install $(STAMPS)/kafka-$(KAFKA)  ## start three, on PORT and the ports above it; data in data/kafka-cluster
	@exec $(BIN)/python -m deploy.kafka --version $(KAFKA) --port $(PORT) --brokers 3 \
	  --folder data/kafka-cluster

lock: install  ## renew what the image is made of: the versions installed here, with their hashes
	@$(PIP) install 'uv>=0.9,<1'
	@$(BIN)/python -m deploy.image.lock

image-check: install  ## carry out the Dockerfile in clean Debian roots, as root (half an hour; 2 GB)
	@command -v debootstrap >/dev/null || { echo "as root: apt-get install debootstrap" >&2; exit 1; }
	@$(BIN)/python -m models.fetch
	@$(BIN)/python -m deploy.image.in_chroot $(IMAGE) \
	  --model "$$($(BIN)/python -c 'from models.fetch import cached_file; print(cached_file())')"

clean:  ## remove .venv and what tools left; data, llama.cpp's wheel and Kafka's jars are kept
	@rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- the steps of the install --------------------------------------------------------------------

$(STAMPS)/system: deploy/install/system.sh
	@bash deploy/install/system.sh $(PYTHON)
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/venv: $(STAMPS)/system
	@test -x $(BIN)/pip || { echo "  .venv: made from $$($(PYTHON) --version)"; \
	  $(PYTHON) -m venv .venv; }
	@touch $@

$(STAMPS)/llama: deploy/install/llama_wheel.py $(STAMPS)/venv
	@$(BIN)/python deploy/install/llama_wheel.py
	@touch $@

$(STAMPS)/project: pyproject.toml $(STAMPS)/llama
	@echo "  Python packages: installing (about 75, half a minute)"
	@$(PIP) install --editable '.[llama,kafka,test]'
	@touch $@

# Java and Maven are asked for here, not by `make run`: the embedded assistant needs neither.
$(STAMPS)/kafka-$(KAFKA): deploy/kafka/pom.xml deploy/install/system.sh $(STAMPS)/venv
	@bash deploy/install/system.sh $(PYTHON) kafka
	@$(BIN)/python -m deploy.kafka --version $(KAFKA) --prepare
	@touch $@
