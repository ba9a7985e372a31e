//! What the digest of a configuration covers, and one spelling for it.

use rustls_pki_types::CertificateDer;
use serde_json::{Value, json};

use super::ConfigFile;

/// What the digest covers: the settings, and by digest the roots they name. A ConfigMap is the
/// host's; a path alone would say nothing about whose clients are accepted.
pub(super) fn effective(
    file: &ConfigFile,
    broker: &[CertificateDer<'_>],
    clients: &[CertificateDer<'_>],
    store: &[CertificateDer<'_>],
) -> Value {
    json!({
        "config": file,
        "roots": {
            "broker": roots_digest(broker),
            "clients": roots_digest(clients),
            "store": roots_digest(store),
        },
    })
}

fn roots_digest(roots: &[CertificateDer<'_>]) -> Vec<String> {
    let mut digests: Vec<String> = roots
        .iter()
        .map(|root| hex::encode(ring::digest::digest(&ring::digest::SHA256, root)))
        .collect();
    digests.sort();
    digests
}

/// SHA-256 over `value` with sorted keys and no white space.
pub(super) fn of(value: &Value) -> [u8; 32] {
    let mut text = String::new();
    write(value, &mut text);
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    bytes
}

/// Sorts explicitly: whether a JSON map keeps its order depends on who else is in the build.
fn write(value: &Value, out: &mut String) {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| name.as_bytes());
            out.push('{');
            for (position, (name, member)) in members.into_iter().enumerate() {
                if position > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(name.as_str()).to_string());
                out.push(':');
                write(member, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (position, item) in items.iter().enumerate() {
                if position > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            out.push_str(&value.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_members_does_not_change_the_digest() {
        let one: Value = serde_json::from_str(r#"{"a":1,"b":{"c":[1,2],"d":"x"}}"#).expect("json");
        let two: Value = serde_json::from_str(r#"{"b":{"d":"x","c":[1,2]},"a":1}"#).expect("json");
        assert_eq!(of(&one), of(&two));
    }

    #[test]
    fn a_changed_value_changes_the_digest() {
        assert_ne!(of(&serde_json::json!({"a": 1})), of(&serde_json::json!({"a": 2})));
    }
}
