//! What is answered: the last step that needs no socket.
//!
//! ```text
//!  Authenticated, Catalogue ─ answer ─► Answer     head, and a document or bytes of an object
//!  Refusal ─ refuse ─► Answer                      S3's error document
//! ```

use std::ops::Range;

use crate::catalogue::Catalogue;
use crate::condition::{Condition, evaluate, http_date};
use crate::error::Refusal;
use crate::listing;
use crate::operation::Operation;
use crate::range::ByteRange;
use crate::request::{Method, Request};
use crate::signature::{Authenticated, UnixSeconds};
use crate::xml::{self, Document};

/// The region that clients without one use.
const REGION: &str = "us-east-1";

/// A head and what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// S3's code, when it is a refusal.
    pub code: Option<&'static str>,
    /// Names and values.
    pub fields: Vec<(&'static str, String)>,
    /// What follows the head, if this is not the answer to a HEAD.
    pub body: Body,
}

/// What follows a head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Nothing, and there could not be anything.
    Nothing,
    /// XML.
    Document(String),
    /// Bytes of an object.
    Bytes {
        /// The object's [`index`](crate::catalogue::Object::index).
        object: usize,
        /// Which bytes; none for an empty object.
        range: Range<u64>,
    },
}

impl Body {
    /// Bytes that would follow the answer to a GET.
    pub fn len(&self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Document(text) => text.len() as u64,
            Self::Bytes { range, .. } => range.end - range.start,
        }
    }

    /// Whether nothing follows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Answer {
    fn document(text: String) -> Self {
        let fields = vec![("Content-Type", "application/xml".to_owned())];
        Self { status: 200, code: None, fields, body: Body::Document(text) }
    }

    /// The head's bytes. A HEAD gets the length that a GET would get.
    pub fn head(&self, now: UnixSeconds, request_id: &str, connection: Connection) -> String {
        let mut text = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        for (name, value) in &self.fields {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if self.status != 304 {
            text.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        if connection == Connection::Close {
            text.push_str("Connection: close\r\n");
        }
        text.push_str(&format!(
            "Date: {}\r\nServer: Adyton\r\nx-amz-request-id: {request_id}\r\n\r\n",
            http_date(now)
        ));
        text
    }
}

/// What becomes of the connection after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// The next request may come.
    Keep,
    /// It ends.
    Close,
}

/// Answers an operation.
///
/// # Errors
/// [`Refusal`]: no such key, a condition, a range.
pub fn answer(
    authenticated: &Authenticated,
    operation: &Operation,
    catalogue: &Catalogue,
) -> Result<Answer, Refusal> {
    match operation {
        Operation::ListBuckets => Ok(Answer::document(buckets(catalogue))),
        Operation::HeadBucket => {
            let fields = vec![("x-amz-bucket-region", REGION.to_owned())];
            Ok(Answer { status: 200, code: None, fields, body: Body::Nothing })
        }
        // Empty means us-east-1.
        Operation::BucketLocation => {
            Ok(Answer::document(Document::new().root("LocationConstraint", |_| {})))
        }
        Operation::ListObjects(listing) => {
            listing::answer(catalogue, listing).map(Answer::document)
        }
        Operation::Object { key } => object(authenticated.request(), key, catalogue),
    }
}

fn buckets(catalogue: &Catalogue) -> String {
    Document::new().root("ListAllMyBucketsResult", |result| {
        result.element("Owner", |owner| owner.text("ID", "adyton"));
        result.element("Buckets", |buckets| {
            buckets.element("Bucket", |bucket| {
                bucket.text("Name", catalogue.bucket());
                bucket.text("CreationDate", &listing::iso(catalogue.modified()));
            });
        });
    })
}

fn object(request: &Request, key: &str, catalogue: &Catalogue) -> Result<Answer, Refusal> {
    let object = catalogue.object(key)?;
    let condition = evaluate(request, &object.etag, catalogue.modified())?;
    let mut fields = vec![
        ("ETag", object.etag.clone()),
        ("Last-Modified", http_date(catalogue.modified())),
        ("Accept-Ranges", "bytes".to_owned()),
    ];
    if condition == Condition::NotModified {
        return Ok(Answer { status: 304, code: None, fields, body: Body::Nothing });
    }
    fields.push(("Content-Type", content_type(key).to_owned()));
    let whole = 0..object.size;
    let part = match (request.header("range"), request.target().parameter("partNumber")) {
        (Some(_), Some(_)) => {
            return Err(Refusal::NotImplemented { what: "a range together with a part".into() });
        }
        (Some(range), None) if condition == Condition::Send => {
            Some(ByteRange::parse(range)?.within(object.size)?)
        }
        (_, None) => None,
        // An object here has one part: all of it.
        (None, Some("1")) if object.size > 0 => Some(whole.clone()),
        (None, Some("1")) => None,
        (None, Some(_)) => return Err(Refusal::Range { size: object.size }),
    };
    if let Some(part) = &part {
        let last = part.end - 1;
        fields.push(("Content-Range", format!("bytes {}-{last}/{}", part.start, object.size)));
    }
    Ok(Answer {
        status: if part.is_some() { 206 } else { 200 },
        code: None,
        fields,
        body: Body::Bytes { object: object.index, range: part.unwrap_or(whole) },
    })
}

fn content_type(key: &str) -> &'static str {
    match key.rsplit_once('.') {
        Some((_, "json")) => "application/json",
        _ => "binary/octet-stream",
    }
}

/// S3's error document. `resource` is what was asked for, as far as it could be read.
pub fn refuse(refusal: &Refusal, resource: &str, request_id: &str) -> Answer {
    let (status, code) = refusal.status_and_code();
    let mut fields = vec![("Content-Type", "application/xml".to_owned())];
    match refusal {
        Refusal::Method { .. } => fields.push(("Allow", "GET, HEAD".to_owned())),
        Refusal::Range { size } => fields.push(("Content-Range", format!("bytes */{size}"))),
        Refusal::Busy { .. } => fields.push(("Retry-After", "1".to_owned())),
        _ => {}
    }
    let text = xml::error(code, &refusal.to_string(), resource, request_id);
    Answer { status, code: Some(code), fields, body: Body::Document(text) }
}

/// Whether the answer's body goes out.
pub(crate) fn has_body(method: Option<Method>) -> bool {
    method != Some(Method::Head)
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        206 => "Partial Content",
        304 => "Not Modified",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        412 => "Precondition Failed",
        414 => "URI Too Long",
        416 => "Range Not Satisfiable",
        501 => "Not Implemented",
        503 => "Slow Down",
        505 => "HTTP Version Not Supported",
        _ => "Internal Server Error",
    }
}
