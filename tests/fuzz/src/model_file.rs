//! What may be inside a sealed model: safetensors, GGUF, and formats that run code.
//!
//! The first byte chooses the file's name, the rest is its contents.

use adyton_sealed_weights::formats::inspect;
use adyton_sealed_weights::{FileFormat, ModelPath};
use safetensors::SafeTensors;

const NAMES: [&str; 5] = [
    "model.safetensors",
    "model.gguf",
    "pytorch_model.bin",
    "tokenizer.json",
    "weights",
];

/// Inspects; nothing that runs code passes without being allowed, and the loader that servers use
/// reads every safetensors file that passes.
pub fn run(data: &[u8]) {
    accepted(data);
}

/// The format, when the file passes.
fn accepted(data: &[u8]) -> Option<FileFormat> {
    let (which, contents) = data.split_first()?;
    let name = NAMES[usize::from(*which) % NAMES.len()];
    let path = ModelPath::parse(name).expect("a good path");
    let format = inspect(&path, contents, &[]).ok()?;
    assert_eq!(format.risk(), None, "{name} runs code and nobody allowed it");
    if format == FileFormat::Safetensors
        && let Err(refused) = SafeTensors::deserialize(contents)
    {
        panic!("the server's loader refuses what passed: {refused:?}");
    }
    Some(format)
}

/// One small file of each kind, and headers that lie about lengths and counts.
pub fn seeds() -> Vec<Vec<u8>> {
    let header = br#"{"w":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},"__metadata__":{"format":"pt"}}"#;
    let overlap = br#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"b":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#;
    let gguf = gguf();
    let mut greedy = gguf.clone();
    greedy[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    [
        (0, safetensors(header)),
        (0, safetensors(overlap)),
        (0, [&u64::MAX.to_le_bytes()[..], b"{}"].concat()),
        (1, gguf.clone()),
        (1, greedy),
        (4, gguf),
        (2, b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00cos\nsystem\n.".to_vec()),
        (2, b"PK\x03\x04\x14\x00\x00\x00archive/data.pkl".to_vec()),
        (3, b"{\"version\":\"1.0\"}".to_vec()),
    ]
    .map(|(which, contents)| [&[which][..], &contents].concat())
    .into()
}

fn safetensors(header: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header, &[0; 16]].concat()
}

/// GGUF version 3 with one string of metadata and one tensor of four f32.
fn gguf() -> Vec<u8> {
    let string = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let mut out = b"GGUF".to_vec();
    out.extend(3_u32.to_le_bytes());
    out.extend(1_u64.to_le_bytes());
    out.extend(1_u64.to_le_bytes());
    out.extend(string("general.architecture"));
    out.extend(8_u32.to_le_bytes());
    out.extend(string("llama"));
    out.extend(string("w"));
    out.extend(1_u32.to_le_bytes());
    out.extend(4_u64.to_le_bytes());
    out.extend(0_u32.to_le_bytes());
    out.extend(0_u64.to_le_bytes());
    out.resize(out.len().next_multiple_of(32) + 16, 0);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sound_files_pass_and_others_do_not() {
        let formats: Vec<_> = seeds().iter().map(|seed| accepted(seed)).collect();
        let (safetensors, gguf) = (Some(FileFormat::Safetensors), Some(FileFormat::Gguf));
        let other = Some(FileFormat::Other);
        let expected = [safetensors, None, None, gguf, None, gguf, None, None, other];
        assert_eq!(formats, expected);
    }
}
