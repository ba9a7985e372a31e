//! The few XML documents that S3 answers with.
//!
//! In: texts, some of them from clients. Out: well-formed XML 1.0. Against: a key or a bucket name that
//! writes elements of its own.

/// The namespace of all answers but errors.
const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// A document that is being written.
pub(crate) struct Document {
    text: String,
}

impl Document {
    pub(crate) fn new() -> Self {
        Self { text: "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned() }
    }

    /// The outermost element; `write` fills it.
    pub(crate) fn root(mut self, name: &'static str, write: impl FnOnce(&mut Self)) -> String {
        self.text.push_str(&format!("<{name} xmlns=\"{NAMESPACE}\">"));
        write(&mut self);
        self.text.push_str(&format!("</{name}>"));
        self.text
    }

    pub(crate) fn element(&mut self, name: &'static str, write: impl FnOnce(&mut Self)) {
        self.text.push_str(&format!("<{name}>"));
        write(self);
        self.text.push_str(&format!("</{name}>"));
    }

    pub(crate) fn text(&mut self, name: &'static str, value: &str) {
        self.element(name, |inner| inner.text.push_str(&escape(value)));
    }
}

/// An error document; errors have no namespace.
pub(crate) fn error(code: &str, message: &str, resource: &str, request_id: &str) -> String {
    let mut document = Document::new();
    document.element("Error", |error| {
        error.text("Code", code);
        error.text("Message", message);
        error.text("Resource", resource);
        error.text("RequestId", request_id);
    });
    document.text
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\t' | '\n' | '\r' => out.push_str(&format!("&#{};", u32::from(letter))),
            // XML 1.0 has no way to write these.
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_sends_cannot_write_elements() {
        let text = error("C", "m", "/b/</Resource><Code>&\"'\u{1}\n", "1");
        assert!(text.ends_with(
            "<Resource>/b/&lt;/Resource&gt;&lt;Code&gt;&amp;&quot;&apos;\u{fffd}&#10;</Resource>\
             <RequestId>1</RequestId></Error>"
        ));
    }
}
