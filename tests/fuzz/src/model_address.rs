//! Addresses of sealed models: paths, URLs, buckets, OCI references.

use adyton_model_store::Source;

/// What is read is written back as the same address, and carries no secret into a log.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(source) = Source::parse(text) else {
        return;
    };
    let written = source.to_string();
    let again = Source::parse(&written).expect("what we write, we read");
    assert_eq!(again, source);
    match &source {
        Source::Folder(_) => {}
        Source::Web(url) => {
            assert!(url.username().is_empty() && url.password().is_none());
            assert!(url.query().is_none() && url.fragment().is_none());
        }
        Source::Bucket(bucket) => {
            assert!(!bucket.prefix.split('/').any(|part| matches!(part, "." | "..")));
        }
        Source::Oci(reference) => {
            assert!(!reference.registry().contains('@') && !reference.repository().contains(".."));
        }
    }
}

/// One of each kind.
pub fn seeds() -> Vec<Vec<u8>> {
    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    [
        "/srv/models/llama".to_owned(),
        "file:///srv/models/llama".to_owned(),
        "https://models.example:8443/llama/3/".to_owned(),
        "s3://models/acme/llama".to_owned(),
        "gs://models/llama".to_owned(),
        "az://models/llama".to_owned(),
        format!("oci://registry.example:5000/acme/llama:v3@{DIGEST}"),
        "oci://registry.example/acme/llama:v3".to_owned(),
    ]
    .into_iter()
    .map(String::into_bytes)
    .collect()
}
