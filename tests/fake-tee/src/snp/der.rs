//! Writes DER, as much of it as certificates and revocation lists need. X.690.

/// Tag, length, value.
pub(super) fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    let len = value.len();
    let mut out = vec![tag];
    match u8::try_from(len) {
        Ok(short @ 0..0x80) => out.push(short),
        Ok(long) => out.extend([0x81, long]),
        Err(_) => {
            out.push(0x82);
            out.extend(u16::try_from(len).expect("nothing here has 64 KiB").to_be_bytes());
        }
    }
    out.extend(value);
    out
}

/// SEQUENCE of the given members.
pub(super) fn sequence(members: &[Vec<u8>]) -> Vec<u8> {
    tlv(0x30, &members.concat())
}

/// INTEGER that is not negative.
pub(super) fn integer(number: u64) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    let zeros = bytes.iter().take(7).take_while(|byte| **byte == 0).count();
    let mut value = bytes[zeros..].to_vec();
    if value[0] & 0x80 != 0 {
        value.insert(0, 0);
    }
    tlv(0x02, &value)
}

/// OBJECT IDENTIFIER.
pub(super) fn oid(arcs: &[u64]) -> Vec<u8> {
    let mut value = vec![u8::try_from(arcs[0] * 40 + arcs[1]).expect("a first byte")];
    for arc in &arcs[2..] {
        let mut groups = vec![(arc & 0x7f) as u8];
        let mut rest = arc >> 7;
        while rest != 0 {
            groups.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        value.extend(groups.iter().rev());
    }
    tlv(0x06, &value)
}

/// BIT STRING of whole bytes.
pub(super) fn bits(bytes: &[u8]) -> Vec<u8> {
    tlv(0x03, &[&[0], bytes].concat())
}

/// UTCTime, or GeneralizedTime from 2050 on, as RFC 5280 wants.
pub(super) fn time(seconds: u64) -> Vec<u8> {
    /// 2050-01-01.
    const LATE: i64 = 2_524_608_000;
    let seconds = i64::try_from(seconds).expect("a time of this era");
    let is_late = seconds >= LATE;
    let time = jiff::Timestamp::from_second(seconds).expect("a time of this era");
    let (tag, format) = if is_late { (0x18, "%Y%m%d%H%M%SZ") } else { (0x17, "%y%m%d%H%M%SZ") };
    tlv(tag, time.strftime(format).to_string().as_bytes())
}

/// An extension.
pub(super) fn extension(id: &[u64], critical: Critical, value: &[u8]) -> Vec<u8> {
    let mut members = vec![oid(id)];
    if critical == Critical::Yes {
        members.push(tlv(0x01, &[0xff]));
    }
    members.push(tlv(0x04, value));
    sequence(&members)
}

/// Whether who doesn't know an extension must refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Critical {
    Yes,
    No,
}

/// One PEM block.
pub(super) fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: String = text
        .as_bytes()
        .chunks(64)
        .map(|line| format!("{}\n", String::from_utf8_lossy(line)))
        .collect();
    format!("-----BEGIN {label}-----\n{lines}-----END {label}-----\n")
}
