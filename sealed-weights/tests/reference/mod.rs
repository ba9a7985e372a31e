//! The format once more, from SPEC.md alone: RustCrypto instead of ring, whole files instead of
//! pieces, nothing shared with the crate under test. Slow, short, without mercy for bad input.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub mod salamander;

use std::collections::BTreeMap;

use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::{Digest, Sha256, Sha512};

pub const CHUNK: usize = 16384;

/// HKDF-Expand of RFC 5869 §2.3 with SHA-512, written out.
pub fn expand(prk: &[u8], info: &[u8], len: usize) -> Vec<u8> {
    let (mut out, mut block, mut counter) = (Vec::new(), Vec::new(), 1_u8);
    while out.len() < len {
        let mut mac = <Hmac<Sha512> as KeyInit>::new_from_slice(prk).unwrap();
        mac.update(&block);
        mac.update(info);
        mac.update(&[counter]);
        block = mac.finalize().into_bytes().to_vec();
        out.extend_from_slice(&block);
        counter += 1;
    }
    out.truncate(len);
    out
}

/// The keys of one message of c2sp.org/chunked-encryption.
pub struct Message {
    aead: Aes256Gcm,
    pub key: [u8; 32],
    pub base_nonce: [u8; 12],
    pub commitment: [u8; 32],
}

impl Message {
    pub fn derive(input_key: &[u8; 32], salt: &[u8; 24], context: &[u8]) -> Self {
        let info =
            [b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0", &salt[..], context].concat();
        let derived = expand(input_key, &info, 76);
        Self {
            aead: <Aes256Gcm as KeyInit>::new_from_slice(&derived[..32]).unwrap(),
            key: derived[..32].try_into().unwrap(),
            base_nonce: derived[32..44].try_into().unwrap(),
            commitment: derived[44..].try_into().unwrap(),
        }
    }

    pub fn nonce(&self, chunk: u64) -> [u8; 12] {
        let counter = u128::from(chunk).to_be_bytes();
        std::array::from_fn(|i| self.base_nonce[i] ^ counter[4 + i])
    }

    /// Ciphertexts and tags, chunk by chunk.
    pub fn seal(&self, plaintext: &[u8]) -> Vec<(Vec<u8>, [u8; 16])> {
        (0..=plaintext.len() / CHUNK)
            .map(|index| {
                let start = index * CHUNK;
                let mut chunk = plaintext[start..plaintext.len().min(start + CHUNK)].to_vec();
                let nonce = self.nonce(index as u64).into();
                let tag = self
                    .aead
                    .encrypt_inout_detached(&nonce, b"", chunk.as_mut_slice().into())
                    .unwrap();
                (chunk, tag.into())
            })
            .collect()
    }

    pub fn open(&self, index: u64, chunk: &mut [u8], tag: &[u8; 16]) -> Result<(), ()> {
        let nonce = self.nonce(index).into();
        self.aead.decrypt_inout_detached(&nonce, b"", chunk.into(), &(*tag).into()).map_err(|_| ())
    }
}

/// A whole message in the standard's byte order.
pub fn c2sp_seal(key: &[u8; 32], salt: &[u8; 24], context: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let message = Message::derive(key, salt, context);
    let mut out = [&salt[..], &message.commitment].concat();
    for (chunk, tag) in message.seal(plaintext) {
        out.extend_from_slice(&chunk);
        out.extend_from_slice(&tag);
    }
    out
}

pub fn c2sp_open(key: &[u8; 32], context: &[u8], message: &[u8]) -> Result<Vec<u8>, ()> {
    let (salt, rest) = message.split_first_chunk::<24>().ok_or(())?;
    let (commitment, body) = rest.split_first_chunk::<32>().ok_or(())?;
    let keys = Message::derive(key, salt, context);
    if keys.commitment != *commitment || body.len() % (CHUNK + 16) < 16 {
        return Err(());
    }
    let mut out = Vec::new();
    for (index, sealed) in body.chunks(CHUNK + 16).enumerate() {
        let (chunk, tag) = sealed.split_last_chunk::<16>().ok_or(())?;
        let mut chunk = chunk.to_vec();
        keys.open(index as u64, &mut chunk, tag)?;
        out.extend_from_slice(&chunk);
    }
    Ok(out)
}

pub fn file_context(model_id: &[u8; 16], path: &str) -> Vec<u8> {
    [b"adyton.sealed-model.v1.file\0", &model_id[..], path.as_bytes()].concat()
}

pub fn header(len: u64, salt: &[u8; 24], commitment: &[u8; 32]) -> Vec<u8> {
    let mut out = b"\x89ADY\r\n\x1a\n".to_vec();
    out.extend_from_slice(&1_u32.to_le_bytes());
    out.extend_from_slice(&(CHUNK as u32).to_le_bytes());
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(salt);
    out.extend_from_slice(commitment);
    out.resize(4096, 0);
    out
}

/// An object: header, ciphertext, padding, tags.
pub fn object(key: &[u8; 32], salt: &[u8; 24], context: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let message = Message::derive(key, salt, context);
    assemble(plaintext.len(), salt, &message.commitment, &message.seal(plaintext))
}

pub fn assemble(
    len: usize,
    salt: &[u8; 24],
    commitment: &[u8; 32],
    chunks: &[(Vec<u8>, [u8; 16])],
) -> Vec<u8> {
    let mut out = header(len as u64, salt, commitment);
    for (chunk, _) in chunks {
        out.extend_from_slice(chunk);
    }
    out.resize(out.len().next_multiple_of(4096), 0);
    for (_, tag) in chunks {
        out.extend_from_slice(tag);
    }
    out
}

pub fn tag_table_at(len: usize) -> usize {
    4096 + len.next_multiple_of(4096)
}

/// A model to be sealed with everything fixed that is random in life.
pub struct Draft {
    pub content_key: [u8; 32],
    pub model_id: [u8; 16],
    pub name: String,
    pub version: u64,
    pub allowed_formats: Vec<&'static str>,
    /// Path, format, plaintext.
    pub files: Vec<(String, &'static str, Vec<u8>)>,
    /// Model key and kid.
    pub recipients: Vec<([u8; 32], String)>,
}

/// 24 bytes that differ for every label.
pub fn salt(label: &str) -> [u8; 24] {
    Sha256::digest(label.as_bytes())[..24].try_into().unwrap()
}

impl Draft {
    /// Every file of the sealed folder by its name.
    pub fn seal(&self) -> BTreeMap<String, Vec<u8>> {
        let mut out = BTreeMap::new();
        for (path, _, plaintext) in &self.files {
            let context = file_context(&self.model_id, path);
            let bytes = object(&self.content_key, &self.salt(path), &context, plaintext);
            out.insert(format!("{path}.sealed"), bytes);
        }
        out.insert("model.json".into(), pretty(&self.manifest()));
        out
    }

    pub fn salt(&self, path: &str) -> [u8; 24] {
        salt(&format!("{} {} {path}", self.name, self.version))
    }

    pub fn manifest(&self) -> Value {
        let files: Vec<_> = self
            .files
            .iter()
            .map(|(path, format, plaintext)| {
                let context = file_context(&self.model_id, path);
                let object = object(&self.content_key, &self.salt(path), &context, plaintext);
                let tags = &object[tag_table_at(plaintext.len())..];
                json!({
                    "path": path,
                    "size": plaintext.len(),
                    "format": format,
                    "salt": STANDARD.encode(&object[24..48]),
                    "commitment": STANDARD.encode(&object[48..80]),
                    "tag_table_sha256": STANDARD.encode(Sha256::digest(tags)),
                })
            })
            .collect();
        let recipients: Vec<_> =
            self.recipients.iter().map(|(key, kid)| self.recipient(key, kid)).collect();
        self.with_mac(json!({
            "adyton": "sealed-model/1",
            "name": self.name,
            "version": self.version,
            "model_id": hex::encode(self.model_id),
            "allowed_formats": self.allowed_formats,
            "files": files,
            "recipients": recipients,
        }))
    }

    fn recipient(&self, key: &[u8; 32], kid: &str) -> Value {
        let context =
            [b"adyton.sealed-model.v1.recipient\0", &self.model_id[..], kid.as_bytes()].concat();
        let salt = salt(&format!("{} {kid}", hex::encode(self.model_id)));
        let message = Message::derive(key, &salt, &context);
        let (sealed, tag) = message.seal(&self.content_key).remove(0);
        json!({
            "kid": kid,
            "salt": STANDARD.encode(salt),
            "commitment": STANDARD.encode(message.commitment),
            "sealed_key": STANDARD.encode([&sealed[..], &tag].concat()),
        })
    }

    /// What only somebody with the content key can do: put a MAC on any manifest.
    pub fn with_mac(&self, mut manifest: Value) -> Value {
        manifest.as_object_mut().unwrap().remove("mac");
        let mac = mac(&self.content_key, &self.model_id, &manifest);
        manifest["mac"] = STANDARD.encode(mac).into();
        manifest
    }
}

pub fn mac(content_key: &[u8; 32], model_id: &[u8; 16], without_mac: &Value) -> Vec<u8> {
    let info = [b"adyton.sealed-model.v1.manifest\0", &model_id[..]].concat();
    let key = expand(content_key, &info, 64);
    let mut mac = <Hmac<Sha512> as KeyInit>::new_from_slice(&key).unwrap();
    mac.update(canonical(without_mac).as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// RFC 8785 for objects whose names are ASCII.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let sorted: BTreeMap<_, _> = members.iter().collect();
            let members: Vec<_> = sorted
                .into_iter()
                .map(|(name, value)| format!("{}:{}", Value::from(name.as_str()), canonical(value)))
                .collect();
            format!("{{{}}}", members.join(","))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}

pub fn pretty(manifest: &Value) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(&sorted(manifest)).unwrap();
    bytes.push(b'\n');
    bytes
}

/// Members in the order of their names. serde_json keeps the order of insertion when any crate of the
/// build asks for `preserve_order`, so the order of a `Map` says nothing.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let members: BTreeMap<_, _> = members.iter().collect();
            members.into_iter().map(|(name, value)| (name.clone(), sorted(value))).collect()
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

/// Opens one file of a sealed folder, checking everything SPEC.md §7 says.
pub fn open(
    folder: &std::path::Path,
    model_key: &[u8; 32],
    kid: &str,
    path: &str,
) -> Result<Vec<u8>, &'static str> {
    let manifest = std::fs::read(folder.join("model.json")).map_err(|_| "no manifest")?;
    let manifest: Value = serde_json::from_slice(&manifest).map_err(|_| "not JSON")?;
    let bytes = |value: &Value| STANDARD.decode(value.as_str().unwrap()).unwrap();
    let model_id: [u8; 16] =
        hex::decode(manifest["model_id"].as_str().unwrap()).unwrap().try_into().unwrap();
    let recipient = manifest["recipients"]
        .as_array()
        .unwrap()
        .iter()
        .find(|recipient| recipient["kid"] == kid)
        .ok_or("no recipient")?;
    let context = [b"adyton.sealed-model.v1.recipient\0", &model_id[..], kid.as_bytes()].concat();
    let message = [
        bytes(&recipient["salt"]),
        bytes(&recipient["commitment"]),
        bytes(&recipient["sealed_key"]),
    ]
    .concat();
    let content_key: [u8; 32] =
        c2sp_open(model_key, &context, &message).map_err(|()| "recipient")?.try_into().unwrap();
    let mut without_mac = manifest.clone();
    without_mac.as_object_mut().unwrap().remove("mac");
    if mac(&content_key, &model_id, &without_mac) != bytes(&manifest["mac"]) {
        return Err("mac");
    }
    let entry = manifest["files"]
        .as_array()
        .unwrap()
        .iter()
        .find(|entry| entry["path"] == path)
        .ok_or("no file")?;
    let object = std::fs::read(folder.join(format!("{path}.sealed"))).map_err(|_| "no object")?;
    let len = entry["size"].as_u64().unwrap() as usize;
    let tags = tag_table_at(len);
    let (salt, commitment) = (bytes(&entry["salt"]), bytes(&entry["commitment"]));
    let expected = header(
        len as u64,
        salt.as_slice().try_into().unwrap(),
        commitment.as_slice().try_into().unwrap(),
    );
    if object.len() != tags + (len / CHUNK + 1) * 16 || object[..4096] != expected {
        return Err("object");
    }
    if Sha256::digest(&object[tags..])[..] != bytes(&entry["tag_table_sha256"])
        || object[4096 + len..tags].iter().any(|byte| *byte != 0)
    {
        return Err("tag table");
    }
    let mut message = [salt, commitment].concat();
    for index in 0..=len / CHUNK {
        let end = (4096 + len).min(4096 + (index + 1) * CHUNK);
        message.extend_from_slice(&object[4096 + index * CHUNK..end]);
        message.extend_from_slice(&object[tags + index * 16..][..16]);
    }
    c2sp_open(&content_key, &file_context(&model_id, path), &message).map_err(|()| "chunk")
}

pub fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

pub fn digest_base64(bytes: &[u8]) -> String {
    STANDARD.encode(Sha256::digest(bytes))
}

/// The same number of bytes, one bit of the first changed.
pub fn flip_base64(text: &str) -> String {
    let mut bytes = STANDARD.decode(text).unwrap();
    bytes[0] ^= 1;
    STANDARD.encode(bytes)
}
