//! A model of so many bytes in so many files, plain and sealed, and how fast it was sealed.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use adyton_sealed_weights::{
    KeyId, ModelKey, NoProgress, Recipient, Requirements, SealJob, SealOptions, SealedModel,
    UnlockedModel,
};

use crate::Outcome;

const KID: &str = "kbs:///bench/model-key/open";

/// The constant key of every measurement.
pub fn model_key() -> Outcome<ModelKey> {
    Ok(ModelKey::from_bytes(&mut [7; 32], KeyId::new(KID, 1)?)?)
}

pub fn load(folder: &Path) -> Outcome<SealedModel> {
    Ok(SealedModel::load(&folder.join("sealed"))?)
}

pub fn unlock(sealed: &SealedModel) -> Outcome<UnlockedModel> {
    Ok(sealed.unlock(&model_key()?, &Requirements::default())?)
}

/// `contents` is `noise`, or `holes`: a plain model that takes no disk.
pub fn run(folder: &Path, mib: &str, files: &str, contents: &str) -> Outcome {
    let (bytes, files) = (mib.parse::<u64>()? << 20, files.parse::<u64>()?);
    let plain = folder.join("plain");
    fs::create_dir_all(&plain)?;
    let block: Vec<u8> = noise(1 << 20);
    for number in 0..files {
        let mut file = File::create(plain.join(format!("part-{number:05}.dat")))?;
        let mut left = bytes / files;
        if contents == "holes" {
            file.set_len(left)?;
            continue;
        }
        while left > 0 {
            let len = left.min(block.len() as u64);
            file.write_all(&block[..usize::try_from(len)?])?;
            left -= len;
        }
    }
    let out = folder.join("sealed");
    let begun = Instant::now();
    seal(&plain, &out)?;
    let seconds = begun.elapsed().as_secs_f64();
    let sealed = bytes as f64 / seconds / 1e9;
    println!("{}", serde_json::json!({"kind": "sealing", "gb_per_second": sealed, "bytes": bytes}));
    Ok(())
}

pub fn seal(plain: &Path, out: &Path) -> Outcome {
    let options =
        SealOptions { name: "bench".into(), version: 1, allow_formats: vec![], threads: 0 };
    let job = SealJob::new(plain, out, options)?;
    let recipient = Recipient::wrap(&model_key()?, &job.model_id(), job.content_key())?;
    job.run(vec![recipient], &NoProgress)?;
    Ok(())
}

/// Bytes that no compressor shortens and no format claims.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..len.div_ceil(8)).flat_map(|_| next()).take(len).collect()
}
