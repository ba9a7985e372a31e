//! One statement at a time: from memory, from disk, or from the vendor's service.
//!
//! In: a [`Statement`] that the Verifier needs. Out: a [`Part`] that counts now, or a [`FetchError`]
//! with URL, cause and remedy.
//!
//! ```text
//! get ─► memory: new enough? ─yes──────────────────────────────► Part
//!          │ no, or due for renewal
//!          └► flight (one per statement) ─► disk ─► turn ─► GET ─► read ─► memory, disk ─► Part
//!               │ failed, or too slow to wait for
//!               └► memory: within max_stale, and counts? ─yes─► Part (stale-if-error)
//!                                                        ─no──► FetchError
//! ```
//! A flight goes on when nobody waits for it any more, so that a guest that comes again finds the
//! answer. A failure is remembered for a while: what is down is not asked again by every guest.
//! Only what a trusted root stands behind is kept, in memory or on disk: whatever a service sends by mistake
//! or by malice is a failure like any other, and takes no place of anything.
//! Against: a thousand pods that start at once; a service that throttles, fails or lies; strangers who
//! make us ask for what does not exist.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use adyton_attestation::endorsement::Freshness;
use adyton_attestation::endorsement::fetch::{
    Answer, AnswerError, Part, Service, Services, Statement,
};
use adyton_attestation::{TrustAnchors, UnixTime};
use tokio::sync::watch;
use tokio::time::Instant;

use super::cache::{DiskCache, Entry};
use super::client::{Client, ClientError, Reply};
use super::counters::{Counters, Lookup};
use super::pace::{Pace, PaceRules, QueueFull};

/// Times that one flight asks, when it is told to slow down.
const MAX_ATTEMPTS: usize = 3;
/// Pause after a 429 that names none.
const PAUSE: Duration = Duration::from_secs(30);
/// How long a service that does not have a statement is not asked for it again.
const ABSENT_FOR: Duration = Duration::from_secs(600);
/// How long a failed request is not repeated.
const FAILED_FOR: Duration = Duration::from_secs(20);
/// Statements whose failure is remembered; strangers can cause failures.
const MAX_FAILURES: usize = 4096;

/// What tells the wall clock's time. The broker's is the system's; tests have their own.
pub type Clock = Arc<dyn Fn() -> UnixTime + Send + Sync>;

/// How long what was fetched is used.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// From when on a statement that the vendor issues anew is asked for again.
    pub refresh_after: Duration,
    /// Until when it is used although that fails. Never past the end that the vendor signed.
    pub max_stale: Duration,
    /// How long a verification waits for a flight.
    pub wait: Duration,
    /// Pace of AMD's KDS for certificates of processors.
    pub vcek_interval: Duration,
    /// Most statements in memory, and on disk.
    pub max_entries: usize,
}

/// Why there is no statement that counts.
#[derive(Debug, thiserror::Error)]
#[error("{statement} could not be fetched from {url}")]
pub struct FetchError {
    /// What was asked for.
    pub statement: Statement,
    /// Where.
    pub url: String,
    /// What happened.
    #[source]
    pub cause: FetchCause,
}

/// What happened instead of an answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FetchCause {
    /// No answer came.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// An answer came that is of no use.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// The service itself has nothing newer than this.
    #[error("the service's own copy is {}", .0.as_str())]
    Outdated(Freshness),
    /// Too many requests wait for their turn.
    #[error("too many requests wait for the service; there is a place in {} s", .0.retry_after.as_secs())]
    QueueFull(QueueFull),
    /// The answer is not there yet.
    #[error("no answer within {} s; the request goes on", .0.as_secs())]
    Waiting(Duration),
}

impl FetchCause {
    /// What an operator can do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Client(error) => error.remedy(),
            Self::Answer(error) => error.remedy(),
            Self::Outdated(_) => {
                "refresh the cache that the URL names (PCCS), and check this machine's clock"
            }
            Self::QueueFull(_) | Self::Waiting(_) => {
                "let the guest try again; put a cache (PCCS, or a KDS proxy) between, or import a bundle"
            }
        }
    }

    fn outcome(&self) -> &'static str {
        match self {
            Self::Client(ClientError::Unreachable(_)) => "unreachable",
            Self::Client(ClientError::Tls(_)) => "tls",
            Self::Client(ClientError::TimedOut { .. }) => "timeout",
            Self::Client(ClientError::Broken(_)) => "broken",
            Self::Client(ClientError::TooLong { .. }) => "too-long",
            Self::Answer(AnswerError::Throttled) => "throttled",
            Self::Answer(AnswerError::NotFound) => "not-found",
            Self::Answer(AnswerError::Redirect { .. }) => "redirect",
            Self::Answer(AnswerError::Status { .. }) => "status",
            Self::Answer(AnswerError::Unsigned { .. }) => "unsigned",
            Self::Answer(_) => "contents",
            Self::Outdated(_) => "outdated",
            Self::QueueFull(_) => "queue-full",
            Self::Waiting(_) => "waiting",
        }
    }
}

type FlightResult = Result<Entry, Arc<FetchError>>;
type Flight = watch::Receiver<Option<FlightResult>>;

/// Gets statements. Shared by all verifications.
pub struct Fetcher {
    services: Services,
    client: Client,
    disk: DiskCache,
    anchors: TrustAnchors,
    rules: Rules,
    clock: Clock,
    counters: Counters,
    memory: Mutex<HashMap<Statement, Entry>>,
    flights: Mutex<HashMap<Statement, Flight>>,
    failures: Mutex<HashMap<Statement, (Instant, Arc<FetchError>)>>,
    paces: Mutex<BTreeMap<Service, Pace>>,
}

impl std::fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetcher").field("rules", &self.rules).finish_non_exhaustive()
    }
}

/// What memory says about a statement.
enum Known {
    /// It counts and is new enough.
    New(Entry),
    /// It counts; a newer one should be asked for.
    Due(Entry),
    /// Nothing that counts.
    Nothing,
}

impl Fetcher {
    /// A fetcher with an empty memory.
    pub fn new(
        services: Services,
        client: Client,
        disk: DiskCache,
        anchors: TrustAnchors,
        rules: Rules,
        clock: Clock,
        counters: Counters,
    ) -> Self {
        let many = PaceRules { interval: Duration::from_millis(250), burst: 16, max_waiting: 256 };
        let few = PaceRules { interval: rules.vcek_interval, burst: 1, max_waiting: 64 };
        let paces = [Service::Intel, Service::IntelRootCrl, Service::Amd]
            .map(|service| (service, Pace::new(many)))
            .into_iter()
            .chain([(Service::AmdVcek, Pace::new(few))])
            .collect();
        Self {
            services,
            client,
            disk,
            anchors,
            rules,
            clock,
            counters,
            memory: Mutex::default(),
            flights: Mutex::default(),
            failures: Mutex::default(),
            paces: Mutex::new(paces),
        }
    }

    /// Whether the statement's service is configured.
    pub fn can_ask(&self, statement: &Statement) -> bool {
        self.services.target(statement).is_some()
    }

    /// A statement that counts now.
    ///
    /// # Errors
    /// [`FetchError`] when there is none in memory, on disk, or at the service within the wait.
    pub async fn get(
        self: &Arc<Self>,
        statement: &Statement,
    ) -> Result<Arc<Part>, Arc<FetchError>> {
        if let Known::New(entry) = self.known(statement) {
            self.counters.lookup(Lookup::Cached);
            return Ok(entry.part);
        }
        let result = match self.recent_failure(statement) {
            Some(error) => Err(error),
            None => self.wait_for(statement).await,
        };
        // Asked again: a flight that failed may have brought an older one from disk.
        match (result, self.known(statement)) {
            (Ok(entry), _) => {
                self.counters.lookup(Lookup::Fetched);
                Ok(entry.part)
            }
            (Err(error), Known::New(entry) | Known::Due(entry)) => {
                self.counters.lookup(Lookup::StaleIfError);
                tracing::warn!(
                    %statement,
                    fetched = %entry.fetched,
                    error = %crate::respond::Chain(&*error),
                    "an endorsement could not be renewed; the older one is used"
                );
                Ok(entry.part)
            }
            (Err(error), Known::Nothing) => {
                self.counters.lookup(Lookup::Failed);
                Err(error)
            }
        }
    }

    fn known(&self, statement: &Statement) -> Known {
        match locked(&self.memory).get(statement) {
            Some(entry) => self.judge(statement, entry.clone()),
            None => Known::Nothing,
        }
    }

    /// The rule of renewal. Grace ends at `max_stale`, and at the end that the vendor signed.
    fn judge(&self, statement: &Statement, entry: Entry) -> Known {
        let now = (self.clock)();
        let freshness = entry.part.freshness(now);
        if !freshness.counts() {
            return Known::Nothing;
        }
        let age = Duration::from_secs(now.0.saturating_sub(entry.fetched.0));
        let is_due = statement.is_reissued() && age >= self.rules.refresh_after;
        // Near its end it is asked for again as well, but not by every guest: once in an interval.
        let is_ending = freshness == Freshness::StaleWithinGrace && age >= self.rules.refresh_after;
        if statement.is_reissued() && age > self.rules.max_stale {
            Known::Nothing
        } else if is_due || is_ending {
            Known::Due(entry)
        } else {
            Known::New(entry)
        }
    }

    fn recent_failure(&self, statement: &Statement) -> Option<Arc<FetchError>> {
        let mut failures = locked(&self.failures);
        let (until, error) = failures.get(statement)?;
        if *until > Instant::now() {
            return Some(Arc::clone(error));
        }
        failures.remove(statement);
        None
    }

    /// Joins the flight of the statement, or starts it.
    async fn wait_for(self: &Arc<Self>, statement: &Statement) -> FlightResult {
        let mut flight = {
            let mut flights = locked(&self.flights);
            match flights.get(statement) {
                Some(flight) => flight.clone(),
                None => {
                    let (land, flight) = watch::channel(None);
                    flights.insert(statement.clone(), flight.clone());
                    tokio::spawn(Arc::clone(self).fly(statement.clone(), land));
                    flight
                }
            }
        };
        let wait = self.rules.wait;
        let landed = tokio::time::timeout(wait, flight.wait_for(Option::is_some)).await;
        match landed {
            Ok(Ok(result)) => match &*result {
                Some(result) => result.clone(),
                None => Err(self.error(statement, FetchCause::Waiting(wait))),
            },
            // The flight ended without a result, in a panic, or takes longer than we wait.
            Ok(Err(_)) | Err(_) => Err(self.error(statement, FetchCause::Waiting(wait))),
        }
    }

    async fn fly(self: Arc<Self>, statement: Statement, land: watch::Sender<Option<FlightResult>>) {
        // However it ends, the next one who needs the statement starts anew.
        let _landing = Landing { fetcher: &self, statement: &statement };
        let result = self.fetch(&statement).await.map_err(|cause| {
            let error = self.error(&statement, cause);
            self.remember_failure(&statement, &error);
            error
        });
        land.send_replace(Some(result));
    }

    async fn fetch(self: &Arc<Self>, statement: &Statement) -> Result<Entry, FetchCause> {
        if let Some(entry) = self.from_disk(statement).await {
            return Ok(entry);
        }
        let (answer, part) = self.ask(statement).await?;
        let fetched = (self.clock)();
        let entry = Entry { part: Arc::new(part), fetched };
        self.remember(statement, &entry);
        let (disk, statement) = (self.disk.clone(), statement.clone());
        let stored = tokio::task::spawn_blocking(move || disk.store(&statement, &answer, fetched));
        match stored.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "an endorsement could not be kept on disk"),
            Err(error) => tracing::error!(%error, "keeping an endorsement ended in a panic"),
        }
        Ok(entry)
    }

    /// From disk, when memory has nothing and the entry is new enough. One that is due goes into memory,
    /// for the case that the service fails.
    async fn from_disk(self: &Arc<Self>, statement: &Statement) -> Option<Entry> {
        if locked(&self.memory).contains_key(statement) {
            return None;
        }
        let (disk, now, wanted) = (self.disk.clone(), (self.clock)(), statement.clone());
        let loaded = tokio::task::spawn_blocking(move || disk.load(&wanted, now)).await;
        let entry = loaded.ok().flatten()?;
        if let Err(error) = entry.part.vouched(&self.anchors, now) {
            let error = crate::respond::Chain(&error).to_string();
            tracing::warn!(%statement, error, "a cached endorsement is not used; it will be fetched again");
            return None;
        }
        self.remember(statement, &entry);
        match self.judge(statement, entry) {
            Known::New(entry) => Some(entry),
            Known::Due(_) | Known::Nothing => None,
        }
    }

    /// What an answer says, if it is about what was asked, counts, and the vendor signed it.
    fn accept(&self, statement: &Statement, answer: &Answer) -> Result<Part, FetchCause> {
        let part = statement.read(answer)?;
        let now = (self.clock)();
        let freshness = part.freshness(now);
        if !freshness.counts() {
            return Err(FetchCause::Outdated(freshness));
        }
        part.vouched(&self.anchors, now)?;
        Ok(part)
    }

    /// Asks the service, in turn.
    async fn ask(&self, statement: &Statement) -> Result<(Answer, Part), FetchCause> {
        let service = statement.service();
        let Some((base, path)) = self.services.target(statement) else {
            return Err(AnswerError::NotFound.into());
        };
        let mut attempt = 0;
        loop {
            self.turn(service).await?;
            attempt += 1;
            let replied = self.client.get(&base, &path, statement).await;
            let accepted = match &replied {
                Ok(Reply { answer, .. }) => self.accept(statement, answer),
                Err(error) => Err(FetchCause::Client(error.clone())),
            };
            let outcome = accepted.as_ref().map_or_else(FetchCause::outcome, |_| "ok");
            self.counters.fetched(service, outcome);
            let Reply { answer, retry_after } = replied?;
            if answer.status != 429 {
                return accepted.map(|part| (answer, part));
            }
            let pause = retry_after.map_or(PAUSE, Duration::from_secs);
            let until = Instant::now() + pause;
            self.pace(service, |pace| pace.pause_until(until));
            tracing::warn!(
                service = service.as_str(),
                seconds = pause.as_secs(),
                "the service asks for fewer requests; it gets a pause"
            );
            if attempt == MAX_ATTEMPTS {
                return accepted.map(|part| (answer, part));
            }
        }
    }

    async fn turn(&self, service: Service) -> Result<(), FetchCause> {
        loop {
            let turn = self.pace(service, |pace| pace.take_turn(Instant::now()));
            if let Some(turn) = turn {
                tokio::time::sleep_until(turn.map_err(FetchCause::QueueFull)?).await;
            }
            // A pause may have been ordered meanwhile; then the turn is lost.
            match self.pace(service, |pace| pace.pause(Instant::now())).flatten() {
                Some(_) => {}
                None => return Ok(()),
            }
        }
    }

    fn pace<T>(&self, service: Service, f: impl FnOnce(&mut Pace) -> T) -> Option<T> {
        locked(&self.paces).get_mut(&service).map(f)
    }

    fn remember(&self, statement: &Statement, entry: &Entry) {
        let mut memory = locked(&self.memory);
        if memory.len() >= self.rules.max_entries && !memory.contains_key(statement) {
            let oldest = memory.iter().min_by_key(|(_, entry)| entry.fetched);
            if let Some(oldest) = oldest.map(|(statement, _)| statement.clone()) {
                memory.remove(&oldest);
            }
        }
        memory.insert(statement.clone(), entry.clone());
    }

    fn remember_failure(&self, statement: &Statement, error: &Arc<FetchError>) {
        let pause = match &error.cause {
            FetchCause::Answer(AnswerError::NotFound) => ABSENT_FOR,
            FetchCause::QueueFull(QueueFull { retry_after }) => *retry_after,
            FetchCause::Client(_)
            | FetchCause::Answer(_)
            | FetchCause::Outdated(_)
            | FetchCause::Waiting(_) => FAILED_FOR,
        };
        let mut failures = locked(&self.failures);
        let now = Instant::now();
        if failures.len() >= MAX_FAILURES {
            failures.retain(|_, (until, _)| *until > now);
        }
        if failures.len() < MAX_FAILURES {
            failures.insert(statement.clone(), (now + pause, Arc::clone(error)));
        }
    }

    fn error(&self, statement: &Statement, cause: FetchCause) -> Arc<FetchError> {
        let url = self.services.url(statement).unwrap_or_else(|| "(no URL)".to_owned());
        Arc::new(FetchError { statement: statement.clone(), url, cause })
    }
}

/// Takes the flight off the list when it ends.
struct Landing<'a> {
    fetcher: &'a Fetcher,
    statement: &'a Statement,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        locked(&self.fetcher.flights).remove(self.statement);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
