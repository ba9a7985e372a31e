//! `model.sig`: bundle, envelope and statement.

use adyton_model_signature::{Bundle, FileDigests, PublicKey, Roots, SigningKey, Trust, sign, verify};

/// Throws away its private half: what a mutant is verified with signed nothing of it.
const PUBLIC_KEY: &[u8] = include_bytes!("../../../model-signature/tests/vectors/p256.pem");
const ROOT: &[u8] = include_bytes!("../../../model-signature/tests/vectors/root.pem");
const SIGNED: [&[u8]; 5] = [
    include_bytes!("../../../model-signature/tests/vectors/p256.sig"),
    include_bytes!("../../../model-signature/tests/vectors/p384.sig"),
    include_bytes!("../../../model-signature/tests/vectors/shards.sig"),
    include_bytes!("../../../model-signature/tests/vectors/blake3.sig"),
    include_bytes!("../../../model-signature/tests/vectors/certificate.sig"),
];

/// What verifies was signed by the key or under the root, byte for byte: its statement is one of the
/// genuine ones. And it covers no model that was made up.
pub fn run(data: &[u8]) {
    let Ok(bundle) = Bundle::parse(data) else {
        return;
    };
    let key = PublicKey::from_pem(PUBLIC_KEY).expect("a key");
    let roots = Roots::from_pem(ROOT).expect("a root");
    for trust in [Trust::Key(key), Trust::Roots(roots)] {
        let Ok(signed) = verify(&bundle, &trust) else {
            continue;
        };
        let genuine = SIGNED.iter().filter_map(|sig| {
            let genuine = Bundle::parse(sig).expect("a bundle");
            verify(&genuine, &trust).ok()
        });
        let digests: Vec<_> = genuine.map(|genuine| genuine.statement_sha256()).collect();
        assert!(digests.contains(&signed.statement_sha256()), "signed by nobody");
        let made_up = FileDigests { path: "a".to_owned(), size: 1, sha256: vec![[0; 32]] };
        assert!(signed.covers(&[made_up]).is_err());
    }
}

/// What the Python package wrote, what we write, and a keyless entry that nobody signed.
pub fn seeds() -> Vec<Vec<u8>> {
    let key = rcgen::KeyPair::generate().expect("a key").serialize_pem();
    let key = SigningKey::from_pem(key.as_bytes()).expect("a key");
    let files = [("a".to_owned(), [1; 32]), ("b/c".to_owned(), [2; 32])];
    let ours = sign(&key, "m", &files, &["model.sig"]).expect("signed");
    let keyless = br#"{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"certificate":{"rawBytes":"MIIB"},"tlogEntries":[{"logIndex":"9","logId":{"keyId":"AAAA"},"kindVersion":{"kind":"dsse","version":"0.0.1"},"integratedTime":"1767225605","inclusionPromise":{"signedEntryTimestamp":"AAAA"},"inclusionProof":{"logIndex":"1","rootHash":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","treeSize":"2","hashes":["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="],"checkpoint":{"envelope":"a\n2\nAAAA\n\n"}},"canonicalizedBody":"e30="}]},"dsseEnvelope":{"payload":"e30=","payloadType":"application/vnd.in-toto+json","signatures":[{"sig":"AAAA"}]}}"#;
    let mut seeds: Vec<Vec<u8>> = SIGNED.iter().map(|sig| sig.to_vec()).collect();
    seeds.extend([ours, keyless.to_vec()]);
    seeds
}
