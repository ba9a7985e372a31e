//! Reads an object from several HTTP servers by turns and prints who was how fast, as a Markdown table.
//!
//! Every connection has a thread and a buffer of 8 MiB that it reads into, as a loader of weights does. Requests
//! are signed where a credentials folder is given. A turn lasts a fixed time; the figure is the median of the
//! turns, and the ratio that to the first server's.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use adyton_s3_exposure::signature::{Credentials, UnixSeconds, client};
use anyhow::{Context, Result, bail, ensure};
use clap::Parser;

/// Measures servers by turns.
#[derive(Parser)]
struct Arguments {
    /// `name=127.0.0.1:port` or `name=/path/of/socket`, and `,folder` with credentials where it is an S3 server.
    /// The first one is what the others are compared with.
    #[arg(long = "server", required = true)]
    servers: Vec<String>,
    /// Path of the object.
    #[arg(long, default_value = "/adyton/model/weights.dat")]
    object: String,
    /// Numbers of connections.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 8, 64])]
    connections: Vec<usize>,
    /// Bytes of a range; 0 reads the whole object.
    #[arg(long, value_delimiter = ',', default_values_t = [8 << 20, 0])]
    ranges: Vec<u64>,
    /// Turns of each server.
    #[arg(long, default_value_t = 5)]
    turns: usize,
    /// Milliseconds of a turn.
    #[arg(long, default_value_t = 1500)]
    milliseconds: u64,
}

const BUFFER_BYTES: usize = 8 << 20;

struct Server {
    name: String,
    place: String,
    credentials: Option<Credentials>,
    size: u64,
}

trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

impl Server {
    fn parse(text: &str, object: &str) -> Result<Self> {
        let (name, place) = text.split_once('=').context("expected name=place")?;
        let (place, folder) = place.split_once(',').unwrap_or((place, ""));
        let credentials = if folder.is_empty() { None } else { Some(read(Path::new(folder))?) };
        let mut server =
            Self { name: name.to_owned(), place: place.to_owned(), credentials, size: 0 };
        let mut wire = server.connect()?;
        wire.write_all(&server.head("HEAD", object, None)?)?;
        server.size = read_head(wire.as_mut())?.1;
        Ok(server)
    }

    fn connect(&self) -> Result<Box<dyn Wire>> {
        if self.place.starts_with('/') {
            return Ok(Box::new(UnixStream::connect(PathBuf::from(&self.place))?));
        }
        let stream = TcpStream::connect(&self.place)?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }

    fn head(&self, method: &str, object: &str, range: Option<(u64, u64)>) -> Result<Vec<u8>> {
        let host = if self.place.starts_with('/') { "localhost" } else { &self.place };
        let mut head = format!("{method} {object} HTTP/1.1\r\nHost: {host}\r\n");
        if let Some((from, to)) = range {
            head.push_str(&format!("Range: bytes={from}-{to}\r\n"));
        }
        if let Some(credentials) = &self.credentials {
            let time = UnixSeconds::now().to_basic();
            let date = time.get(..8).unwrap_or_default();
            head.push_str(&format!(
                "X-Amz-Date: {time}\r\nX-Amz-Content-Sha256: UNSIGNED-PAYLOAD\r\n\
                 Authorization: AWS4-HMAC-SHA256 Credential={}/{date}/us-east-1/s3/aws4_request,\
                 SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature={}\r\n",
                credentials.access_key(),
                "0".repeat(64)
            ));
        }
        head.push_str("\r\n");
        if let Some(credentials) = &self.credentials {
            let signature = client::signature(head.as_bytes(), credentials)?;
            head = head.replace(&"0".repeat(64), &signature);
        }
        Ok(head.into_bytes())
    }

    /// Bytes per second over a turn.
    fn turn(&self, object: &str, connections: usize, range: u64, lasts: Duration) -> Result<f64> {
        let bytes = AtomicU64::new(0);
        let stop = AtomicBool::new(false);
        let barrier = Barrier::new(connections + 1);
        let read = |number| {
            let wire = self.connect();
            let buffer = vec![0; BUFFER_BYTES];
            // Everybody is connected before anybody begins.
            barrier.wait();
            self.read(object, wire?, buffer, number, range, &bytes, &stop)
        };
        let read = &read;
        std::thread::scope(|scope| {
            let readers: Vec<_> =
                (0..connections as u64).map(|number| scope.spawn(move || read(number))).collect();
            barrier.wait();
            // The first tenth is for buffers to grow.
            std::thread::sleep(lasts / 10);
            let (began, before) = (Instant::now(), bytes.load(Ordering::Relaxed));
            std::thread::sleep(lasts);
            let (took, after) = (began.elapsed(), bytes.load(Ordering::Relaxed));
            stop.store(true, Ordering::Relaxed);
            for reader in readers {
                if let Ok(outcome) = reader.join() {
                    outcome?;
                }
            }
            Ok((after - before) as f64 / took.as_secs_f64())
        })
    }

    #[expect(clippy::too_many_arguments, reason = "one call, all of them different")]
    fn read(
        &self,
        object: &str,
        mut wire: Box<dyn Wire>,
        mut buffer: Vec<u8>,
        number: u64,
        range: u64,
        bytes: &AtomicU64,
        stop: &AtomicBool,
    ) -> Result<()> {
        let ranges = self.size / range.max(1);
        let mut next = number * 7;
        while !stop.load(Ordering::Relaxed) {
            let wanted = (range > 0).then(|| {
                let from = next % ranges * range;
                (from, from + range - 1)
            });
            next += 1;
            wire.write_all(&self.head("GET", object, wanted)?)?;
            let (status, mut left) = read_head(wire.as_mut())?;
            ensure!(status == if wanted.is_some() { 206 } else { 200 }, "status {status}");
            let mut at = 0;
            while left > 0 {
                let room = (buffer.len() - at).min(usize::try_from(left)?);
                let got = wire.read(&mut buffer[at..at + room])?;
                ensure!(got > 0, "{} closed the connection", self.name);
                (left, at) = (left - got as u64, (at + got) % buffer.len());
                bytes.fetch_add(got as u64, Ordering::Relaxed);
                if stop.load(Ordering::Relaxed) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// The pair in the folder that the endpoint wrote.
fn read(folder: &Path) -> Result<Credentials> {
    let text = std::fs::read_to_string(folder.join("credentials"))?;
    let value = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "))
            .map(str::to_owned)
    };
    let access_key = value("aws_access_key_id").context("no access key")?;
    let mut secret = value("aws_secret_access_key").context("no secret key")?.into_bytes();
    Ok(Credentials::from_parts(&access_key, &mut secret)?)
}

/// Status and length.
fn read_head(wire: &mut dyn Wire) -> Result<(u16, u64)> {
    let mut head = Vec::with_capacity(1024);
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        ensure!(head.len() < 16 * 1024, "a head without an end");
        wire.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head)?;
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    let len = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse())
    });
    match len {
        Some(len) => Ok((status, len?)),
        None => bail!("no length: {head}"),
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let servers = arguments
        .servers
        .iter()
        .map(|text| Server::parse(text, &arguments.object))
        .collect::<Result<Vec<_>>>()?;
    let lasts = Duration::from_millis(arguments.milliseconds);
    let mut header = "| read | connections |".to_owned();
    for (number, server) in servers.iter().enumerate() {
        header.push_str(&format!(" {} GB/s |", server.name));
        if number > 0 {
            header.push_str(" of it |");
        }
    }
    println!("{header}\n|---|---|{}", "---|".repeat(servers.len() * 2 - 1));
    for range in &arguments.ranges {
        for connections in &arguments.connections {
            let mut figures = vec![Vec::new(); servers.len()];
            for _ in 0..arguments.turns {
                for (server, figures) in servers.iter().zip(&mut figures) {
                    figures.push(server.turn(&arguments.object, *connections, *range, lasts)?);
                }
            }
            let medians: Vec<f64> = figures.into_iter().map(median).collect();
            let what = match range {
                0 => "whole file".to_owned(),
                range => format!("ranges of {} MiB", range >> 20),
            };
            let mut line = format!("| {what} | {connections} |");
            for (number, figure) in medians.iter().enumerate() {
                line.push_str(&format!(" {:.2} |", figure / 1e9));
                if number > 0 {
                    line.push_str(&format!(" {:.2} |", figure / medians[0]));
                }
            }
            println!("{line}");
        }
    }
    Ok(())
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
