# One command for each job of a contributor. Needs: pip install -e '.[dev]'
.PHONY: check export lint test run site all

check: export lint test

export:  ## notebooks -> package and README.md
	nbdev_export
	nbdev_clean
	python tools/readme.py

lint:
	ruff check .
	ruff format --check nbs index.ipynb
	mypy
	python tools/readable.py --list

test:
	pytest

run:  ## all notebooks in place, so that their stored outputs are fresh
	python tools/run_notebooks.py
	$(MAKE) export

site:  ## the documentation, in _docs/html
	python tools/build_site.py

all:  ## what a change must pass, in a new environment
	bash .ci/run
