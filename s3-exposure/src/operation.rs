//! Which operation of S3 a request is.
//!
//! ```text
//!  Authenticated ─ Operation::of(names, bucket) ─► Operation
//! ```
//!
//! In: an authenticated request and the names we answer to. Out: one of five operations. What S3 would do with
//! a parameter that is not known here is not guessed: the request is refused.

use crate::error::Refusal;
use crate::limits::MAX_KEYS;
use crate::request::{Method, Request};
use crate::signature::Authenticated;

/// Parameters that clients add for themselves.
const IGNORED: [&str; 1] = ["x-id"];
/// Fields that would change what an answer means, and that are not implemented.
const REFUSED_FIELDS: [&str; 4] = [
    "x-amz-expected-bucket-owner",
    "x-amz-server-side-encryption-customer-algorithm",
    "x-amz-copy-source",
    "x-amz-mfa",
];
const LIST: [&str; 8] = [
    "list-type",
    "prefix",
    "delimiter",
    "encoding-type",
    "max-keys",
    "continuation-token",
    "start-after",
    "fetch-owner",
];

/// Hosts by which clients reach the endpoint, in lower case, with their ports.
#[derive(Debug, Clone)]
pub struct Names(pub Vec<String>);

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// `GET /`
    ListBuckets,
    /// `HEAD /bucket`
    HeadBucket,
    /// `GET /bucket?location`
    BucketLocation,
    /// `GET /bucket?list-type=2`
    ListObjects(Listing),
    /// `GET` or `HEAD /bucket/key`
    Object {
        /// The key, as it was decoded once.
        key: String,
    },
}

/// The parameters of ListObjectsV2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// Keys begin with it.
    pub prefix: String,
    /// Keys are rolled up at its first place after the prefix.
    pub delimiter: String,
    /// How keys are written.
    pub encoding: KeyEncoding,
    /// Most keys and common prefixes; at most [`MAX_KEYS`].
    pub max_keys: usize,
    /// Where an earlier page ended.
    pub continuation_token: Option<String>,
    /// Keys come after it.
    pub start_after: String,
}

/// How keys are written in a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyEncoding {
    /// As they are.
    Plain,
    /// `encoding-type=url`
    Url,
}

impl Operation {
    /// The name in S3's documentation.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ListBuckets => "ListBuckets",
            Self::HeadBucket => "HeadBucket",
            Self::BucketLocation => "GetBucketLocation",
            Self::ListObjects(_) => "ListObjectsV2",
            Self::Object { .. } => "GetObject",
        }
    }

    /// Finds the operation.
    ///
    /// # Errors
    /// [`Refusal::Host`], [`Refusal::NoSuchBucket`], [`Refusal::NotImplemented`], [`Refusal::Argument`].
    pub fn of(
        authenticated: &Authenticated,
        names: &Names,
        our_bucket: &str,
    ) -> Result<Self, Refusal> {
        let request = authenticated.request();
        if let Some(field) = REFUSED_FIELDS.iter().find(|name| request.header(name).is_some()) {
            return Err(Refusal::NotImplemented { what: format!("the field {field}") });
        }
        let (bucket, key) = place(request, names)?;
        let Some(bucket) = bucket else {
            allow(request, &["max-buckets"])?;
            return match request.method() {
                Method::Get => Ok(Self::ListBuckets),
                Method::Head => Err(Refusal::NotImplemented { what: "HEAD of the service".into() }),
            };
        };
        if bucket != our_bucket {
            return Err(Refusal::NoSuchBucket { expected: our_bucket.to_owned() });
        }
        if !key.is_empty() {
            allow(request, &["partNumber"])?;
            return Ok(Self::Object { key: key.to_owned() });
        }
        if request.method() == Method::Head {
            allow(request, &[])?;
            return Ok(Self::HeadBucket);
        }
        if request.target().parameter("location").is_some() {
            allow(request, &["location"])?;
            return Ok(Self::BucketLocation);
        }
        allow(request, &LIST)?;
        Listing::of(request).map(Self::ListObjects)
    }
}

/// Bucket and key, in path style or virtual-host style.
fn place<'a>(request: &'a Request, names: &Names) -> Result<(Option<&'a str>, &'a str), Refusal> {
    let path = request.target().path();
    let path = path.strip_prefix('/').unwrap_or(path);
    let host = request.host();
    if names.0.iter().any(|name| name == host) {
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        return Ok((Some(bucket).filter(|bucket| !bucket.is_empty()), key));
    }
    let bucket = names.0.iter().find_map(|name| {
        host.strip_suffix(name.as_str())?.strip_suffix('.').filter(|bucket| !bucket.is_empty())
    });
    match bucket {
        Some(bucket) => Ok((Some(bucket), path)),
        None => {
            let expected = names.0.join(" or ");
            Err(Refusal::Host { got: host.chars().take(255).collect(), expected })
        }
    }
}

fn allow(request: &Request, names: &[&str]) -> Result<(), Refusal> {
    let known =
        |name: &str| names.contains(&name) || IGNORED.contains(&name) || name.starts_with("X-Amz-");
    match request.target().parameters().find(|name| !known(name)) {
        Some(name) => {
            let name: String = name.chars().take(64).collect();
            Err(Refusal::NotImplemented { what: format!("the parameter {name}") })
        }
        None => Ok(()),
    }
}

impl Listing {
    fn of(request: &Request) -> Result<Self, Refusal> {
        let parameter = |name| request.target().parameter(name);
        if parameter("list-type") != Some("2") {
            let what = "a listing other than ListObjectsV2 (list-type=2)".to_owned();
            return Err(Refusal::NotImplemented { what });
        }
        let encoding = match parameter("encoding-type") {
            None => KeyEncoding::Plain,
            Some("url") => KeyEncoding::Url,
            Some(_) => return Err(Refusal::Argument { name: "encoding-type", expected: "url" }),
        };
        let wrong = Refusal::Argument { name: "max-keys", expected: "a number from 0" };
        let max_keys = match parameter("max-keys") {
            None => MAX_KEYS,
            Some(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                text.parse::<u32>().map_err(|_| wrong)? as usize
            }
            Some(_) => return Err(wrong),
        };
        let text = |name| parameter(name).unwrap_or_default().to_owned();
        Ok(Self {
            prefix: text("prefix"),
            delimiter: text("delimiter"),
            encoding,
            max_keys: max_keys.min(MAX_KEYS),
            continuation_token: parameter("continuation-token").map(str::to_owned),
            start_after: text("start-after"),
        })
    }
}
