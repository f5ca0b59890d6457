# Forebay's own commands. `make help` lists them; `make test` is what CI runs.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

FUZZTIME ?= 5s
TESTFLAGS ?=
GOBIN_TOOLS = $(shell tools/install go)

.PHONY: help build test fmt lint lint-selftest unit race fuzz e2e e2e-cluster faults bench bench-cluster bench-groups bench-life torture torture-seeded cover compat vuln deadcode tools clean functions collector-schedules bench-life-size terraform bench-sink bench-functions monitoring

help: ## this list
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## the binary, into ./bin
	go build -o bin/ ./cmd/...

FUNCTIONS = $(notdir $(patsubst %/main.go,%,$(wildcard functions/*/main.go)))

functions: ## zips of the Lambda functions for provided.al2023, into ./bin/functions: NAME-arm64.zip and NAME-amd64.zip
	@mkdir -p bin/functions
	@for name in $(FUNCTIONS); do for arch in arm64 amd64; do \
		dir="bin/functions/$$name-$$arch"; mkdir -p "$$dir"; \
		CGO_ENABLED=0 GOOS=linux GOARCH=$$arch go build -trimpath -tags lambda.norpc -ldflags '-s -w' -o "$$dir/bootstrap" "./functions/$$name"; \
		go -C tools run ./zip "$(CURDIR)/$$dir.zip" "$(CURDIR)/$$dir/bootstrap"; \
		printf '%-28s %9d bytes, %9d unpacked\n' "$$name-$$arch.zip" "$$(stat -c %s "$$dir.zip")" "$$(stat -c %s "$$dir/bootstrap")"; \
	done; done

test: ## everything: tools, lint, unit tests, race detector, fuzzing, Terraform, end to end, faults; prints a summary
	@tools/phases tools lint lint-selftest monitoring unit race fuzz terraform e2e faults

fmt: ## formats the Go code (gofumpt, goimports)
	$(GOBIN_TOOLS)/golangci-lint fmt ./...

lint: ## the linters, with the import rules of docs/architecture.md, and the compose file
	$(GOBIN_TOOLS)/golangci-lint config verify
	$(GOBIN_TOOLS)/golangci-lint run ./...
	go -C tools/compose run . "$(CURDIR)/localstack/docker-compose.yml"

monitoring: ## dashboards and alert rules, with Prometheus' parser and engine
	go -C tools/monitoring test -count=1 ./...

lint-selftest: ## seeded violations: proves that the import rules bite
	FOREBAY_GOLANGCI=$(GOBIN_TOOLS)/golangci-lint go -C tools test -count=1 ./lintrules

unit: ## unit tests
	go test $(TESTFLAGS) ./...

race: ## unit tests under the race detector
	CGO_ENABLED=1 go test -race -short $(TESTFLAGS) ./...

fuzz: ## every fuzz target for FUZZTIME (default 5s)
	@tools/fuzz $(FUZZTIME)

terraform: ## the modules of terraform/ without AWS: fmt, tflint, validate, their tests, examples, planted mistakes
	go -C tools/tfprovider test -count=1 ./...
	FOREBAY_TOFU="$$(tools/install tofu)" FOREBAY_AWS_MIRROR="$$(tools/install aws)" \
		go test -tags e2e -count=1 -timeout 15m $(TESTFLAGS) ./terraform/check

# What the scenarios need, for a recipe that runs them.
E2E_ENV = FOREBAY_JARS="$$(tools/install java)" FOREBAY_NODE="$$(tools/install node)" FOREBAY_MINIO="$$(tools/install minio)/minio" FOREBAY_PYTHON="$$(tools/install python)"
# The scenarios that a cluster runs too; all others are about one node or about neither.
E2E_CLUSTER = ^(TestDescribedWithFullISR|TestEveryClientReadsWhatEveryClientWrote|TestEarthquakes|TestTimesOfEarthquakes|TestGroupOfThreeWithOneKilled|TestKilledWhile.*|TestIndexDeleted|TestAllFromPacks|TestVerifyProvesACluster|TestKafkasTools)$$

e2e: ## the built binary with kcat, franz-go and Apache Kafka's own tools, alone and as a cluster; drivers, image and laptop
	@tools/install system
	$(E2E_ENV) go test -tags e2e -p 1 -count=1 -timeout 20m $(TESTFLAGS) ./localstack/e2e/...
	$(E2E_ENV) FOREBAY_E2E_TARGET=cluster go test -tags e2e -short -count=1 -timeout 15m -run '$(E2E_CLUSTER)' $(TESTFLAGS) ./localstack/e2e

e2e-cluster: ## all scenarios of the cluster, in full
	@tools/install system
	$(E2E_ENV) FOREBAY_E2E_TARGET=cluster go test -tags e2e -count=1 -timeout 60m -run '$(E2E_CLUSTER)' $(TESTFLAGS) ./localstack/e2e

bench: ## Forebay beside Apache Kafka on this machine; BENCHFLAGS are handed on
	@tools/install system
	FOREBAY_JARS="$$(tools/install java)" go run ./localstack/bench $(BENCHFLAGS)

bench-cluster: ## three brokers on MinIO and dynalite beside raw requests to them; BENCHFLAGS are handed on
	@tools/install system
	FOREBAY_NODE="$$(tools/install node)" FOREBAY_MINIO="$$(tools/install minio)/minio" \
		AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local go run ./localstack/clusterbench $(BENCHFLAGS)

bench-groups: ## group members by the thousand, commits and transactions, beside Apache Kafka; BENCHFLAGS are handed on
	@tools/install system
	$(E2E_ENV) go run ./localstack/groupbench $(BENCHFLAGS)

bench-life: ## what each stage of the life of data puts to the object store and asks of it and of the table; BENCHFLAGS are handed on
	go run ./localstack/lifebench $(BENCHFLAGS)

bench-sink: ## forebay sink with a million records to a receiver that fails, proved and measured; BENCHFLAGS are handed on
	go run ./localstack/sinkbench $(BENCHFLAGS)

collector-schedules: ## 10,000 schedules of everybody beside two collectors, and of a collector with a planted bug
	go test -count=1 -timeout 60m -run 'TestSchedules$$' $(TESTFLAGS) ./tiering/collect -schedules 10000
	go test -count=1 -tags seededbugs -run TestSchedulesFindTheSeededBug $(TESTFLAGS) ./tiering/collect

bench-life-size: ## a large bucket: verify, collector and cold start; BENCHFLAGS are handed on
	go run ./localstack/bigbucket $(BENCHFLAGS)

bench-functions: ## zip, init time and memory of each Lambda function, and a page of 10,000 topics
	@tools/install system
	$(E2E_ENV) go test -tags e2e,measure -count=1 -timeout 10m -v -run TestFunctionsAreSmall ./localstack/e2e/functions

faults: ## faults injected into a cluster under load, the short mix; TORTUREFLAGS are handed on
	@tools/install system
	FOREBAY_NODE="$$(tools/install node)" FOREBAY_MINIO="$$(tools/install minio)/minio" \
		go run ./localstack/torture -target cluster -short $(TORTUREFLAGS)

torture: ## the long mix of faults, each for a minute, 200 kills and 50 restarts; TORTUREFLAGS are handed on
	@tools/install system
	FOREBAY_NODE="$$(tools/install node)" FOREBAY_MINIO="$$(tools/install minio)/minio" \
		go run ./localstack/torture -target cluster -long $(TORTUREFLAGS)

torture-seeded: ## planted bugs: proves that the fault suite finds them
	@tools/install system
	FOREBAY_NODE="$$(tools/install node)" FOREBAY_MINIO="$$(tools/install minio)/minio" \
		go run ./localstack/torture -target cluster -scenario seeded -duration 20s $(TORTUREFLAGS)

compat: ## suites, tools and clients of others against one broker and clusters; COMPATFLAGS are handed on (-list, -suite kgo -nodes 1, -docs docs/compatibility.md)
	@tools/install system
	$(E2E_ENV) go run ./localstack/compat $(COMPATFLAGS)

cover: ## unit tests with coverage, into bin/cover.html
	@mkdir -p bin
	go test -coverprofile=bin/cover.out ./...
	go tool cover -html=bin/cover.out -o bin/cover.html
	go tool cover -func=bin/cover.out | tail -n 1

deadcode: ## functions that no main and no test reaches
	$(GOBIN_TOOLS)/deadcode -test -tags e2e ./...

vuln: ## known vulnerabilities in what is called (needs the open network)
	$(GOBIN_TOOLS)/govulncheck ./...

tools: ## installs what lint, e2e and bench need (apt-get as root; the rest into the cache)
	@tools/install all

clean: ## removes what the commands above made in the checkout
	rm -rf bin
