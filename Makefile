.PHONY: check fmt test

check: ## What CI runs
	ruff format --check .
	ruff check .
	mypy
	pytest -q

fmt: ## Format and mend what can be mended
	ruff format .
	ruff check --fix .

test:
	pytest -q
