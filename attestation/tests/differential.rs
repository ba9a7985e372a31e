//! `dcap-qvl`, the verifier that most others use, as an oracle for ours.
//!
//! Both get the same quote, collateral, root and time. Where both accept, the claims that both make are
//! the same. Ours never accepts what the oracle refuses. Where it refuses what the oracle accepts, the
//! case is listed here with the reason why ours is right.

use std::path::Path;
use std::sync::LazyLock;

use adyton_attestation::claims::{Claims, TdxClaims};
use adyton_attestation::{
    EndorsementBundle, Evidence, TrustAnchors, UnixTime, VerifyError, verify,
};
use adyton_fake_tee::{FakeTee, Fault, QuoteFormat, Site, TdProfile};
use dcap_qvl::configs::RingConfig;
use dcap_qvl::verify::QuoteVerifier;
use dcap_qvl::{QuoteClaims, QuoteCollateralV3, QuotePolicy};
use serde_json::Value;

mod real;

use real::{expected, vectors};

const NOW: u64 = 1_800_000_000;

static TEE: LazyLock<FakeTee> = LazyLock::new(|| FakeTee::from_seed([5; 32], NOW));

/// One question to both.
struct Case<'a> {
    quote: &'a [u8],
    collateral: &'a Value,
    root_der: &'a [u8],
    anchors: &'a TrustAnchors,
    now: u64,
}

impl Case<'_> {
    fn ours(&self) -> Result<TdxClaims, String> {
        let evidence = Evidence::parse_file(self.quote).map_err(|error| error.to_string())?;
        let bundle = EndorsementBundle::parse(self.collateral.to_string().as_bytes())
            .map_err(|error| error.to_string())?;
        let expected = evidence.report_data();
        let verified = verify(&evidence, &bundle, self.anchors, &expected, UnixTime(self.now));
        match verified.map_err(|refusal: VerifyError| format!("{refusal:?}"))?.get() {
            Claims::Tdx(claims) => Ok(TdxClaims::clone(claims)),
            other => panic!("TDX claims, not {other:?}"),
        }
    }

    fn theirs(&self) -> Result<QuoteClaims, String> {
        let mut collateral: QuoteCollateralV3 =
            serde_json::from_value(self.collateral.clone()).map_err(|error| error.to_string())?;
        // It would replace the quote's own chain.
        collateral.pck_certificate_chain = None;
        QuoteVerifier::<RingConfig>::new_with_config(self.root_der.to_vec())
            .verify_with_policy(
                self.quote,
                collateral,
                self.now,
                &QuotePolicy::claims_only(self.now),
            )
            .map_err(|error| format!("{error:#}"))
    }

    /// Asks both and compares. Whether both accepted, or the refusal of the stricter.
    fn compare(&self, label: &str) -> Agreement {
        match (self.ours(), self.theirs()) {
            (Ok(ours), Ok(theirs)) => {
                same_claims(&ours, &theirs, label);
                Agreement::Accepted
            }
            (Err(_), Err(_)) => Agreement::Refused,
            (Err(ours), Ok(_)) => Agreement::OursIsStricter(ours),
            (Ok(_), Err(theirs)) => panic!("{label}: only the oracle refuses: {theirs}"),
        }
    }
}

#[derive(Debug, PartialEq)]
enum Agreement {
    Accepted,
    Refused,
    OursIsStricter(String),
}

fn same_claims(ours: &TdxClaims, theirs: &QuoteClaims, label: &str) {
    let td = theirs.report.as_td10().expect("a TD report");
    let registers = [
        (ours.mrtd, td.mr_td),
        (ours.rtmr0, td.rt_mr0),
        (ours.rtmr1, td.rt_mr1),
        (ours.rtmr2, td.rt_mr2),
        (ours.rtmr3, td.rt_mr3),
        (ours.mrconfigid, td.mr_config_id),
        (ours.mrowner, td.mr_owner),
        (ours.mrownerconfig, td.mr_owner_config),
        (ours.mrseam, td.mr_seam),
    ];
    for (ours, theirs) in registers {
        assert_eq!(ours.0, theirs, "{label}");
    }
    assert_eq!(ours.report_data.0, td.report_data, "{label}");
    assert_eq!(ours.td_attributes.0, td.td_attributes, "{label}");
    assert_eq!(ours.xfam.0, td.xfam, "{label}");
    assert_eq!(ours.tee_tcb_svn.0, td.tee_tcb_svn, "{label}");

    assert_eq!(ours.tcb_status.as_str(), theirs.tcb.status.to_string(), "{label}");
    let mut advisories = theirs.tcb.advisory_ids.clone();
    advisories.sort();
    assert_eq!(ours.advisory_ids, advisories, "{label}");
    assert_eq!(ours.tcb_evaluation_data_number, theirs.tcb.eval_data_number, "{label}");
    assert_eq!(ours.collateral.expires.0, theirs.earliest_expiration_date, "{label}");

    let pck = &theirs.platform.pck;
    assert_eq!(ours.fmspc.0, pck.fmspc, "{label}");
    assert_eq!(ours.ppid.0.as_slice(), pck.ppid, "{label}");
    let instance = pck.platform_instance_id.map_or("not-stated".to_owned(), hex::encode);
    assert_eq!(ours.platform_instance.to_string(), instance, "{label}");
}

// ---- Real machines ----

/// One case of the vectors.
struct RealCase {
    label: String,
    quote: Vec<u8>,
    collateral: Value,
    now: u64,
}

/// Every case that the vectors list, and Intel's root.
fn real_cases(folder: &Path) -> (Vec<u8>, Vec<RealCase>) {
    let read = |name: &str| real::read(folder, name);
    let mut cases = Vec::new();
    for (name, quote) in &expected(folder, "tdx") {
        for case in quote["cases"].as_array().into_iter().flatten() {
            let collateral = case["collateral"].as_str().expect("a file");
            let label = format!("{name} with {collateral}");
            let mut quote = read(name);
            if name.ends_with(".hex") {
                let text = String::from_utf8(quote).expect("hex");
                quote = hex::decode(text.trim().trim_start_matches("0x")).expect("hex");
            }
            let collateral = serde_json::from_slice(&read(collateral)).expect("JSON");
            let now = case["now"].as_u64().expect("a time");
            cases.push(RealCase { label, quote, collateral, now });
        }
    }
    (read("dcap-qvl/TrustedRootCA.der"), cases)
}

#[test]
fn both_say_the_same_of_every_real_quote_at_every_time() {
    let Some(folder) = vectors() else { return };
    let (root_der, cases) = real_cases(&folder);
    let anchors = TrustAnchors::vendor();
    let (mut accepted, mut refused) = (0, 0);
    for RealCase { label, quote, collateral, now } in &cases {
        // A day apart, from before the collateral was issued until after it has expired.
        for now in (-40..=40).map(|days| now.saturating_add_signed(days * 86_400)) {
            let (root_der, anchors) = (root_der.as_slice(), &anchors);
            let case = Case { quote, collateral, root_der, anchors, now };
            match case.compare(&format!("{label} at {now}")) {
                Agreement::Accepted => accepted += 1,
                Agreement::Refused => refused += 1,
                stricter @ Agreement::OursIsStricter(_) => panic!("{label} at {now}: {stricter:?}"),
            }
        }
    }
    println!("{accepted} accepted by both, {refused} refused by both");
    assert!(cases.len() >= 12 && accepted >= 100 && refused >= 100, "{accepted}, {refused}");
}

// ---- Simulated faults ----

fn simulated(quote: &[u8], collateral: &Value) -> Agreement {
    let anchors = TrustAnchors::vendor().with_insecure_extra_root(TEE.root_der()).expect("a root");
    let root_der = TEE.root_der();
    Case { quote, collateral, root_der, anchors: &anchors, now: NOW }.compare("simulated")
}

/// Faults that the oracle does not see, and why it should.
const OURS_IS_STRICTER: [(Fault, &str); 13] = [
    (Fault::TrailingGarbage, "bytes that nobody signed don't belong into Evidence"),
    (Fault::OversizedQuote, "what is read is bounded, and no quote has a megabyte"),
    (Fault::NoQeReport, "certification data of type 6 hold a QE report (Intel API, A.4)"),
    (Fault::LeftoverSignatureData, "bytes that nobody signed don't belong into Evidence"),
    (Fault::ForeignCertificate, "what is in the chain and not on the way is looked at by nobody"),
    (Fault::PartialCrl, "a list that covers a part says nothing about the rest"),
    (Fault::InitialServiceTd, "a service TD at creation reaches into the TD, too"),
    (Fault::LaterServiceTd, "a service TD that was bound later reaches into the TD, too"),
    (Fault::FutureCrl, "a list counts from its thisUpdate on (RFC 5280, §5.1.2.4)"),
    (Fault::XfamWithoutSse, "x87 and SSE are fixed to one (Intel TDX Module ABI, XFAM)"),
    (Fault::WrongPceId, "a TCB info is for one PCE (Intel PCS API v4, pceId)"),
    (Fault::QeReportDataTail, "the quoting enclave commits to a digest and 32 zero bytes"),
    (Fault::UnknownXfam, "nobody knows what state an unknown component keeps"),
];

#[test]
fn both_say_the_same_of_every_fault_in_every_format() {
    let (mut stricter, mut unexpected) = (0, Vec::new());
    for format in QuoteFormat::ALL {
        for fault in Fault::ALL.iter().filter(|fault| fault.site() != Site::GuestApi) {
            let profile = TdProfile { format, ..TdProfile::default() }.with_faults(&[*fault]);
            let quote = TEE.faulty_quote(&profile, [7; 64], &[*fault]);
            let collateral = TEE.collateral(NOW, &[*fault]);
            let listed = OURS_IS_STRICTER.iter().find(|(listed, _)| listed == fault);
            match (simulated(&quote, &collateral), listed) {
                (Agreement::Accepted | Agreement::Refused, None) => {}
                (Agreement::OursIsStricter(_), Some(_)) => stricter += 1,
                (agreement, _) => unexpected.push(format!("{fault} in {format:?}: {agreement:?}")),
            }
        }
    }
    assert!(unexpected.is_empty(), "{unexpected:#?}");
    assert_eq!(stricter, OURS_IS_STRICTER.len() * QuoteFormat::ALL.len());
}

#[test]
fn the_worse_of_launch_and_now_is_a_difference_on_purpose() {
    // Both versions are signed by the module. The oracle reports that of the launch alone when the
    // present one is worse; a platform that went back is as old as it is now.
    let mut profile = TdProfile { format: QuoteFormat::V5Td15, ..TdProfile::default() };
    profile.tee_tcb_svn2 = TdProfile::default().with_faults(&[Fault::StaleTcb]).tee_tcb_svn;
    let quote = TEE.quote(&profile, [7; 64]);
    let collateral = TEE.collateral(NOW, &[]);
    let anchors = TrustAnchors::vendor().with_insecure_extra_root(TEE.root_der()).expect("a root");
    let root_der = TEE.root_der();
    let case =
        Case { quote: &quote, collateral: &collateral, root_der, anchors: &anchors, now: NOW };
    assert_eq!(case.theirs().expect("accepted").tcb.status.to_string(), "UpToDate");
    assert_eq!(case.ours().expect("accepted").tcb_status.as_str(), "OutOfDate");
}

// ---- Arbitrary changes ----

/// xorshift64*: the same changes every time.
struct Changes(u64);

impl Changes {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).expect("31 bits") % bound
    }
}

#[test]
fn both_refuse_quotes_and_collateral_with_a_changed_byte() {
    let collateral = TEE.collateral(NOW, &[]);
    let members: Vec<String> = collateral.as_object().expect("members").keys().cloned().collect();
    let mut changes = Changes(0x5eed);
    let (mut accepted, mut refused, mut stricter) = (0, 0, 0);
    for round in 0..1500 {
        let format = QuoteFormat::ALL[round % 4];
        let profile = TdProfile { format, ..TdProfile::default() };
        let mut quote = TEE.quote(&profile, [7; 64]);
        let mut collateral = collateral.clone();
        let what = if round % 2 == 0 {
            let at = changes.below(quote.len());
            quote[at] ^= 1 << changes.below(8);
            format!("quote byte {at}")
        } else {
            let member = &members[changes.below(members.len())];
            let mut text = collateral[member].as_str().expect("text").as_bytes().to_vec();
            let at = changes.below(text.len());
            text[at] ^= 1 << changes.below(6);
            let Ok(text) = String::from_utf8(text) else { continue };
            collateral[member] = text.into();
            format!("{member} byte {at}")
        };
        match simulated(&quote, &collateral) {
            Agreement::Accepted => accepted += 1,
            Agreement::Refused => refused += 1,
            // PEM with other characters around the certificates, or another root beside the pinned one:
            // bytes that the oracle skips and that we want accounted for.
            Agreement::OursIsStricter(refusal) => {
                let about_chains = ["PckChain", "DocumentSigner"];
                assert!(
                    about_chains.iter().any(|part| refusal.starts_with(part)),
                    "{what}: {refusal}"
                );
                stricter += 1;
            }
        }
    }
    println!("{accepted} accepted by both, {refused} refused by both, {stricter} by ours alone");
    assert!(refused > 1000, "{refused}");
}
