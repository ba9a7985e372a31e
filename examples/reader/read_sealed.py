"""Opens a sealed model, given its key. A second implementation, written from sealed-weights/SPEC.md alone;
numbers behind § are that page's sections. It holds the model in memory and wipes nothing:
to learn the format from, to check the product with, or to get at a model without it. Not for a TEE.

    python read_sealed.py SEALED_FOLDER KEY_FILE 'kbs:///acme/model-key/kjv?epoch=1' TARGET_FOLDER
"""
import base64, hashlib, hmac, json, re, stat, struct, sys
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from contents import RISKY, Refused, need, strict_json, verify_contents

CHUNK, PAGE, TAG, MAX_INTEGER = 16384, 4096, 16, 2**53 - 1


# §3: the one primitive.
def expand(key, info, length):
    return HKDFExpand(hashes.SHA512(), length, info).derive(key)

def message(input_key, salt, context):
    keys = expand(input_key, b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0" + salt + context, 76)
    return AESGCM(keys[:32]), int.from_bytes(keys[32:44], "big"), keys[44:]

def open_chunk(aead, base_nonce, index, ciphertext, tag):
    return aead.decrypt((base_nonce ^ index).to_bytes(12, "big"), ciphertext + tag, None)


# §5: the manifest. Each function makes a test of one member.
def integer(low, high): return lambda v: type(v) is int and low <= v <= high
def text(pattern): return lambda v: type(v) is str and re.fullmatch(pattern, v) is not None
def many(low, high, item): return lambda v: type(v) is list and low <= len(v) <= high and all(map(item, v))
def record(**tests): return lambda v: type(v) is dict and v.keys() == tests.keys() and all(tests[k](v[k]) for k in v)
def base64_of(count): return lambda v: type(v) is str and len(raw := unbase64(v)) == count and base64.b64encode(raw) == v.encode()
def unbase64(v): return base64.b64decode(v, validate=True)

SEGMENT = "[A-Za-z0-9_-][A-Za-z0-9_.-]*"
KID = rf"(?=[^?]{{1,512}}\?)kbs:///{SEGMENT}/{SEGMENT}/{SEGMENT}\?epoch=[1-9][0-9]{{0,9}}"
MANIFEST = record(
    adyton=text("sealed-model/1"), name=text("[A-Za-z0-9._/-]{1,128}"), version=integer(1, MAX_INTEGER),
    model_id=text("[0-9a-f]{32}"), allowed_formats=many(0, 4, RISKY.__contains__), mac=base64_of(64),
    files=many(1, 32768, record(path=lambda p: type(p) is str and good_path(p), size=integer(0, 2**52 - 1),
                                format=text("safetensors|gguf|pickle|zip|python|native-code|other"),
                                salt=base64_of(24), commitment=base64_of(32), tag_table_sha256=base64_of(32))),
    recipients=many(1, 64, record(kid=lambda k: text(KID)(k) and int(k.split("=")[1]) < 2**32,
                                  salt=base64_of(24), commitment=base64_of(32), sealed_key=base64_of(48))))
INVISIBLE = re.compile("[\0-\x1f\x7f-\x9f\\\\\u00ad\u034f\u061c\u0300-\u036f\u1100-\u11ff\u1ab0-\u1aff\u1dc0-\u1dff\u200b-\u200f"
                       "\u2028-\u202e\u2060-\u206f\u20d0-\u20ff\u3099\u309a\ufe00-\ufe0f\ufe20-\ufe2f\ufeff\ufff0-\uffff"
                       "\U000e0000-\U000e0fff]")

def good_path(path):
    parts = path.split("/")
    return (len(path.encode()) <= 1024 and len(parts) <= 32 and path.lower() != "model.json" and not INVISIBLE.search(path)
            and all(p not in ("", ".", "..") and len(p.encode()) <= 248 and not p.lower().endswith(".sealed") for p in parts))

def parse_manifest(data):
    need(len(data) <= 2**24, "manifest", "too large")
    try:
        manifest = strict_json(data)
        need(MANIFEST(manifest), "manifest", "a member is missing, unknown, or not as §5 says")
    except (ValueError, RecursionError) as error:
        raise Refused("manifest", error) from error
    files, kids = manifest["files"], [r["kid"] for r in manifest["recipients"]]
    folders = {p[:i] for p in (f["path"] for f in files) for i, c in enumerate(p) if c == "/"}
    folded, lower = {f.lower() for f in folders}, {f["path"].lower() for f in files}
    need(len(lower) == len(files) and len(folded) == len(folders) and not folded & lower, "manifest", "paths collide")
    need(len(set(kids)) == len(kids), "manifest", "two recipients for one key")
    need(sum(f["size"] for f in files) <= MAX_INTEGER, "manifest", "the sum of sizes is over the bound")
    allowed = manifest["allowed_formats"]
    need(allowed == sorted(set(allowed)), "manifest", "allowed_formats are not sorted")
    need(all(f["format"] not in RISKY or f["format"] in allowed for f in files), "manifest", "a risky format is not allowed")
    return manifest

def unlock(manifest, kid, model_key, minimum_version=0, name=None):
    """The content key of an authentic manifest: §4.2, §5.4, §5.5."""
    recipient = next((r for r in manifest["recipients"] if r["kid"] == kid), None)
    need(recipient, "recipient", f"the model is not sealed for {kid}")
    salt, commitment, sealed = (unbase64(recipient[m]) for m in ("salt", "commitment", "sealed_key"))
    model_id = bytes.fromhex(manifest["model_id"])
    aead, nonce, committed = message(model_key, salt, b"adyton.sealed-model.v1.recipient\0" + model_id + kid.encode())
    need(hmac.compare_digest(committed, commitment), "recipient", "another key")
    try:
        content_key = open_chunk(aead, nonce, 0, sealed[:32], sealed[32:])
    except InvalidTag as error:
        raise Refused("recipient", "the sealed key is not authentic") from error
    # RFC 8785: every name is ASCII and every number an integer, so sorting and Python's own escapes suffice.
    unsigned = {k: v for k, v in manifest.items() if k != "mac"}
    canonical = json.dumps(unsigned, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    mac_key = expand(content_key, b"adyton.sealed-model.v1.manifest\0" + model_id, 64)
    mac = hmac.digest(mac_key, canonical, "sha512")
    need(hmac.compare_digest(mac, unbase64(manifest["mac"])), "mac", "the manifest was edited")
    need(manifest["version"] >= minimum_version, "requirement", "an older version than required")
    need(name in (None, manifest["name"]), "requirement", "another model than required")
    return content_key

def open_file(folder, manifest, entry, content_key):
    """The plaintext of one file, after the checks of §7.1 in their order."""
    path, steps, size = folder, (entry["path"] + ".sealed").split("/"), entry["size"]
    for step in steps:  # 1
        path /= step
        need(path.exists() and not path.is_symlink(), "object", "missing, or behind a link")
    table_at = PAGE + -(-size // PAGE) * PAGE
    length, found = table_at + TAG * (size // CHUNK + 1), path.lstat()
    need(stat.S_ISREG(found.st_mode) and found.st_size == length, "object", "not a file of the listed length")  # 2
    data = path.read_bytes()
    need(len(data) == length, "object", "changed while it was read")
    magic, version, chunk_len, said, salt, commitment, rest = struct.unpack("<8sIIQ24s32s4016s", data[:PAGE])  # 3
    need(magic == b"\x89ADY\r\n\x1a\n" and (version, chunk_len) == (1, CHUNK) and not any(rest), "header", "another header")
    need(said == size, "header", "another length than the manifest's")
    context = b"adyton.sealed-model.v1.file\0" + bytes.fromhex(manifest["model_id"]) + entry["path"].encode()
    aead, nonce, committed = message(content_key, salt, context)
    need(hmac.compare_digest(committed, commitment), "commitment", "another key, path, model or salt")  # 4
    listed = [unbase64(entry[member]) for member in ("salt", "commitment", "tag_table_sha256")]
    need(listed[:2] == [salt, commitment], "binding", "not the object that the manifest lists")  # 5
    need(not any(data[PAGE + size:table_at]), "header", "the padding is not zero")  # 6
    need(listed[2] == hashlib.sha256(data[table_at:]).digest(), "binding", "not the tags that the manifest lists")  # 7
    plaintext = bytearray()
    for index, at in enumerate(range(PAGE, PAGE + size // CHUNK * CHUNK + 1, CHUNK)):  # 8
        tag = data[table_at + TAG * index:][:TAG]
        try:
            plaintext += open_chunk(aead, nonce, index, data[at:min(at + CHUNK, PAGE + size)], tag)
        except InvalidTag as error:
            raise Refused("chunk", f"chunk {index} is not authentic") from error
    verify_contents(entry["path"], bytes(plaintext), entry["format"], manifest["allowed_formats"])
    return bytes(plaintext)

def open_model(folder, kid, model_key, **requirements):
    """Path and plaintext of one file after another. Nobody may use one of them before the last was yielded."""
    need((folder / "model.json").is_file(), "storage", f"no model.json in {folder}")
    manifest = parse_manifest((folder / "model.json").read_bytes())
    content_key = unlock(manifest, kid, model_key, **requirements)
    for entry in manifest["files"]:
        yield entry["path"], open_file(folder, manifest, entry, content_key)

if __name__ == "__main__":
    sealed, key_file, kid, target = sys.argv[1:]
    opened = list(open_model(Path(sealed), kid, Path(key_file).read_bytes()))
    for path, plaintext in opened:
        (Path(target) / path).parent.mkdir(parents=True, exist_ok=True)
        (Path(target) / path).write_bytes(plaintext)
