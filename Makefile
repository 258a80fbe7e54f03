# Two commands do everything: `make demo` and `make test`. Each sets up what it needs first.
.DEFAULT_GOAL := help
.PHONY: help setup setup-docs demo test test-thorough test-chaos test-oldest test-pyside test-matrix lint format docs clean

ARGS ?=
BIN := .venv/bin

help: ## Show the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile

setup: ## Make .venv with all that the tests and checks need
	@sh tools/setup.sh .venv constraints.txt pyqt6,sam3,meta,formats,bio,remote,cluster test lint

demo: ## Segment a real image with the built-in engine: no window, no weights, no torch
	@sh tools/setup.sh .venv constraints.txt pyqt6
	@$(BIN)/napari-sam3 demo --output-folder .demo $(ARGS)

test: setup ## Run all tests; more arguments for pytest in ARGS="..."
	@sh tools/with_display.sh .venv sh tools/run_tests.sh .venv $(ARGS)

test-thorough: ## Run all tests with many random examples each, others in every run
	@HYPOTHESIS_PROFILE=thorough $(MAKE) test

test-chaos: ## Run all tests slowly at random moments and in random order; SEED="7" for the same again
	@seed=$${SEED:-$$(date +%s)} && NAPARI_SAM3_CHAOS=$$seed PYTHONHASHSEED=$$seed $(MAKE) test

test-oldest: ## Run the tests on the oldest napari that is supported, without torch
	@sh tools/setup.sh .venv-oldest constraints-oldest.txt pyqt6 test
	@sh tools/with_display.sh .venv-oldest sh tools/run_tests.sh .venv-oldest $(ARGS)

test-pyside: ## Run the tests with PySide6 in place of PyQt6, on Python 3.12 or newer
	@python=$${PYTHON:-$$(sh tools/find_python.sh 3.12 3.13 3.14)} && \
		PYTHON=$$python sh tools/setup.sh .venv-pyside constraints.txt pyside6 test
	@sh tools/with_display.sh .venv-pyside sh tools/run_tests.sh .venv-pyside $(ARGS)

test-matrix: ## Run the tests on each Python there is, with PyQt6 and with PySide6
	@sh tools/test_matrix.sh $(ARGS)

lint: setup ## Check style, types, import direction and the plugin manifest
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/npe2 validate napari-sam3-assistant

format: setup ## Put the code into the house style
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

setup-docs:
	@sh tools/setup.sh .venv constraints.txt pyqt6 docs

docs: setup-docs ## Build the documentation site into site/ and run the examples; any warning is an error
	@sh tools/docs.sh .venv

clean: ## Remove the environments, caches and built documentation
	rm -rf .venv .venv-* .demo site docs/generated .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache

.PHONY: demo-gui screenshots

demo-gui: ## Open napari with the coins image, the widget and a result
	@sh tools/setup.sh .venv constraints.txt pyqt6
	@$(BIN)/python tools/demo_gui.py

screenshots: ## Drive napari and write the pictures of the documentation into docs/images
	@sh tools/setup.sh .venv constraints.txt pyqt6
	@SCREEN=1600x1200 sh tools/with_display.sh .venv $(BIN)/python tools/screenshots.py docs/images
	@SCREEN=1600x1200 sh tools/with_display.sh .venv $(BIN)/python tools/screenshots_masks.py docs/images
	@SCREEN=1600x1200 sh tools/with_display.sh .venv $(BIN)/python tools/screenshots_stacks.py docs/images
	@SCREEN=1600x1200 sh tools/with_display.sh .venv $(BIN)/python tools/screenshots_results.py docs/images
