"""Writes a small model: safetensors of many shapes and types, a configuration, odd names."""

import json
import pathlib
import sys

import numpy as np
from safetensors.numpy import save_file

folder = pathlib.Path(sys.argv[1])
rng = np.random.default_rng(7)


def tensors(seed_shapes):
    made = {}
    for name, shape, kind in seed_shapes:
        if kind == "float32":
            made[name] = rng.standard_normal(shape, dtype=np.float32)
        elif kind == "float16":
            made[name] = rng.standard_normal(shape, dtype=np.float32).astype(np.float16)
        else:
            made[name] = rng.integers(-100, 100, shape).astype(kind)
    return made


first = [(f"layers.{n}.weight", (1024, 1024 + n), "float32") for n in range(6)]
first += [("bias", (7,), "float32"), ("scale", (1,), "float16"), ("ids", (333, 3), "int64")]
second = [(f"layers.{n}.weight", (512, 1031), "float16") for n in range(6, 16)]
second += [("mask", (5, 5), "uint8")]
(folder / "deep").mkdir(parents=True)
save_file(tensors(first), folder / "model-00001-of-00002.safetensors")
save_file(tensors(second), folder / "model-00002-of-00002.safetensors")
(folder / "config.json").write_text(json.dumps({"architectures": ["Example"]}))
(folder / "deep" / "a name with spaces & é.txt").write_text("odd")
(folder / "empty.txt").write_text("")
