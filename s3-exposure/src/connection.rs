//! One connection: requests in, answers out, one after the other.
//!
//! ```text
//!  head bytes ─ Request ─ Authenticated ─ Operation ─ Answer ─► head, body
//!        └────────────── Refusal at any of them ──────► S3's error document
//! ```
//! In: a socket. Out: what `answer` says. Reading, waiting and sending are here; deciding
//! is not. Against: heads that never end, clients that take nothing.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use crate::answer::{self, Answer, Body, Connection, has_body};
use crate::error::Refusal;
use crate::limits::{HEAD_TIMEOUT, IDLE_TIMEOUT, MAX_HEAD_BYTES, STALL_TIMEOUT, TURN_TIMEOUT};
use crate::operation::Operation;
use crate::request::{Method, Request};
use crate::server::{Answered, Shared};
use crate::signature::{UnixSeconds, authenticate};
use crate::socket::{Following, Socket};
use crate::source::{SendError, SourceError};

/// Serves a connection to its end.
pub(crate) fn serve(socket: &Socket, shared: &Arc<Shared>) {
    if socket.set_stall(STALL_TIMEOUT).is_err() {
        return;
    }
    let mut heads = Heads { socket, buffer: vec![0; MAX_HEAD_BYTES], filled: 0, taken: 0 };
    loop {
        let next = match heads.next() {
            Ok(Some(head)) => respond(Ok(head), socket, shared),
            Ok(None) => return,
            Err(refusal) => respond(Err(refusal), socket, shared),
        };
        if next == Connection::Close || shared.is_stopping() {
            return;
        }
    }
}

/// Request heads from a socket.
struct Heads<'a> {
    socket: &'a Socket,
    buffer: Vec<u8>,
    filled: usize,
    /// Bytes at the beginning that were given out.
    taken: usize,
}

impl Heads<'_> {
    /// The next head with its empty line; nothing at the end of the connection.
    fn next(&mut self) -> Result<Option<&[u8]>, Refusal> {
        self.buffer.copy_within(self.taken..self.filled, 0);
        self.filled -= self.taken;
        self.taken = 0;
        let mut begun = (self.filled > 0).then(Instant::now);
        loop {
            let so_far = self.buffer.get(..self.filled).unwrap_or_default();
            if let Some(at) = so_far.windows(4).position(|window| window == b"\r\n\r\n") {
                self.taken = at + 4;
                return Ok(self.buffer.get(..self.taken));
            }
            let patience = match begun {
                None => IDLE_TIMEOUT,
                Some(begun) => HEAD_TIMEOUT.saturating_sub(begun.elapsed()),
            };
            let room = self.buffer.get_mut(self.filled..).unwrap_or_default();
            if room.is_empty() {
                return Err(Refusal::HeadTooLarge);
            }
            if patience.is_zero() {
                return Ok(None);
            }
            match self.socket.receive(room, patience) {
                Ok(0) | Err(_) => return Ok(None),
                Ok(len) => self.filled += len,
            }
            begun.get_or_insert_with(Instant::now);
        }
    }
}

/// What is known of a request when it is answered.
struct Asked {
    method: Option<Method>,
    operation: &'static str,
    resource: String,
    connection: Connection,
}

fn respond(head: Result<&[u8], Refusal>, socket: &Socket, shared: &Shared) -> Connection {
    let connection = Connection::Close;
    let mut asked =
        Asked { method: None, operation: "unknown", resource: String::new(), connection };
    let decided = head.and_then(|head| decide(head, shared, &mut asked));
    let sent_before = socket.sent();
    let outcome = match decided {
        Ok(answer) => give(&answer, &mut asked, socket, shared),
        Err(refusal) => give_refusal(&refusal, &mut asked, socket, shared, None),
    };
    shared.observer.answered(&Answered {
        operation: asked.operation,
        status: outcome.status,
        code: outcome.code,
        bytes: socket.sent() - sent_before,
        fault: outcome.fault,
    });
    asked.connection
}

fn decide(head: &[u8], shared: &Shared, asked: &mut Asked) -> Result<Answer, Refusal> {
    let request = Request::parse(head)?;
    asked.method = Some(request.method());
    asked.resource = request.target().path().to_owned();
    if !request.wants_close() {
        asked.connection = Connection::Keep;
    }
    let authenticated = authenticate(request, &shared.credentials, UnixSeconds::now())?;
    let operation = Operation::of(&authenticated, &shared.names, shared.catalogue.bucket())?;
    asked.operation = operation.name();
    answer::answer(&authenticated, &operation, &shared.catalogue)
}

struct Outcome {
    status: u16,
    code: Option<&'static str>,
    fault: Option<SourceError>,
}

fn give(answer: &Answer, asked: &mut Asked, socket: &Socket, shared: &Shared) -> Outcome {
    let mut outcome = Outcome { status: answer.status, code: answer.code, fault: None };
    let request_id = shared.next_request_id();
    let head = answer.head(UnixSeconds::now(), &request_id, asked.connection);
    let sent = match &answer.body {
        Body::Document(text) if has_body(asked.method) => {
            socket.send_all(&[head.as_bytes(), text.as_bytes()].concat())
        }
        Body::Bytes { object, range } if has_body(asked.method) => {
            let Some(_turn) = shared.turns.take(TURN_TIMEOUT) else {
                return give_refusal(&Refusal::Busy { what: "reads" }, asked, socket, shared, None);
            };
            let mut ready = match shared.source.open(*object, range.clone()) {
                Ok(ready) => ready,
                Err(fault) => {
                    return give_refusal(&Refusal::Internal, asked, socket, shared, Some(fault));
                }
            };
            let following = if range.is_empty() { Following::End } else { Following::More };
            let sent = socket.send_with(head.as_bytes(), following);
            match sent.map_err(SendError::Socket).and_then(|()| ready.send(socket)) {
                Ok(()) => Ok(()),
                Err(SendError::Socket(error)) => Err(error),
                Err(SendError::Source(fault)) => {
                    outcome.fault = Some(fault);
                    // The client counts bytes and sees that some are missing.
                    Err(io::ErrorKind::UnexpectedEof.into())
                }
            }
        }
        _ => socket.send_all(head.as_bytes()),
    };
    if sent.is_err() {
        asked.connection = Connection::Close;
    }
    outcome
}

fn give_refusal(
    refusal: &Refusal,
    asked: &mut Asked,
    socket: &Socket,
    shared: &Shared,
    fault: Option<SourceError>,
) -> Outcome {
    if refusal.ends_connection() {
        asked.connection = Connection::Close;
    }
    let request_id = shared.next_request_id();
    let answer = answer::refuse(refusal, &asked.resource, &request_id);
    let mut text = answer.head(UnixSeconds::now(), &request_id, asked.connection);
    if let Body::Document(document) = &answer.body
        && has_body(asked.method)
    {
        text.push_str(document);
    }
    if socket.send_all(text.as_bytes()).is_err() {
        asked.connection = Connection::Close;
    }
    Outcome { status: answer.status, code: answer.code, fault }
}

/// Tells a client that there are too many connections, and waits for nothing.
pub(crate) fn turn_away(socket: &Socket, shared: &Shared) {
    let mut asked = Asked {
        method: None,
        operation: "unknown",
        resource: String::new(),
        connection: Connection::Close,
    };
    if socket.set_stall(std::time::Duration::from_millis(10)).is_ok() {
        let refusal = Refusal::Busy { what: "connections" };
        let outcome = give_refusal(&refusal, &mut asked, socket, shared, None);
        shared.observer.answered(&Answered {
            operation: asked.operation,
            status: outcome.status,
            code: outcome.code,
            bytes: socket.sent(),
            fault: None,
        });
    }
    socket.end();
}
