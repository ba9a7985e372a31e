//! A registry of somebody else (the Debian package `docker-registry`), on loopback.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

const PROGRAM: &str = "docker-registry";

pub struct Registry {
    pub address: SocketAddr,
    child: Child,
    _folder: TempDir,
}

impl Registry {
    /// Nothing where the program is not installed; in CI that is a failure.
    pub fn start(more: &str) -> Option<Self> {
        let found = Command::new(PROGRAM).arg("--version").stdout(Stdio::null()).status();
        if found.is_err() {
            assert!(std::env::var_os("CI").is_none(), "{PROGRAM} is not installed");
            println!("skipped: {PROGRAM} is not installed");
            return None;
        }
        let folder = tempfile::tempdir().expect("folder");
        // Free until somebody else takes it; then the registry ends, and the next port is tried.
        for _ in 0..16 {
            let port = TcpListener::bind("127.0.0.1:0").expect("a port");
            let address = port.local_addr().expect("address");
            drop(port);
            let config = folder.path().join("config.yml");
            let text = format!(
                "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
                 storage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: {address}}}\n{more}",
                folder.path().join("data").display()
            );
            std::fs::write(&config, text).expect("written");
            let mut child = Command::new(PROGRAM)
                .arg("serve")
                .arg(&config)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("it starts");
            loop {
                if TcpStream::connect(address).is_ok() {
                    return Some(Self { address, child, _folder: folder });
                }
                if child.try_wait().expect("status").is_some() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        panic!("{PROGRAM} does not start");
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
