//! The Range field of S3 requests. The first eight bytes are the object's size.

use adyton_s3_exposure::range::ByteRange;

/// A range that is answered lies within the object, has a byte, and is the one that its numbers say.
pub fn run(data: &[u8]) {
    let Some((size, value)) = data.split_first_chunk::<8>() else {
        return;
    };
    let size = u64::from_le_bytes(*size);
    let Ok(text) = str::from_utf8(value) else {
        return;
    };
    let Ok(range) = ByteRange::parse(text) else {
        return;
    };
    let written = match range {
        ByteRange::FromTo(from, to) => format!("bytes={from}-{to}"),
        ByteRange::From(from) => format!("bytes={from}-"),
        ByteRange::Last(count) => format!("bytes=-{count}"),
    };
    assert_eq!(ByteRange::parse(&written), Ok(range), "{text}");
    match range.within(size) {
        Ok(within) => {
            assert!(within.start < within.end && within.end <= size, "{text} of {size}");
            match range {
                ByteRange::FromTo(from, to) => {
                    assert!(within.start == from && within.end - 1 <= to, "{text} of {size}");
                }
                ByteRange::From(from) => assert_eq!(within, from..size),
                ByteRange::Last(count) => assert!(within.end - within.start <= count),
            }
        }
        Err(_) => assert!(match range {
            ByteRange::FromTo(from, _) | ByteRange::From(from) => from >= size,
            ByteRange::Last(count) => count == 0 || size == 0,
        }),
    }
}

/// Each form, at and beyond the ends.
pub fn seeds() -> Vec<Vec<u8>> {
    let values =
        ["bytes=0-0", "bytes=320-8388607", "bytes=-1", "bytes=5-", "bytes=-0", "bytes=0-1,3-4"];
    let sized = |size: u64| {
        values.map(|value| [size.to_le_bytes().as_slice(), value.as_bytes()].concat())
    };
    [0, 1, 8_388_608, u64::MAX].into_iter().flat_map(sized).collect()
}
