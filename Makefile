# Everything that is fetched or built is kept outside the clone, so that a second run needs no network.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

export XDG_CACHE_HOME := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)
export CARGO_TARGET_DIR := $(or $(CARGO_TARGET_DIR),$(XDG_CACHE_HOME)/kolk/target)

# Always the release profile: one compilation of every dependency for the demo, tests and benches.
CARGO_FLAGS := --release --locked

.PHONY: help demo test test-data build tools onnxruntime fmt lint bench

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: build onnxruntime ## train, publish and run on the weather at three airports; DEMO=short for one model
	@scripts/demo.sh

test: tools onnxruntime ## every test
	@python=$$(scripts/python.sh); ORT_DYLIB_PATH=$$(scripts/onnxruntime.sh 2>/dev/null) KOLK_PYTHON=$$python cargo test $(CARGO_FLAGS)

test-data: build onnxruntime ## train and run on the sets in $KOLK_DATA; prints the table of errors
	@scripts/test_data.sh

build: tools ## the binary
	@cargo build $(CARGO_FLAGS)

tools: ## check for a C compiler and Python; install them on Debian as root
	@scripts/build-tools.sh

onnxruntime: tools ## ONNX Runtime's library, from the pinned official wheel
	@scripts/onnxruntime.sh >/dev/null

fmt: ## format the sources
	@cargo fmt

lint: ## formatting and clippy, as CI checks them
	@cargo fmt --check
	@scripts/one_build.sh
	@cargo clippy $(CARGO_FLAGS) --all-targets -- --deny warnings

bench: tools onnxruntime ## benches; best on a quiet machine
	@ORT_DYLIB_PATH=$$(scripts/onnxruntime.sh 2>/dev/null) cargo bench --locked
