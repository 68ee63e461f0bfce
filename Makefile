# make help lists the targets. Each works from a fresh clone.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

GO       ?= go
FUZZTIME ?= 5s
# Flags of the benchmark.
BENCH    ?=
# Of the fault tests: the seed (by the clock where empty), for how long, a file that adds
# up the figures of all runs, and further flags.
SEED     ?=
DURATION ?= 2m
TALLY    ?=
FAULTS   ?=
# VERBOSE=1 prints every line of every test.
VERBOSE  ?=
# make test PKGS=./oci/... for a part.
PKGS     ?= ./...

TOOLS := tests/tools/bin

# One invocation of go test for everything, with the same flags wherever it is called, so
# that a second call answers from go's cache. Never -count=1: what go test cannot see
# changing, a test must read (see tests/clients).
TEST  := $(GO) test -race -timeout 20m -json
# tally prints what go test says, counts, and fails when a test was skipped or when none
# passed of those whose name says that they ran against etcd and S3 processes.
COUNT := $(GO) run ./tests/tally $(if $(filter ./...,$(PKGS)),-must-run External) $(if $(VERBOSE),-v)

.PHONY: help
help: ## Print the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: test
test: setup ## Run all tests, with the race detector; install what they need
	$(TEST) $(PKGS) | $(COUNT)

.PHONY: check
check: lint test ## What CI runs: lint, then all tests (from go's cache where nothing changed)

.PHONY: lint
lint: tools ## gofmt, vet, staticcheck, and the tests of the layout
	@unformatted=$$("$$($(GO) env GOROOT)/bin/gofmt" -l .); \
	if [ -n "$$unformatted" ]; then echo "not gofmt'd:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(TOOLS)/staticcheck ./...
	$(GO) test ./tests/layout

.PHONY: setup
setup: ## Install Debian packages (as root) and pinned clients that the tests need
	@tests/setup

.PHONY: tools
tools: ## Build the pinned Go clients into tests/tools/bin
	@tests/setup tools

.PHONY: generate
generate: ## Write the JSON Schema of policies from their types
	$(GO) run ./tests/schemas

# Each mutant is compiled and tested, which takes some minutes.
.PHONY: mutants
mutants: ## Break the gate check by check and see a test fail for each
	$(GO) run ./tests/mutants

# make faults SEED=7 DURATION=10m TALLY=faults.json; go run ./tests/faults -h lists all.
.PHONY: faults
faults: tools ## Break stores and kill replicas for DURATION (2m) while clients work, and check
	$(GO) run ./tests/faults -duration $(DURATION) $(if $(SEED),-seed $(SEED)) $(if $(TALLY),-tally $(TALLY)) $(FAULTS)

.PHONY: build
build: ## Build the static binary ./sluice
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags='-s -w' -o sluice ./cmd/sluice

.PHONY: demo
demo: ## Watch an artifact rise from dev to release
	$(GO) run ./cmd/sluice demo

# make bench BENCH='-only push,pull -rounds 1' for a part; go run ./tests/bench -h lists all.
.PHONY: bench
bench: tools ## Measure beside the raw store and another registry, and print the table
	$(GO) run ./tests/bench $(BENCH)

.PHONY: bench-go
bench-go: ## Run the benchmarks of the packages
	$(GO) test -run '^$$' -bench . -benchmem ./...

# go fuzzes one function of one package at a time.
.PHONY: fuzz
fuzz: ## Run each fuzzer for FUZZTIME (5s)
	@for package in $$($(GO) list ./...); do \
		for fuzzer in $$($(GO) test -list '^Fuzz' "$$package" | grep '^Fuzz' || true); do \
			echo "== $$package $$fuzzer"; \
			$(GO) test -run '^$$' -fuzz "^$$fuzzer\$$" -fuzztime $(FUZZTIME) "$$package"; \
		done; \
	done
