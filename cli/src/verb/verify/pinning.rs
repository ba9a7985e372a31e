//! Which machine and which key are meant: `--pin` and `--known-peers`.

use adyton_attestation::Reason;
use adyton_client::known_peers::Acquaintance;
use adyton_client::{Instance, KnownPeers, KnownPeersError, Pins};

use super::{BindingArg, VerifyArgs};
use crate::console::Tone;
use crate::failure::{Exit, Failure};
use crate::https::Address;
use crate::verb::Context;

/// What the caller said about the instance, and what a file remembers.
pub(super) struct Pinning {
    named: Pins,
    remembered: Remembered,
}

enum Remembered {
    /// No file was given.
    NotAsked,
    /// The file knows nobody by this name.
    Nobody(KnownPeers),
    /// The file knows these machines by this name.
    Machines { pins: Pins, file: String },
}

impl Pinning {
    /// Reads the flags and the file, before anything is sent.
    pub(super) fn read(args: &VerifyArgs, address: &Address) -> Result<Self, Failure> {
        let named = match args.pin.as_slice() {
            [] => Pins::AnyGenuine,
            pins => Pins::OneOf(pins.to_vec()),
        };
        let Some(path) = &args.known_peers else {
            return Ok(Self { named, remembered: Remembered::NotAsked });
        };
        if args.binding == BindingArg::Certificate {
            return Err(Failure::new(
                Exit::Usage,
                "known-peers.binding",
                "at level certificate nobody knows which machine is at the other end",
            )
            .expected("--binding channel with --known-peers")
            .remedy("leave --binding out"));
        }
        let known = KnownPeers::read(path).map_err(|error| unusable(&error))?;
        let remembered = match known.of(address.authority()) {
            Acquaintance::New => Remembered::Nobody(known),
            Acquaintance::Known(pins) => {
                Remembered::Machines { pins, file: path.display().to_string() }
            }
        };
        Ok(Self { named, remembered })
    }

    /// Every reason why this is not the instance that was meant.
    pub(super) fn reasons_against(&self, instance: &Instance) -> Vec<Reason> {
        let mut reasons = self.named.reasons_against(instance);
        if let Remembered::Machines { pins, file } = &self.remembered {
            reasons.extend(pins.reasons_against(instance).into_iter().map(|reason| Reason {
                code: "instance.changed".into(),
                remedy: format!(
                    "ANOTHER MACHINE answers under this name than before. If the service was moved, \
                     ask its operator over another channel and put the new pin into {file}; if not, \
                     somebody else's TEE is there"
                ),
                ..reason
            }));
        }
        reasons
    }

    /// Writes down the machine of a peer that passed everything, if its name is new.
    pub(super) fn remember(
        self,
        address: &Address,
        instance: &Instance,
        context: &mut Context<'_>,
    ) -> Result<(), Failure> {
        let Remembered::Nobody(mut known) = self.remembered else { return Ok(()) };
        let name = address.authority();
        let pin = known.remember(name, instance).map_err(|error| unusable(&error))?;
        context.console.note(
            Tone::Good,
            &format!(
                "first contact with {name}: remembered {pin}; another machine will be refused"
            ),
        );
        Ok(())
    }
}

fn unusable(error: &KnownPeersError) -> Failure {
    let failure = |exit| Failure::new(exit, "known-peers", error.to_string());
    match error {
        KnownPeersError::NoMachine => failure(Exit::Unsupported)
            .expected("Evidence that names its machine")
            .remedy("leave --known-peers out and give --pin spki:HEX"),
        KnownPeersError::Line { .. } | KnownPeersError::TooLong { .. } => failure(Exit::Malformed)
            .expected("lines `HOST:PORT ppid:HEX` or `HOST:PORT chip-id:HEX`")
            .remedy("repair the line; a file that is half understood would forget a pin"),
        other => failure(Exit::Malformed)
            .expected("a file, or none yet in a folder that exists")
            .remedy("check the path and its permissions")
            .caused_by(other),
    }
}
