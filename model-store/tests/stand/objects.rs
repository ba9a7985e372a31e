//! A web server with objects in memory: ranges, ETags, `If-Match`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::{Answer, Behind, Objects, Request};

pub fn of(objects: &[(&str, Vec<u8>)]) -> Objects {
    let objects = objects.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.clone()));
    Arc::new(Mutex::new(objects.collect::<BTreeMap<_, _>>()))
}

/// What makes servers different.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// ETags, and requests that depend on them.
    Conditional,
    /// ETags, and no ear for `If-Match`.
    Deaf,
    /// Nothing to know an object by but its length.
    Bare,
}

pub fn behind(objects: Objects, server: Server) -> Behind {
    Arc::new(move |request| {
        let mut objects = objects.lock().expect("lock");
        if request.method == "PUT" {
            let name = request.target.trim_start_matches('/').to_owned();
            objects.insert(name, request.body.clone());
            return Answer::new(201);
        }
        answer(&objects, server, request)
    })
}

fn answer(objects: &BTreeMap<String, Vec<u8>>, server: Server, request: &Request) -> Answer {
    let Some(bytes) = objects.get(request.target.trim_start_matches('/')) else {
        return Answer::new(404);
    };
    let etag = format!(
        "\"{:x}\"",
        bytes
            .iter()
            .fold(7_u64, |sum, byte| { sum.wrapping_mul(31).wrapping_add(u64::from(*byte)) })
    );
    let fields = |answer: Answer| match server {
        Server::Bare => answer,
        Server::Conditional | Server::Deaf => answer.field("ETag", &etag),
    };
    if server == Server::Conditional
        && request.field("if-match").is_some_and(|wanted| wanted != etag)
    {
        return Answer::new(412);
    }
    let Some(range) = request.range() else {
        return Answer { body: bytes.clone(), ..fields(Answer::new(200)) };
    };
    let Some(body) = bytes.get(range.clone()) else {
        return Answer::new(416);
    };
    let content_range = format!("bytes {}-{}/{}", range.start, range.end - 1, bytes.len());
    let answer = Answer { body: body.to_vec(), ..Answer::new(206) };
    fields(answer.field("Content-Range", content_range))
}
