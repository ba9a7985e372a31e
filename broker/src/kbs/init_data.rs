//! Init-data that a guest sends: are they the ones that its hardware has measured?
//!
//! In: the digest of what was sent, verified claims. Out: nothing, or the reason against. KBS protocol
//! §4: TDX keeps the digest in MRCONFIGID (48 bytes), SEV-SNP in HOST_DATA (32), each zero-padded or
//! cut; Azure's vTPM extends PCR 8 with it, from zero, once.
//! Against: a guest that shows its owner other init-data than it was launched with.

use adyton_attestation::reference_value::PcrIndex;
use adyton_attestation::{Claims, Reason};
use ring::digest::{Context, SHA256};

use super::reason;

/// Compares the digest with the register that the TEE keeps it in.
///
/// # Errors
/// One reason, named after the TEE.
pub fn refuse_unmeasured(digest: &[u8], claims: &Claims) -> Result<(), Box<Reason>> {
    let (code, register, expected, got) = match claims {
        Claims::Tdx(claims) => {
            let expected = fitted::<48>(digest).to_vec();
            ("tdx.init-data.digest", "mrconfigid", expected, claims.mrconfigid.0.to_vec())
        }
        Claims::Snp(claims) => {
            let expected = fitted::<32>(digest).to_vec();
            ("snp.init-data.digest", "host_data", expected, claims.host_data.0.to_vec())
        }
        Claims::AzSnpVtpm(claims) | Claims::AzTdxVtpm(claims) => {
            let (code, register) = ("azure.init-data.digest", "pcr8");
            // A bank of SHA-256 takes 32 bytes and nothing else.
            let Ok(digest) = <[u8; 32]>::try_from(digest) else {
                let got = format!("a digest of {} bytes", digest.len());
                return Err(Box::new(reason::of_init_data(
                    code,
                    register,
                    "32 bytes".to_owned(),
                    got,
                )));
            };
            let pcr8 = PcrIndex::INIT_DATA.of(&claims.pcrs);
            (code, register, extended_once(&digest), pcr8.0.to_vec())
        }
        // A TEE that this file doesn't know has no register that could agree.
        _ => {
            let expected = hex::encode(digest);
            return Err(Box::new(reason::of_init_data(
                "init-data.register",
                "init-data",
                expected,
                "no register for them".to_owned(),
            )));
        }
    };
    if expected == got {
        return Ok(());
    }
    Err(Box::new(reason::of_init_data(code, register, hex::encode(expected), hex::encode(got))))
}

/// Zero-padded or cut to the register's length.
fn fitted<const N: usize>(digest: &[u8]) -> [u8; N] {
    let mut register = [0; N];
    for (to, from) in register.iter_mut().zip(digest) {
        *to = *from;
    }
    register
}

fn extended_once(digest: &[u8; 32]) -> Vec<u8> {
    let mut context = Context::new(&SHA256);
    context.update(&[0; 32]);
    context.update(digest);
    context.finish().as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_padded_or_cut_to_its_register() {
        assert_eq!(fitted::<4>(&[1, 2]), [1, 2, 0, 0]);
        assert_eq!(fitted::<2>(&[1, 2, 3]), [1, 2]);
    }

    #[test]
    fn a_pcr_is_extended_from_zero() {
        // SHA-256 of 64 zero bytes.
        let zeros = "f5a5fd42d16a20302798ef6ed309979b43003d2320d9f0e8ea9831a92759fb4b";
        assert_eq!(hex::encode(extended_once(&[0; 32])), zeros);
    }
}
