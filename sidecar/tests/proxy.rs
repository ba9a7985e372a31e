//! The mTLS port over real sockets: streaming, identity, framing, limits, a server that is down.

mod support;

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use support::client::{Http, bytes, connect, json, raw, tls};
use support::pki::Ca;
use support::within;
use support::world::{World, set};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn next_chunk(body: &mut hyper::body::Incoming) -> Bytes {
    within("a chunk", body.frame())
        .await
        .expect("a frame")
        .expect("no error")
        .into_data()
        .expect("data")
}

/// The statuses of all responses in what a connection gave.
fn statuses(answer: &str) -> Vec<&str> {
    let lines = answer.match_indices("HTTP/1.1 ").map(|(at, found)| &answer[at + found.len()..]);
    lines.filter_map(|rest| rest.get(..3)).filter(|word| word.parse::<u16>().is_ok()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_arrive_one_by_one_before_the_server_has_finished() {
    let world = World::new().await;
    let (_sidecar, proxy) = world.serving().await;
    for http2 in [false, true] {
        let (mut client, _) = match http2 {
            false => Http::one(proxy, &world.client).await,
            true => Http::two(proxy, &world.client).await,
        };
        let (tokens, ended) = world.server.stream();
        let response = client.get("/stream").await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert!(!response.headers().contains_key("content-encoding"));
        let mut body = response.into_body();
        for token in ["data: In\n\n", "data: the\n\n", "data: beginning\n\n"] {
            // The next token is made only when this one has arrived: nobody holds it back.
            tokens.send(Bytes::from(token)).expect("the server streams");
            assert_eq!(next_chunk(&mut body).await, token);
        }
        drop(tokens);
        let rest = within("the end", body.collect()).await.expect("a whole body").to_bytes();
        assert!(rest.is_empty(), "{rest:?}");
        within("the server's end", ended).await.expect("ended");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_reach_the_server_piece_by_piece() {
    let world = World::new().await;
    let (_sidecar, proxy) = world.serving().await;
    let mut pieces = world.server.watch_body();
    let mut stream = tls(proxy, &world.client, b"http/1.1").await;
    let head = "POST /watch HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("written");
    for piece in ["first", "second"] {
        let chunk = format!("{:x}\r\n{piece}\r\n", piece.len());
        stream.write_all(chunk.as_bytes()).await.expect("written");
        assert_eq!(within("a piece", pieces.recv()).await.expect("arrives"), piece);
    }
    stream.write_all(b"0\r\n\r\n").await.expect("written");
    let mut answer = [0; 12];
    within("the answer", stream.read_exact(&mut answer)).await.expect("read");
    assert_eq!(&answer, b"HTTP/1.1 200");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_ends_the_generation() {
    let world = World::new().await;
    let (_sidecar, proxy) = world.serving().await;
    for http2 in [false, true] {
        let (mut client, _) = match http2 {
            false => Http::one(proxy, &world.client).await,
            true => Http::two(proxy, &world.client).await,
        };
        let (tokens, ended) = world.server.stream();
        let mut body = client.get("/stream").await.into_body();
        tokens.send(Bytes::from("data: a\n\n")).expect("streams");
        next_chunk(&mut body).await;
        drop((body, client));
        within("the server to learn it", ended).await.expect("told");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_learns_who_asks_from_us_alone_in_every_spelling() {
    let world = World::new().await;
    let (_sidecar, proxy) = world.serving().await;
    let forged = [
        "x-adyton-client-subject",
        "X-Adyton-Client-SAN",
        "x_adyton_client_san",
        "X_ADYTON_CLIENT_SPKI_SHA256",
        "x-adyton_client-subject",
        "x.adyton.client.san",
        "x-adyton-client-anything",
        "x-forwarded-for",
        "X_Forwarded_For",
        "x-forwarded-client-cert",
        "forwarded",
        "x-real-ip",
    ];
    let identity = |seen: &support::server::Seen| {
        for (name, value) in &seen.headers {
            assert!(!value.as_bytes().windows(4).any(|four| four == b"evil"), "{name}: {value:?}");
        }
        let all = |name| seen.headers.get_all(name).iter().collect::<Vec<_>>();
        assert_eq!(all("x-adyton-client-subject"), ["CN=alice"]);
        assert_eq!(all("x-adyton-client-san"), ["DNS:alice,URI:spiffe://acme/alice"]);
        assert_eq!(all("x-adyton-client-spki-sha256").len(), 1);
        assert_eq!(all("x-forwarded-proto"), ["https"]);
        assert_eq!(all("host"), [world.server.address.to_string().as_str()]);
    };

    // HTTP/1.1, each name twice, and all of them listed as hop-by-hop.
    let mut head = format!(
        "POST /seen HTTP/1.1\r\nHost: models.acme\r\nConnection: close, {}\r\n",
        forged.join(", ")
    );
    for name in forged {
        head.push_str(&format!("{name}: evil\r\n{name}: evil2\r\n"));
    }
    // And once more in trailers.
    head.push_str("Trailer: x-adyton-client-san\r\nTransfer-Encoding: chunked\r\n\r\n");
    head.push_str("1\r\na\r\n0\r\nx-adyton-client-san: evil\r\n\r\n");
    let answer = raw(proxy, &world.client, head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("x-from-server: 1") && !answer.contains("x-hop"), "{answer}");

    // HTTP/2.
    let (mut client, _) = Http::two(proxy, &world.client).await;
    let mut request = Request::post("/seen");
    for name in forged {
        request = request.header(name, "evil");
    }
    let response = client.send(request, "body").await;
    assert_eq!(response.status(), 200);

    let seen = world.server.seen();
    assert_eq!(seen.len(), 2);
    for seen in &seen {
        identity(seen);
        assert!(seen.trailers.is_none(), "{:?}", seen.trailers);
    }
    assert_eq!(seen[0].headers["x-forwarded-host"], "models.acme");
    assert_eq!(seen[1].headers["x-forwarded-host"], "localhost:8443");
    assert_eq!((&seen[0].body[..], &seen[1].body[..]), (&b"a"[..], &b"body"[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_smuggling_shape_is_a_400_and_the_end_of_the_connection() {
    let world = World::new().await;
    let (_sidecar, proxy) = world.serving().await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    for (shape, code) in [
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "both_lengths",
        ),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "host"),
        ("GET / HTTP/1.1\r\n\r\n", "host"),
        ("GET / HTTP/1.1\nHost: a\n\n", "bare_line_feed"),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "duplicate_length",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
            "transfer_encoding",
        ),
        ("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", "method_refused"),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
            "upgrade_h2c",
        ),
        ("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", "target_host_mismatch"),
        ("GET / HTTP/1.1\r\nHost: a\r\n folded: x\r\n\r\n", "obsolete_fold"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 4\r\n\r\nabcd", "space_before_colon"),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n", "control_byte"),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            "duplicate_length",
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent_Length: 30\r\n\r\n", "framing_underscore"),
        ("GET / HTTP/1.0\r\nHost: a\r\n\r\n", "http_version"),
    ] {
        let answer = raw(proxy, &world.client, format!("{shape}{smuggled}").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{shape:?}: {answer}");
        assert!(answer.to_ascii_lowercase().contains("connection: close"), "{shape:?}: {answer}");
        assert!(answer.contains(&format!("\"code\":\"{code}\"")), "{shape:?}: {answer}");
        assert_eq!(statuses(&answer), ["400"], "{shape:?}: {answer}");
    }
    assert!(world.server.seen().is_empty(), "the server saw {:?}", world.server.seen());
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_before_a_refused_one_are_answered_first() {
    let world = World::new().await;
    let (_sidecar, proxy) = world.serving().await;
    let bytes = "GET /one HTTP/1.1\r\nHost: a\r\n\r\n\
                 POST /two HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok\
                 GET /three HTTP/1.1\r\n\r\n\
                 GET /four HTTP/1.1\r\nHost: a\r\n\r\n";
    let answer = raw(proxy, &world.client, bytes.as_bytes()).await;
    assert_eq!(statuses(&answer), ["200", "200", "400"], "{answer}");
    let targets: Vec<String> = world.server.seen().into_iter().map(|seen| seen.target).collect();
    assert_eq!(targets, ["/one", "/two"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_chunk_is_a_400_and_never_a_whole_request() {
    let world = World::new().await;
    let (_sidecar, proxy) = world.serving().await;
    let bytes = "POST /seen HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                 3\r\nabc\r\n4;x=y\r\nabcd\r\n0\r\n\r\n";
    let answer = raw(proxy, &world.client, bytes.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("\"code\":\"chunk_size\""), "{answer}");
    assert!(world.server.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_requests_that_would_change_on_the_way_are_refused() {
    let world = World::new().await;
    let (_sidecar, proxy) = world.serving().await;
    let (mut client, _) = Http::two(proxy, &world.client).await;
    for (request, code) in [
        (Request::get("/").header("host", "other"), "target_host_mismatch"),
        (Request::get("/").header("content_length", "3"), "framing_underscore"),
        (Request::builder().method("TRACE").uri("/"), "method_refused"),
    ] {
        let response = client.send(request, Bytes::new()).await;
        assert_eq!(response.status(), 400, "{code}");
        assert_eq!(json(response).await["error"]["code"], code);
    }
    assert!(world.server.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_and_heads_over_the_limit_are_told_so() {
    let world = World::new().await;
    let (_sidecar, proxy) = world.serving().await;

    // A length that is announced.
    let (mut client, _) = Http::two(proxy, &world.client).await;
    let response = client.send(Request::post("/seen"), vec![b'x'; 1_000_001]).await;
    assert_eq!(response.status(), 413);
    assert_eq!(json(response).await["error"]["code"], "body_too_large");
    // Exactly the limit.
    let response = client.send(Request::post("/seen"), vec![b'x'; 1_000_000]).await;
    assert_eq!(response.status(), 200);

    // A length that nobody announced.
    let mut stream = tls(proxy, &world.client, b"http/1.1").await;
    let head = "POST /seen HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("written");
    let chunk = format!("10000\r\n{}\r\n", "y".repeat(0x10000));
    let (mut reader, mut writer) = tokio::io::split(stream);
    let writing = tokio::spawn(async move {
        for _ in 0..64 {
            if writer.write_all(chunk.as_bytes()).await.is_err() {
                break;
            }
        }
        writer
    });
    let mut answer = Vec::new();
    let _ = within("the 413", reader.read_to_end(&mut answer)).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    writing.await.expect("writer");

    // Heads.
    for head in [
        format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(9000)),
        format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "x: 1\r\n".repeat(101)),
    ] {
        let answer = raw(proxy, &world.client, head.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    let response = client.send(Request::get("/").header("x", "x".repeat(9000)), "").await;
    assert_eq!(response.status(), 431);
    assert_eq!(world.server.seen().len(), 1, "only the one at the limit");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_comes_too_slowly_is_a_408() {
    let world = World::new().await;
    let (_sidecar, proxy) = world.serving().await;
    let answer = raw(proxy, &world.client, b"GET / HTTP/1.1\r\nHost: a\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_down_is_a_502_that_says_so_and_not_ready() {
    let world = World::new().await;
    let mut config = world.config();
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = free.local_addr().expect("address");
    drop(free);
    set(&mut config, "upstream", "address", format!("http://{address}"));
    let (sidecar, proxy) = world.serving_with(&config).await;
    let (mut client, _) = Http::one(proxy, &world.client).await;
    let response = client.get("/v1/models").await;
    assert_eq!(response.status(), 502);
    let body = json(response).await;
    assert_eq!(body["error"]["code"], "upstream_down");
    assert_eq!(body["error"]["fault"], "upstream");
    assert!(body["error"]["message"].as_str().expect("text").contains("does not accept"));
    let readyz = sidecar.readyz(|status, body| status == 503 && body["phase"] == "ready").await;
    assert!(readyz["reason"].as_str().expect("text").contains("down"), "{readyz}");
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_follows_the_servers_health() {
    let world = World::new().await;
    let (sidecar, _proxy) = world.serving().await;
    sidecar.readyz(|status, _| status == 200).await;
    world.server.healthy(false);
    let readyz = sidecar.readyz(|status, _| status == 503).await;
    assert!(readyz["reason"].as_str().expect("text").contains("503"), "{readyz}");
    world.server.healthy(true);
    sidecar.readyz(|status, _| status == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_everybody_can_reach_makes_the_sidecar_not_ready() {
    let world = World::new().await;
    let open = support::server::Server::start_at("0.0.0.0:0").await;
    let mut config = world.config();
    let port = open.address.port();
    set(&mut config, "upstream", "address", format!("http://127.0.0.1:{port}"));
    let (sidecar, _proxy) = world.serving_with(&config).await;
    let readyz = sidecar
        .readyz(|status, body| status == 503 && body["reason"].to_string().contains("go around"))
        .await;
    assert!(readyz["reason"].as_str().expect("text").contains(&format!("0.0.0.0:{port}")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_nothing_is_a_504() {
    let world = World::new().await;
    let mut config = world.config();
    set(&mut config, "upstream", "first_byte_timeout_seconds", 1);
    let (_sidecar, proxy) = world.serving_with(&config).await;
    let (mut client, _) = Http::one(proxy, &world.client).await;
    let response = client.get("/silent").await;
    assert_eq!(response.status(), 504);
    assert_eq!(json(response).await["error"]["code"], "upstream_timeout");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_without_a_certificate_of_the_ca_gets_a_word_in() {
    let world = World::new().await;
    let (mut sidecar, proxy) = world.serving().await;
    let stranger = Ca::new("another CA").client("mallory");
    for identity in [None, Some(&stranger)] {
        let attempt = async {
            let versions = [&rustls::version::TLS13];
            let mut stream = connect(proxy, identity, b"http/1.1", &versions).await?;
            // In TLS 1.3 the client learns the server's verdict with its first read.
            stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await?;
            let mut byte = [0; 1];
            stream.read_exact(&mut byte).await
        };
        let error = within("the alert", attempt).await.expect_err("refused");
        let text = error.to_string();
        assert!(
            text.contains("CertificateRequired")
                || text.contains("UnknownCA")
                || text.contains("reset"),
            "{text}"
        );
        let line = sidecar.log_line(|line| line["message"] == "connection refused").await;
        assert!(line["remedy"].as_str().expect("text").contains("client_ca_file"));
    }
    assert!(world.server.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn older_tls_is_refused() {
    let world = World::new().await;
    let (_sidecar, proxy) = world.serving().await;
    let versions = [&rustls::version::TLS12];
    let refused = connect(proxy, Some(&world.client), b"http/1.1", &versions).await;
    let error = refused.expect_err("TLS 1.2").to_string();
    assert!(error.contains("ProtocolVersion"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_not_on_the_list_is_a_403() {
    let world = World::new().await;
    let mut config = world.config();
    let names = toml::Value::Array(vec!["URI:spiffe://acme/alice".into()]);
    set(&mut config, "clients", "allowed_sans", names);
    let (_sidecar, proxy) = world.serving_with(&config).await;
    let bob = world.client_ca.client("bob");
    let (mut client, _) = Http::two(proxy, &bob).await;
    let response = client.get("/seen").await;
    assert_eq!(response.status(), 403);
    assert_eq!(json(response).await["error"]["code"], "client_not_permitted");
    let (mut client, _) = Http::two(proxy, &world.client).await;
    assert_eq!(client.get("/seen").await.status(), 200);
    assert_eq!(world.server.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrades_are_a_501_with_a_reason() {
    let world = World::new().await;
    let (_sidecar, proxy) = world.serving().await;
    let (mut client, _) = Http::one(proxy, &world.client).await;
    let request =
        Request::get("/ws").header("connection", "Upgrade").header("upgrade", "websocket");
    let response = client.send(request, "").await;
    assert_eq!(response.status(), 501);
    assert_eq!(json(response).await["error"]["code"], "upgrade_not_supported");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_to_the_server_are_used_again() {
    let world = World::new().await;
    let mut config = world.config();
    set(&mut config, "upstream", "health_interval_seconds", 300);
    let (sidecar, proxy) = world.serving_with(&config).await;
    sidecar.readyz(|status, _| status == 200).await;
    let before = world.server.connections();
    let (mut client, _) = Http::one(proxy, &world.client).await;
    for _ in 0..20 {
        let response = client.get("/seen").await;
        assert_eq!(response.status(), 200);
        assert_eq!(bytes(response).await, "seen");
    }
    let used = world.server.connections() - before;
    assert!(used <= 5, "{used} connections for 20 requests in a row");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_what_happened() {
    let world = World::new().await;
    let (sidecar, proxy) = world.serving().await;
    let (mut client, _) = Http::one(proxy, &world.client).await;
    bytes(client.get("/seen").await).await;
    let (status, text) = support::client::plain_get(sidecar.admin().await, "/metrics").await;
    assert_eq!(status, 200);
    for line in [
        r#"adyton_requests_total{protocol="http/1.1",status="200",code="ok"} 1"#,
        r#"adyton_phase{phase="ready"} 1"#,
        "adyton_connections 1",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_http2_control_frames_ends_the_connection() {
    let world = World::new().await;
    let (_sidecar, proxy) = world.serving().await;
    // PING, SETTINGS, PRIORITY, WINDOW_UPDATE(1): hyper takes any number of each.
    let settings: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    let ping: &[u8] = &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    let priority: &[u8] = &[0, 0, 5, 2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 16];
    let window: &[u8] = &[0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    for flood in [settings, ping, priority, window] {
        let stream = tls(proxy, &world.client, b"h2").await;
        let (mut reader, mut writer) = tokio::io::split(stream);
        let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", settings].concat();
        writer.write_all(&preface).await.expect("written");
        let frames = flood.repeat(1000);
        let writing = async {
            for _ in 0..1000 {
                writer.write_all(&frames).await?;
            }
            Ok::<_, std::io::Error>(())
        };
        let reading = async {
            let mut answer = Vec::new();
            let _ = reader.read_to_end(&mut answer).await;
        };
        // Either side learns it: a million frames are never taken.
        let taken = within("the end of the flood", async {
            tokio::select! {
                written = writing => written.is_ok(),
                () = reading => false,
            }
        });
        assert!(!taken.await, "a million frames of kind {} were taken", flood[3]);
    }
    // Others are served as before.
    let (mut client, _) = Http::two(proxy, &world.client).await;
    assert_eq!(client.get("/seen").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_without_requests_and_without_a_handshake_are_closed() {
    let world = World::new().await;
    let mut config = world.config();
    set(&mut config, "limits", "idle_timeout_seconds", 1);
    set(&mut config, "limits", "stall_timeout_seconds", 1);
    set(&mut config, "limits", "handshake_timeout_seconds", 1);
    let (_sidecar, proxy) = world.serving_with(&config).await;
    for alpn in [&b"http/1.1"[..], b"h2"] {
        let mut stream = tls(proxy, &world.client, alpn).await;
        let mut answer = Vec::new();
        let _ = within("the idle end", stream.read_to_end(&mut answer)).await;
    }
    let mut silent = tokio::net::TcpStream::connect(proxy).await.expect("connects");
    let mut answer = Vec::new();
    within("the handshake's end", silent.read_to_end(&mut answer)).await.expect("closed");
    assert!(answer.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_no_answer_is_cut_off() {
    let world = World::new().await;
    let mut config = world.config();
    set(&mut config, "limits", "stall_timeout_seconds", 1);
    let (_sidecar, proxy) = world.serving_with(&config).await;
    for http2 in [false, true] {
        let (tokens, ended) = world.server.stream();
        // More than all buffers on the way hold.
        for _ in 0..64 {
            tokens.send(Bytes::from(vec![b'x'; 1 << 20])).expect("streams");
        }
        let (mut client, _) = match http2 {
            false => Http::one(proxy, &world.client).await,
            true => Http::two(proxy, &world.client).await,
        };
        let response = client.get("/stream").await;
        // Held and not read.
        within("the server to learn it", ended).await.expect("told");
        drop((response, tokens));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_opens_its_window_is_cut_off() {
    let world = World::new().await;
    let mut config = world.config();
    set(&mut config, "limits", "stall_timeout_seconds", 1);
    let (_sidecar, proxy) = world.serving_with(&config).await;
    let (tokens, ended) = world.server.stream();
    tokens.send(Bytes::from_static(b"x")).expect("streams");
    let mut client = Http::two_with_a_closed_window(proxy, &world.client).await;
    let response = client.get("/stream").await;
    // The sidecar has no byte that it may send: nothing polls the body, and nothing may be waited for.
    for _ in 0..64 {
        tokens.send(Bytes::from(vec![b'x'; 1 << 20])).expect("streams");
    }
    within("the server to learn it", ended).await.expect("told");
    drop((response, tokens));
}
