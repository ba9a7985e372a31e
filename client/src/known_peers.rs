//! Trust on first use: which machine answered under a name before.
//!
//! A text file, one line a machine: `<host:port> <pin>`, `#` begins a comment. A name with no line is
//! new: its first attested machine is written down. A name with lines accepts those machines and no
//! other. What is written is the machine's identity (PPID, CHIP_ID), never the serving key, which is
//! another one after every restart.
//! Against: another genuine TEE, or one whose key was extracted, in place of the one used before.
//! Not against: being there first.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use adyton_attestation::peer::{Instance, PinnedInstance, Pins};
use thiserror::Error;

/// Longest file that is read, in bytes.
const MAX_FILE_LEN: u64 = 1024 * 1024;

/// A file of known peers.
#[derive(Debug)]
pub struct KnownPeers {
    path: PathBuf,
    lines: Vec<(String, PinnedInstance)>,
}

/// What the file knows about a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acquaintance {
    /// Nothing. Whoever is there now will be remembered.
    New,
    /// These machines, and no other.
    Known(Pins),
}

/// Why the file cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KnownPeersError {
    /// It cannot be read or written.
    #[error("the file of known peers {} cannot be {doing}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// `read` or `written`.
        doing: &'static str,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// It is longer than any such file.
    #[error("the file of known peers {} has more than {MAX_FILE_LEN} bytes", path.display())]
    TooLong {
        /// Which file.
        path: PathBuf,
    },
    /// A line is not `<host:port> <pin>`.
    #[error("line {line} of {} is not `<host:port> <pin>`", path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
    },
    /// The Evidence names no machine, so there is nothing to remember.
    #[error("the Evidence names no machine (its CHIP_ID is masked); pin its serving key instead")]
    NoMachine,
}

impl KnownPeers {
    /// Reads the file; one that does not exist knows nobody.
    ///
    /// # Errors
    /// [`KnownPeersError`]: a file that is half understood would forget a pin.
    pub fn read(path: &Path) -> Result<Self, KnownPeersError> {
        let file_error =
            |source| KnownPeersError::File { path: path.to_owned(), doing: "read", source };
        let mut text = String::new();
        match fs::File::open(path) {
            Ok(file) => {
                file.take(MAX_FILE_LEN + 1).read_to_string(&mut text).map_err(file_error)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(file_error(error)),
        }
        if text.len() as u64 > MAX_FILE_LEN {
            return Err(KnownPeersError::TooLong { path: path.to_owned() });
        }
        let mut lines = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            lines.push(parse_line(line).ok_or_else(|| KnownPeersError::Line {
                path: path.to_owned(),
                line: number + 1,
            })?);
        }
        Ok(Self { path: path.to_owned(), lines })
    }

    /// What is known of `authority` (`host:port`).
    #[must_use]
    pub fn of(&self, authority: &str) -> Acquaintance {
        let pins: Vec<PinnedInstance> = self
            .lines
            .iter()
            .filter(|(known, _)| known.eq_ignore_ascii_case(authority))
            .map(|(_, pin)| *pin)
            .collect();
        match pins.is_empty() {
            true => Acquaintance::New,
            false => Acquaintance::Known(Pins::OneOf(pins)),
        }
    }

    /// Writes down the machine of an attested peer. Call it for a peer that was accepted, and only
    /// when nothing was known: a changed machine is for a person to decide.
    ///
    /// # Errors
    /// [`KnownPeersError::NoMachine`], [`File`](KnownPeersError::File).
    pub fn remember(
        &mut self,
        authority: &str,
        instance: &Instance,
    ) -> Result<PinnedInstance, KnownPeersError> {
        let pin = instance.machine.pin().ok_or(KnownPeersError::NoMachine)?;
        let written = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&self.path)
            // One write of one line: two clients at once do not mix theirs.
            .and_then(|mut file| file.write_all(format!("\n{authority} {pin}\n").as_bytes()));
        written.map_err(|source| KnownPeersError::File {
            path: self.path.clone(),
            doing: "written",
            source,
        })?;
        self.lines.push((authority.to_owned(), pin));
        Ok(pin)
    }
}

fn parse_line(line: &str) -> Option<(String, PinnedInstance)> {
    let mut words = line.split_whitespace();
    let (authority, pin, None) = (words.next()?, words.next()?, words.next()) else {
        return None;
    };
    let named = authority
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    named.then_some(())?;
    Some((authority.to_owned(), pin.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use adyton_attestation::claims::Ppid;
    use adyton_attestation::peer::Machine;

    use super::*;

    const NAME: &str = "models.example:443";

    fn instance(byte: u8) -> Instance {
        Instance { machine: Machine::Ppid(Ppid([byte; 16])), spki_sha256: [0; 32] }
    }

    fn against(known: &KnownPeers, name: &str, instance: &Instance) -> Vec<String> {
        match known.of(name) {
            Acquaintance::New => panic!("{name} is known"),
            Acquaintance::Known(pins) => {
                let reasons = pins.reasons_against(instance);
                reasons.into_iter().map(|reason| reason.code.into_owned()).collect()
            }
        }
    }

    #[test]
    fn the_first_machine_is_remembered_and_another_one_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("known_peers");
        let mut known = KnownPeers::read(&path).expect("nothing is there");
        assert_eq!(known.of(NAME), Acquaintance::New);
        known.remember(NAME, &instance(1)).expect("written");

        let again = KnownPeers::read(&path).expect("read");
        assert!(against(&again, NAME, &instance(1)).is_empty());
        assert!(against(&again, "MODELS.example:443", &instance(1)).is_empty());
        assert_eq!(against(&again, NAME, &instance(2)), ["instance.machine"]);
        assert_eq!(again.of("models.example:444"), Acquaintance::New);
    }

    #[test]
    fn a_name_may_have_several_machines() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("known_peers");
        let (one, two) = ("01".repeat(16), "02".repeat(16));
        let text = format!("# replicas\n{NAME} ppid:{one}\n\n{NAME} ppid:{two} # the second\n");
        fs::write(&path, text).expect("written");
        let known = KnownPeers::read(&path).expect("read");
        assert!(against(&known, NAME, &instance(1)).is_empty());
        assert!(against(&known, NAME, &instance(2)).is_empty());
        assert_eq!(against(&known, NAME, &instance(3)), ["instance.machine"]);
    }

    #[test]
    fn a_line_that_is_not_understood_refuses_the_whole_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("known_peers");
        for line in [
            "models.example:443",
            "models.example ppid:01",
            "models.example ppid:01010101010101010101010101010101",
            "models.example:443 ppid:01",
            "models.example:443 md5:01010101010101010101010101010101",
            "models.example:443 ppid:01010101010101010101010101010101 more",
            ":443 ppid:01010101010101010101010101010101",
        ] {
            fs::write(&path, format!("# first\n{line}\n")).expect("written");
            let refused = KnownPeers::read(&path);
            assert!(matches!(refused, Err(KnownPeersError::Line { line: 2, .. })), "{line}");
        }
        fs::write(&path, [0xff, 0xfe]).expect("written");
        assert!(matches!(KnownPeers::read(&path), Err(KnownPeersError::File { .. })));
        fs::write(&path, vec![b'\n'; MAX_FILE_LEN as usize + 1]).expect("written");
        assert!(matches!(KnownPeers::read(&path), Err(KnownPeersError::TooLong { .. })));
    }

    #[test]
    fn a_machine_without_a_name_is_not_remembered() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut known = KnownPeers::read(&folder.path().join("known")).expect("nothing is there");
        let masked = Instance { machine: Machine::NotStated, spki_sha256: [0; 32] };
        assert!(matches!(known.remember(NAME, &masked), Err(KnownPeersError::NoMachine)));
        assert_eq!(known.of(NAME), Acquaintance::New);
    }
}
