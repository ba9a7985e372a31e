//! TCB info and QE identity with values that Intel never gave this platform, signed anew: each fails at its
//! own rung, and not at the signature.

use adyton_attestation::{Evidence, ReportData};
use adyton_fake_tee::{FakeTee, TdProfile};
use serde_json::{Value, json};

use crate::NOW;
use crate::case::{Expected, Judge, Run, UNREADABLE, bundle};

/// A machine and its sound collateral.
struct Stand {
    tee: FakeTee,
    collateral: Value,
    quote: Vec<u8>,
    judge: Judge,
}

impl Stand {
    fn new() -> Self {
        let tee = FakeTee::from_seed([24; 32], NOW);
        let collateral = tee.collateral(NOW, &[]);
        let quote = tee.quote(&TdProfile::default(), [3; 64]);
        let judge = Judge::of(tee.root_der());
        Self { tee, collateral, quote, judge }
    }

    fn document(&self, member: &str) -> Value {
        serde_json::from_str(self.collateral[member].as_str().expect("text")).expect("JSON")
    }

    /// The verdict with one document replaced and signed.
    fn judge(&self, member: &str, document: &Value) -> Result<(), String> {
        let text = document.to_string();
        let mut collateral = self.collateral.clone();
        collateral[format!("{member}_signature")] =
            hex::encode(self.tee.sign_document(&text)).into();
        collateral[member] = text.into();
        let endorsements = bundle(&collateral.to_string())?;
        let evidence = Evidence::parse_file(&self.quote);
        self.judge.judge(evidence, &endorsements, &ReportData([3; 64]))
    }
}

/// The cases of one document.
struct Cases<'a> {
    stand: &'a Stand,
    member: &'static str,
    sound: Value,
    run: Run,
}

impl<'a> Cases<'a> {
    fn new(stand: &'a Stand, kind: &'static str, member: &'static str) -> Self {
        let sound = stand.document(member);
        assert_eq!(stand.judge(member, &sound), Ok(()), "{kind}: signing anew works");
        Self { stand, member, sound, run: Run::new(kind) }
    }

    /// One value in one place.
    fn value(&mut self, pointer: &str, value: &Value, codes: &'static [&'static str]) {
        self.edit(
            &|document| *document.pointer_mut(pointer).expect("a member") = value.clone(),
            codes,
            || format!("{pointer} = {value}"),
        );
    }

    fn edit(
        &mut self,
        change: &dyn Fn(&mut Value),
        codes: &'static [&'static str],
        what: impl FnOnce() -> String,
    ) {
        let mut document = self.sound.clone();
        change(&mut document);
        let (stand, member) = (self.stand, self.member);
        self.run.case(what, Expected::Refused(codes), || stand.judge(member, &document));
    }

    /// Every other hex digit in every place of a text, unless `is_masked` says that it does not count.
    fn digits(
        &mut self,
        pointer: &str,
        is_masked: impl Fn(usize, u32) -> bool,
        codes: &'static [&'static str],
    ) {
        let text = self.sound.pointer(pointer).and_then(Value::as_str).expect("hex").to_owned();
        for (at, digit) in text.char_indices() {
            let old = digit.to_digit(16).expect("hex");
            for new in (0..16).filter(|new| *new != old && !is_masked(at, old ^ new)) {
                let mut changed = text.clone();
                changed.replace_range(at..=at, &format!("{new:X}"));
                self.value(pointer, &changed.into(), codes);
            }
        }
    }

    /// Values that are of another type, or out of its range.
    fn unreadable(&mut self, pointers: &[&str]) {
        for pointer in pointers {
            let sound = self.sound.pointer(pointer).expect("a member").clone();
            for value in [
                json!(null),
                json!(-1),
                json!(1.5),
                json!([]),
                json!({}),
                json!(true),
                json!(u64::MAX),
            ] {
                self.value(pointer, &value, &[UNREADABLE]);
            }
            let other = if sound.is_string() { json!(7) } else { json!("7") };
            self.value(pointer, &other, &[UNREADABLE]);
        }
    }

    /// Dates around now, and texts that are none.
    fn dates(&mut self, early: &'static [&'static str], late: &'static [&'static str]) {
        for seconds in [1, 60, 3600, 86_400, 30 * 86_400] {
            self.value("/issueDate", &date(NOW + seconds).into(), early);
            self.value("/nextUpdate", &date(NOW - seconds).into(), late);
        }
        for pointer in ["/issueDate", "/nextUpdate"] {
            for text in ["", "now", "2027-01-15", "2027-13-15T08:00:00Z", "2027-01-15T08:00:00"] {
                self.value(pointer, &text.into(), &[UNREADABLE]);
            }
        }
    }
}

/// RFC 3339, UTC, of a time in January to March 2027 or December 2026.
fn date(seconds: u64) -> String {
    jiff::Timestamp::from_second(i64::try_from(seconds).expect("this era"))
        .expect("a time")
        .to_string()
}

#[test]
fn every_tcb_info_that_says_otherwise_is_refused_at_its_own_rung() {
    const KIND: &[&str] = &["tdx.tcb-info.kind"];
    const MODULE: &[&str] = &["tdx.tcb.module"];
    const LEVELLESS: &[&str] = &["tdx.tcb.no-level"];
    let stand = Stand::new();
    let mut cases = Cases::new(&stand, "TCB info, signed anew", "tcb_info");
    for id in ["SGX", "tdx", "", "TDX ", "QE", "TD_QE"] {
        cases.value("/id", &id.into(), KIND);
    }
    for number in (0..256).filter(|number| *number != 3) {
        cases.value("/version", &number.into(), KIND);
    }
    for number in 1..256 {
        cases.value("/tcbType", &number.into(), KIND);
    }
    cases.dates(&["tdx.tcb-info.not-yet-valid"], &["tdx.tcb-info.expired"]);
    cases.digits("/fmspc", |_, _| false, &["tdx.endorsements.missing"]);
    cases.digits("/pceId", |_, _| false, &["tdx.tcb-info.pce-id"]);
    cases.digits("/tdxModuleIdentities/1/mrsigner", |_, _| false, MODULE);
    cases.digits("/tdxModuleIdentities/1/attributes", |_, _| false, MODULE);
    for id in ["TDX_00", "TDX_02", "TDX_1", "TDX_", "", "TDX_10", "01"] {
        cases.value("/tdxModuleIdentities/1/id", &id.into(), MODULE);
    }
    cases.unreadable(&["/version", "/tcbType", "/fmspc", "/pceId", "/issueDate", "/nextUpdate"]);
    cases.unreadable(&[
        "/tcbLevels/0/tcb/pcesvn",
        "/tcbLevels/0/tcbStatus",
        "/tcbLevels/0/tcbDate",
    ]);
    // A least version that the platform does not have, in every level.
    let every_level = |document: &mut Value, pointer: &str, svn: u16| {
        for level in document["tcbLevels"].as_array_mut().expect("levels") {
            *level.pointer_mut(pointer).expect("a version") = svn.into();
        }
    };
    let platform = stand.document("tcb_info")["tcbLevels"][0]["tcb"].clone();
    for (list, first) in [("sgxtcbcomponents", 0), ("tdxtcbcomponents", 2)] {
        for index in first..16 {
            let pointer = format!("/tcb/{list}/{index}/svn");
            let own = platform[list][index]["svn"].as_u64().expect("a number");
            for svn in u16::try_from(own).expect("a byte") + 1..256 {
                let change = |document: &mut Value| every_level(document, &pointer, svn);
                cases.edit(&change, LEVELLESS, || format!("{pointer} = {svn}"));
            }
        }
    }
    for svn in (14..0x100).chain([0x1ff, 0x7fff, 0xffff]) {
        let change = |document: &mut Value| every_level(document, "/tcb/pcesvn", svn);
        cases.edit(&change, LEVELLESS, || format!("pcesvn = {svn}"));
    }
    for pointer in ["/tcbLevels/0/tcbStatus", "/tdxModuleIdentities/1/tcbLevels/0/tcbStatus"] {
        cases.value(pointer, &"Revoked".into(), &["tdx.tcb.revoked"]);
        for word in ["", "uptodate", "Fine", "UpToDate ", "Revoke"] {
            cases.value(pointer, &word.into(), &[UNREADABLE]);
        }
    }
    cases.run.finish();
}

#[test]
fn every_qe_identity_that_says_otherwise_is_refused_at_its_own_rung() {
    const KIND: &[&str] = &["tdx.qe-identity.kind"];
    const MISMATCH: &[&str] = &["tdx.qe-identity.mismatch"];
    let stand = Stand::new();
    let mut cases = Cases::new(&stand, "QE identity, signed anew", "qe_identity");
    for id in ["QE", "td_qe", "", "TD_QE ", "QVE", "TDX"] {
        cases.value("/id", &id.into(), KIND);
    }
    for number in (0..256).filter(|number| !matches!(number, 2 | 3)) {
        cases.value("/version", &number.into(), KIND);
    }
    cases.dates(&["tdx.qe-identity.not-yet-valid"], &["tdx.qe-identity.expired"]);
    cases.digits("/miscselect", |_, _| false, MISMATCH);
    // The mask is fbffffffffffffff0000000000000000.
    cases.digits("/attributes", |at, change| at >= 16 || at == 1 && change == 4, MISMATCH);
    cases.digits("/mrsigner", |_, _| false, MISMATCH);
    for product in (0..256).filter(|product| *product != 2) {
        cases.value("/isvprodid", &product.into(), MISMATCH);
    }
    for svn in (5..256).chain([0x1ff, 0x7fff, 0xffff]) {
        let change = |document: &mut Value| {
            for level in document["tcbLevels"].as_array_mut().expect("levels") {
                level["tcb"]["isvsvn"] = svn.into();
            }
        };
        cases.edit(&change, MISMATCH, || format!("isvsvn = {svn}"));
    }
    cases.value("/tcbLevels/0/tcbStatus", &"Revoked".into(), &["tdx.tcb.revoked"]);
    cases.unreadable(&["/version", "/miscselect", "/attributes", "/mrsigner", "/isvprodid"]);
    cases.unreadable(&["/issueDate", "/nextUpdate", "/tcbLevels/0/tcb/isvsvn"]);
    cases.run.finish();
}
