//! The first page of a sealed object.

use adyton_sealed_weights::header::{Header, Layout};

/// Parses; what is accepted is written back bit by bit, and its layout adds up.
pub fn run(data: &[u8]) {
    let Some(page) = data.first_chunk() else {
        return;
    };
    let Ok(header) = Header::parse(page) else {
        return;
    };
    assert_eq!(&header.to_bytes(), page);
    let layout = Layout::of(header.plaintext_len).expect("an accepted length has a layout");
    assert!(layout.tag_table_at >= header.plaintext_len);
    assert!(layout.object_len > layout.tag_table_at);
    assert!(layout.padding_len() < 4096);
}

/// Headers of small, large and largest files, and one that is too short.
pub fn seeds() -> Vec<Vec<u8>> {
    let header = |plaintext_len| {
        let header = Header { plaintext_len, salt: [0x5a; _], commitment: [0xc0; _] };
        header.to_bytes().to_vec()
    };
    let mut seeds: Vec<_> = [0, 1, 16 * 1024, 5 << 30, (1 << 52) - 1, u64::MAX].map(header).into();
    seeds.push(header(1)[..100].to_vec());
    seeds
}
