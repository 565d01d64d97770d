# Everything that is downloaded or built is kept outside the clone, so a second run needs no network.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

export XDG_CACHE_HOME := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)
export CARGO_TARGET_DIR := $(or $(CARGO_TARGET_DIR),$(XDG_CACHE_HOME)/kolk/target)

# Always the release profile: every dependency is compiled once for the demo, tests and benches.
CARGO_FLAGS := --release --locked

.PHONY: help demo demo-kafka demo-voice demo-models models gradients test chaos deploy-test image image-test test-data build tools test-tools onnxruntime onnxruntime-gpu kafka kafka-stop fmt lint fuzz bench bench-train test-parity

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: build onnxruntime ## train, publish and run on the weather of three airports; DEMO=short for one model
	@scripts/demo.sh

demo-kafka: build test-tools onnxruntime ## the same through Kafka, exactly once; about a minute
	@scripts/demo_kafka.sh

demo-voice: build test-tools onnxruntime ## speech or not, of a thousand callers on Kafka, by an imported model; CALLERS=10
	@scripts/demo_voice.sh

demo-models: build onnxruntime ## downloaded models on sound, compared with a loop in Python: voice filter; spoken digits in KOLK_DATA
	@scripts/demo_models.sh

models: build onnxruntime ## make the published versions in models/ again, to the same bytes
	@scripts/make_models.sh

gradients: build onnxruntime ## the adding problem on each cell: the table and pictures of docs/gradients.md; about 3 minutes
	@scripts/gradients.sh

test: test-tools onnxruntime $(if $(ARGS),,build) ## run every test, with its own Kafka; ARGS="--test it kafka" for some
	@scripts/test.sh $(ARGS)

chaos: test-tools onnxruntime ## run the long chaos test on Kafka: one broker, three brokers, late requests; KOLK_CHAOS_SEED=n repeats one
	@KOLK_CHAOS=long scripts/test.sh --test it -- kafka::chaos kafka::torn --nocapture --test-threads=1

deploy-test: build test-tools onnxruntime ## check deploy/ for Kubernetes without a cluster; ARGS=quick as make test does it, ARGS=render without Kafka
	@scripts/deploy_test.sh $(ARGS)

image: tools ## build deploy/Dockerfile without Docker, with SBOM and licences, and test it; Debian, as root
	@scripts/image.sh $(ARGS)
	@$(MAKE) --no-print-directory image-test

image-test: test-tools ## run that image as a cluster would: user 10001, read-only root, signals to process 1, demo, Kafka
	@scripts/image_test.sh

test-data: build onnxruntime ## train and run on the data sets in $KOLK_DATA; print the table of errors
	@scripts/test_data.sh

build: tools ## build the binary
	@cargo build $(CARGO_FLAGS)

tools: ## check for compilers, headers and Python; on Debian as root, install them
	@scripts/build-tools.sh

test-tools: ## as tools, with what the tests need: Java, Maven, kcat
	@scripts/build-tools.sh test

kafka: test-tools ## start a Kafka of one node on the loopback interface; print its address
	@scripts/kafka.sh start

kafka-stop: ## stop that Kafka and delete its topics
	@scripts/kafka.sh clean

onnxruntime: tools ## download ONNX Runtime's library from the pinned official wheel
	@scripts/onnxruntime.sh >/dev/null

onnxruntime-gpu: tools ## download ONNX Runtime with CUDA from the pinned official wheel, 256 MB, for runtime.device
	@scripts/onnxruntime_gpu.sh >/dev/null

fmt: ## format the sources
	@cargo fmt

lint: ## check formatting and clippy, as CI does
	@cargo fmt --check
	@scripts/one_build.sh
	@cargo clippy $(CARGO_FLAGS) --all-targets -- --deny warnings

fuzz: tools ## fuzz all that reads bytes of others; TARGET=json for one, SECONDS_EACH=60 or RUNS=1000000, MEMORY=512
	@scripts/fuzz.sh $(TARGET)

bench: tools onnxruntime ## run the benches; best on a quiet machine
	@ORT_DYLIB_PATH=$$(scripts/onnxruntime.sh 2>/dev/null) cargo bench --locked

bench-train: tools ## training beside PyTorch's CPU modules in one run (PyTorch from PyPI, once, 6 GB); ROUNDS=5
	@scripts/bench_train.sh

test-parity: tools ## 100 Adam steps of every cell beside Keras and PyTorch, which are installed; exits 1 beyond 1e-4
	@scripts/test_parity.sh
