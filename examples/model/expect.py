#!/usr/bin/env python3
"""Write expected.json: tokens and scores that another implementation must arrive at.

    .venv/bin/python expect.py kjv-llama > expected.json

With `--torch` the scores come from Hugging Face `transformers` and PyTorch instead of train.py's own
forward pass, which shows that the folder is a true LlamaForCausalLM.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

PROMPTS = (
    "In the beginning",
    "Psalms 23\n\nThe LORD is my shepherd",
    "And it came to pass, when all the kings which were on this side Jordan, in the hills, and in the "
    "valleys, and in all the coasts of the great sea over against Lebanon, heard thereof",
)
SHOWN = 12  # of each prompt: the likeliest tokens and their scores


def by_training_code(folder):
    import train
    from safetensors.numpy import load_file

    train.CONFIG.update(json.loads((folder / "config.json").read_text()))
    p = {n: v.astype(np.float32) for n, v in load_file(folder / "model.safetensors").items()}
    return lambda ids: np.asarray(train.logits_of(p, np.array([ids], np.int32)))[0, -1]


def by_transformers(folder):
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float32)
    return lambda ids: model(torch.tensor([ids])).logits[0, -1].detach().numpy()


def main():
    parse = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parse.add_argument("folder", type=Path)
    parse.add_argument("--torch", action="store_true", help="ask transformers instead of train.py")
    arguments = parse.parse_args()
    scores_of = (by_transformers if arguments.torch else by_training_code)(arguments.folder)
    tokenizer = Tokenizer.from_file(str(arguments.folder / "tokenizer.json"))
    cases = []
    for text in PROMPTS:
        ids = tokenizer.encode(text).ids
        scores = scores_of(ids)
        best = np.argsort(-scores)[:SHOWN]
        shown = [[int(token), round(float(scores[token]), 4)] for token in best]
        cases.append({"text": text, "tokens": ids, "scores": shown})
    print(json.dumps(cases, indent=1))


if __name__ == "__main__":
    main()
