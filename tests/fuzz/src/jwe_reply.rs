//! Secrets on their way: JWE in flattened JSON form.

use adyton_attestation::rcar::{
    JweExtras, JweResponse, ResourceBinding, ResourcePath, jwe::encrypt,
};

use crate::tee_public_key::{fixed_key, fixed_p521_key};

const SECRET: &[u8] = b"thirty-two bytes of model secret";
const MINIMUM_VERSION: u64 = 3;

/// Parses and decrypts; whatever authenticates is what was encrypted, for the resource asked for.
pub fn run(data: &[u8]) {
    let Ok(reply) = JweResponse::parse(data) else {
        return;
    };
    for key in [fixed_key(), fixed_p521_key()] {
        if let Ok(unwrapped) = key.decrypt(&reply, &resource()) {
            assert_eq!(unwrapped.plaintext.as_slice(), SECRET);
            match unwrapped.resource {
                ResourceBinding::Confirmed => {
                    assert_eq!(unwrapped.minimum_model_version, Some(MINIMUM_VERSION));
                }
                ResourceBinding::NotStated => assert_eq!(unwrapped.minimum_model_version, None),
            }
        }
    }
    let again = serde_json::to_vec(&reply).expect("a reply serialises");
    assert_eq!(JweResponse::parse(&again).expect("our own reply parses"), reply);
}

fn resource() -> ResourcePath {
    ResourcePath::parse("acme/model-key/kjv").expect("a path")
}

/// Replies to both keys, with and without our own header members, and one for another resource.
pub fn seeds() -> Vec<Vec<u8>> {
    let ours = JweExtras {
        resource: Some(resource()),
        minimum_model_version: Some(MINIMUM_VERSION),
    };
    let other = JweExtras {
        resource: ResourcePath::parse("acme/model-key/other").ok(),
        minimum_model_version: None,
    };
    let mut seeds = Vec::new();
    for key in [fixed_key(), fixed_p521_key()] {
        for extras in [&ours, &other, &JweExtras::default()] {
            let reply = encrypt(&key.public(), SECRET, extras).expect("encryption works");
            seeds.push(serde_json::to_vec(&reply).expect("a reply serialises"));
        }
    }
    seeds
}
