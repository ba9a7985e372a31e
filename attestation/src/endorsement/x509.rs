//! The dates in certificates and revocation lists, read without believing them.

use der::Decode as _;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use x509_cert::Certificate;
use x509_cert::crl::CertificateList;
use x509_cert::time::Time;

use crate::endorsement::item::Validity;
use crate::limits::{MAX_CERTIFICATE_LEN, MAX_CHAIN_CERTIFICATES, MAX_CRL_LEN};
use crate::unix_time::UnixTime;

/// Dates of one certificate in DER that nothing follows.
pub(super) fn certificate_validity(der: &[u8]) -> Option<Validity> {
    if der.len() > MAX_CERTIFICATE_LEN {
        return None;
    }
    let certificate = Certificate::from_der(der).ok()?;
    let validity = certificate.tbs_certificate().validity();
    Some(Validity { issued: unix(&validity.not_before), expires: unix(&validity.not_after) })
}

/// The time in which all certificates of a PEM chain count; `None` when one can't be read, or when
/// there is none or more than a chain may have.
pub(super) fn chain_validity(pem: &[u8]) -> Option<Validity> {
    let mut all: Option<Validity> = None;
    for (count, der) in CertificateDer::pem_slice_iter(pem).enumerate() {
        if count >= MAX_CHAIN_CERTIFICATES {
            return None;
        }
        let one = certificate_validity(&der.ok()?)?;
        all = Some(all.map_or(one, |so_far| so_far.intersect(one)));
    }
    all
}

/// Dates and issuer of a revocation list in DER. A list without `nextUpdate` has no end that could be
/// kept, so it counts as unreadable.
pub(super) fn crl_validity(der: &[u8]) -> Option<Validity> {
    let list = crl(der)?;
    let expires = unix(list.tbs_cert_list.next_update.as_ref()?);
    Some(Validity { issued: unix(&list.tbs_cert_list.this_update), expires })
}

/// Common name of a list's issuer, bounded.
pub(super) fn crl_issuer(der: &[u8]) -> Option<String> {
    Some(shortened(&crl(der)?.tbs_cert_list.issuer.to_string()))
}

fn crl(der: &[u8]) -> Option<CertificateList> {
    if der.len() > MAX_CRL_LEN {
        return None;
    }
    CertificateList::from_der(der).ok()
}

fn unix(time: &Time) -> UnixTime {
    UnixTime(time.to_unix_duration().as_secs())
}

fn shortened(text: &str) -> String {
    text.chars().take(200).collect()
}
