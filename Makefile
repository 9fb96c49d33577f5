# nodeserver: "make help" lists what there is. Needs Go 1.26, gcc, git and make;
# "make test" also haproxy, nginx, apache2, caddy, promtool (prometheus), and ip (iproute2), for the clusters it runs in network namespaces.

SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
MAKEFLAGS += --no-builtin-rules --no-print-directory
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

GO ?= go
export CGO_ENABLED := 1

# How long each fuzz target runs, which benchmarks run, how many histories the simulator plays.
FUZZTIME ?= 10s
BENCH ?= .
SEEDS ?= 1000
FROM ?= 1

# Tools have modfiles of their own, so that their needs never become the host's.
BUF := $(GO) tool -modfile=../.ci/buf.mod buf
LINT := $(GO) tool -modfile=.ci/lint.mod golangci-lint
STATICCHECK := $(GO) tool -modfile=.ci/staticcheck.mod staticcheck

# What ends up in the binary, and what a plugin is made of besides its own folder.
sources = $(shell find $(1) -type f -not -name '*_test.go' -not -path '*/testdata/*')
HOST := go.mod go.sum $(call sources,cmd conf server channel deltamanager membership proto webapps)
SHARED := go.mod go.sum $(wildcard webapps/*.go) $(call sources,$(wildcard server/plugins))
APPS := $(sort $(patsubst webapps/%/,%,$(dir $(shell grep -ls '^func Webapp()' webapps/*/*.go))))

.PHONY: help
help: ## this list
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' Makefile

.PHONY: build
build: bin/nodeserver bin/cluster.secret ## the server: bin/nodeserver, and a secret for the samples in conf/

.PHONY: webapps
webapps: $(APPS:%=bin/webapps/%.so) ## the sample webapps as plugins: bin/webapps/NAME.so

.PHONY: demo
demo: build webapps ## see it: three nodes, visitors, a kill -9, and whether anybody noticed
	bin/nodeserver demo

.PHONY: run3
run3: build webapps ## three nodes and the balancer on http://127.0.0.1:8080, until Ctrl-C
	@set -m; pids=; \
	for i in 1 2 3; do bin/nodeserver run --conf conf/node$$i.toml --demo bin/run3 & pids="$$pids $$!"; done; \
	bin/nodeserver balance --conf conf/balance.toml & pids="$$pids $$!"; \
	trap 'kill -TERM $$pids 2>/dev/null' INT TERM; \
	echo "http://127.0.0.1:8080/cart/ and /counter/ (kill the node it names, reload; Ctrl-C ends all)"; \
	wait; wait; true # the first wait ends at Ctrl-C, the second when all are gone

# The processes of e2e/ want the machine for themselves, so they come last.
.PHONY: test
test: build webapps ## all tests, with the race detector; failures are printed last
	@$(GO) test -race -timeout 8m $$($(GO) list ./... | grep -v /e2e) 2>&1 | tee bin/test.log; unit=$$?; \
	$(GO) test -race -timeout 15m -count=1 ./e2e/... 2>&1 | tee -a bin/test.log; e2e=$$?; \
	if (( unit || e2e )); then \
		echo; echo "make test: these failed (all output: bin/test.log)"; \
		grep -E '^(FAIL|panic:|WARNING: DATA RACE|#) ?|^ *--- FAIL' bin/test.log; exit 1; \
	fi

.PHONY: browser
browser: build webapps bin/axe/node_modules/axe-core/axe.min.js ## the console in a browser: needs chromium and npm
	@command -v chromium >/dev/null || { echo "chromium is missing: install it with: apt-get install chromium"; exit 1; }
	$(GO) test -count=1 -timeout 5m -tags browser -run '^TestBrowser' ./e2e

bin/axe/node_modules/axe-core/axe.min.js: e2e/axe/package.json e2e/axe/package-lock.json
	@command -v npm >/dev/null || { echo "npm is missing: install it with: apt-get install npm"; exit 1; }
	@mkdir -p bin/axe && cp $^ bin/axe/ && npm ci --silent --no-audit --no-fund --prefix bin/axe && touch $@

# docs/SECURITY.md names them; a test holds it to names that exist.
HOSTILE = $(shell grep -oE '`Test[A-Z][A-Za-z0-9]*`' docs/SECURITY.md | tr -d '`' | sort -u | paste -sd'|')

.PHONY: hostile
hostile: build webapps ## the attacks that docs/SECURITY.md names
	@$(GO) test -count=1 -timeout 3m -run '^($(HOSTILE))$$' ./membership ./channel/... ./server/... ./e2e

.PHONY: check
check: ## all that CI checks besides tests; goes on to the end, prints what failed last
	@failed=; for c in format vet staticcheck lint proto arrows tidy bench; do \
		echo "== make check-$$c"; $(MAKE) check-$$c || failed="$$failed check-$$c"; \
	done; \
	if [[ $$failed ]]; then echo "make check: failed:$$failed"; exit 1; fi; echo "make check: all good"

.PHONY: check-format
check-format: # gofumpt and goimports; "make fmt" cures
	@$(LINT) fmt --diff

.PHONY: check-vet
check-vet:
	@$(GO) vet ./...

.PHONY: check-staticcheck
check-staticcheck:
	@$(STATICCHECK) ./...

.PHONY: check-lint
check-lint:
	@$(LINT) run

.PHONY: check-proto
check-proto: # style of the .proto files, and that the committed Go code is theirs; "make proto" cures
	@cd proto && $(BUF) lint && $(BUF) format --diff --exit-code
	@fresh=$$(mktemp -d) && trap "rm -rf $$fresh" EXIT && cd proto && $(BUF) generate -o $$fresh && \
	diff -rq -x '*.proto' -x '*.yaml' $$fresh . || { echo 'generated code in proto/ is not fresh: run "make proto"'; exit 1; }

.PHONY: check-arrows
check-arrows: # who may import whom, and what may lie at the top level
	@$(GO) test -count=1 -run '^TestArch' ./server

.PHONY: check-tidy
check-tidy:
	@$(GO) mod tidy -diff

.PHONY: check-bench
check-bench: # the module that measures: it must go on building, and its figures must be right
	@cd bench && $(GO) mod tidy -diff && $(GO) vet ./... && $(GO) tool -modfile=../.ci/lint.mod golangci-lint run && $(GO) test ./...

.PHONY: lint
lint: check-lint ## golangci-lint alone

.PHONY: fmt
fmt: ## format Go and proto files in place
	@$(LINT) fmt
	@cd proto && $(BUF) format -w

.PHONY: proto
proto: ## generate Go code from proto/
	@cd proto && $(BUF) generate

.PHONY: sim-mutants
sim-mutants: ## plant bugs in the core and look for them
	@dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && overlay=$$($(GO) run ./deltamanager/internal/mutate/plant/cmd "$$dir") && \
		$(GO) run -overlay "$$overlay" ./deltamanager/sim/cmd -mutants -seeds 500

.PHONY: sim
sim: ## the simulator: SEEDS histories of clusters, from number FROM on, through the replication core
	$(GO) run ./deltamanager/sim/cmd -seeds $(SEEDS) -from $(FROM)

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME; finds go to testdata/fuzz
	@grep -rlE '^func Fuzz' --include='*_test.go' . | while read -r f; do \
		grep -oE '^func Fuzz[A-Za-z0-9_]*' "$$f" | while read -r _ name; do \
			echo "== $$name in $$(dirname $$f)"; \
			$(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) "$$(dirname $$f)" || exit 1; \
		done || exit 1; \
	done

.PHONY: bench
bench: build webapps ## nodeserver beside what else there is, in 15 minutes; remakes docs/BENCHMARKS.md
	cd bench && $(GO) build -o bin/bench ./cmd/bench && bin/bench -setup

.PHONY: bench-full
bench-full: build webapps ## the same with all works and a million sessions; over an hour
	cd bench && $(GO) build -o bin/bench ./cmd/bench && bin/bench -setup -full

.PHONY: microbench
microbench: ## the micro benchmarks that BENCH names
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem ./...

.PHONY: clean
clean: ## remove bin/
	rm -rf bin

bin/nodeserver: $(HOST) bin/.toolchain | gcc
	$(GO) build -trimpath -buildvcs=auto -o $@ ./cmd/nodeserver

# The samples' secret: no two working trees have the same.
bin/cluster.secret: | bin/nodeserver
	bin/nodeserver secret new $@

# A plugin must match what it shares with the host, not the whole host.
.SECONDEXPANSION:
bin/webapps/%.so: $$(call sources,webapps/$$*) $(SHARED) bin/.toolchain | bin/nodeserver
	@mkdir -p $(@D)
	bin/nodeserver build webapps/$* -o $@
	@touch $@

# Changes when the toolchain does, and with it everything that was built.
bin/.toolchain: FORCE | gcc
	@mkdir -p bin; $(GO) env GOVERSION GOOS GOARCH GOFLAGS CC > $@.now; \
	if cmp -s $@.now $@; then rm $@.now; else mv $@.now $@; fi

.PHONY: FORCE
FORCE:

.PHONY: gcc
gcc:
	@command -v $(GO) >/dev/null || \
		{ echo "go is missing: install Go 1.26 from https://go.dev/dl/ and put its bin folder into PATH"; exit 1; }
	@command -v "$$($(GO) env CC | cut -d' ' -f1)" >/dev/null || \
		{ echo "gcc is missing: plugins need cgo; install it with: apt-get install gcc"; exit 1; }
	@echo '#include <stdlib.h>' | $$($(GO) env CC) -E - >/dev/null 2>&1 || \
		{ echo "the C library's headers are missing: plugins need cgo; install them with: apt-get install libc6-dev"; exit 1; }
