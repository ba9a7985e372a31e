//! SNP reports: as they are, and signed anew.

use adyton_attestation::evidence::SnpEvidence;
use adyton_attestation::evidence::snp::PresentedCertificates;
use adyton_attestation::evidence::snp::certificates::CertificateLabel;
use adyton_attestation::{EndorsementBundle, Evidence, ReportData};
use adyton_fake_tee::{FakeKey, FakeProduct, FakeSnp, SnpProfile};

use crate::NOW;
use crate::case::{Coverage, Expected, Field, Judge, bundle, claim, field, judged, run_bytes};

const DATA: ReportData = ReportData([0x5c; 64]);
const REPORT_LEN: usize = 1184;

const SIGNATURE: &[&str] = &["snp.report.signature"];
const RESERVED: &[&str] = &["snp.report.reserved"];
const RESERVED_TCB: &[&str] = &["snp.report.reserved-tcb"];
const ORDER: &[&str] = &["snp.firmware.order"];
/// r and s beside their bounds: above the order, zero, or in the bytes that have to be zero.
const NUMBER: &[&str] = &["snp.report.signature", "snp.report.signature-encoding"];

/// A processor, its certificate and what a Verifier needs for it.
pub struct Processor {
    pub machine: FakeSnp,
    pub version: u32,
    pub certificate: Vec<u8>,
    pub bundle: EndorsementBundle,
    pub judge: Judge,
}

impl Processor {
    pub fn new(product: FakeProduct, kind: FakeKey, version: u32) -> Self {
        let machine = FakeSnp::new(NOW, product, kind);
        let profile = SnpProfile::default();
        let certificate = machine.certificates(&profile, None).remove(0).1;
        let bundle = bundle(&machine.endorsement_bundle(NOW, None).to_string()).expect("a bundle");
        let judge = Judge::of(&machine.root_der());
        Self { machine, version, certificate, bundle, judge }
    }

    pub fn report(&self) -> Vec<u8> {
        let profile = SnpProfile { version: self.version, ..SnpProfile::default() };
        self.machine.report(&profile, DATA.0, None)
    }

    pub fn judge(&self, report: &[u8], certificate: &[u8]) -> Result<(), String> {
        self.judge_with(report, certificate, &self.bundle)
    }

    pub fn judge_with(
        &self,
        report: &[u8],
        certificate: &[u8],
        bundle: &EndorsementBundle,
    ) -> Result<(), String> {
        let certificate =
            PresentedCertificates::one(CertificateLabel::Vcek, certificate).expect("short");
        let evidence = SnpEvidence::parse(report)
            .map(|evidence| Evidence::Snp(evidence.with_certificates(certificate)));
        self.judge.judge(evidence.map_err(Into::into), bundle, &DATA)
    }
}

/// The fields of a report, AMD 56860, table ATTESTATION_REPORT, as an attacker without the key meets them:
/// what is looked at before the signature is refused as such.
pub fn unsigned_fields(version: u32, product: FakeProduct, base: usize) -> Vec<Field> {
    signed_fields(version, product)
        .into_iter()
        .map(|part| part.or_else_refused(base, SIGNATURE))
        .chain([
            field("r", base + 0x2a0..base + 0x2e8, NUMBER),
            field("s", base + 0x2e8..base + 0x330, NUMBER),
            field("reserved after the signature", base + 0x330..base + REPORT_LEN, RESERVED),
        ])
        .collect()
}

/// The signed fields, where the processor itself signed the defect.
pub fn signed_fields(version: u32, product: FakeProduct) -> Vec<Field> {
    let mut fields = vec![
        field("version", 0x000..0x004, &["snp.report.version"]),
        claim("GUEST_SVN", 0x004..0x008),
        judged("POLICY", 0x008..0x010, policy),
        claim("FAMILY_ID, IMAGE_ID", 0x010..0x030),
        claim("VMPL", 0x030..0x034),
        field("SIGNATURE_ALGO", 0x034..0x038, &["snp.report.algorithm"]),
        tcb("CURRENT_TCB", 0x038, product, |is_lower| match is_lower {
            true => Expected::Refused(ORDER),
            false => Expected::Claim,
        }),
        judged("PLATFORM_INFO", 0x040..0x048, |at, new| match (at, new & 1 << 6) {
            (0, 0) => Expected::Claim,
            _ => Expected::Refused(&["snp.report.reserved-bits"]),
        }),
        judged("KEY_INFO", 0x048..0x04c, key_info),
        field("reserved after KEY_INFO", 0x04c..0x050, RESERVED),
        field("REPORT_DATA", 0x050..0x090, &["snp.report-data"]),
        claim("MEASUREMENT to REPORT_ID_MA", 0x090..0x180),
        tcb("REPORTED_TCB", 0x180, product, |_| Expected::Refused(&["snp.key.firmware"])),
    ];
    match version {
        2 => fields.push(field("reserved after REPORTED_TCB", 0x188..0x1a0, RESERVED)),
        _ => fields.extend([
            judged("CPUID_FAM_ID", 0x188..0x189, |_, _| Expected::Refused(&["snp.product"])),
            judged("CPUID_MOD_ID", 0x189..0x18a, move |_, new| match is_model(product, new) {
                true => Expected::Claim,
                false => Expected::Refused(&["snp.product"]),
            }),
            claim("CPUID_STEP", 0x18a..0x18b),
            field("reserved after CPUID", 0x18b..0x1a0, RESERVED),
        ]),
    }
    fields.extend([
        field("CHIP_ID", 0x1a0..0x1e0, &["snp.chip"]),
        tcb("COMMITTED_TCB", 0x1e0, product, |_| Expected::Refused(ORDER)),
        // Build, minor, major: 1.55.40.
        judged("CURRENT version", 0x1e8..0x1eb, |at, new| match new < [40, 55, 1][at] {
            true => Expected::Refused(ORDER),
            false => Expected::Claim,
        }),
        field("reserved after CURRENT", 0x1eb..0x1ec, RESERVED),
        judged("COMMITTED version", 0x1ec..0x1ef, |at, new| match new > [40, 55, 1][at] {
            true => Expected::Refused(ORDER),
            false => Expected::Claim,
        }),
        field("reserved after COMMITTED", 0x1ef..0x1f0, RESERVED),
        tcb("LAUNCH_TCB", 0x1f0, product, |_| Expected::Claim),
    ]);
    match version {
        5 => fields.extend([
            claim("mitigation vectors", 0x1f8..0x208),
            field("reserved before the signature", 0x208..0x2a0, RESERVED),
        ]),
        _ => fields.push(field("reserved before the signature", 0x1f8..0x2a0, RESERVED)),
    }
    fields
}

/// TCB_VERSION; `judge` is asked about components and told whether the new value is lower.
fn tcb(
    name: &'static str,
    at: usize,
    product: FakeProduct,
    judge: impl Fn(bool) -> Expected + 'static,
) -> Field {
    let tcb = SnpProfile::default().tcb;
    let sound = match product {
        FakeProduct::Milan | FakeProduct::Genoa => [
            Some(tcb.bootloader),
            Some(tcb.tee),
            None,
            None,
            None,
            None,
            Some(tcb.snp),
            Some(tcb.microcode),
        ],
        FakeProduct::Turin => [
            Some(tcb.fmc),
            Some(tcb.bootloader),
            Some(tcb.tee),
            Some(tcb.snp),
            None,
            None,
            None,
            Some(tcb.microcode),
        ],
    };
    judged(name, at..at + 8, move |at, new| match sound[at] {
        Some(sound) => judge(new < sound),
        None => Expected::Refused(RESERVED_TCB),
    })
}

/// POLICY is 0x03d2_0133: ABI 1.51, bit 17, and restrictions. The firmware is 1.55.
fn policy(at: usize, new: u8) -> Expected {
    let mut bytes = SnpProfile::default().policy.to_le_bytes();
    bytes[at] = new;
    let bits = u64::from_le_bytes(bytes);
    let abi = (bytes[1], bytes[0]);
    if bits >> 26 != 0 {
        Expected::Refused(&["snp.report.reserved-bits"])
    } else if bits & 1 << 17 == 0 {
        Expected::Refused(&["snp.policy.bit-17"])
    } else if bits & 1 << 19 != 0 {
        Expected::Refused(&["snp.policy.debug"])
    } else if bits & 1 << 18 != 0 {
        Expected::Refused(&["snp.policy.migrate-ma"])
    } else if abi > (1, 55) {
        Expected::Refused(&["snp.policy.abi"])
    } else {
        Expected::Claim
    }
}

/// KEY_INFO: author key, masked chip key, signing key in three bits. There is an author key.
fn key_info(at: usize, new: u8) -> Expected {
    if at > 0 || new >> 5 != 0 {
        return Expected::Refused(&["snp.report.reserved-bits"]);
    }
    match (new >> 2, new & 2, new & 1) {
        // The other kind of key, whose certificate this is not.
        (1, ..) => Expected::Refused(&["snp.key.kind"]),
        (2.., ..) => Expected::Refused(&["snp.key.signing-key"]),
        (0, 2, _) => Expected::Refused(&["snp.chip.masked"]),
        (0, _, 0) => Expected::Refused(&["snp.author-key"]),
        (0, ..) => Expected::Claim,
    }
}

/// Models of a product line within its family. AMD 57230, table 1.
fn is_model(product: FakeProduct, model: u8) -> bool {
    match product {
        FakeProduct::Milan => model <= 0x0f,
        FakeProduct::Genoa => matches!(model, 0x10..=0x1f | 0xa0..=0xaf),
        FakeProduct::Turin => model <= 0x11,
    }
}

const PROCESSORS: [(&str, &str, FakeProduct, FakeKey, u32); 4] = [
    (
        "SNP report v2, Milan",
        "SNP report v2, Milan, signed anew",
        FakeProduct::Milan,
        FakeKey::Vcek,
        2,
    ),
    (
        "SNP report v3, Genoa",
        "SNP report v3, Genoa, signed anew",
        FakeProduct::Genoa,
        FakeKey::Vcek,
        3,
    ),
    (
        "SNP report v5, Genoa",
        "SNP report v5, Genoa, signed anew",
        FakeProduct::Genoa,
        FakeKey::Vcek,
        5,
    ),
    (
        "SNP report v5, Turin",
        "SNP report v5, Turin, signed anew",
        FakeProduct::Turin,
        FakeKey::Vcek,
        5,
    ),
];

#[test]
fn every_defect_in_every_field_of_a_report_is_refused_with_its_code() {
    for (kind, _, product, key, version) in PROCESSORS {
        let processor = Processor::new(product, key, version);
        let fields = unsigned_fields(version, product, 0);
        run_bytes(kind, &processor.report(), Coverage::Whole, &fields, |bytes| {
            processor.judge(bytes, &processor.certificate)
        });
    }
}

#[test]
fn every_defect_that_the_processor_signs_is_refused_at_its_own_rung() {
    for (_, kind, product, key, version) in PROCESSORS {
        let processor = Processor::new(product, key, version);
        let fields = signed_fields(version, product);
        run_bytes(kind, &processor.report(), Coverage::Head, &fields, |bytes| {
            let mut report = bytes.to_vec();
            processor.machine.sign(&mut report);
            processor.judge(&report, &processor.certificate)
        });
    }
}
