//! Secrets on their way: JWE in flattened JSON form.

use adyton_attestation::rcar::{
    JweExtras, JweResponse, ResourceBinding, ResourcePath, jwe::encrypt,
};

use crate::tee_public_key::{fixed_key, fixed_p521_key};

const SECRET: &[u8] = b"thirty-two bytes of model secret";
const MINIMUM_VERSION: u64 = 3;

/// Parses and decrypts; whatever authenticates is what was encrypted, for the resource asked for.
pub fn run(data: &[u8]) {
    opened(data);
}

/// Whether one of the keys opened the reply.
fn opened(data: &[u8]) -> bool {
    let Ok(reply) = JweResponse::parse(data) else {
        return false;
    };
    let mut opened = false;
    for key in [fixed_key(), fixed_p521_key()] {
        if let Ok(unwrapped) = key.decrypt(&reply, &resource()) {
            opened = true;
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
    opened
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sound_replies_open_so_that_forgeries_could() {
        let opens: Vec<bool> = seeds().iter().map(|seed| opened(seed)).collect();
        assert_eq!(opens, [true, false, true, true, false, true]);
    }
}
