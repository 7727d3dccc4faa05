# Everything that one does daily; the same commands run in CI.
PYTHON ?= python3
# Another Python has its own environment: make unit PYTHON=python3.13
VENV := .venv$(if $(filter-out python3,$(notdir $(PYTHON))),-$(notdir $(PYTHON)))
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Tests start hundreds of processes, and each would compile what it imports.
unexport PYTHONDONTWRITEBYTECODE
N ?= 100000
# SHORT=1 only tries a benchmark: it measures as little as possible, and writes no page.
SHORT ?=
# What an older API server may answer otherwise: verdicts, the chart, its life.
ON_OLDER := admission conformance chart helm_test life_cycle

.PHONY: help install lint test test-long unit cluster corpus older fuzz controlplane nodes trustparts up down demo drill soak worst bench bench-paired bench-cluster bench-events \
	bench-audit bench-trust growth tenants stress docs site differential generate release lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## Set up .venv with everything that is pinned in requirements/dev.txt

# The lock is complete. Without --no-deps, pip does not take a locked version for one that is required with an extra.
$(STAMP): requirements/dev.txt pyproject.toml
	@echo "Installing the packages that requirements/dev.txt pins into $(VENV), which takes a minute or two without output."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

lint: install ## Formatting, lint, types, import directions, plain English, Dockerfile, generated files, the site's links
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/yamllint --strict policies .github
	$(BIN)/hadolint Dockerfile
	$(BIN)/python -m tools.plain_english
	$(BIN)/python -m tools.generate --check
	$(BIN)/python -m tools.site --check

controlplane: install ## Build or find etcd, kube-apiserver, kube-controller-manager, kubectl and helm (minutes, once)
	$(BIN)/python -m tests.controlplane build

nodes: install ## Build or find kube-scheduler and kwok, for the tests with nodes (minutes, once)
	$(BIN)/python -m tests.controlplane build --nodes

trustparts: install ## Build or find cosign, registries and the servers of a Sigstore (minutes, once)
	$(BIN)/python -m tests.trustparts

# Tests wait for leases, caches and timeouts: three processes keep two cores busy.
test: lint controlplane nodes trustparts ## Lint, unit tests, and tests on a real control plane (20 minutes on two cores)
	$(BIN)/python -m pytest --numprocesses=3 --durations=10 -m "not long"

test-long: install controlplane nodes ## The other tests: floods, faults under load, releases on nodes, benchmarks of pages, the image (8 minutes)
	$(BIN)/python -m pytest --numprocesses=3 --durations=10 -m long

unit: install ## Unit tests only; on another Python: make unit PYTHON=python3.13
	$(BIN)/python -m tests.controlplane build --helm
	$(BIN)/python -m pytest tests/unit --durations=10

cluster: install controlplane nodes ## Tests on a real control plane only; some of them on an older one: make cluster KUBERNETES=1.35, or OLDEST
	$(if $(KUBERNETES),KUBEBUILDER_ASSETS="$$($(BIN)/python -m tests.controlplane build-older $(KUBERNETES))" && export KUBEBUILDER_ASSETS &&) \
		$(BIN)/python -m pytest $(if $(KUBERNETES),$(ON_OLDER:%=tests/cluster/test_%.py),tests/cluster) --durations=10

corpus: install controlplane ## Defaulting and verdicts of every workload in every variant, on a real control plane (15 minutes)
	$(BIN)/python -m pytest tests/cluster/test_pod_defaults.py tests/cluster/test_workload_verdicts.py --whole --timeout=3600

older: install controlplane ## What older API servers make of the corpus's pods otherwise (builds them first: 10 minutes each)
	$(BIN)/python -m tests.pod_defaults

fuzz: install ## Property tests with 1,000 examples each, where `make test` tries 50 (15 minutes)
	$(BIN)/python -m pytest tests/unit -m hypothesis --hypothesis-profile=thorough --timeout=3600 --durations=10

up: install controlplane ## Start a control plane with Sekisho installed in the background
	$(BIN)/python -m tests.controlplane up $(if $(IMAGES),--images)

down: install ## Stop what `make up` started
	$(BIN)/python -m tests.controlplane down

demo: install controlplane ## Show, on a real control plane, what a user sees; checks every step
	$(BIN)/python -m tests.demo

drill: install controlplane ## Faults on a real control plane, with pods being created meanwhile (root and iproute2; 15 minutes)
	$(BIN)/python -m tests.drills

soak: N = 1000000
soak: install ## N reviews (1,000,000) to one process, which may not grow
	$(BIN)/python -m tests.drills.soak $(N)

worst: install ## Review the largest pods and policies that a client can send; fails past 1 s or 64 MiB (half an hour); writes docs/performance.md
	$(BIN)/python -m tests.worst $(if $(SHORT),--short,--write)

bench: install ## Measure engine and webhook process beside null servers (4 minutes, needs wrk); writes docs/performance.md
	$(BIN)/python -m tests.load.engine $(if $(SHORT),--calls=10)
	$(BIN)/python -m tests.load.webhook $(if $(SHORT),--rounds=1 --seconds=1,--write)

bench-paired: install ## Compare the CPU time of this working tree with another commit's: OLD=COMMIT (10 minutes, also on a busy machine)
	$(BIN)/python -m tests.load.paired $(OLD) $(if $(SHORT),--starts=1 --rounds=1)

bench-cluster: install controlplane ## Measure what Sekisho adds on a real control plane, and how it starts in a large one (4 minutes); writes docs/performance.md
	$(BIN)/python -m tests.load.cluster $(if $(SHORT),--short,--write)

growth: install ## How CPU and memory grow with policies, namespaces, waivers and more; fails past exponent 1.2 or 256 MiB (5 minutes); writes docs/operations.md
	$(BIN)/python -m tests.load.growth --write
	$(BIN)/python -m tests.load.many_namespaces

tenants: install controlplane ## 10,000 PodPolicies with three replicas: statuses, restart of the controller, CPU and memory (20 minutes)
	$(BIN)/python -m tests.load.tenants

stress: install controlplane ## Change one of 1,000 policies each second for two minutes: status converges, API requests stay few (4 minutes)
	$(BIN)/python -m tests.load.stress

bench-events: install controlplane ## Deny 100,000 pods of 1,000 owners and see what their Events cost (5 minutes); writes docs/performance.md
	$(BIN)/python -m tests.load.events $(if $(SHORT),--owners=5 --times=4 --rate=50,--write)

bench-audit: install controlplane ## Audit 10,000 pods of 400 owners, and see what that costs (5 minutes); writes docs/performance.md
	$(BIN)/python -m tests.load.running --write

bench-trust: install controlplane ## Measure the verification of images, and what replicas share (1 minute); writes docs/performance.md
	$(BIN)/python -m tests.load.trust --write

differential: install ## Compare N random pods and N updates with Kubernetes' own Pod Security admission
	$(BIN)/python -m tests.differential $(N)
	$(BIN)/python -m tests.differential --updates $(N)

generate: install ## Write the files that are generated from the policy types and the controls
	$(BIN)/python -m tools.generate

docs: install controlplane ## Write again what pages and pictures show of a real cluster, and build the site (minutes)
	$(BIN)/python -m tests.docs
	$(BIN)/python -m tools.generate
	$(BIN)/python -m tools.site

site: install ## Build the documentation as a site into site/ (seconds)
	$(BIN)/python -m tools.site

release: install ## Build wheel, sdist, chart, install manifest, SBOM and checksums into dist/: make release IMAGE=REPOSITORY SOURCE=URL, with DIGEST=sha256:… to pin the image
	$(BIN)/python -m tools.release --image "$(IMAGE)" $(if $(DIGEST),--digest "$(DIGEST)") --source "$(SOURCE)" --helm "$$($(BIN)/python -m tests.controlplane build --helm)"

lock: install ## Resolve the dependencies again and pin them with hashes
	$(BIN)/python -m tools.lock

clean: ## Remove .venv and caches (not the cached control plane)
	rm -rf .venv .venv-* .cluster site .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
