//! RCAR sessions: bounded, in memory, by a clock that nobody can set.
//!
//! In: a Challenge that was sent; later, verified claims. Out: each Challenge once, each attested
//! session to whoever shows its cookie or token. Ids and tokens are looked up by digest, so that
//! neither the table nor the time of a look-up tells anything about them. An attested session has
//! another id than its Challenge had. Secrets are encrypted to the attested TEE key in any case, so
//! a stolen id yields ciphertext.
//! Against: replay, session fixation, a table that grows without end.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use adyton_attestation::rcar::TeePublicKey;
use adyton_attestation::rcar::server::AwaitingAttestation;
use adyton_attestation::{Claims, GpuClaims, Verified};
use ring::digest::{SHA256, digest};
use serde_json::Value;

use crate::config::SessionLimits;

/// Name of the session cookie.
pub const COOKIE_NAME: &str = "kbs-session-id";

/// A session id as it stands in the cookie: 32 lower-case hex digits.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionId(String);

impl SessionId {
    /// A fresh random id. `None` when the system has no random bytes.
    pub fn fresh() -> Option<Self> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).ok()?;
        Some(Self(hex::encode(bytes)))
    }

    /// Parses a cookie's value. `None` when it can't be an id of ours.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        (text.len() == 32 && text.bytes().all(hex)).then(|| Self(text.to_owned()))
    }

    /// The cookie's value.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn handle(&self) -> Handle {
        Handle::of(self.0.as_bytes())
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId")
    }
}

/// SHA-256 of an id or a token: what the table knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Handle([u8; 32]);

impl Handle {
    fn of(bytes: &[u8]) -> Self {
        let mut handle = [0; 32];
        handle.copy_from_slice(digest(&SHA256, bytes).as_ref());
        Self(handle)
    }
}

/// Why there is no such session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// No cookie, or one that is not of a live session. Used Challenges are not told apart.
    #[error("there is no such session")]
    Unknown,
    /// The session's time is over.
    #[error("the session has expired")]
    Expired,
    /// The session answered its Challenge before.
    #[error("the session is attested already; each Challenge is answered once")]
    AlreadyAttested,
    /// The session has not answered its Challenge.
    #[error("the session is not attested")]
    NotAttested,
}

/// A Challenge taken from the table: it can be answered this once.
#[derive(Debug)]
pub struct OpenChallenge {
    /// The protocol's state.
    pub awaiting: AwaitingAttestation,
    /// End of the session, attested or not.
    pub expires: Instant,
}

/// What an attested session holds.
#[derive(Debug)]
pub struct AttestedSession {
    /// The claims; taken out while a key is decided about, and put back.
    pub verified: Mutex<Option<Verified<Claims>>>,
    /// The claims in Trustee's layout and what they are bound to: the input of policies in Rego.
    pub annotated: Value,
    /// The GPUs that the guest proved over the same nonce.
    pub devices: Vec<Verified<GpuClaims>>,
    /// The key that was bound into the Evidence: the only one that secrets are encrypted to.
    pub tee_key: TeePublicKey,
    /// End of the session: that of its Challenge.
    pub expires: Instant,
}

/// How many sessions there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionCounts {
    /// Challenges without an answer.
    pub challenges: usize,
    /// Attested sessions.
    pub attested: usize,
}

/// All sessions of this process.
#[derive(Debug)]
pub struct SessionTable {
    limits: SessionLimits,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    challenges: HashMap<Handle, OpenChallenge>,
    /// Oldest first. May name Challenges that were answered since.
    challenge_order: VecDeque<Handle>,
    attested: HashMap<Handle, (Arc<AttestedSession>, Handle)>,
    /// Oldest first. May name sessions that ended since.
    attested_order: VecDeque<Handle>,
    /// From a token's handle to the session's.
    tokens: HashMap<Handle, Handle>,
}

impl SessionTable {
    /// An empty table.
    pub fn new(limits: SessionLimits) -> Self {
        Self { limits, inner: Mutex::default() }
    }

    /// Opens a session for a Challenge. When the table is full, the oldest Challenge goes: refusing
    /// the new one instead would let a stranger shut everybody out with one burst. Returns when the
    /// session ends.
    pub fn open(&self, id: &SessionId, awaiting: AwaitingAttestation, now: Instant) -> Instant {
        let expires = now.checked_add(self.limits.timeout).unwrap_or(now);
        let mut inner = self.lock();
        inner.forget_expired(now);
        inner.compact_order();
        while inner.challenges.len() >= self.limits.max_challenges {
            let Some(oldest) = inner.challenge_order.pop_front() else {
                break;
            };
            inner.challenges.remove(&oldest);
        }
        inner.challenges.insert(id.handle(), OpenChallenge { awaiting, expires });
        inner.challenge_order.push_back(id.handle());
        expires
    }

    /// Takes the Challenge of a session out of the table, for good.
    ///
    /// # Errors
    /// [`SessionError::AlreadyAttested`], [`Unknown`](SessionError::Unknown),
    /// [`Expired`](SessionError::Expired), in this order.
    pub fn take_challenge(
        &self,
        id: &SessionId,
        now: Instant,
    ) -> Result<OpenChallenge, SessionError> {
        let mut inner = self.lock();
        if inner.attested.contains_key(&id.handle()) {
            return Err(SessionError::AlreadyAttested);
        }
        let open = inner.challenges.remove(&id.handle()).ok_or(SessionError::Unknown)?;
        if open.expires <= now {
            return Err(SessionError::Expired);
        }
        Ok(open)
    }

    /// Keeps an attested session under its new id and its token. When the table is full, the
    /// oldest attested session goes.
    pub fn keep(&self, id: &SessionId, token: &str, session: AttestedSession, now: Instant) {
        let mut inner = self.lock();
        inner.forget_expired(now);
        while inner.attested.len() >= self.limits.max_attested {
            let Some(oldest) = inner.attested_order.pop_front() else {
                break;
            };
            inner.forget_attested(oldest);
        }
        let token = Handle::of(token.as_bytes());
        inner.tokens.insert(token, id.handle());
        inner.attested.insert(id.handle(), (Arc::new(session), token));
        inner.attested_order.push_back(id.handle());
    }

    /// The attested session of a cookie.
    ///
    /// # Errors
    /// [`SessionError::NotAttested`], [`Unknown`](SessionError::Unknown),
    /// [`Expired`](SessionError::Expired).
    pub fn by_id(
        &self,
        id: &SessionId,
        now: Instant,
    ) -> Result<Arc<AttestedSession>, SessionError> {
        let inner = self.lock();
        if inner.challenges.contains_key(&id.handle()) {
            return Err(SessionError::NotAttested);
        }
        inner.live(id.handle(), now)
    }

    /// The attested session of a token. The token is an opaque name here: nothing in it is believed.
    ///
    /// # Errors
    /// [`SessionError::Unknown`], [`Expired`](SessionError::Expired).
    pub fn by_token(
        &self,
        token: &str,
        now: Instant,
    ) -> Result<Arc<AttestedSession>, SessionError> {
        let inner = self.lock();
        let handle = inner.tokens.get(&Handle::of(token.as_bytes()));
        inner.live(*handle.ok_or(SessionError::Unknown)?, now)
    }

    /// How many sessions are alive.
    pub fn counts(&self, now: Instant) -> SessionCounts {
        let mut inner = self.lock();
        inner.forget_expired(now);
        SessionCounts { challenges: inner.challenges.len(), attested: inner.attested.len() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change leaves the maps usable at each step, so a panic elsewhere does no harm.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn live(&self, handle: Handle, now: Instant) -> Result<Arc<AttestedSession>, SessionError> {
        let (session, _) = self.attested.get(&handle).ok_or(SessionError::Unknown)?;
        if session.expires <= now {
            return Err(SessionError::Expired);
        }
        Ok(Arc::clone(session))
    }

    /// All sessions live equally long, so the front of each queue expires first; an attested
    /// session ends with its Challenge and may wait a little behind a younger one.
    fn forget_expired(&mut self, now: Instant) {
        while let Some(oldest) = self.challenge_order.front().copied() {
            match self.challenges.get(&oldest) {
                Some(open) if open.expires > now => break,
                _ => {
                    self.challenges.remove(&oldest);
                    self.challenge_order.pop_front();
                }
            }
        }
        while let Some(oldest) = self.attested_order.front().copied() {
            match self.attested.get(&oldest) {
                Some((session, _)) if session.expires > now => break,
                _ => {
                    self.forget_attested(oldest);
                    self.attested_order.pop_front();
                }
            }
        }
    }

    /// Names of answered Challenges behind a live one would pile up otherwise.
    fn compact_order(&mut self) {
        if self.challenge_order.len() > self.challenges.len().saturating_mul(2).saturating_add(64) {
            let challenges = &self.challenges;
            self.challenge_order.retain(|handle| challenges.contains_key(handle));
        }
    }

    fn forget_attested(&mut self, handle: Handle) {
        if let Some((_, token)) = self.attested.remove(&handle) {
            self.tokens.remove(&token);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use adyton_attestation::Tee;
    use adyton_attestation::challenge::Nonce;
    use adyton_attestation::rcar::{RcarClient, server};

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(300);

    fn table(max_challenges: usize) -> SessionTable {
        SessionTable::new(SessionLimits { timeout: TIMEOUT, max_challenges, max_attested: 4 })
    }

    fn awaiting() -> AwaitingAttestation {
        let (request, _) = RcarClient::start(Tee::Tdx);
        server::on_request(&request, Nonce::fresh().expect("random")).expect("accepted").1
    }

    fn id() -> SessionId {
        SessionId::fresh().expect("random")
    }

    #[test]
    fn a_challenge_is_taken_once() {
        let (table, id, now) = (table(8), id(), Instant::now());
        table.open(&id, awaiting(), now);
        assert!(table.take_challenge(&id, now).is_ok());
        assert_eq!(table.take_challenge(&id, now).err(), Some(SessionError::Unknown));
    }

    #[test]
    fn of_many_takers_at_once_one_gets_the_challenge() {
        let (table, id, now) = (table(8), id(), Instant::now());
        table.open(&id, awaiting(), now);
        let taken = std::thread::scope(|scope| {
            let takers: Vec<_> =
                (0..16).map(|_| scope.spawn(|| table.take_challenge(&id, now).is_ok())).collect();
            takers.into_iter().filter_map(|taker| taker.join().ok()).filter(|taken| *taken).count()
        });
        assert_eq!(taken, 1);
    }

    #[test]
    fn a_challenge_expires_at_its_time_and_not_before() {
        let (table, id, now) = (table(8), id(), Instant::now());
        table.open(&id, awaiting(), now);
        assert_eq!(table.by_id(&id, now).err(), Some(SessionError::NotAttested));
        let error = table.take_challenge(&id, now + TIMEOUT).err();
        assert_eq!(error, Some(SessionError::Expired));
        assert_eq!(table.take_challenge(&id, now).err(), Some(SessionError::Unknown));
    }

    #[test]
    fn the_table_is_bounded_and_the_oldest_challenge_goes() {
        let (table, now) = (table(2), Instant::now());
        let ids = [id(), id(), id()];
        for id in &ids {
            table.open(id, awaiting(), now);
        }
        assert_eq!(table.counts(now).challenges, 2);
        assert_eq!(table.take_challenge(&ids[0], now).err(), Some(SessionError::Unknown));
        assert!(table.take_challenge(&ids[1], now).is_ok());
        assert!(table.take_challenge(&ids[2], now).is_ok());
    }

    #[test]
    fn expired_sessions_take_no_place() {
        let (table, now) = (table(8), Instant::now());
        table.open(&id(), awaiting(), now);
        assert_eq!(table.counts(now).challenges, 1);
        assert_eq!(table.counts(now + TIMEOUT), SessionCounts::default());
    }

    #[test]
    fn answered_challenges_leave_nothing_behind_in_the_queue() {
        let (table, now) = (table(2), Instant::now());
        table.open(&id(), awaiting(), now);
        for _ in 0..1000 {
            let id = id();
            table.open(&id, awaiting(), now);
            table.take_challenge(&id, now).expect("open");
        }
        assert!(table.lock().challenge_order.len() < 100);
    }

    #[test]
    fn only_32_lower_case_hex_digits_are_an_id() {
        assert!(SessionId::parse("a9a2356dfa134a8fb1ee01fc8fb8ba68").is_some());
        for text in
            ["", "a9", "A9A2356DFA134A8FB1EE01FC8FB8BA68", "a9a2356dfa134a8fb1ee01fc8fb8ba6g"]
        {
            assert!(SessionId::parse(text).is_none(), "{text}");
        }
    }
}
