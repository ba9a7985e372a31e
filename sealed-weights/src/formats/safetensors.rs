//! The header of a safetensors file: parsed with bounds, compared with the file around it.
//!
//! In: the plaintext. Out: nothing but the certainty that a loader will find what the header says:
//! every tensor's bytes lie in the file, belong to no other tensor, and are as many as its type
//! and shape need; no byte belongs to none. It reads the header and no weights.
//!
//! Against: files that make a loader read out of bounds, take memory without end, or see other
//! tensors than another loader does (a name twice, overlaps, gaps that hide bytes).
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

use std::collections::HashSet;
use std::fmt;

use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::ReadAt;
use crate::key::excerpt;
use crate::limits::{MAX_SAFETENSORS_HEADER_BYTES, MAX_TENSOR_DIMENSIONS, MAX_TENSORS};

const LENGTH_BYTES: u64 = 8;
const METADATA: &str = "__metadata__";

/// Why a safetensors header was refused.
#[derive(Debug, thiserror::Error)]
pub enum SafetensorsError {
    /// Shorter than the eight bytes of the header's length.
    #[error("the file has {got} bytes; expected at least 8 and a header")]
    Short {
        /// Bytes of the file.
        got: u64,
    },
    /// A header longer than the file or than the bound.
    #[error("the header says it has {got} bytes; expected at most {limit}")]
    HeaderLen {
        /// The smaller of the bound and what the file has room for.
        limit: u64,
        /// What the first eight bytes say.
        got: u64,
    },
    /// Not the JSON of a safetensors header: also a name that occurs twice, or an unknown type.
    #[error("the header is not the JSON that was expected")]
    Json(#[source] serde_json::Error),
    /// More than the bound.
    #[error("the header lists more than {MAX_TENSORS} tensors")]
    TooMany,
    /// Offsets that do not fit the type and shape.
    #[error("tensor `{name}` has {got} bytes; its type and shape need {expected}")]
    Size {
        /// The tensor, cut to a readable length.
        name: String,
        /// From type and shape.
        expected: String,
        /// From the offsets.
        got: u64,
    },
    /// Offsets that run backwards or past the end.
    #[error(
        "tensor `{name}` lies at {start}..{end}; expected a range within the {data} bytes of data"
    )]
    Offsets {
        /// The tensor, cut to a readable length.
        name: String,
        /// First byte.
        start: u64,
        /// Byte after the last.
        end: u64,
        /// Bytes after the header.
        data: u64,
    },
    /// A gap, an overlap, or bytes after the last tensor.
    #[error("byte {expected} of the data begins no tensor; the next begins at {got}")]
    NotContiguous {
        /// Where the next tensor must begin.
        expected: u64,
        /// Where it does, or the end of the data.
        got: u64,
    },
    /// The bytes could not be read.
    #[error("the header could not be read")]
    Read(#[from] std::io::Error),
}

/// Verifies the header against the file.
pub(crate) fn verify<R: ReadAt + ?Sized>(contents: &R) -> Result<(), SafetensorsError> {
    let file_len = contents.len();
    let mut length = [0; LENGTH_BYTES as usize];
    let after_length =
        file_len.checked_sub(LENGTH_BYTES).ok_or(SafetensorsError::Short { got: file_len })?;
    contents.read_exact_at(0, &mut length)?;
    let header_len = u64::from_le_bytes(length);
    let limit = after_length.min(MAX_SAFETENSORS_HEADER_BYTES);
    if header_len > limit {
        return Err(SafetensorsError::HeaderLen { limit, got: header_len });
    }
    // At most 32 MiB, and no more than the file has.
    let mut header = vec![0; header_len as usize];
    contents.read_exact_at(LENGTH_BYTES, &mut header)?;
    // Other loaders find the opening brace without skipping anything.
    if !header.starts_with(b"{") {
        let error = serde_json::Error::custom("the header does not begin with a brace");
        return Err(SafetensorsError::Json(error));
    }
    let Header(tensors) = serde_json::from_slice(&header).map_err(SafetensorsError::Json)?;
    verify_tensors(tensors, after_length - header_len)
}

fn verify_tensors(mut tensors: Vec<(String, Tensor)>, data: u64) -> Result<(), SafetensorsError> {
    if tensors.len() as u64 > MAX_TENSORS {
        return Err(SafetensorsError::TooMany);
    }
    tensors.sort_by_key(|(_, tensor)| tensor.data_offsets);
    let mut expected = 0;
    for (name, tensor) in &tensors {
        let (start, end) = tensor.data_offsets;
        if start > end || end > data {
            return Err(SafetensorsError::Offsets { name: excerpt(name), start, end, data });
        }
        if start != expected {
            return Err(SafetensorsError::NotContiguous { expected, got: start });
        }
        let got = end - start;
        if tensor.bytes() != Some(got) {
            let expected = tensor.bytes().map_or("more than 2^64".to_owned(), |b| b.to_string());
            return Err(SafetensorsError::Size { name: excerpt(name), expected, got });
        }
        expected = end;
    }
    if expected != data {
        return Err(SafetensorsError::NotContiguous { expected, got: data });
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tensor {
    dtype: Dtype,
    shape: Shape,
    data_offsets: (u64, u64),
}

impl Tensor {
    /// Bytes that type and shape need; `None` when they are no whole number of bytes within 64 bits.
    fn bytes(&self) -> Option<u64> {
        let elements =
            self.shape.0.iter().try_fold(1_u64, |product, side| product.checked_mul(*side))?;
        let bits = elements.checked_mul(self.dtype.0)?;
        (bits % 8 == 0).then_some(bits / 8)
    }
}

/// Sides of a tensor: refused where there are too many, before memory is taken for the rest.
struct Shape(Vec<u64>);

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Sides;
        impl<'de> Visitor<'de> for Sides {
            type Value = Shape;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {MAX_TENSOR_DIMENSIONS} sides")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sides: A) -> Result<Shape, A::Error> {
                let mut shape = Vec::new();
                while let Some(side) = sides.next_element()? {
                    if shape.len() == MAX_TENSOR_DIMENSIONS {
                        return Err(A::Error::custom("a tensor has too many dimensions"));
                    }
                    shape.push(side);
                }
                Ok(Shape(shape))
            }
        }
        deserializer.deserialize_seq(Sides)
    }
}

/// A type of the safetensors format, as far as its version 0.7 knows them: bits of one element.
#[derive(Deserialize, Clone, Copy)]
#[serde(try_from = "&str")]
struct Dtype(u64);

impl TryFrom<&str> for Dtype {
    type Error = &'static str;

    fn try_from(name: &str) -> Result<Self, &'static str> {
        Ok(Self(match name {
            "F4" => 4,
            "F6_E2M3" | "F6_E3M2" => 6,
            "BOOL" | "U8" | "I8" | "F8_E5M2" | "F8_E4M3" | "F8_E8M0" => 8,
            "F8_E4M3FNUZ" | "F8_E5M2FNUZ" => 8,
            "I16" | "U16" | "F16" | "BF16" => 16,
            "I32" | "U32" | "F32" => 32,
            "C64" | "F64" | "I64" | "U64" => 64,
            _ => return Err("a tensor has a type that is not known"),
        }))
    }
}

/// The header's object, read member by member: a map would keep one of two equal names and hide
/// the other.
struct Header(Vec<(String, Tensor)>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut seen = HashSet::new();
                let mut tensors = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if !seen.insert(name.clone()) {
                        return Err(A::Error::custom("a tensor name occurs twice"));
                    }
                    if name == METADATA {
                        map.next_value::<Metadata>()?;
                        continue;
                    }
                    tensors.push((name, map.next_value::<Tensor>()?));
                    if tensors.len() as u64 > MAX_TENSORS {
                        return Err(A::Error::custom("too many tensors"));
                    }
                }
                Ok(Header(tensors))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// Texts by name; nothing of it is kept.
struct Metadata;

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;
        impl<'de> Visitor<'de> for Texts {
            type Value = Metadata;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Metadata, A::Error> {
                let mut seen = HashSet::new();
                while let Some(name) = map.next_key::<String>()? {
                    if !seen.insert(name) {
                        return Err(A::Error::custom("a name of the metadata occurs twice"));
                    }
                    map.next_value::<String>()?;
                }
                Ok(Metadata)
            }
        }
        deserializer.deserialize_map(Texts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: usize) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        bytes
    }

    fn refused(header: &str, data: usize) -> SafetensorsError {
        verify(file(header, data).as_slice()).expect_err("the header must be refused")
    }

    const TWO: &str = r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},"b":{"dtype":"BF16","shape":[3],"data_offsets":[16,22]}}"#;

    #[test]
    fn a_sound_header_is_accepted() {
        verify(file(TWO, 22).as_slice()).unwrap();
        verify(file(&format!("{TWO}   "), 22).as_slice()).unwrap();
        verify(file("{}", 0).as_slice()).unwrap();
    }

    #[test]
    fn tensors_of_no_elements_and_of_half_bytes_are_counted_exactly() {
        verify(file(r#"{"a":{"dtype":"F32","shape":[0,7],"data_offsets":[0,0]}}"#, 0).as_slice())
            .unwrap();
        verify(file(r#"{"a":{"dtype":"F4","shape":[4],"data_offsets":[0,2]}}"#, 2).as_slice())
            .unwrap();
        assert!(matches!(
            refused(r#"{"a":{"dtype":"F4","shape":[3],"data_offsets":[0,2]}}"#, 2),
            SafetensorsError::Size { .. }
        ));
    }

    #[test]
    fn a_length_that_the_file_or_the_bound_does_not_allow_is_refused_before_memory_is_taken() {
        assert!(matches!(verify(&b"1234567"[..]), Err(SafetensorsError::Short { got: 7 })));
        let mut bytes = file(TWO, 22);
        bytes[..8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(matches!(
            verify(bytes.as_slice()),
            Err(SafetensorsError::HeaderLen { got: u64::MAX, .. })
        ));
        struct Huge;
        impl ReadAt for Huge {
            fn len(&self) -> u64 {
                u64::MAX
            }
            fn read_exact_at(&self, _: u64, buffer: &mut [u8]) -> std::io::Result<()> {
                buffer.copy_from_slice(&(MAX_SAFETENSORS_HEADER_BYTES + 1).to_le_bytes());
                Ok(())
            }
        }
        assert!(matches!(verify(&Huge), Err(SafetensorsError::HeaderLen { .. })));
    }

    #[test]
    fn a_name_twice_an_unknown_type_or_member_and_other_json_are_refused() {
        for header in [
            r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#,
            r#"{"a":{"dtype":"F33","shape":[1],"data_offsets":[0,1]}}"#,
            r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1}}"#,
            r#"{"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}}"#,
            r#"{"a":{"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,1]}}"#,
            r#"{"__metadata__":{"a":1}}"#,
            r#"{"__metadata__":{"a":"1","a":"2"}}"#,
            r#"{"__metadata__":{},"__metadata__":{}}"#,
            r#"{"a":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}}"#,
            r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,1]}}"#,
            r#"{"a":{"dtype":"U8","shape":[1]}}"#,
            r#"{"a":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}}"#,
            r#" {}"#,
            r#"[]"#,
            r#"{} {}"#,
            "",
        ] {
            assert!(matches!(refused(header, 1), SafetensorsError::Json(_)), "{header}");
        }
    }

    #[test]
    fn offsets_that_overlap_leave_gaps_or_run_out_are_refused() {
        let two = |a: (u64, u64), b: (u64, u64)| {
            format!(
                r#"{{"a":{{"dtype":"U8","shape":[{}],"data_offsets":[{},{}]}},"b":{{"dtype":"U8","shape":[{}],"data_offsets":[{},{}]}}}}"#,
                a.1.wrapping_sub(a.0),
                a.0,
                a.1,
                b.1.wrapping_sub(b.0),
                b.0,
                b.1
            )
        };
        assert!(matches!(
            refused(&two((0, 4), (3, 8)), 8),
            SafetensorsError::NotContiguous { expected: 4, got: 3 }
        ));
        assert!(matches!(
            refused(&two((0, 4), (5, 8)), 8),
            SafetensorsError::NotContiguous { expected: 4, got: 5 }
        ));
        assert!(matches!(
            refused(&two((0, 4), (4, 8)), 9),
            SafetensorsError::NotContiguous { expected: 8, got: 9 }
        ));
        assert!(matches!(refused(&two((0, 4), (4, 9)), 8), SafetensorsError::Offsets { .. }));
        assert!(matches!(refused(&two((0, 4), (8, 4)), 8), SafetensorsError::Offsets { .. }));
    }

    #[test]
    fn a_shape_that_needs_other_bytes_is_refused_also_when_it_overflows() {
        assert!(matches!(
            refused(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#, 4),
            SafetensorsError::Size { got: 4, .. }
        ));
        assert!(matches!(
            refused(
                r#"{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}}"#,
                0
            ),
            SafetensorsError::Size { .. }
        ));
    }
}
