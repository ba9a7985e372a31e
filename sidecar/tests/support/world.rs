//! The whole scene of one test, and the real binary in it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use adyton_fake_tee::{FakeTee, GuestApi, TdProfile};
use adyton_sealed_weights::{KeyId, ModelKey, NoProgress, Recipient, SealJob, SealOptions};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use super::client::plain_get;
use super::kbs::Kbs;
use super::pki::{Ca, Leaf};
use super::server::Server;
use super::within;

pub const KEY_PATH: &str = "acme/model-key/tiny";
pub const MODEL_VERSION: u64 = 3;
/// In the plaintext of the sealed model; must never be found outside of the target.
pub const CANARY: &str = "canary-2f6d1c";

pub struct World {
    pub dir: TempDir,
    /// Memory-backed.
    pub target: TempDir,
    pub kbs: Kbs,
    pub broker_ca: Ca,
    pub client_ca: Ca,
    pub client: Leaf,
    pub server: Server,
    pub tee_root: String,
    pub bundle: Value,
    /// What the guest's image should measure.
    pub reference_values: String,
    /// Another genuine machine of the same vendor, which is not the one that serves.
    pub other_machine: FakeTee,
    /// PPID of the machine that serves.
    pub ppid: [u8; 16],
    pub guest_api: SocketAddr,
}

impl World {
    pub async fn new() -> Self {
        Self::with_weights(100_000).await
    }

    pub async fn with_weights(bytes: usize) -> Self {
        let dir = tempfile::tempdir().expect("folder");
        let target = tempfile::Builder::new()
            .prefix("adyton-test-")
            .tempdir_in("/dev/shm")
            .expect("a memory-backed folder");
        let broker_ca = Ca::new("broker CA");
        let client_ca = Ca::new("client CA");
        let client = client_ca.client("alice");
        let kbs = Kbs::start(&broker_ca).await;
        std::fs::write(dir.path().join("broker-ca.pem"), broker_ca.pem()).expect("written");
        std::fs::write(dir.path().join("client-ca.pem"), client_ca.pem()).expect("written");

        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let tee = FakeTee::new(now);
        let (tee_root, bundle) = (tee.root_pem(), tee.endorsement_bundle(now, &[]));
        let reference_values = tee.reference_values(&TdProfile::default());
        let (other_machine, ppid) = (tee.sibling(1), tee.ppid());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        let guest_api = listener.local_addr().expect("address");
        std::thread::spawn(move || {
            GuestApi::new(tee, TdProfile::default(), Vec::new()).serve(&listener)
        });

        let world = Self {
            server: Server::start().await,
            dir,
            target,
            kbs,
            broker_ca,
            client_ca,
            client,
            tee_root,
            bundle,
            reference_values,
            other_machine,
            ppid,
            guest_api,
        };
        world.seal(bytes);
        world
    }

    fn seal(&self, bytes: usize) {
        let plain = self.dir.path().join("plain");
        std::fs::create_dir(&plain).expect("folder");
        std::fs::write(plain.join("config.json"), format!("{{\"note\":\"{CANARY}\"}}"))
            .expect("written");
        let tensor = format!(
            r#"{{"weight":{{"dtype":"U8","shape":[{bytes}],"data_offsets":[0,{bytes}]}}}}"#
        );
        let mut weights = (tensor.len() as u64).to_le_bytes().to_vec();
        weights.extend_from_slice(tensor.as_bytes());
        weights.extend(std::iter::repeat_n(7_u8, bytes));
        std::fs::write(plain.join("model.safetensors"), weights).expect("written");

        let kid = KeyId::new(&format!("kbs:///{KEY_PATH}"), 1).expect("kid");
        let model_key = ModelKey::generate(kid).expect("key");
        let options = SealOptions {
            name: "tiny".into(),
            version: MODEL_VERSION,
            allow_formats: Vec::new(),
            threads: 1,
        };
        let job = SealJob::new(&plain, &self.sealed(), options).expect("job");
        let recipient = Recipient::wrap(&model_key, &job.model_id(), job.content_key());
        let recipient = recipient.expect("recipient");
        job.run(vec![recipient], &NoProgress).expect("sealed");
        self.kbs.put_key(KEY_PATH, model_key.key_bytes_for_wrapping().as_slice());
        std::fs::remove_dir_all(plain).expect("removed");
    }

    pub fn sealed(&self) -> PathBuf {
        self.dir.path().join("sealed")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The usual configuration.
    pub fn config(&self) -> toml::Table {
        let text = format!(
            r#"
            listen = "127.0.0.1:0"
            admin_listen = "127.0.0.1:0"
            insecure_allow_swap = {swap}
            [attester]
            kind = "coco"
            coco_url = "http://{guest_api}"
            [broker]
            url = "{kbs}"
            ca_file = "{dir}/broker-ca.pem"
            request_timeout_seconds = 20
            retry_for_seconds = 20
            [model]
            source = "{dir}/sealed"
            target = "{target}"
            [upstream]
            address = "http://{server}"
            health_interval_seconds = 1
            [tls]
            client_ca_file = "{dir}/client-ca.pem"
            [clients]
            [limits]
            max_body_bytes = 1000000
            max_head_bytes = 8192
            header_read_timeout_seconds = 1
            drain_timeout_seconds = 5
            "#,
            guest_api = self.guest_api,
            kbs = self.kbs.url(),
            dir = self.dir.path().display(),
            target = self.target.path().display(),
            server = self.server.address,
            // A developer's machine may swap; the refusal has a test of its own.
            swap =
                std::fs::read_to_string("/proc/swaps").is_ok_and(|list| list.lines().count() > 1),
        );
        text.parse().expect("toml")
    }

    /// Starts the binary with the usual configuration.
    pub fn start(&self) -> Sidecar {
        self.start_with(&self.config())
    }

    pub fn start_with(&self, config: &toml::Table) -> Sidecar {
        let file = self.path("sidecar.toml");
        std::fs::write(&file, config.to_string()).expect("written");
        let ready_file = self.path("ready.json");
        let _ = std::fs::remove_file(&ready_file);
        let mut child = Command::new(env!("CARGO_BIN_EXE_adyton-sidecar"))
            .arg("--config")
            .arg(&file)
            .arg("--ready-file")
            .arg(&ready_file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("started");
        let stderr = child.stderr.take().expect("piped");
        let (sender, lines) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut stderr = BufReader::new(stderr).lines();
            while let Ok(Some(line)) = stderr.next_line().await {
                let _ = sender.send(line);
            }
        });
        Sidecar { child, lines, log: Vec::new(), ready_file }
    }

    /// Starts it and waits until it serves and the server is seen to be up.
    pub async fn serving(&self) -> (Sidecar, SocketAddr) {
        self.serving_with(&self.config()).await
    }

    pub async fn serving_with(&self, config: &toml::Table) -> (Sidecar, SocketAddr) {
        let mut sidecar = self.start_with(config);
        sidecar.log_line(|line| line["message"] == "serving").await;
        let proxy = sidecar.proxy().await;
        (sidecar, proxy)
    }

    /// Names in the target folder.
    pub fn left_in_target(&self) -> Vec<String> {
        std::fs::read_dir(self.target.path())
            .expect("readable")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect()
    }

    pub fn assert_target_is_clean(&self) {
        let left = self.left_in_target();
        assert!(left.is_empty(), "left in the target: {left:?}");
    }
}

pub struct Sidecar {
    child: Child,
    lines: mpsc::UnboundedReceiver<String>,
    pub log: Vec<Value>,
    ready_file: PathBuf,
}

/// How a sidecar ended.
pub struct Ended {
    pub code: Option<i32>,
    pub log: Vec<Value>,
}

impl Ended {
    /// The one refusal, by its code.
    pub fn refusal(&self, code: &str) -> &Value {
        let refusals = self.refusals();
        refusals
            .iter()
            .find(|line| line["code"] == code)
            .copied()
            .unwrap_or_else(|| panic!("no refusal {code} among {refusals:#?}\n{:#?}", self.log))
    }

    pub fn refusals(&self) -> Vec<&Value> {
        self.log
            .iter()
            .filter(|line| line["level"] == "ERROR" && !line["remedy"].is_null())
            .collect()
    }
}

impl Sidecar {
    pub fn pid(&self) -> u32 {
        self.child.id().expect("runs")
    }

    /// Waits for a log line.
    pub async fn log_line(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let Some(line) = within("a log line", self.lines.recv()).await else {
                panic!("the sidecar ended; its log: {:#?}", self.log);
            };
            let line: Value = serde_json::from_str(&line)
                .unwrap_or_else(|error| panic!("not JSON ({error}): {line}"));
            self.log.push(line.clone());
            if wanted(&line) {
                return line;
            }
        }
    }

    fn ready(&self) -> Value {
        let text = std::fs::read(&self.ready_file).expect("the ready file");
        serde_json::from_slice(&text).expect("json")
    }

    async fn address(&self, member: &str) -> SocketAddr {
        within("the ready file", async {
            loop {
                if self.ready_file.exists()
                    && let Some(url) = self.ready()[member].as_str()
                {
                    return url.split("//").nth(1).expect("a URL").parse().expect("an address");
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await
    }

    pub async fn admin(&self) -> SocketAddr {
        self.address("admin").await
    }

    pub async fn proxy(&self) -> SocketAddr {
        self.address("proxy").await
    }

    /// Waits until `/readyz?verbose` is as wanted.
    pub async fn readyz(&self, wanted: impl Fn(u16, &Value) -> bool) -> Value {
        let admin = self.admin().await;
        within("readiness", async {
            loop {
                let (status, body) = plain_get(admin, "/readyz?verbose").await;
                let body: Value = serde_json::from_str(&body).expect("json");
                if wanted(status, &body) {
                    return body;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
    }

    pub fn terminate(&self) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.pid()).expect("a pid"));
        rustix::process::kill_process(pid.expect("a pid"), rustix::process::Signal::TERM)
            .expect("signalled");
    }

    pub async fn end(mut self) -> Ended {
        let status = within("the sidecar's end", self.child.wait()).await.expect("ended");
        while let Some(line) = within("the log's end", self.lines.recv()).await {
            self.log.push(serde_json::from_str(&line).unwrap_or(Value::String(line)));
        }
        Ended { code: status.code(), log: self.log }
    }
}

pub fn set(config: &mut toml::Table, section: &str, key: &str, value: impl Into<toml::Value>) {
    let section = config[section].as_table_mut().expect("a section");
    section.insert(key.into(), value.into());
}

/// Changes one byte of a file.
pub fn flip(file: &Path, at: usize) {
    let mut bytes = std::fs::read(file).expect("read");
    bytes[at] ^= 1;
    std::fs::write(file, bytes).expect("written");
}
