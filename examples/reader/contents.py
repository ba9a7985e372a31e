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
GGUF_BLOCKS = {
    **dict.fromkeys([0, 26], (1, 4)), **dict.fromkeys([1, 25, 30], (1, 2)), 24: (1, 1), **dict.fromkeys([27, 28], (1, 8)),
    **dict.fromkeys([2, 20], (32, 18)), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 36), 39: (32, 17),
    10: (256, 84), 11: (256, 110), 21: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292),
    16: (256, 66), 35: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 22: (256, 82), 23: (256, 136), 29: (256, 56),
    34: (256, 54),
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
    if data[:4] in (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08") or ends_as_zip(data) or data[257:262] == b"ustar":
        return "zip"
    macho = (b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\xca\xfe\xba\xbe")
    if data[:4] in (b"\x7fELF", *macho) or data[:6] == b"MZ\x90\0\3\0":
        return "native-code"
    if extension == "safetensors":
        return "safetensors"
    if is_pickle(data) or is_numpy_of_objects(data):
        return "pickle"
    if is_compressed(data):
        return "zip"
    if any(data[at:at + 8] == b"\x89HDF\r\n\x1a\n" for at in [0, *(512 << k for k in range(8))]):
        return "python"
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


def is_numpy_of_objects(data):
    if data[:6] != b"\x93NUMPY" or len(data) < 10:
        return False
    begin = 10 if data[6] == 1 else 12
    length = int.from_bytes(data[8:begin], "little")
    return re.search(rb"\|O.|'O['8]", data[begin:begin + min(length, 65536)], re.S) is not None


def is_compressed(data):
    marks = rb"\x1f\x8b\x08|BZh[1-9]1AY&SY|\xfd7zXZ\0|\x5d\0\0|\x04\x22\x4d\x18|\x28\xb5\x2f\xfd"
    if re.match(marks, data):
        return True
    head = data[:512]
    if head[:2] not in (b"x\x01", b"x\x5e", b"x\x9c", b"x\xda"):
        return False
    try:
        head.decode("utf-8")
        return False
    except UnicodeDecodeError as error:
        return error.reason != "unexpected end of data"


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
        sides, elements = [number("Q") for _ in range(at_most(4, number("I")))], 1
        for side in sides:
            elements = at_most(2**64 - 1, elements * side)
        block, size = GGUF_BLOCKS.get(number("I"), (None, None))
        need(block is None or (sides or [1])[0] % block == 0, "format", "a side that is no whole number of blocks")
        begins.append((number("Q"), min(elements, 1) if block is None else elements // block * size))
    room, end = max(0, len(data) - -(-at // alignment) * alignment), 0
    for offset, length in sorted(begins):
        need(offset % alignment == 0 and offset + length <= room, "format", "a tensor off its alignment or outside the data")
        need(length == 0 or offset >= end, "format", "two tensors overlap")
        end = max(end, offset + length)
