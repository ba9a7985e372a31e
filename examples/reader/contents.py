"""What may be inside a sealed model: sealed-weights/SPEC.md §7.3, and the bounds of §8."""
import json, re, struct

RISKY = ["native-code", "pickle", "python", "zip"]
BY_NAME = {
    "pickle": "bin pt pth pkl pickle ckpt joblib dill pt2 ptc t7", "zip": "zip npz keras nemo mar whl egg jar",
    "python": "py pyc pyo pyw pyx", "native-code": "so dll dylib exe pyd node",
}
ELEMENT_BITS = {
    **dict.fromkeys(["F6_E2M3", "F6_E3M2"], 6), **dict.fromkeys(["I16", "U16", "F16", "BF16"], 16), "F4": 4,
    **dict.fromkeys(["BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"], 8),
    **dict.fromkeys(["I32", "U32", "F32"], 32), **dict.fromkeys(["C64", "F64", "I64", "U64"], 64),
}
GGUF_SIZES = {0: 1, 1: 1, 7: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 10: 8, 11: 8, 12: 8}


class Refused(Exception):
    """`layer` is the check that refused, in the words of the vectors' README."""
    def __init__(self, layer, why):
        super().__init__(f"{layer}: {why}")
        self.layer = layer


def need(condition, layer, why):
    if not condition:
        raise Refused(layer, why)


def strict_json(data):
    """RFC 8259 in UTF-8, no member twice, no byte order mark."""
    def once(pairs):
        if len(dict(pairs)) != len(pairs):
            raise ValueError("a member occurs twice")
        return dict(pairs)
    return json.loads(data.decode("utf-8"), object_pairs_hook=once)


def verify_contents(path, data, listed, allowed):
    found = format_of(path, data)
    need(found not in RISKY or found in allowed, "format", f"{path} is {found}, which runs code when loaded")
    try:
        if found == "safetensors":
            verify_safetensors(data)
        elif found == "gguf":
            verify_gguf(data)
    except (ValueError, RecursionError, struct.error) as error:
        raise Refused("format", f"{path}: {error}") from error
    need(found == listed, "format", f"{path} is {found} and is listed as {listed}")


def format_of(path, data):
    name = path.rsplit("/", 1)[-1]
    extension = name.rsplit(".", 1)[-1].lower() if "." in name else ""
    for risk, extensions in BY_NAME.items():
        if extension in extensions.split():
            return risk
    if data[:4] in (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08") or ends_as_zip(data):
        return "zip"
    macho = (b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\xca\xfe\xba\xbe")
    if data[:4] in (b"\x7fELF", *macho) or data[:6] == b"MZ\x90\0\3\0":
        return "native-code"
    if extension != "safetensors" and is_pickle(data):
        return "pickle"
    if extension == "safetensors":
        return "safetensors"
    return "gguf" if extension == "gguf" or data[:4] == b"GGUF" else "other"


def ends_as_zip(data):
    tail = data[-(22 + 65535):]
    records = [m.start() for m in re.finditer(re.escape(b"PK\x05\x06"), tail)]
    return any(at + 22 <= len(tail) and at + 22 + int.from_bytes(tail[at + 20:at + 22], "little") == len(tail) for at in records)


def is_pickle(data):
    if len(data) >= 2 and data[0] == 0x80 and 2 <= data[1] <= 5:
        return True
    word = rb"[A-Za-z0-9_.]+\n"
    begins = rb"\(?[ci]" + word + word + rb"|\([dl]p[0-9]|\(S['\"]"
    return re.match(begins, data[:256]) is not None and data[-1:] == b"."


def verify_safetensors(data):
    need(len(data) >= 8, "format", "shorter than a header's length")
    length = int.from_bytes(data[:8], "little")
    need(length <= min(len(data) - 8, 2**25), "format", "the header is longer than the file or the bound")
    need(data[8:9] == b"{", "format", "the header does not begin with a brace")
    header, at = strict_json(data[8:8 + length]), 0
    metadata = header.pop("__metadata__", {})
    need(type(metadata) is dict and all(type(v) is str for v in metadata.values()), "format", "metadata is not text")
    need(len(header) <= 2**20, "format", "too many tensors")
    whole = lambda n: type(n) is int and 0 <= n < 2**64
    for tensor in header.values():
        need(type(tensor) is dict and tensor.keys() == {"dtype", "shape", "data_offsets"}, "format", "members of a tensor")
        need(tensor["dtype"] in ELEMENT_BITS, "format", "an unknown type")
        for member in ("shape", "data_offsets"):
            need(type(tensor[member]) is list and all(map(whole, tensor[member])), "format", f"{member} is no list of numbers")
        need(len(tensor["shape"]) <= 8 and len(tensor["data_offsets"]) == 2, "format", "too many dimensions or offsets")
    for tensor in sorted(header.values(), key=lambda t: t["data_offsets"]):
        bits = ELEMENT_BITS[tensor["dtype"]]
        for side in tensor["shape"]:
            bits *= side
        begin, end = tensor["data_offsets"]
        need(begin == at and (end - begin) * 8 == bits, "format", "tensors do not join, or do not fit type and shape")
        at = end
    need(at == len(data) - 8 - length, "format", "bytes after the last tensor")


def verify_gguf(data):
    at = 4

    def number(code):
        nonlocal at
        (value,) = struct.unpack_from("<" + code, data, at)
        at += struct.calcsize(code)
        return value

    def at_most(limit, value):
        need(value <= limit, "format", f"{value} where at most {limit} may be")
        return value

    def skip(count):
        nonlocal at
        at = at_most(min(len(data), 2**28), at + count)

    def name(seen):
        length = at_most(2**16, number("Q"))
        skip(length)
        found = data[at - length:at].decode("utf-8")
        need(found and found not in seen, "format", "a name that is empty or occurs twice")
        seen.add(found)
        return found

    def skip_value(kind, depth):
        if kind == 8:
            skip(at_most(2**23, number("Q")))
        elif kind == 9:
            at_most(4, depth + 1)
            element, count = number("I"), at_most(2**23, number("Q"))
            if element in GGUF_SIZES:
                return skip(count * GGUF_SIZES[element])
            for _ in range(count):
                skip_value(element, depth + 1)
        else:
            need(kind in GGUF_SIZES, "format", "an unknown type of value")
            skip(GGUF_SIZES[kind])

    need(data[:4] == b"GGUF" and number("I") in (2, 3), "format", "not GGUF of version 2 or 3")
    tensors, metadata = at_most(2**20, number("Q")), at_most(2**16, number("Q"))
    alignment, seen, begins = 32, set(), []
    for _ in range(metadata):
        key, kind = name(seen), number("I")
        if key == "general.alignment" and kind == 4:
            alignment = number("I")
            need(alignment in (2**n for n in range(3, 17)), "format", "another alignment than a power of two")
        else:
            skip_value(kind, 0)
    seen = set()
    for _ in range(tensors):
        name(seen)
        sides = [number("Q") for _ in range(at_most(4, number("I")))]
        number("I")  # the type
        begins.append((number("Q"), 0 not in sides))
    room = max(0, len(data) - -(-at // alignment) * alignment)
    for offset, filled in begins:
        need(offset % alignment == 0 and offset + filled <= room, "format", "a tensor off its alignment or outside the data")
    filled = [offset for offset, some in begins if some]
    need(len(set(filled)) == len(filled), "format", "two tensors begin at one place")
