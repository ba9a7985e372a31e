//! Makes the vectors: a few sound models, and the list of faults.

use serde_json::{Value, json};

use crate::Folder;
use crate::fixture::contents;
use crate::reference::{self, Draft, Message, assemble, file_context, pretty, salamander};

const MODEL_KEY: [u8; 32] = [0x4B; 32];
const SECOND_KEY: [u8; 32] = [0x4C; 32];
const KID: &str = "kbs:///acme/model-key/vectors?epoch=1";
const SECOND_KID: &str = "kbs:///partner/model-key/vectors?epoch=2";

/// The tensors of a file: one of four bytes.
const SAFETENSORS: &str = r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}"#;

fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
}

fn file(path: &str, format: &'static str, plaintext: Vec<u8>) -> (String, &'static str, Vec<u8>) {
    (path.to_owned(), format, plaintext)
}

fn draft(version: u64, byte: u8, files: Vec<(String, &'static str, Vec<u8>)>) -> Draft {
    Draft {
        content_key: [byte; 32],
        model_id: [byte ^ 0xFF; 16],
        name: "acme/vectors".into(),
        version,
        allowed_formats: vec![],
        files,
        recipients: vec![(MODEL_KEY, KID.into()), (SECOND_KEY, SECOND_KID.into())],
    }
}

/// Every kind of length, and two files that are alike but for their names.
fn plain() -> Draft {
    let files = vec![
        file("empty.dat", "other", vec![]),
        file("full.dat", "other", contents(16_384)),
        file("sub/twin.dat", "other", contents(100)),
        file("three.dat", "other", contents(40_000)),
        file("tiny.safetensors", "safetensors", safetensors(SAFETENSORS, &[1, 2, 3, 4])),
        file("twin.dat", "other", contents(100)),
    ];
    draft(5, 1, files)
}

fn older() -> Draft {
    draft(4, 2, vec![file("twin.dat", "other", contents(100))])
}

fn one(byte: u8, path: &str, format: &'static str, plaintext: &[u8]) -> Draft {
    draft(5, byte, vec![file(path, format, plaintext.to_vec())])
}

/// A ciphertext that opens under the keys of two content keys; the header commits to the first, the
/// manifest and its recipients are of the second.
fn two_keys() -> Folder {
    let draft = one(8, "a.dat", "other", &[0; 32]);
    let (context, salt) = (file_context(&draft.model_id, "a.dat"), draft.salt("a.dat"));
    let committed = Message::derive(&[9; 32], &salt, &context);
    let used = Message::derive(&draft.content_key, &salt, &context);
    let (chunk, tag) = salamander::two_key_chunk(&committed, &used);
    for message in [&committed, &used] {
        message.open(0, &mut chunk.clone(), &tag).expect("the chunk opens under both keys");
    }
    let object = assemble(32, &salt, &committed.commitment, &[(chunk, tag)]);
    let mut manifest = draft.manifest();
    let table = reference::tag_table_at(32);
    manifest["files"][0]["commitment"] = reference::base64(&committed.commitment).into();
    manifest["files"][0]["tag_table_sha256"] = reference::digest_base64(&object[table..]).into();
    Folder::from([
        ("a.dat.sealed".into(), object),
        ("model.json".into(), pretty(&draft.with_mac(manifest))),
    ])
}

/// Two tensors of floats, of which the first reaches four bytes into the second.
fn overlapping_gguf() -> Vec<u8> {
    let mut bytes = b"GGUF\x03\0\0\0\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
    for (name, elements, offset) in [("a", 9_u64, 0_u64), ("b", 8, 32)] {
        bytes.extend(1_u64.to_le_bytes());
        bytes.extend(name.as_bytes());
        bytes.extend(1_u32.to_le_bytes());
        bytes.extend(elements.to_le_bytes());
        bytes.extend(0_u32.to_le_bytes());
        bytes.extend(offset.to_le_bytes());
    }
    bytes.resize(bytes.len().next_multiple_of(32) + 64, 0);
    bytes
}

/// `<model>/<file>` for every model.
pub fn models() -> Folder {
    let allowed =
        Draft { allowed_formats: vec!["pickle"], ..one(7, "weights.bin", "pickle", b"\x80\x04N.") };
    let mut out = Folder::new();
    for (name, folder) in [
        ("plain", plain().seal()),
        ("older", older().seal()),
        ("pickle-allowed", allowed.seal()),
        ("pickle-by-name", one(3, "weights.bin", "other", b"harmless").seal()),
        ("pickle-by-content", one(4, "weights.dat", "other", b"\x80\x04N.").seal()),
        ("zip-by-content", one(10, "weights.dat", "other", b"PK\x03\x04rest").seal()),
        (
            "safetensors-gap",
            one(5, "a.safetensors", "safetensors", &safetensors(SAFETENSORS, &[0; 5])).seal(),
        ),
        ("safetensors-listed-as-other", {
            one(11, "a.safetensors", "other", &safetensors(SAFETENSORS, &[0; 4])).seal()
        }),
        ("gguf-count", {
            one(6, "a.gguf", "gguf", &[b"GGUF\x03\0\0\0", &[0xFF; 16][..]].concat()).seal()
        }),
        ("gguf-overlap", one(12, "a.gguf", "gguf", &overlapping_gguf()).seal()),
        ("numpy-objects", {
            let array = b"\x93NUMPY\x01\0\x10\0{'descr': '|O'}\n\x80\x04N.";
            one(13, "weights.dat", "other", array).seal()
        }),
        ("gzip-by-content", one(14, "weights.dat", "other", b"\x1f\x8b\x08\0rest").seal()),
        ("hdf5-by-content", one(15, "weights.dat", "other", b"\x89HDF\r\n\x1a\nrest").seal()),
        ("tar-by-content", {
            let tar = [&[b'a'; 257][..], b"ustar", &[0; 250]].concat();
            one(16, "weights.dat", "other", &tar).seal()
        }),
        ("two-keys", two_keys()),
    ] {
        for (file, bytes) in folder {
            out.insert(format!("{name}/{file}"), bytes);
        }
    }
    out
}

/// One case under construction.
struct Case {
    name: String,
    json: Value,
}

fn case(name: &str, fault: &str, edits: Value, layer: &str) -> Case {
    let json = json!({
        "fault": fault,
        "model": "plain",
        "reader": { "kid": KID, "model_key": hex::encode(MODEL_KEY), "minimum_version": 0 },
        "edits": edits,
        "expect": { "layer": layer },
    });
    Case { name: name.to_owned(), json }
}

impl Case {
    fn model(mut self, model: &str) -> Self {
        self.json["model"] = model.into();
        self
    }

    fn reader(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.json["reader"][member] = value.into();
        self
    }

    /// The file with the fault, and how many of its leading bytes a reader of ranges hands out.
    fn out(mut self, file: &str, bytes: u64) -> Self {
        self.json["expect"]["file"] = file.into();
        self.json["expect"]["plaintext_out"] = bytes.into();
        self
    }
}

/// `<case>.json` for every case.
pub fn cases() -> Folder {
    let all = [
        sound(),
        header(),
        chunks(),
        objects(),
        recipients(),
        manifest_edits(),
        manifests(),
        contents_of_files(),
    ];
    let mut out = Folder::new();
    for case in all.into_iter().flatten() {
        let before = out.insert(format!("{}.json", case.name), pretty(&case.json));
        assert!(before.is_none(), "two cases are called {}", case.name);
    }
    out
}

/// Nothing is wrong.
fn sound() -> Vec<Case> {
    let three = ("three.dat", 40_000);
    vec![
        case("sound", "none", json!([]), "opens").out(three.0, three.1),
        case("sound-second-recipient", "none: the other recipient's key", json!([]), "opens")
            .reader("kid", SECOND_KID)
            .reader("model_key", hex::encode(SECOND_KEY))
            .out(three.0, three.1),
        case("sound-minimum-version", "none: exactly the minimum version", json!([]), "opens")
            .reader("minimum_version", 5),
        case(
            "sound-white-space",
            "none: white space of the manifest is not authenticated",
            json!([{ "op": "append", "file": "model.json", "hex": "0a200a" }]),
            "opens",
        ),
        case("sound-pickle-allowed", "none: the owner allowed pickle by name", json!([]), "opens")
            .model("pickle-allowed")
            .out("weights.bin", 4),
    ]
}

const THREE: &str = "three.dat.sealed";

fn header() -> Vec<Case> {
    let write =
        |at: u64, hex: &str| json!([{ "op": "write", "file": THREE, "at": at, "hex": hex }]);
    let xor = |at: u64, mask: &str| json!([{ "op": "xor", "file": THREE, "at": at, "mask": mask }]);
    [
        ("header-magic-first", "first byte of the magic", xor(0, "01"), "header"),
        ("header-magic-last", "last byte of the magic", xor(7, "80"), "header"),
        (
            "header-magic-text-mode",
            "line ends as a transfer in text mode leaves them",
            write(0, "894144590a1a0a01"),
            "header",
        ),
        ("header-version-0", "version 0", write(8, "00000000"), "header"),
        ("header-version-2", "a version that is not known", write(8, "02000000"), "header"),
        (
            "header-version-big-endian",
            "version in the other byte order",
            write(8, "00000001"),
            "header",
        ),
        ("header-chunk-len-0", "chunks of no bytes", write(12, "00000000"), "header"),
        ("header-chunk-len-32k", "chunks of 32 KiB", write(12, "00800000"), "header"),
        (
            "header-length-less",
            "a plaintext length that is one less",
            write(16, "3f9c000000000000"),
            "header",
        ),
        (
            "header-length-more",
            "a plaintext length that is one more",
            write(16, "419c000000000000"),
            "header",
        ),
        (
            "header-length-max",
            "a plaintext length of 2^64 - 1",
            write(16, "ffffffffffffffff"),
            "header",
        ),
        (
            "header-length-2-52",
            "a plaintext length of 2^52: one over the bound",
            write(16, "0000000000001000"),
            "header",
        ),
        ("header-salt-first", "a bit of the salt", xor(24, "01"), "commitment"),
        ("header-salt-last", "a bit of the salt", xor(47, "80"), "commitment"),
        ("header-commitment-first", "a bit of the commitment", xor(48, "01"), "commitment"),
        ("header-commitment-last", "a bit of the commitment", xor(79, "80"), "commitment"),
        (
            "header-reserved-first",
            "the byte after the commitment is not zero",
            xor(80, "01"),
            "header",
        ),
        (
            "header-reserved-last",
            "the last byte of the header is not zero",
            xor(4095, "01"),
            "header",
        ),
        ("padding-first", "the byte after the ciphertext is not zero", xor(44_096, "01"), "header"),
        ("padding-last", "the byte before the tag table is not zero", xor(45_055, "01"), "header"),
    ]
    .into_iter()
    .map(|(name, fault, edits, layer)| case(name, fault, edits, layer).out("three.dat", 0))
    .collect()
}

fn chunks() -> Vec<Case> {
    let xor = |at: u64| json!([{ "op": "xor", "file": THREE, "at": at, "mask": "01" }]);
    let copy = |from: u64, to: u64, len: u64| json!([{ "op": "copy", "file": THREE, "from": from, "to": to, "len": len }]);
    let mut all: Vec<_> = [
        ("chunk-first-byte", "a bit of the first byte", xor(4096), "chunk", 0),
        ("chunk-first-end", "a bit of the first chunk's last byte", xor(20_479), "chunk", 0),
        ("chunk-middle", "a bit of the second chunk", xor(20_480), "chunk", 16_384),
        ("chunk-last", "a bit of the last chunk", xor(36_864), "chunk", 32_768),
        ("chunk-last-byte", "a bit of the last byte", xor(44_095), "chunk", 32_768),
        (
            "chunk-duplicated",
            "the first chunk in the place of the second",
            copy(4096, 20_480, 16_384),
            "chunk",
            16_384,
        ),
        (
            "chunk-moved",
            "the second chunk in the place of the first",
            copy(20_480, 4096, 16_384),
            "chunk",
            0,
        ),
        ("chunk-shifted", "all ciphertext one byte further", copy(4096, 4097, 39_999), "chunk", 0),
        (
            "chunk-zero",
            "the second chunk zeroed",
            json!([
                { "op": "write", "file": THREE, "at": 20_480, "hex": "00".repeat(16_384) }
            ]),
            "chunk",
            16_384,
        ),
        (
            "chunk-and-tag-duplicated",
            "first chunk and tag in the place of the second",
            json!([
                { "op": "copy", "file": THREE, "from": 4096, "to": 20_480, "len": 16_384 },
                { "op": "copy", "file": THREE, "from": 45_056, "to": 45_072, "len": 16 },
            ]),
            "binding",
            0,
        ),
        ("tag-first", "a bit of the first tag", xor(45_056), "binding", 0),
        ("tag-last", "a bit of the last byte of the tag table", xor(45_103), "binding", 0),
        (
            "tags-exchanged",
            "the first tag in the place of the second",
            copy(45_056, 45_072, 16),
            "binding",
            0,
        ),
    ]
    .into_iter()
    .map(|(name, fault, edits, layer, out)| case(name, fault, edits, layer).out("three.dat", out))
    .collect();
    all.push(
        case(
            "tag-of-empty-file",
            "a bit of the tag of a file of no bytes",
            json!([
                { "op": "xor", "file": "empty.dat.sealed", "at": 4111, "mask": "01" }
            ]),
            "binding",
        )
        .out("empty.dat", 0),
    );
    all.push(
        case(
            "tag-of-empty-last-chunk",
            "a bit of the tag of a last chunk of no bytes",
            json!([
                { "op": "xor", "file": "full.dat.sealed", "at": 20_511, "mask": "01" }
            ]),
            "binding",
        )
        .out("full.dat", 0),
    );
    all
}

fn objects() -> Vec<Case> {
    let truncate = |len: u64| json!([{ "op": "truncate", "file": THREE, "len": len }]);
    let append = |hex: &str| json!([{ "op": "append", "file": THREE, "hex": hex }]);
    let take = |file: &str, model: &str, from: &str| json!([{ "op": "take", "file": file, "from_model": model, "from_file": from }]);
    let mut all: Vec<_> = [
        ("object-empty", "the object has no bytes", truncate(0)),
        ("object-cut-in-header", "cut inside the header", truncate(4095)),
        ("object-cut-after-header", "cut after the header", truncate(4096)),
        ("object-cut-at-chunk", "cut after the first chunk", truncate(20_480)),
        ("object-cut-before-tags", "cut before the tag table", truncate(45_056)),
        ("object-cut-last-tag", "the last tag is missing", truncate(45_088)),
        ("object-cut-one-byte", "the last byte is missing", truncate(45_103)),
        ("object-longer-one-byte", "one byte more", append("00")),
        ("object-longer-one-tag", "one tag more", append(&"00".repeat(16))),
        ("object-missing", "the object is missing", json!([{ "op": "remove", "file": THREE }])),
        (
            "object-symlink",
            "the object is a symbolic link",
            json!([
                { "op": "symlink", "file": THREE, "to": "full.dat.sealed" }
            ]),
        ),
    ]
    .into_iter()
    .map(|(name, fault, edits)| case(name, fault, edits, "object").out("three.dat", 0))
    .collect();
    all.push(
        case(
            "object-full-last-chunk",
            "the empty last chunk's tag is missing: the last chunk would be full",
            json!([
                { "op": "truncate", "file": "full.dat.sealed", "len": 20_496 }
            ]),
            "object",
        )
        .out("full.dat", 0),
    );
    all.push(
        case(
            "object-shorter-consistently",
            "header, ciphertext and tags of a shorter file",
            json!([
                { "op": "truncate", "file": THREE, "len": 20_512 },
                { "op": "write", "file": THREE, "at": 16, "hex": "0040000000000000" },
            ]),
            "object",
        )
        .out("three.dat", 0),
    );
    all.push(
        case(
            "object-of-twin",
            "the object of a file with the same contents and another path",
            take("twin.dat.sealed", "plain", "sub/twin.dat.sealed"),
            "commitment",
        )
        .out("twin.dat", 0),
    );
    all.push(
        case(
            "object-of-older-version",
            "the object of the same path in an older version",
            take("twin.dat.sealed", "older", "twin.dat.sealed"),
            "commitment",
        )
        .out("twin.dat", 0),
    );
    all.push(
        case(
            "object-of-other-length",
            "the object of another file",
            take(THREE, "plain", "twin.dat.sealed"),
            "object",
        )
        .out("three.dat", 0),
    );
    all.push(
        case(
            "object-opens-under-two-keys",
            "the first chunk authenticates under the key of the manifest and \
             under the key that the header commits to",
            json!([]),
            "commitment",
        )
        .model("two-keys")
        .out("a.dat", 0),
    );
    all.push(resealed());
    all
}

/// Somebody with the content key seals other bytes for the same path: sound, and not what is listed.
fn resealed() -> Case {
    let draft = plain();
    let salt = reference::salt("another salt");
    let context = file_context(&draft.model_id, "twin.dat");
    let object = reference::object(&draft.content_key, &salt, &context, &contents(100));
    let edits = json!([
        { "op": "truncate", "file": "twin.dat.sealed", "len": 0 },
        { "op": "append", "file": "twin.dat.sealed", "hex": hex::encode(object) },
    ]);
    case(
        "object-resealed",
        "a sound object of the same path and key that the manifest does not list",
        edits,
        "binding",
    )
    .out("twin.dat", 0)
}

fn recipients() -> Vec<Case> {
    let manifest = plain().manifest();
    let edit = |member: &str, to: Value| {
        let mut edited = manifest.clone();
        edited["recipients"][0][member] = to;
        replace(&edited)
    };
    let flipped = |member: &str| {
        let text = manifest["recipients"][0][member].as_str().unwrap();
        Value::from(reference::flip_base64(text))
    };
    vec![
        case(
            "recipient-wrong-key",
            "the reader's key has the right name and other bytes",
            json!([]),
            "recipient",
        )
        .reader("model_key", hex::encode([0x4D; 32])),
        case(
            "recipient-other-kid",
            "the manifest lists no recipient for the reader's key",
            json!([]),
            "recipient",
        )
        .reader("kid", "kbs:///acme/model-key/other?epoch=1"),
        case(
            "recipient-other-epoch",
            "the manifest lists the reader's key with another epoch",
            json!([]),
            "recipient",
        )
        .reader("kid", "kbs:///acme/model-key/vectors?epoch=2"),
        case(
            "recipient-salt",
            "a bit of the recipient's salt",
            edit("salt", flipped("salt")),
            "recipient",
        ),
        case(
            "recipient-commitment",
            "a bit of the recipient's commitment",
            edit("commitment", flipped("commitment")),
            "recipient",
        ),
        case(
            "recipient-sealed-key",
            "a bit of the sealed content key",
            edit("sealed_key", flipped("sealed_key")),
            "recipient",
        ),
        case(
            "recipient-renamed",
            "a recipient renamed to the reader's key",
            {
                let mut edited = manifest.clone();
                edited["recipients"][0]["kid"] = SECOND_KID.into();
                edited["recipients"].as_array_mut().unwrap().truncate(1);
                replace(&edited)
            },
            "recipient",
        )
        .reader("kid", SECOND_KID)
        .reader("model_key", hex::encode(MODEL_KEY)),
        case(
            "recipient-of-other-model",
            "the recipient of another model for the same key",
            {
                let mut edited = manifest.clone();
                edited["recipients"][0] = older().manifest()["recipients"][0].clone();
                replace(&edited)
            },
            "recipient",
        ),
        case(
            "recipient-removed",
            "the second recipient is missing; the first is the reader's",
            {
                let mut edited = manifest.clone();
                edited["recipients"].as_array_mut().unwrap().truncate(1);
                replace(&edited)
            },
            "mac",
        ),
        case(
            "recipient-model-id",
            "another model id",
            {
                let mut edited = manifest.clone();
                edited["model_id"] = "00112233445566778899aabbccddeeff".into();
                replace(&edited)
            },
            "recipient",
        ),
    ]
}

fn replace(manifest: &Value) -> Value {
    let text = String::from_utf8(pretty(manifest)).unwrap();
    json!([{ "op": "replace", "file": "model.json", "text": text }])
}

/// Edits by somebody without the content key: the MAC no longer fits.
fn manifest_edits() -> Vec<Case> {
    let edited = |name: &str, fault: &str, change: &dyn Fn(&mut Value)| {
        let mut manifest = plain().manifest();
        change(&mut manifest);
        case(name, fault, replace(&manifest), "mac")
    };
    let flip = |manifest: &mut Value, member: &str| {
        let text = manifest["files"][3][member].as_str().unwrap();
        manifest["files"][3][member] = reference::flip_base64(text).into();
    };
    vec![
        edited("mac-name", "another name", &|m| m["name"] = "acme/other".into()),
        edited("mac-version", "a higher version: an old model made to look new", &|m| {
            m["version"] = 6.into()
        }),
        edited("mac-allowed-formats", "pickle allowed afterwards", &|m| {
            m["allowed_formats"] = json!(["pickle"])
        }),
        edited("mac-file-removed", "a file is missing", &|m| {
            drop(m["files"].as_array_mut().unwrap().remove(0))
        }),
        edited("mac-files-reordered", "two files in another order", &|m| {
            m["files"].as_array_mut().unwrap().swap(0, 1)
        }),
        edited("mac-path", "a file renamed", &|m| m["files"][0]["path"] = "renamed.dat".into()),
        edited("mac-size", "a size changed", &|m| m["files"][3]["size"] = 16_384.into()),
        edited("mac-format", "a format changed", &|m| m["files"][4]["format"] = "other".into()),
        edited("mac-salt", "a salt changed", &|m| flip(m, "salt")),
        edited("mac-commitment", "a commitment changed", &|m| flip(m, "commitment")),
        edited("mac-tag-table", "a digest of a tag table changed", &|m| {
            flip(m, "tag_table_sha256")
        }),
        edited("mac-itself", "a bit of the MAC", &|m| {
            m["mac"] = reference::flip_base64(m["mac"].as_str().unwrap()).into();
        }),
        edited("mac-of-other-model", "the MAC of another model", &|m| {
            m["mac"] = older().manifest()["mac"].clone()
        }),
        case("rollback", "an older version than the reader requires", json!([]), "requirement")
            .reader("minimum_version", 6),
        case("rollback-older-model", "a sound older version", json!([]), "requirement")
            .model("older")
            .reader("minimum_version", 5),
        case("other-name", "another model than the reader requires", json!([]), "requirement")
            .reader("name", "acme/other"),
    ]
}

/// Manifests that break a rule of the format, most with a MAC that fits: a writer may be hostile too.
fn manifests() -> Vec<Case> {
    let signed = |name: &str, fault: &str, change: &dyn Fn(&mut Value)| {
        let draft = plain();
        let mut manifest = draft.manifest();
        change(&mut manifest);
        case(name, fault, replace(&draft.with_mac(manifest)), "manifest")
    };
    let text = |name: &str, fault: &str, find: &str, with: &str| {
        let edits = json!([{ "op": "text", "file": "model.json", "find": find, "with": with }]);
        case(name, fault, edits, "manifest")
    };
    let mut all = vec![
        signed("manifest-format-2", "a version of the format that is not known", &|m| {
            m["adyton"] = "sealed-model/2".into()
        }),
        signed("manifest-unknown-member", "a member that is not known", &|m| {
            m["note"] = "x".into()
        }),
        signed("manifest-unknown-member-of-file", "a member of a file that is not known", &|m| {
            m["files"][0]["mode"] = 7.into()
        }),
        signed(
            "manifest-unknown-member-of-recipient",
            "a member of a recipient that is not known",
            &|m| m["recipients"][0]["note"] = "x".into(),
        ),
        signed("manifest-version-0", "version 0", &|m| m["version"] = 0.into()),
        signed("manifest-version-2-53", "a version that not every JSON keeps exactly", &|m| {
            m["version"] = 9_007_199_254_740_992_u64.into()
        }),
        signed("manifest-name-empty", "an empty name", &|m| m["name"] = "".into()),
        signed("manifest-name-control", "a control character in the name", &|m| {
            m["name"] = "a\u{1b}[2J".into()
        }),
        signed("manifest-no-files", "no files", &|m| m["files"] = json!([])),
        signed("manifest-no-recipients", "no recipients", &|m| m["recipients"] = json!([])),
        signed("manifest-recipient-twice", "two recipients for one key", &|m| {
            m["recipients"][1] = m["recipients"][0].clone()
        }),
        signed("manifest-size-2-52", "a size over the bound", &|m| {
            m["files"][0]["size"] = (1_u64 << 52).into()
        }),
        signed("manifest-size-max", "a size of 2^64 - 1", &|m| {
            m["files"][0]["size"] = u64::MAX.into()
        }),
        signed("manifest-size-sum", "sizes whose sum is over the bound", &|m| {
            for index in 0..3 {
                m["files"][index]["size"] = ((1_u64 << 52) - 1).into();
            }
        }),
        signed(
            "manifest-pickle-not-allowed",
            "a file listed as pickle, which is not allowed",
            &|m| m["files"][0]["format"] = "pickle".into(),
        ),
        signed("manifest-allowed-formats-unsorted", "allowed formats in another order", &|m| {
            m["allowed_formats"] = json!(["zip", "pickle"])
        }),
        signed("manifest-allowed-formats-twice", "an allowed format that occurs twice", &|m| {
            m["allowed_formats"] = json!(["pickle", "pickle"])
        }),
        signed("manifest-format-unknown", "a file of a format that is not known", &|m| {
            m["files"][0]["format"] = "exe".into()
        }),
        text(
            "manifest-member-twice",
            "a member that occurs twice",
            "\"name\":",
            "\"name\": \"acme/vectors\", \"name\":",
        ),
        text(
            "manifest-version-float",
            "a version that is no integer",
            "\"version\": 5",
            "\"version\": 5.0",
        ),
        text(
            "manifest-version-negative",
            "a negative version",
            "\"version\": 5",
            "\"version\": -5",
        ),
        text("manifest-no-mac", "no MAC", "\"mac\":", "\"Mac\":"),
        text(
            "manifest-two-values",
            "something after the object",
            "\"adyton\": \"sealed-model/1\",",
            "\"adyton\": \"sealed-model/1\"}{",
        ),
        case(
            "manifest-cut",
            "cut in the middle",
            json!([{ "op": "truncate", "file": "model.json", "len": 1000 }]),
            "manifest",
        ),
        case(
            "manifest-empty",
            "no bytes",
            json!([{ "op": "truncate", "file": "model.json", "len": 0 }]),
            "manifest",
        ),
        case(
            "manifest-byte-order-mark",
            "a byte order mark",
            json!([{
                "op": "replace", "file": "model.json", "text": format!("\u{feff}{}", String::from_utf8(pretty(&plain().manifest())).unwrap())
            }]),
            "manifest",
        ),
        case(
            "manifest-missing",
            "no manifest",
            json!([{ "op": "remove", "file": "model.json" }]),
            "storage",
        ),
    ];
    for (name, fault, path) in [
        ("path-parent", "a path that leaves the model", "../outside"),
        ("path-parent-inside", "a path with `..` in the middle", "a/../../outside"),
        ("path-absolute", "an absolute path", "/etc/passwd"),
        ("path-dot", "a path with `.`", "./a"),
        ("path-empty", "an empty path", ""),
        ("path-empty-component", "a path with an empty component", "a//b"),
        ("path-trailing-slash", "a path that ends in a slash", "a/"),
        ("path-nul", "a NUL in a path", "a\0b"),
        ("path-line-feed", "a line feed in a path", "a\nb"),
        ("path-backslash", "a backslash in a path", "..\\outside"),
        ("path-bidi", "a character that changes the direction of text", "a\u{202e}b"),
        ("path-combining", "a combining character", "e\u{301}"),
        ("path-manifest", "the manifest's own name", "model.json"),
        ("path-sealed", "a name that could be another file's object", "three.dat.sealed"),
        ("path-case", "a name that differs from another in case only", "THREE.dat"),
        ("path-twice", "a name that occurs twice", "three.dat"),
        ("path-under-file", "a file in a folder that is a file", "three.dat/a"),
        ("path-folder-case", "a folder that differs from another in case only", "SUB/a"),
    ] {
        all.push(signed(name, fault, &|m| m["files"][0]["path"] = path.into()));
    }
    all.push(signed("path-long-component", "a component of 249 bytes", &|m| {
        m["files"][0]["path"] = "a".repeat(249).into()
    }));
    all.push(signed("path-deep", "33 components", &|m| {
        m["files"][0]["path"] = ["a"; 33].join("/").into()
    }));
    all
}

/// Sound cryptography around contents that are refused.
fn contents_of_files() -> Vec<Case> {
    [
        (
            "format-pickle-by-name",
            "a pickle by its name, listed as another format",
            "pickle-by-name",
            "weights.bin",
        ),
        (
            "format-pickle-by-content",
            "a pickle by its contents, listed as another format",
            "pickle-by-content",
            "weights.dat",
        ),
        (
            "format-zip-by-content",
            "a zip by its contents, listed as another format",
            "zip-by-content",
            "weights.dat",
        ),
        (
            "format-safetensors-gap",
            "a safetensors file with a byte that belongs to no tensor",
            "safetensors-gap",
            "a.safetensors",
        ),
        (
            "format-safetensors-as-other",
            "a safetensors file listed as another format",
            "safetensors-listed-as-other",
            "a.safetensors",
        ),
        (
            "format-gguf-count",
            "a GGUF file that says it has 2^64 - 1 tensors",
            "gguf-count",
            "a.gguf",
        ),
        (
            "format-gguf-overlap",
            "a GGUF file with a tensor that reaches into another",
            "gguf-overlap",
            "a.gguf",
        ),
        (
            "format-numpy-objects",
            "a NumPy array of pickled objects, listed as another format",
            "numpy-objects",
            "weights.dat",
        ),
        (
            "format-gzip-by-content",
            "a compressed stream by its contents, listed as another format",
            "gzip-by-content",
            "weights.dat",
        ),
        (
            "format-hdf5-by-content",
            "an HDF5 file by its contents, listed as another format",
            "hdf5-by-content",
            "weights.dat",
        ),
        (
            "format-tar-by-content",
            "a tar archive by its contents, listed as another format",
            "tar-by-content",
            "weights.dat",
        ),
    ]
    .into_iter()
    .map(|(name, fault, model, file)| {
        case(name, fault, json!([]), "format").model(model).out(file, 0)
    })
    .collect()
}
