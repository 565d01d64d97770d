# Everything that is fetched or built is kept outside the clone, so that a second run needs no network.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

export XDG_CACHE_HOME := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)
export CARGO_TARGET_DIR := $(or $(CARGO_TARGET_DIR),$(XDG_CACHE_HOME)/kolk/target)

# Always the release profile: one compilation of every dependency for the demo, tests and benches.
CARGO_FLAGS := --release --locked

.PHONY: help demo demo-kafka test chaos test-data build tools test-tools onnxruntime kafka kafka-stop fmt lint fuzz bench

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: build onnxruntime ## train, publish and run on the weather at three airports; DEMO=short for one model
	@scripts/demo.sh

demo-kafka: build test-tools onnxruntime ## the same weather through Kafka, hour by hour, exactly once; about a minute
	@scripts/demo_kafka.sh

test: test-tools onnxruntime ## every test, with a Kafka of its own; ARGS="--test it kafka" for some
	@scripts/test.sh $(ARGS)

chaos: test-tools onnxruntime ## the long chaos on Kafka, of one broker and of three, and late requests; KOLK_CHAOS_SEED=n repeats one
	@KOLK_CHAOS=long scripts/test.sh --test it -- kafka::chaos kafka::torn --nocapture --test-threads=1

test-data: build onnxruntime ## train and run on the sets in $KOLK_DATA; prints the table of errors
	@scripts/test_data.sh

build: tools ## the binary
	@cargo build $(CARGO_FLAGS)

tools: ## check for compilers, headers and Python; install them on Debian as root
	@scripts/build-tools.sh

test-tools: ## the same, with what the tests need: Java, Maven, kcat
	@scripts/build-tools.sh test

kafka: test-tools ## start a Kafka of one node on the loopback interface; prints its address
	@scripts/kafka.sh start

kafka-stop: ## stop it and delete its topics
	@scripts/kafka.sh clean

onnxruntime: tools ## ONNX Runtime's library, from the pinned official wheel
	@scripts/onnxruntime.sh >/dev/null

fmt: ## format the sources
	@cargo fmt

lint: ## formatting and clippy, as CI checks them
	@cargo fmt --check
	@scripts/one_build.sh
	@cargo clippy $(CARGO_FLAGS) --all-targets -- --deny warnings

fuzz: tools ## fuzz what reads foreign bytes; TARGET=json for one of them, SECONDS_EACH=60
	@scripts/fuzz.sh $(TARGET)

bench: tools onnxruntime ## benches; best on a quiet machine
	@ORT_DYLIB_PATH=$$(scripts/onnxruntime.sh 2>/dev/null) cargo bench --locked
