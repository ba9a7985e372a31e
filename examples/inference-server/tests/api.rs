//! The HTTP API over loopback, with the real model of `examples/model`.

mod client;

use std::net::SocketAddr;
use std::path::PathBuf;

use adyton_example_server::api::Api;
use adyton_example_server::engine::Engine;
use adyton_example_server::folder::ModelFolder;
use adyton_example_server::limits;
use axum::body::Body;
use axum::http::{Method, StatusCode};
use client::Answer;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

/// A server whose name of the model is `kjv`.
struct Server(SocketAddr);

impl Server {
    async fn start() -> Self {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../model/kjv-llama");
        let folder = ModelFolder::read(&folder).expect("the repository's model is readable");
        let api = Api::new("kjv".to_owned(), 2);
        api.serve_model(Engine::new(folder).expect("the repository's model is computable"));
        Self::with(api).await
    }

    async fn with(api: Api) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        tokio::spawn(async move { axum::serve(listener, api.router()).await });
        Self(address)
    }

    async fn send(&self, method: Method, path: &str, body: impl Into<Body>) -> Answer {
        let stream = TcpStream::connect(self.0).await.expect("the server listens");
        client::send(stream, method, path, body).await
    }

    async fn complete(&self, request: Value) -> Answer {
        self.send(Method::POST, "/v1/completions", request.to_string()).await
    }

    async fn chat(&self, request: Value) -> Answer {
        self.send(Method::POST, "/v1/chat/completions", request.to_string()).await
    }
}

/// Reads an answer.
trait Read {
    /// The body as JSON.
    fn json(&self) -> Value;
    /// The documents of a stream, which must end with [DONE].
    fn events(&self) -> Vec<Value>;
}

impl Read for Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("the body is JSON")
    }

    fn events(&self) -> Vec<Value> {
        let lines: Vec<&str> = self.body.split_terminator("\n\n").collect();
        let (last, events) = lines.split_last().expect("a stream has events");
        assert_eq!(*last, "data: [DONE]");
        let parse = |line: &&str| {
            let document = line.strip_prefix("data: ").expect("every event is data");
            serde_json::from_str(document).expect("every event is JSON")
        };
        events.iter().map(parse).collect()
    }
}

fn text(answer: &Answer) -> String {
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    answer.json()["choices"][0]["text"].as_str().expect("a completion has text").to_owned()
}

fn error(answer: &Answer) -> (u16, Value, Value) {
    let mut body = answer.json();
    let error = body["error"].take();
    assert!(error["message"].as_str().is_some_and(|message| message.len() > 10), "{error}");
    (answer.status.as_u16(), error["code"].clone(), error["param"].clone())
}

#[tokio::test]
async fn a_completion_at_temperature_0_is_text_and_the_same_each_time() {
    let server = Server::start().await;
    let ask =
        json!({ "model": "kjv", "prompt": "In the beginning", "max_tokens": 24, "temperature": 0 });
    let first = server.complete(ask.clone()).await;
    assert!(text(&first).trim().len() > 20, "{}", first.body);
    assert_eq!(text(&first), text(&server.complete(ask).await));
    let usage = &first.json()["usage"];
    assert_eq!(usage["completion_tokens"], 24);
    assert_eq!(
        usage["total_tokens"].as_u64(),
        usage["prompt_tokens"].as_u64().map(|prompt| prompt + 24)
    );
    assert_eq!(first.json()["choices"][0]["finish_reason"], "length");
}

#[tokio::test]
async fn the_seed_decides_the_text() {
    let server = Server::start().await;
    let ask = |seed: i64| json!({ "model": "kjv", "prompt": "And", "max_tokens": 24, "temperature": 1.5, "seed": seed });
    let one = text(&server.complete(ask(1)).await);
    assert_eq!(one, text(&server.complete(ask(1)).await));
    assert_ne!(one, text(&server.complete(ask(-2)).await));
}

#[tokio::test]
async fn a_streamed_completion_is_the_whole_one_in_pieces() {
    let server = Server::start().await;
    let mut ask =
        json!({ "model": "kjv", "prompt": "And the king said", "max_tokens": 40, "seed": 7 });
    let whole = server.complete(ask.clone()).await;
    ask["stream"] = json!(true);
    ask["stream_options"] = json!({ "include_usage": true });
    let events = server.complete(ask).await.events();

    let (usage, chunks) = events.split_last().expect("the stream has chunks");
    let pieces: Vec<&str> =
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["text"].as_str()).collect();
    assert_eq!(pieces.concat(), text(&whole));
    assert!(pieces.len() > 10, "{pieces:?}");
    assert_eq!(usage["usage"], whole.json()["usage"]);
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(
        chunks.last().map(|chunk| &chunk["choices"][0]["finish_reason"]),
        Some(&json!("length"))
    );
}

#[tokio::test]
async fn a_streamed_chat_names_the_role_then_gives_the_same_text() {
    let server = Server::start().await;
    let content = json!([{ "type": "text", "text": "Blessed are" }]);
    let mut ask = json!({ "model": "kjv", "messages": [{ "role": "user", "content": content }],
        "max_completion_tokens": 16, "temperature": 0 });
    let whole = server.chat(ask.clone()).await.json();
    ask["stream"] = json!(true);
    let events = server.chat(ask).await.events();

    assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
    let streamed: String = events
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(json!(streamed), whole["choices"][0]["message"]["content"]);
    assert!(!streamed.is_empty());
    assert_eq!(whole["object"], "chat.completion");
}

#[tokio::test]
async fn a_stop_string_ends_the_text_before_itself() {
    let server = Server::start().await;
    let ask =
        json!({ "model": "kjv", "prompt": "In the beginning", "max_tokens": 40, "temperature": 0 });
    let full = text(&server.complete(ask.clone()).await);
    let stop = full.split_whitespace().nth(5).expect("the text has six words").to_owned();
    let mut stopped = ask;
    stopped["stop"] = json!([stop, "Nebuchadnezzar"]);
    let stopped = server.complete(stopped).await;
    assert_eq!(text(&stopped), full[..full.find(&stop).expect("the word is in the text")]);
    assert_eq!(stopped.json()["choices"][0]["finish_reason"], "stop");
}

#[tokio::test]
async fn a_prompt_may_be_tokens_or_any_unicode_text() {
    let server = Server::start().await;
    for prompt in [json!([0, 5, 6]), json!("日本語 ✝ \u{0} é"), json!(["And"])] {
        let answer = server.complete(json!({ "model": "kjv", "prompt": prompt, "top_k": 5 })).await;
        assert!(!text(&answer).contains('\u{fffd}'), "{}", answer.body);
    }
}

#[tokio::test]
async fn a_bad_member_is_refused_with_its_name() {
    let server = Server::start().await;
    let cases = [
        ("temperature", json!(2.5), "invalid_value"),
        ("top_p", json!(-0.1), "invalid_value"),
        ("max_tokens", json!(0), "invalid_value"),
        ("stop", json!(["a", "b", "c", "d", "e"]), "invalid_value"),
        ("stop", json!(""), "invalid_value"),
        ("prompt", json!(["a", "b"]), "invalid_value"),
        ("prompt", json!([99_999]), "invalid_value"),
        ("prompt", json!([]), "invalid_value"),
        ("n", json!(2), "unsupported_parameter"),
        ("logprobs", json!(5), "unsupported_parameter"),
        ("temprature", json!(1), "unknown_parameter"),
        ("stream_options", json!({}), "invalid_value"),
    ];
    for (member, value, code) in cases {
        let mut ask = json!({ "model": "kjv", "prompt": "And" });
        ask[member] = value.clone();
        let answer = server.complete(ask).await;
        assert_eq!(error(&answer), (400, json!(code), json!(member)), "{member} = {value}");
    }
}

#[tokio::test]
async fn members_that_change_nothing_are_accepted() {
    let server = Server::start().await;
    let ask = json!({ "model": "kjv", "prompt": "And", "n": 1, "echo": false, "logprobs": null, "user": "me",
        "presence_penalty": 0, "frequency_penalty": 0.0, "max_tokens": 2 });
    assert_eq!(server.complete(ask).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_request_without_its_main_member_is_refused() {
    let server = Server::start().await;
    let missing = "missing_required_parameter";
    assert_eq!(
        error(&server.complete(json!({ "model": "kjv" })).await),
        (400, json!(missing), json!("prompt"))
    );
    assert_eq!(
        error(&server.complete(json!({ "prompt": "a" })).await),
        (400, json!(missing), json!("model"))
    );
    assert_eq!(
        error(&server.chat(json!({ "model": "kjv" })).await),
        (400, json!(missing), json!("messages"))
    );
    let empty = server.chat(json!({ "model": "kjv", "messages": [] })).await;
    assert_eq!(error(&empty), (400, json!("invalid_value"), json!("messages")));
    let tool = json!({ "model": "kjv", "messages": [{ "role": "tool", "content": "x" }] });
    assert_eq!(error(&server.chat(tool).await), (400, json!("invalid_value"), json!("messages")));
}

#[tokio::test]
async fn more_than_the_context_is_refused() {
    let server = Server::start().await;
    let code = json!("context_length_exceeded");
    let long_prompt = json!({ "model": "kjv", "prompt": "the LORD ".repeat(600) });
    let (status, got, _) = error(&server.complete(long_prompt).await);
    assert_eq!((status, &got), (400, &code));
    let long_answer = json!({ "model": "kjv", "prompt": "And", "max_tokens": 512, "stream": true });
    let (status, got, _) = error(&server.complete(long_answer).await);
    assert_eq!((status, &got), (400, &code));
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let server = Server::start().await;
    let other = server.complete(json!({ "model": "gpt-4o", "prompt": "a" })).await;
    assert_eq!(error(&other), (404, json!("model_not_found"), json!("model")));
    let other = server.send(Method::GET, "/v1/models/acme/other", Body::empty()).await;
    assert_eq!(error(&other), (404, json!("model_not_found"), json!("model")));
    let route = server.send(Method::GET, "/v1/embeddings", Body::empty()).await;
    assert_eq!(error(&route), (404, json!("unknown_url"), Value::Null));
    let method = server.send(Method::GET, "/v1/completions", Body::empty()).await;
    assert_eq!(error(&method), (405, json!("method_not_supported"), Value::Null));
}

#[tokio::test]
async fn a_body_that_is_no_request_is_refused() {
    let server = Server::start().await;
    for body in ["", "{", "[]", "{\"model\":1,\"prompt\":\"a\"}", "\u{1}"] {
        let answer = server.send(Method::POST, "/v1/completions", body).await;
        assert_eq!(error(&answer), (400, json!("invalid_json"), Value::Null), "{body}");
    }
    let large = " ".repeat(limits::MAX_BODY_BYTES + 1);
    let answer = server.send(Method::POST, "/v1/completions", large).await;
    assert_eq!(error(&answer), (413, json!("request_too_large"), Value::Null));
}

#[tokio::test]
async fn the_model_is_listed_under_its_name() {
    let server = Server::start().await;
    let list = server.send(Method::GET, "/v1/models", Body::empty()).await.json();
    assert_eq!(list["data"][0]["id"], "kjv");
    assert_eq!(list["data"][0]["max_model_len"], 512);
    let one = server.send(Method::GET, "/v1/models/kjv", Body::empty()).await.json();
    assert_eq!(one, list["data"][0]);
    let health = server.send(Method::GET, "/health", Body::empty()).await;
    assert_eq!((health.status, &health.json()["status"]), (StatusCode::OK, &json!("ok")));
}

#[tokio::test]
async fn without_a_model_every_answer_is_try_again() {
    let server = Server::with(Api::new("kjv".to_owned(), 1)).await;
    for path in ["/health", "/v1/models"] {
        let answer = server.send(Method::GET, path, Body::empty()).await;
        assert_eq!(error(&answer), (503, json!("model_loading"), Value::Null));
    }
    let answer = server.complete(json!({ "model": "kjv", "prompt": "a" })).await;
    assert_eq!(error(&answer), (503, json!("model_loading"), Value::Null));
}

#[tokio::test]
async fn a_client_that_goes_away_frees_its_place() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let server = Server::start().await;
    let ask =
        json!({ "model": "kjv", "prompt": "And", "max_tokens": 500, "stream": true, "seed": 3 })
            .to_string();
    // More than the two that are computed at a time: the last answer comes only if the others end.
    for _ in 0..6 {
        let mut stream = TcpStream::connect(server.0).await.expect("the server listens");
        let head = format!(
            "POST /v1/completions HTTP/1.1\r\nhost: m\r\ncontent-length: {}\r\n\r\n{ask}",
            ask.len()
        );
        stream.write_all(head.as_bytes()).await.expect("the server reads");
        let mut first = [0; 64];
        assert!(stream.read(&mut first).await.expect("the stream begins") > 0);
    }
    let answer = server.complete(json!({ "model": "kjv", "prompt": "And", "max_tokens": 2 })).await;
    assert!(!text(&answer).is_empty());
}
