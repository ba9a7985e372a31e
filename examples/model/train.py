#!/usr/bin/env python3
"""Train the small language model that the examples serve: King James English, Llama architecture.

In:  the King James text as the `bible` program prints it (Debian packages `bible-kjv` and
     `bible-kjv-text`), one verse a line, or the same lines from a file (`--text`).
Out: a folder in Hugging Face layout (config.json, model.safetensors, tokenizer.json, ...) that
     `transformers`, vLLM and our own example server load. Rewritten at each checkpoint.

    apt-get install bible-kjv bible-kjv-text
    python3 -m venv .venv && .venv/bin/pip install -r requirements.txt
    .venv/bin/python train.py --out kjv-llama --minutes 45

Training runs on one CPU core. The learning rate follows the clock when `--minutes` ends first and
the step counter when `--steps` ends first; only the latter gives the same model twice.
"""

import argparse
import json
import math
import os
import re
import subprocess
import sys
import time
from pathlib import Path

# One core: set before JAX reads it. A caller's own setting wins.
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
os.environ.setdefault("NPROC", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

BOS, EOS = "<s>", "</s>"  # ids 0 and 1: the special tokens come first in the vocabulary

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 2048,
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 512,
    "rope_theta": 10000.0,
    "rms_norm_eps": 1e-05,
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "tie_word_embeddings": True,
    "initializer_range": 0.02,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "use_cache": True,
    "torch_dtype": "bfloat16",
}

# The model knows no roles, so a conversation is one text: what the user says is continued. System
# messages are left out, because instructions mean nothing to it.
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ message['content'] }}\n"
    "{% elif message['role'] == 'user' %}{{ message['content'] | trim }}"
    "{% endif %}"
    "{% endfor %}"
)

BOOKS = """Genesis;Exodus;Leviticus;Numbers;Deuteronomy;Joshua;Judges;Ruth;1 Samuel;2 Samuel;1 Kings;
2 Kings;1 Chronicles;2 Chronicles;Ezra;Nehemiah;Esther;Job;Psalms;Proverbs;Ecclesiastes;
Song of Solomon;Isaiah;Jeremiah;Lamentations;Ezekiel;Daniel;Hosea;Joel;Amos;Obadiah;Jonah;Micah;
Nahum;Habakkuk;Zephaniah;Haggai;Zechariah;Malachi;Matthew;Mark;Luke;John;Acts;Romans;1 Corinthians;
2 Corinthians;Galatians;Ephesians;Philippians;Colossians;1 Thessalonians;2 Thessalonians;1 Timothy;
2 Timothy;Titus;Philemon;Hebrews;James;1 Peter;2 Peter;1 John;2 John;3 John;Jude;Revelation"""
BOOKS = BOOKS.replace("\n", "").split(";")

VERSE = re.compile(r"^(\d?[A-Za-z]+)(\d+):(\d+) (.+)$")
HOLD_OUT_EVERY = 40  # every 40th chapter is never trained on


# --- text ---------------------------------------------------------------------------------------


def read_verses(path):
    """The lines `Ge1:1 In the beginning ...`, from a file or from the `bible` program."""
    if path:
        return Path(path).read_text(encoding="ascii").splitlines()
    try:
        printed = subprocess.run(
            ["bible", "-f", "gen1:1-rev22:21"], check=True, capture_output=True, text=True
        )
    except FileNotFoundError:
        sys.exit("no `bible` program: apt-get install bible-kjv bible-kjv-text, or give --text FILE")
    return printed.stdout.splitlines()


def chapters_of(lines):
    """Chapters as lists of strings: a heading such as `Genesis 1`, then one string a verse."""
    chapters, books, last = [], {}, None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        verse = VERSE.match(line)
        if not verse:
            sys.exit(f"line {number} is not a verse (expected `Ge1:1 text`): {line[:60]!r}")
        book, chapter, _, text = verse.groups()
        if (book, chapter) != last:
            last = (book, chapter)
            index = books.setdefault(book, len(books))
            if index >= len(BOOKS):
                sys.exit(f"line {number} begins a book beyond the {len(BOOKS)} that are known: {book}")
            chapters.append([f"{BOOKS[index]} {chapter}"])
        chapters[-1].append(" ".join(text.split()))
    return chapters


def text_of(chapter):
    """A chapter as the model sees it: heading, blank line, one verse a line."""
    return chapter[0] + "\n\n" + "\n".join(chapter[1:]) + "\n"


def train_tokenizer(texts):
    """Byte-level BPE: any UTF-8 text has tokens, and tokens give back the same text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=CONFIG["vocab_size"],
            special_tokens=[BOS, EOS],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, 0), (EOS, 1)]
    )
    assert tokenizer.get_vocab_size() == CONFIG["vocab_size"]
    return tokenizer


def encode(tokenizer, chapters):
    """One stream of tokens, and the places where a line (so a possible prompt) begins."""
    newline = tokenizer.encode("\n", add_special_tokens=False).ids[-1]
    stream, starts = [], []
    for chapter in chapters:
        ids = tokenizer.encode(text_of(chapter), add_special_tokens=False).ids
        starts.append(len(stream))
        starts += [len(stream) + i + 1 for i, t in enumerate(ids[:-1]) if t == newline]
        stream += ids + [1]
    return np.array(stream, np.int32), np.array(starts, np.int32)


def draw(rng, stream, starts, batch, length):
    """`batch` windows of `length + 1` tokens: <s>, then text from the beginning of some line."""
    at = rng.choice(starts, batch) % (len(stream) - length)
    rows = stream[at[:, None] + np.arange(length)[None, :]]
    return np.concatenate([np.zeros((batch, 1), np.int32), rows], axis=1)


# --- model --------------------------------------------------------------------------------------
# Parameters are a flat dictionary under the names and in the shapes (out, in) that Hugging Face's
# LlamaForCausalLM uses, so saving is writing them down.


def initial_parameters(rng):
    c, std = CONFIG, CONFIG["initializer_range"]
    d, ffn, kv = c["hidden_size"], c["intermediate_size"], c["num_key_value_heads"] * c["head_dim"]

    def normal(rows, columns, scale):
        return (rng.standard_normal((rows, columns)) * scale).astype(np.float32)

    p = {"model.embed_tokens.weight": normal(c["vocab_size"], d, std)}
    for i in range(c["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        into = 1 / math.sqrt(d)
        out = 0.5 / math.sqrt(d * c["num_hidden_layers"])
        p[layer + "input_layernorm.weight"] = np.ones(d, np.float32)
        p[layer + "self_attn.q_proj.weight"] = normal(d, d, into)
        p[layer + "self_attn.k_proj.weight"] = normal(kv, d, into)
        p[layer + "self_attn.v_proj.weight"] = normal(kv, d, into)
        p[layer + "self_attn.o_proj.weight"] = normal(d, d, out)
        p[layer + "post_attention_layernorm.weight"] = np.ones(d, np.float32)
        p[layer + "mlp.gate_proj.weight"] = normal(ffn, d, into)
        p[layer + "mlp.up_proj.weight"] = normal(ffn, d, into)
        p[layer + "mlp.down_proj.weight"] = normal(d, ffn, out)
    p["model.norm.weight"] = np.ones(d, np.float32)
    return p


def rms_norm(x, weight):
    return x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + CONFIG["rms_norm_eps"]) * weight


def rotate(x, length):
    """Rotary positions in the half-split order of Hugging Face. x: (batch, heads, length, dim)."""
    half = CONFIG["head_dim"] // 2
    frequency = CONFIG["rope_theta"] ** (-jnp.arange(half) / half)
    angle = jnp.arange(length)[:, None] * frequency[None, :]
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    a, b = x[..., :half], x[..., half:]
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


def logits_of(p, tokens):
    """(batch, length) token ids to (batch, length, vocabulary) logits."""
    c = CONFIG
    batch, length = tokens.shape
    heads, kv, dim = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
    mask = jnp.where(jnp.tril(jnp.ones((length, length), bool)), 0.0, -1e9)
    x = p["model.embed_tokens.weight"][tokens]
    for i in range(c["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        h = rms_norm(x, p[layer + "input_layernorm.weight"])

        def split(name, count):
            y = h @ p[layer + f"self_attn.{name}_proj.weight"].T
            return y.reshape(batch, length, count, dim).transpose(0, 2, 1, 3)

        q, k, v = rotate(split("q", heads), length), rotate(split("k", kv), length), split("v", kv)
        # Grouped queries: each key/value head serves heads // kv consecutive query heads.
        q = q.reshape(batch, kv, heads // kv, length, dim)
        scores = jnp.einsum("bgrqd,bgkd->bgrqk", q, k) / math.sqrt(dim) + mask
        mixed = jnp.einsum("bgrqk,bgkd->bgrqd", jax.nn.softmax(scores, axis=-1), v)
        mixed = mixed.reshape(batch, heads, length, dim).transpose(0, 2, 1, 3)
        x = x + mixed.reshape(batch, length, -1) @ p[layer + "self_attn.o_proj.weight"].T
        h = rms_norm(x, p[layer + "post_attention_layernorm.weight"])
        gate = jax.nn.silu(h @ p[layer + "mlp.gate_proj.weight"].T)
        up = h @ p[layer + "mlp.up_proj.weight"].T
        x = x + (gate * up) @ p[layer + "mlp.down_proj.weight"].T
    return rms_norm(x, p["model.norm.weight"]) @ p["model.embed_tokens.weight"].T


def loss_of(p, window):
    """Mean negative log-likelihood, in nats a token, of each token given those before it."""
    logits, target = logits_of(p, window[:, :-1]), window[:, 1:]
    chosen = jnp.take_along_axis(logits, target[..., None], axis=-1)[..., 0]
    return (jax.nn.logsumexp(logits, axis=-1) - chosen).mean()


# --- optimiser ----------------------------------------------------------------------------------
# Muon for the matrices inside the layers, Adam for the embedding and the norms: about half the
# steps of Adam alone at this size.

MUON_RATE, EMBEDDING_RATE, NORM_RATE, DECAY = 0.02, 4e-3, 4e-3, 0.05


def by_muon(name):
    return name.endswith("_proj.weight")


def orthogonal(m):
    """Newton-Schulz steps towards the nearest matrix with singular values 1. m: (n, rows, cols)."""
    tall = m.shape[1] > m.shape[2]
    x = m.transpose(0, 2, 1) if tall else m
    x = x / (jnp.linalg.norm(x, axis=(1, 2), keepdims=True) + 1e-7)
    for _ in range(5):
        a = x @ x.transpose(0, 2, 1)
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.transpose(0, 2, 1) if tall else x


@jax.jit
def step(p, first, second, count, rate, window):
    """One update. `first` is the momentum of both rules, `second` Adam's; `rate` is 0 to 1."""
    loss, grads = jax.value_and_grad(loss_of)(p, window)
    norm = jnp.sqrt(sum((g * g).sum() for g in grads.values()))
    grads = {n: g * jnp.minimum(1.0, 1.0 / (norm + 1e-6)) for n, g in grads.items()}
    new_p, new_first, new_second, shapes = {}, {}, dict(second), {}
    for name, g in grads.items():
        if by_muon(name):
            new_first[name] = 0.95 * first[name] + g
            shapes.setdefault(g.shape, []).append(name)
        else:
            new_first[name] = 0.9 * first[name] + 0.1 * g
            new_second[name] = 0.98 * second[name] + 0.02 * g * g
            mean = new_first[name] / (1 - 0.9**count)
            spread = jnp.sqrt(new_second[name] / (1 - 0.98**count)) + 1e-8
            peak = EMBEDDING_RATE if "embed" in name else NORM_RATE
            new_p[name] = p[name] - rate * peak * mean / spread
    for (rows, columns), names in shapes.items():
        nesterov = jnp.stack([grads[n] + 0.95 * new_first[n] for n in names])
        scale = MUON_RATE * math.sqrt(max(1.0, rows / columns))
        for name, update in zip(names, orthogonal(nesterov)):
            new_p[name] = p[name] * (1 - rate * MUON_RATE * DECAY) - rate * scale * update
    return new_p, new_first, new_second, loss


def rate_at(progress, count):
    """Warm up over 60 steps, hold, and fall linearly to nothing over the last half."""
    return min(1.0, count / 60) * min(1.0, max(0.0, (1.0 - progress) / 0.5))


# --- output -------------------------------------------------------------------------------------


def save(out, p, tokenizer):
    """Write the folder; each file appears under its name when it is whole."""
    out.mkdir(parents=True, exist_ok=True)
    tensors = {n: np.asarray(v).astype(ml_dtypes.bfloat16) for n, v in p.items()}
    save_file(tensors, out / "model.safetensors.part", metadata={"format": "pt"})
    os.replace(out / "model.safetensors.part", out / "model.safetensors")
    tokenizer.save(str(out / "tokenizer.json"))
    special = {"bos_token": BOS, "eos_token": EOS}
    generation = {"bos_token_id": 0, "eos_token_id": 1, "do_sample": True}
    documents = {
        "config.json": CONFIG,
        "generation_config.json": generation | {"temperature": 0.7, "top_p": 0.9},
        "special_tokens_map.json": special,
        "tokenizer_config.json": special
        | {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": CONFIG["max_position_embeddings"],
            "clean_up_tokenization_spaces": False,
            "model_input_names": ["input_ids", "attention_mask"],
            "chat_template": CHAT_TEMPLATE,
        },
    }
    for name, document in documents.items():
        (out / name).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def sample(forward, p, tokenizer, prompt, rng, count=48, temperature=0.7):
    """A short continuation, for the log only (no cache, so slow)."""
    ids = tokenizer.encode(prompt).ids
    for _ in range(count):
        row = np.zeros((1, 128), np.int32)
        row[0, : len(ids)] = ids
        scores = np.asarray(forward(p, row))[0, len(ids) - 1].astype(np.float64) / temperature
        weights = np.exp(scores - scores.max())
        ids.append(int(rng.choice(len(weights), p=weights / weights.sum())))
        if ids[-1] == 1:
            break
    return tokenizer.decode(ids)


def main():
    parse = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parse.add_argument("--text", help="verses, one a line; default: ask the `bible` program")
    parse.add_argument("--out", type=Path, default=Path("kjv-llama"))
    parse.add_argument("--minutes", type=float, default=45.0, help="wall-clock budget")
    parse.add_argument("--steps", type=int, default=4000, help="at most this many updates")
    parse.add_argument("--layers", type=int, default=CONFIG["num_hidden_layers"])
    parse.add_argument("--checkpoint-every", type=int, default=250)
    parse.add_argument("--seed", type=int, default=1611)
    arguments = parse.parse_args()
    CONFIG["num_hidden_layers"] = arguments.layers

    began = time.monotonic()
    chapters = chapters_of(read_verses(arguments.text))
    kept = [c for i, c in enumerate(chapters) if i % HOLD_OUT_EVERY != HOLD_OUT_EVERY - 1]
    held = [c for i, c in enumerate(chapters) if i % HOLD_OUT_EVERY == HOLD_OUT_EVERY - 1]
    tokenizer = train_tokenizer([text_of(c) for c in kept])
    stream, starts = encode(tokenizer, kept)
    held_stream, held_starts = encode(tokenizer, held)
    held_bytes = sum(len(text_of(c)) for c in held)
    rng = np.random.default_rng(arguments.seed)
    p = initial_parameters(rng)
    size = sum(v.size for v in p.values())
    print(
        f"{len(kept)} chapters, {sum(len(text_of(c)) for c in kept)} bytes, {len(stream)} tokens; held out "
        f"{len(held)} chapters, {len(held_stream)} tokens; {size} parameters, {2 * size} bytes as bfloat16",
        flush=True,
    )

    p = jax.tree.map(jnp.asarray, p)
    first = jax.tree.map(jnp.zeros_like, p)
    second = {n: jnp.zeros_like(v) for n, v in p.items() if not by_muon(n)}
    forward, evaluate = jax.jit(logits_of), jax.jit(loss_of)
    fixed = draw(np.random.default_rng(0), held_stream, held_starts, 64, 256)
    recent, seen, count, progress = [], 0, 0, 0.0
    while progress < 1.0:
        count += 1
        # The last 30 % on windows as long as the context, so that late positions are trained too.
        batch, length = (16, 256) if progress < 0.7 else (8, 512)
        window = draw(rng, stream, starts, batch, length)
        rate = rate_at(progress, count)
        p, first, second, loss = step(p, first, second, float(count), rate, window)
        recent.append(float(loss))
        seen += batch * length
        spent = (time.monotonic() - began) / 60
        progress = max(count / arguments.steps, spent / arguments.minutes)
        if count % 25 == 0:
            print(
                f"step {count} {100 * progress:.1f}% {spent:.1f} min, {seen / len(stream):.2f} epochs, "
                f"loss {np.mean(recent[-25:]):.3f}",
                flush=True,
            )
        if count % arguments.checkpoint_every == 0 or progress >= 1.0:
            loss = np.mean([float(evaluate(p, fixed[i : i + 16])) for i in range(0, 64, 16)])
            bits = loss * len(held_stream) / held_bytes / math.log(2)
            save(arguments.out, p, tokenizer)
            print(f"-- saved; held-out loss {loss:.3f} nats a token, about {bits:.3f} bits a byte")
            for prompt in ("In the beginning", "Psalms 23\n\n"):
                print("   " + repr(sample(forward, p, tokenizer, prompt, rng)), flush=True)


if __name__ == "__main__":
    main()
