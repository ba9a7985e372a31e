//! What a request says about its signature, in the Authorization field or in the query.
//!
//! In: a request. Out: a [`Claim`]: parsed, of the right shape, verified by nobody.

use crate::error::Refusal;
use crate::limits::{MAX_HEADERS, MAX_PRESIGNED_SECONDS};
use crate::request::Request;
use crate::signature::time::UnixSeconds;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// Longest region that is taken for one.
const MAX_REGION_BYTES: usize = 64;

/// Where the signature stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In the Authorization field.
    Header,
    /// In the query: presigned, for this many seconds.
    Query {
        /// `X-Amz-Expires`.
        expires: u64,
    },
}

/// A signature and what it says it was made with.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) place: Place,
    pub(super) access_key: String,
    /// `YYYYMMDD`
    pub(super) date: String,
    pub(super) region: String,
    /// `YYYYMMDDTHHMMSSZ`, which begins with `date`.
    pub(super) time: String,
    pub(super) signed_at: UnixSeconds,
    /// Sorted, each once.
    pub(super) signed_headers: Vec<String>,
    pub(super) signature: [u8; 32],
}

impl Claim {
    pub(super) fn of(request: &Request) -> Result<Self, Refusal> {
        let query = |name| request.target().parameter(name);
        if request.header("x-amz-security-token").is_some()
            || query("X-Amz-Security-Token").is_some()
        {
            return Err(Refusal::SecurityToken);
        }
        match (request.header("authorization"), query("X-Amz-Algorithm")) {
            (Some(_), Some(_)) => Err(Refusal::SignedTwice),
            (Some(value), None) => Self::of_header(value, request),
            (None, Some(algorithm)) => Self::of_query(algorithm, request),
            (None, None) => match query("Signature").or(query("X-Amz-Signature")) {
                Some(_) => Err(Refusal::Algorithm),
                None => Err(Refusal::Unsigned),
            },
        }
    }

    fn of_header(value: &str, request: &Request) -> Result<Self, Refusal> {
        let (algorithm, rest) = value.split_once(' ').unwrap_or((value, ""));
        if algorithm != ALGORITHM {
            return Err(Refusal::Algorithm);
        }
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for part in rest.split(',') {
            let (name, value) = part.trim_matches(' ').split_once('=').unwrap_or_default();
            let slot = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut signed_headers,
                "Signature" => &mut signature,
                _ => return Err(Refusal::Authorization { what: "a part that is not known" }),
            };
            if slot.replace(value).is_some() {
                return Err(Refusal::Authorization { what: "a part stands twice" });
            }
        }
        let (Some(credential), Some(signed_headers), Some(signature)) =
            (credential, signed_headers, signature)
        else {
            let what = "expected Credential, SignedHeaders and Signature";
            return Err(Refusal::Authorization { what });
        };
        let time = request.header("x-amz-date").ok_or(Refusal::Date)?;
        Self::read(Place::Header, credential, time, signed_headers, signature)
    }

    fn of_query(algorithm: &str, request: &Request) -> Result<Self, Refusal> {
        if algorithm != ALGORITHM {
            return Err(Refusal::Algorithm);
        }
        let missing = Refusal::Authorization {
            what: "expected X-Amz-Credential, X-Amz-SignedHeaders and X-Amz-Signature",
        };
        let part = |name| request.target().parameter(name).ok_or_else(|| missing.clone());
        let expires = request.target().parameter("X-Amz-Expires").unwrap_or_default();
        let expires = Some(expires)
            .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|text| text.parse().ok())
            .filter(|seconds| (1..=MAX_PRESIGNED_SECONDS).contains(seconds))
            .ok_or(Refusal::Expires)?;
        let (credential, signed) = (part("X-Amz-Credential")?, part("X-Amz-SignedHeaders")?);
        let time = request.target().parameter("X-Amz-Date").ok_or(Refusal::Date)?;
        Self::read(Place::Query { expires }, credential, time, signed, part("X-Amz-Signature")?)
    }

    fn read(
        place: Place,
        credential: &str,
        time: &str,
        signed_headers: &str,
        signature: &str,
    ) -> Result<Self, Refusal> {
        let malformed = |what| Refusal::Authorization { what };
        let parts: Vec<_> = credential.split('/').collect();
        let [access_key, date, region, "s3", "aws4_request"] = parts.as_slice() else {
            return Err(malformed("expected the credential <key>/<date>/<region>/s3/aws4_request"));
        };
        let region_byte = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if region.len() > MAX_REGION_BYTES || !region.bytes().all(region_byte) {
            return Err(malformed("a region of other letters than a-z, 0-9 and -"));
        }
        let signed_at = UnixSeconds::parse_basic(time).ok_or(Refusal::Date)?;
        if time.get(..8) != Some(*date) {
            return Err(malformed("the credential is for another day than the time of signing"));
        }
        let signed_headers: Vec<_> =
            signed_headers.split(';').take(MAX_HEADERS + 1).map(str::to_owned).collect();
        let ascending = signed_headers.is_sorted_by(|before, after| before < after);
        let lower = |name: &String| {
            !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_graphic() && !b.is_ascii_uppercase())
        };
        if !ascending || !signed_headers.iter().all(lower) || signed_headers.len() > MAX_HEADERS {
            return Err(malformed(
                "expected the names of signed fields in lower case, sorted, once",
            ));
        }
        let mut bytes = [0; 32];
        let lower_hex = !signature.bytes().any(|byte| byte.is_ascii_uppercase());
        if !lower_hex || hex::decode_to_slice(signature, &mut bytes).is_err() {
            return Err(malformed("expected a signature of 64 hexadecimal digits in lower case"));
        }
        Ok(Self {
            place,
            access_key: (*access_key).to_owned(),
            date: (*date).to_owned(),
            region: (*region).to_owned(),
            time: time.to_owned(),
            signed_at,
            signed_headers,
            signature: bytes,
        })
    }
}
