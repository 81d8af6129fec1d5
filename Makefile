# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
PYTHON ?= python3
BIN := .venv/bin
PLATFORM ?= containers
unexport MAKEFLAGS MFLAGS

.PHONY: help venv site audit test test-all lint unit sanity integration molecule bench torture lock lab-down clean
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: ## the pinned tools and collections, in .venv (every target makes them when needed)
	@$(PYTHON) tools/bootstrap.py

site: venv ## run playbooks/site.yml on a disposable machine, or on INVENTORY=hosts.ini (ARGS='--check --diff')
	@$(BIN)/python tools/play.py playbooks/site.yml "$(INVENTORY)" $(ARGS)

audit: venv ## the same for playbooks/audit.yml, which only looks
	@$(BIN)/python tools/play.py playbooks/audit.yml "$(INVENTORY)" $(ARGS)

test: venv ## what CI runs: lint, unit, sanity, integration, molecule on containers and UML
	@$(BIN)/python tools/check.py

test-all: venv ## test, and every platform and release, the long runs and the bench
	@$(BIN)/python tools/check.py --all

lint: venv ## formatters, types, YAML, Ansible, documentation, changelog
	@$(BIN)/nox

unit: venv ## unit tests (ARGS='-k gate -x')
	@$(BIN)/nox -s unit -- $(ARGS)

sanity: venv ## ansible-test sanity (ARGS='--test validate-modules')
	@$(BIN)/nox -s sanity -- $(ARGS)

integration: venv ## tests on containers and machines (ARGS='-k gate -x')
	@$(BIN)/nox -s integration -- $(ARGS)

molecule: venv ## role scenarios: PLATFORM=containers|uml|qemu|public SCENARIO=entropy RELEASES='12 13'
	@$(BIN)/nox -s 'molecule($(PLATFORM))' -- $(addprefix --scenario ,$(SCENARIO)) $(RELEASES)

bench: venv ## measure, and write docs/benchmarks.md (ARGS=encryption: that section alone)
	@$(BIN)/nox -s bench -- $(ARGS)

torture: venv ## cut the power of machines at work: N=100 SEED=7 ENGINE=uml|qemu RELEASE=12,13 ONLY=encrypt,reencrypt,decrypt,keyslot,backup CUT=8
	@$(BIN)/nox -s torture -- $(if $(N),--count $(N)) $(if $(SEED),--seed $(SEED)) $(if $(ENGINE),--engine $(ENGINE)) \
	  $(if $(RELEASE),--release $(RELEASE)) $(if $(ONLY),--only $(ONLY)) $(if $(CUT),--cut $(CUT))

lock: ## make tools/requirements.txt anew from pyproject.toml
	@$(PYTHON) tools/lock.py

lab-down: ## remove the lab's machines, also the one of make site
	@$(PYTHON) -m lab down --all

clean: lab-down ## remove the lab's machines and everything that is not tracked here (.venv, .lab, caches)
	@rm -rf .venv .lab .ansible .nox .hypothesis .mypy_cache .pytest_cache .ruff_cache tests/output
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
