.PHONY: check fmt test tiny

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

TINY ?= build/tiny

tiny: ## The embedded model from nothing, in $(TINY): hours on two cores (docs/embedded.md); the same call goes on
	mkdir -p $(TINY)
	cd $(TINY) && iadr1 prepare --variety 40000 --normal-share 0.45
	cd $(TINY) && (test -d runs/tiny-new || iadr1 model new tiny-new)
	cd $(TINY) && iadr1 pretrain tiny-pretrain
	cd $(TINY) && (test -d runs/tiny-anew || iadr1 model new tiny-new --out runs/tiny-anew vision=runs/tiny-pretrain/model)
	cd $(TINY) && iadr1 pretrain tiny-pretrain-2
	cd $(TINY) && iadr1 pretrain tiny-pretrain-2 --model runs/tiny-pretrain-2/checkpoint-1500 --out runs/tiny-pretrain-3 \
		steps=1100 vision_steps=0 learning_rate=5e-4 muon_rate=1e-3
	cd $(TINY) && iadr1 prepare --variety 3000 --normal-share 0.45 --seed 1 --out fresh
	cd $(TINY) && iadr1 prepare --out fresh --seed 1 --fewshot-images 2400 --eval-images 130 --photos 0
	cd $(TINY) && iadr1 ground tiny-ground --model runs/tiny-pretrain-3/model --data fresh/data/grounding.jsonl \
		learning_rate=1e-5
	cd $(TINY) && iadr1 sft tiny-sft --model runs/tiny-ground/model --data fresh/data/train.jsonl \
		answer_format=boxes,structured,direct steps=200 learning_rate=3e-5
	cd $(TINY) && iadr1 train tiny-roam --model runs/tiny-sft/model --data fresh/data/fewshot.jsonl \
		learning_rate=1e-5
