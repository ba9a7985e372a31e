"""Runs the reader against the vectors of the format: each must be refused where it says, and no other.

    python check_vectors.py [../../sealed-weights/tests/vectors]
"""
import json, shutil, sys, tempfile
from pathlib import Path

from contents import Refused
from read_sealed import open_model

VECTORS = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "../../sealed-weights/tests/vectors")


def make_the_fault(edit, model):
    """One edit, as the vectors' README describes it."""
    file, op = model / edit["file"], edit["op"]
    data = bytearray(file.read_bytes() if file.exists() else b"")
    if op == "xor":
        data[edit["at"]] ^= int(edit["mask"], 16)
    elif op == "write":
        new = bytes.fromhex(edit["hex"])
        data[edit["at"]:edit["at"] + len(new)] = new
    elif op == "copy":
        data[edit["to"]:edit["to"] + edit["len"]] = data[edit["from"]:edit["from"] + edit["len"]]
    elif op == "truncate":
        del data[edit["len"]:]
    elif op == "append":
        data += bytes.fromhex(edit["hex"])
    elif op == "text":
        assert data.count(edit["find"].encode()) == 1, edit
        data = data.replace(edit["find"].encode(), edit["with"].encode())
    elif op == "replace":
        data = edit["text"].encode()
    elif op == "take":
        data = (VECTORS / "models" / edit["from_model"] / edit["from_file"]).read_bytes()
    elif op in ("remove", "symlink"):
        file.unlink()
        return file.symlink_to(edit["to"]) if op == "symlink" else None
    else:
        raise ValueError(f"an edit that the README does not describe: {op}")
    file.write_bytes(data)


def run(case, model):
    """The layer that refused, and the files of a model that opens."""
    reader = case["reader"]
    requirements = {member: reader[member] for member in ("minimum_version", "name") if member in reader}
    try:
        return "opens", dict(open_model(model, reader["kid"], bytes.fromhex(reader["model_key"]), **requirements))
    except Refused as refusal:
        return refusal.layer, {}


wrong = 0
cases = sorted((VECTORS / "cases").glob("*.json"))
for file in cases:
    case = json.loads(file.read_text())
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        shutil.copytree(VECTORS / "models" / case["model"], model)
        for edit in case["edits"]:
            make_the_fault(edit, model)
        layer, opened = run(case, model)
    expect = case["expect"]
    whole = layer != "opens" or "file" not in expect or len(opened[expect["file"]]) == expect["plaintext_out"]
    if layer != expect["layer"] or not whole:
        wrong += 1
        print(f"{file.stem}: expected {expect['layer']}, got {layer}")
print(f"{len(cases) - wrong} of {len(cases)} vectors came out as they say")
sys.exit(1 if wrong or not cases else 0)
