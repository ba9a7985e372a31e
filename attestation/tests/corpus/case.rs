//! Fields, defects, and how a kind is run.

use std::ops::Range;

use adyton_attestation::{
    EndorsementBundle, Evidence, EvidenceError, ReportData, SignatureCache, TrustAnchors, UnixTime,
    VerifyError, VerifyOptions, verify_cached,
};

use crate::{FLOORS, NOW};

/// Of so many cases one runs by default. A prime: it meets every defect of every field in turn.
const STRIDE: usize = 97;
/// Unexpected outcomes that are printed.
const SHOWN: usize = 40;

/// What has to come of a defect.
#[derive(Clone, Copy)]
pub enum Expected {
    /// A refusal with one of these codes.
    Refused(&'static [&'static str]),
    /// Nothing: the value is the machine's to choose, and becomes a claim or no part of the verdict.
    Claim,
}

/// Bytes with a name, and what a defect at an offset in them has to come to.
pub struct Field {
    name: &'static str,
    bytes: Range<usize>,
    expected: Box<dyn Fn(usize, u8) -> Expected>,
}

impl Field {
    /// Whether it is called so.
    pub fn is(&self, name: &str) -> bool {
        self.name == name
    }

    /// The same field as part of a larger whole, where nobody signs anew: what was a claim, or looked at
    /// after the signature, fails at the signature.
    pub fn or_else_refused(self, base: usize, codes: &'static [&'static str]) -> Self {
        let bytes = base + self.bytes.start..base + self.bytes.end;
        let expected = move |at, new| match (self.expected)(at, new) {
            Expected::Refused(own) if BEFORE_SIGNATURES.iter().any(|code| own.contains(code)) => {
                Expected::Refused(own)
            }
            Expected::Refused(_) | Expected::Claim => Expected::Refused(codes),
        };
        Self { name: self.name, bytes, expected: Box::new(expected) }
    }
}

/// Codes of SNP reports that are earned before the report's signature is looked at.
const BEFORE_SIGNATURES: &[&str] = &[
    "snp.report.version",
    "snp.report.algorithm",
    "snp.report.reserved",
    "snp.report.reserved-bits",
    "snp.report.reserved-tcb",
    "snp.key.signing-key",
    "snp.key.kind",
    "snp.key.firmware",
    "snp.product",
    "snp.chip",
    "snp.chip.masked",
    "snp.firmware.order",
];

/// A field whose defects are all refused alike.
pub fn field(name: &'static str, bytes: Range<usize>, codes: &'static [&'static str]) -> Field {
    judged(name, bytes, move |_, _| Expected::Refused(codes))
}

/// A field that nobody judges.
pub fn claim(name: &'static str, bytes: Range<usize>) -> Field {
    judged(name, bytes, |_, _| Expected::Claim)
}

/// A field whose defects differ by offset in the field and by new value.
pub fn judged(
    name: &'static str,
    bytes: Range<usize>,
    expected: impl Fn(usize, u8) -> Expected + 'static,
) -> Field {
    Field { name, bytes, expected: Box::new(expected) }
}

/// Which bytes the fields have to cover.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Coverage {
    /// All of them, in order.
    Whole,
    /// All of them up to the end of the last field.
    Head,
    /// Values inside a text.
    Values,
}

/// The defects of one byte: eight flips, cleared, set, one more.
pub fn defects(byte: u8) -> impl Iterator<Item = u8> {
    let flips = (0..8).map(move |bit| byte ^ 1 << bit);
    let mut seen = vec![byte];
    flips.chain([0x00, 0xff, byte.wrapping_add(1)]).filter(move |&changed| {
        let new = !seen.contains(&changed);
        seen.push(changed);
        new
    })
}

/// Counts cases, samples them, and keeps what was not as expected.
pub struct Run {
    kind: &'static str,
    seen: usize,
    refused: usize,
    claims: usize,
    ran: usize,
    unexpected: Vec<String>,
}

impl Run {
    pub fn new(kind: &'static str) -> Self {
        // Every kind starts elsewhere, so that together they meet more.
        let seen = kind.bytes().map(usize::from).sum();
        Self { kind, seen, refused: 0, claims: 0, ran: 0, unexpected: Vec::new() }
    }

    /// One case; `judge` gives the code of the refusal.
    pub fn case(
        &mut self,
        what: impl FnOnce() -> String,
        expected: Expected,
        judge: impl FnOnce() -> Result<(), String>,
    ) {
        match expected {
            Expected::Refused(_) => self.refused += 1,
            Expected::Claim => self.claims += 1,
        }
        self.seen += 1;
        let all = std::env::var_os("ADYTON_CORPUS").is_some_and(|word| word == "all");
        if !all && !self.seen.is_multiple_of(STRIDE) {
            return;
        }
        self.ran += 1;
        let outcome = judge();
        let is_as_expected = match (expected, &outcome) {
            (Expected::Refused(codes), Err(code)) => codes.contains(&code.as_str()),
            (Expected::Claim, Ok(())) => true,
            (Expected::Refused(_), Ok(())) | (Expected::Claim, Err(_)) => false,
        };
        if !is_as_expected {
            self.unexpected.push(format!("{}: {outcome:?}", what()));
        }
    }

    /// Says what ran, and fails when something was not as expected.
    pub fn finish(self) {
        let Self { kind, refused, claims, ran, unexpected, .. } = self;
        println!("{kind}: {refused} defects to refuse, {claims} claims; {ran} ran");
        let shown = &unexpected[..unexpected.len().min(SHOWN)];
        assert!(unexpected.is_empty(), "{kind}: {} unexpected: {shown:#?}", unexpected.len());
        let floor = FLOORS.iter().find(|(of, _)| *of == kind).map(|(_, floor)| *floor);
        assert!(floor.is_some_and(|floor| refused >= floor), "{kind}: {refused}, not {floor:?}");
    }
}

/// Runs the defects of every byte of every field.
pub fn run_bytes(
    kind: &'static str,
    sound: &[u8],
    coverage: Coverage,
    fields: &[Field],
    judge: impl Fn(&[u8]) -> Result<(), String>,
) {
    assert_eq!(judge(sound), Ok(()), "{kind}: what is sound must be accepted");
    if coverage != Coverage::Values {
        let mut end = 0;
        for field in fields {
            assert_eq!(field.bytes.start, end, "{kind}: a gap before {}", field.name);
            end = field.bytes.end;
        }
        assert!(
            coverage == Coverage::Head || end == sound.len(),
            "{kind}: {end} of {}",
            sound.len()
        );
    }
    let mut run = Run::new(kind);
    let mut bytes = sound.to_vec();
    for field in fields {
        for at in field.bytes.clone() {
            let byte = sound[at];
            for changed in defects(byte) {
                bytes[at] = changed;
                let expected = (field.expected)(at - field.bytes.start, changed);
                let what = || format!("{} at {at:#x}, {byte:#04x} → {changed:#04x}", field.name);
                run.case(what, expected, || judge(&bytes));
            }
            bytes[at] = byte;
        }
    }
    run.finish();
}

/// A Verifier with its roots and a memory of good signatures.
pub struct Judge {
    anchors: TrustAnchors,
    cache: SignatureCache,
}

impl Judge {
    /// Trusts the root of a simulated machine, PEM or DER, besides the vendors'.
    pub fn of(root: &[u8]) -> Self {
        let anchors = TrustAnchors::vendor().with_insecure_extra_root(root).expect("a root");
        Self { anchors, cache: SignatureCache::new() }
    }

    /// The code of the one refusal.
    pub fn judge(
        &self,
        evidence: Result<Evidence, EvidenceError>,
        bundle: &EndorsementBundle,
        expected: &ReportData,
    ) -> Result<(), String> {
        let verdict = evidence.map_err(VerifyError::from).and_then(|evidence| {
            let (now, options) = (UnixTime(NOW), VerifyOptions::default());
            verify_cached(&evidence, bundle, &self.anchors, expected, now, &options, &self.cache)
        });
        verdict.map(|_| ()).map_err(|error| {
            let mut reasons = error.reasons();
            assert_eq!(reasons.len(), 1, "{reasons:?}");
            reasons.remove(0).code.into_owned()
        })
    }
}

/// The place of a part in the whole, which has it once.
pub fn find(whole: &[u8], part: &[u8]) -> Range<usize> {
    let mut places = whole.windows(part.len()).enumerate().filter(|(_, window)| *window == part);
    let (at, _) = places.next().expect("a part of the whole");
    assert!(places.next().is_none(), "twice");
    at..at + part.len()
}

/// Parses a bundle; what cannot be read has a code of this corpus alone, because a bundle is the
/// Verifier's own file.
pub fn bundle(text: &str) -> Result<EndorsementBundle, String> {
    EndorsementBundle::parse(text.as_bytes()).map_err(|_| UNREADABLE.to_owned())
}

/// See [`bundle`].
pub const UNREADABLE: &str = "(bundle is unreadable)";
