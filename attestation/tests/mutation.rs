//! Every byte of a quote and of its collateral, changed once: a refusal, or an exception with its reason.
//!
//! Quotes of every format and, with the vectors, of real machines. Each byte is flipped in one bit. What
//! survives has to stand in [`UNSIGNED`]; the list is short because trailing bytes are zero or nothing,
//! PEM text is certificates or white space, and the chain has no certificate that nobody looks at.

use std::sync::LazyLock;
use std::thread;

use adyton_attestation::{EndorsementBundle, Evidence, TrustAnchors, UnixTime, verify};
use adyton_fake_tee::{FakeTee, QuoteFormat, TdProfile};
use serde_json::Value;

mod real;

use real::vectors;

const NOW: u64 = 1_800_000_000;

static TEE: LazyLock<FakeTee> = LazyLock::new(|| FakeTee::from_seed([11; 32], NOW));

/// One genuine quote with its collateral.
struct Sound {
    name: String,
    quote: Vec<u8>,
    collateral: Value,
    anchors: TrustAnchors,
    now: u64,
}

impl Sound {
    fn simulated(format: QuoteFormat) -> Self {
        let profile = TdProfile { format, ..TdProfile::default() };
        Self {
            name: format!("simulated {format:?}"),
            quote: TEE.quote(&profile, [3; 64]),
            collateral: TEE.collateral(NOW, &[]),
            anchors: TrustAnchors::vendor()
                .with_insecure_extra_root(TEE.root_der())
                .expect("a root"),
            now: NOW,
        }
    }

    fn real() -> Vec<Self> {
        let Some(folder) = vectors() else { return Vec::new() };
        let read = |name: &str| std::fs::read(folder.join("dcap-qvl").join(name)).expect("a file");
        let sound = |quote: &str, collateral: &str, now| Self {
            name: format!("real {quote}"),
            quote: read(quote),
            collateral: serde_json::from_slice(&read(collateral)).expect("JSON"),
            anchors: TrustAnchors::vendor(),
            now,
        };
        vec![
            sound("tdx_quote", "tdx_quote_collateral.json", 1_750_500_000),
            sound("tdx_quote_td15ex", "tdx_quote_td15ex_collateral.json", 1_792_000_000),
        ]
    }

    fn believes(&self, quote: &[u8], endorsements: &EndorsementBundle) -> bool {
        let Ok(evidence) = Evidence::parse_file(quote) else { return false };
        let now = UnixTime(self.now);
        // Whoever asks for the report data that are in the quote asks for nothing.
        verify(&evidence, endorsements, &self.anchors, &evidence.report_data(), now).is_ok()
    }

    fn bundle(&self) -> EndorsementBundle {
        EndorsementBundle::parse(self.collateral.to_string().as_bytes()).expect("a bundle")
    }
}

/// Members of collateral in which a change may go unseen, and why that harms nobody.
const UNSIGNED: [(&str, &str); 2] = [
    (
        "pck_crl_issuer_chain",
        "not read: the list has to be signed by the PCK CA in the quote's own verified chain",
    ),
    (
        "pck_certificate_chain",
        "not read: the chain that counts is the quote's own, which the TEE's host can't choose freely",
    ),
];

/// Whether two texts differ in white space or in the case of hex digits alone: the same bytes.
fn is_same_meaning(member: &str, one: &str, other: &str) -> bool {
    match member {
        // Signed as text, to the character.
        "tcb_info" | "qe_identity" => false,
        "tcb_info_issuer_chain" | "qe_identity_issuer_chain" => {
            let packed = |text: &str| text.split_ascii_whitespace().collect::<Vec<_>>().concat();
            packed(one) == packed(other)
        }
        _ => hex::decode(one).ok() == hex::decode(other).ok(),
    }
}

/// Splits the work between the cores of a small machine.
fn on_two_threads(count: usize, work: impl Fn(usize) + Sync) {
    thread::scope(|scope| {
        for half in 0..2 {
            let work = &work;
            scope.spawn(move || (half..count).step_by(2).for_each(work));
        }
    });
}

#[test]
fn no_byte_of_a_quote_can_be_changed() {
    let mut quotes: Vec<Sound> = QuoteFormat::ALL.into_iter().map(Sound::simulated).collect();
    quotes.extend(Sound::real());
    for sound in &quotes {
        let bundle = sound.bundle();
        assert!(sound.believes(&sound.quote, &bundle), "{}", sound.name);
        let Ok(Evidence::Tdx(evidence)) = Evidence::parse_file(&sound.quote) else {
            panic!("{}: a quote", sound.name)
        };
        // The chain stands at the end as PEM, where white space between characters means nothing.
        let pem = &evidence.quote().signature.pck_chain_pem;
        let pem_starts = evidence.raw().len() - pem.len();
        let is_white = |byte: u8| byte.is_ascii_whitespace() || byte == 0;
        on_two_threads(sound.quote.len(), |at| {
            let mut quote = sound.quote.clone();
            quote[at] ^= 1 << (at % 8);
            let in_white_space = at >= pem_starts
                && is_white(sound.quote[at])
                && is_white(quote[at])
                && at < evidence.raw().len();
            assert!(
                in_white_space || !sound.believes(&quote, &bundle),
                "{}: byte {at} is not protected",
                sound.name
            );
        });
    }
}

#[test]
fn no_character_of_collateral_can_be_changed_but_the_listed() {
    let mut all = vec![Sound::simulated(QuoteFormat::V4)];
    // Every character of the simulated collateral; of the real one, which is twice as long, every eleventh.
    let real = Sound::real().into_iter().take(1);
    let strides = [1].into_iter().chain([11]);
    all.extend(real);
    for (sound, stride) in all.iter().zip(strides) {
        for (member, text) in sound.collateral.as_object().expect("members") {
            let Some(text) = text.as_str() else { continue };
            let is_listed = UNSIGNED.iter().any(|(listed, _)| listed == member);
            on_two_threads(text.len().div_ceil(stride), |step| {
                let at = step * stride;
                let mut changed = text.as_bytes().to_vec();
                changed[at] ^= 1 << (at % 7);
                let changed = String::from_utf8(changed).expect("ASCII stays ASCII");
                let same = !is_listed && is_same_meaning(member, text, &changed);
                let mut collateral = sound.collateral.clone();
                collateral[member] = changed.into();
                let believed = EndorsementBundle::parse(collateral.to_string().as_bytes())
                    .is_ok_and(|bundle| sound.believes(&sound.quote, &bundle));
                assert_eq!(believed, is_listed || same, "{}: {member}, character {at}", sound.name);
            });
        }
    }
}
