//! Signatures that were found good, so that the same one is not computed twice.
//!
//! In: a key, the exact bytes that it signed, the signature. Out: yes or no. What is remembered is one
//! fact, "this key signed these bytes", as a SHA-256 over all three. That fact is arithmetic: it holds
//! at any time and under any policy, so it needs no expiry. Everything that does change, validity,
//! revocation, roles, the choice of the anchor, is compared on every call by whoever asks; and a
//! signature that is wrong has no entry to find. So a cache can make a verification faster and never
//! turn a no into a yes.
//! Against: a broker that is asked by a thousand TDs at once and computes the same seven signatures of
//! the vendor a thousand times. The quote's own signature is never looked up.

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ring::digest::{Context, SHA256, digest};

use crate::limits::MAX_CACHED_SIGNATURES;

/// "This key signed these bytes": SHA-256 over algorithm, key, bytes and signature.
type Fact = [u8; 32];

/// Good signatures of earlier verifications, for [`verify_cached`](crate::verifier::verify_cached).
///
/// Bounded: at most [`MAX_CACHED_SIGNATURES`] facts of 32 bytes, the older half is dropped first. Only
/// a verification in which every rung passed adds to it, so refused Evidence can't wash it out. Holding
/// one proves nothing; sharing one between Verifiers with other anchors or policies is sound.
#[derive(Debug, Default)]
pub struct SignatureCache {
    generations: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashSet<Fact>,
    old: HashSet<Fact>,
}

impl SignatureCache {
    /// An empty cache.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of facts in it.
    #[must_use]
    pub fn len(&self) -> usize {
        let generations = self.generations();
        generations.young.len().saturating_add(generations.old.len())
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn knows(&self, fact: &Fact) -> bool {
        let generations = self.generations();
        generations.young.contains(fact) || generations.old.contains(fact)
    }

    fn add(&self, facts: Vec<Fact>) {
        let mut generations = self.generations();
        for fact in facts {
            if generations.young.len() >= MAX_CACHED_SIGNATURES / 2 {
                generations.old = std::mem::take(&mut generations.young);
            }
            generations.old.remove(&fact);
            generations.young.insert(fact);
        }
    }

    /// A set of facts has no state in between, so that of a panicked thread is as good as any.
    fn generations(&self) -> MutexGuard<'_, Generations> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one object is, so that no two kinds share a fact.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Object<'a> {
    /// A certificate or list, whose bytes hold signature and algorithm: SHA-256 of all of it.
    X509(&'a [u8; 32]),
    /// Bytes, by their SHA-256, with a raw signature `r ‖ s` beside them.
    Detached(&'a [u8; 32], &'a [u8]),
}

/// The signatures of one verification: each distinct one is computed once.
#[derive(Debug, Default)]
pub(crate) struct Signatures<'a> {
    cache: Option<&'a SignatureCache>,
    good: RefCell<Vec<Fact>>,
}

impl<'a> Signatures<'a> {
    /// Remembers within one verification and beyond it.
    pub(crate) fn with(cache: &'a SignatureCache) -> Self {
        Self { cache: Some(cache), good: RefCell::default() }
    }

    /// Whether the object is signed by the key, from memory or by `compute`, which is the only thing
    /// that ever says yes for the first time.
    pub(crate) fn verify(
        &self,
        key: &[u8],
        object: Object<'_>,
        compute: impl FnOnce() -> bool,
    ) -> bool {
        let fact = fact(key, object);
        let known = self.good.borrow().contains(&fact)
            || self.cache.is_some_and(|cache| cache.knows(&fact));
        let good = known || compute();
        if good && !self.good.borrow().contains(&fact) {
            self.good.borrow_mut().push(fact);
        }
        good
    }

    /// Hands the good ones to the cache. Called when every rung has passed.
    pub(crate) fn keep(self) {
        if let Some(cache) = self.cache {
            cache.add(self.good.into_inner());
        }
    }
}

fn fact(key: &[u8], object: Object<'_>) -> Fact {
    let mut context = Context::new(&SHA256);
    let mut frame = |bytes: &[u8]| {
        context.update(&(bytes.len() as u64).to_be_bytes());
        context.update(bytes);
    };
    frame(key);
    match object {
        Object::X509(digest) => {
            frame(b"x509");
            frame(digest);
        }
        Object::Detached(digest, signature) => {
            frame(b"detached");
            frame(digest);
            frame(signature);
        }
    }
    bytes_of(&context.finish())
}

/// SHA-256 as an array.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    bytes_of(&digest(&SHA256, bytes))
}

fn bytes_of(digest: &ring::digest::Digest) -> [u8; 32] {
    let mut out = [0; 32];
    out.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: [u8; 32] = [1; 32];

    #[test]
    fn a_bad_signature_is_never_remembered() {
        let cache = SignatureCache::new();
        let signatures = Signatures::with(&cache);
        assert!(!signatures.verify(b"key", Object::X509(&DIGEST), || false));
        signatures.keep();
        assert!(cache.is_empty());
        let again = Signatures::with(&cache);
        assert!(!again.verify(b"key", Object::X509(&DIGEST), || false));
    }

    #[test]
    fn a_good_one_is_computed_once_and_kept_only_on_request() {
        let cache = SignatureCache::new();
        let signatures = Signatures::with(&cache);
        let mut computed = 0;
        for _ in 0..3 {
            let compute = || {
                computed += 1;
                true
            };
            assert!(signatures.verify(b"key", Object::X509(&DIGEST), compute));
        }
        assert_eq!(computed, 1);
        drop(signatures);
        assert!(cache.is_empty(), "a verification that failed leaves nothing");

        let signatures = Signatures::with(&cache);
        assert!(signatures.verify(b"key", Object::X509(&DIGEST), || true));
        signatures.keep();
        assert_eq!(cache.len(), 1);
        let warm = Signatures::with(&cache);
        assert!(warm.verify(b"key", Object::X509(&DIGEST), || panic!("known")));
    }

    #[test]
    fn key_bytes_kind_and_signature_all_count() {
        let cache = SignatureCache::new();
        let signatures = Signatures::with(&cache);
        assert!(signatures.verify(b"key", Object::Detached(&DIGEST, b"signature"), || true));
        signatures.keep();
        let other = Signatures::with(&cache);
        assert!(!other.verify(b"kez", Object::Detached(&DIGEST, b"signature"), || false));
        assert!(!other.verify(b"key", Object::Detached(&[2; 32], b"signature"), || false));
        assert!(!other.verify(b"key", Object::Detached(&DIGEST, b"signaturf"), || false));
        assert!(!other.verify(b"key", Object::X509(&DIGEST), || false));
    }

    #[test]
    fn it_stays_within_its_bound_and_keeps_the_newest() {
        let cache = SignatureCache::new();
        let nth = |n: usize| sha256(&n.to_be_bytes());
        for n in 0..3 * MAX_CACHED_SIGNATURES {
            cache.add(vec![nth(n)]);
            assert!(cache.len() <= MAX_CACHED_SIGNATURES);
        }
        assert!(cache.knows(&nth(3 * MAX_CACHED_SIGNATURES - 1)));
        assert!(!cache.knows(&nth(0)));
    }
}
