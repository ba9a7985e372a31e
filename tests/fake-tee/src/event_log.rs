//! Event logs as firmware and boot loader write them: TCG's crypto-agile format, SHA-384.
//!
//! In: events. Out: the bytes of a CCEL table with its padding, and the registers that they add up to.
//! Written from TCG "PC Client Platform Firmware Profile", §10.2, not from the product's parser.

use crate::fault::Fault;
use crate::keys::sha384;

const EV_NO_ACTION: u32 = 3;
const EV_SEPARATOR: u32 = 4;
pub(crate) const EV_EVENT_TAG: u32 = 6;
const EV_IPL: u32 = 13;
const SHA384: u16 = 0x000c;
/// Low byte of TCG's number for SHA-256.
const SHA256: u8 = 0x0b;
/// Bytes of 0xff after the log: firmware reserves more than it writes.
const PADDING: usize = 64;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FakeEvent {
    /// Register index: 1 for RTMR0 up to 4 for RTMR3.
    pub index: u32,
    /// TCG's number.
    pub event_type: u32,
    /// What the register is extended with.
    pub digest: [u8; 48],
    /// What stands beside it.
    pub data: Vec<u8>,
}

impl FakeEvent {
    /// An event whose digest is that of its data.
    #[must_use]
    pub fn of_data(index: u32, event_type: u32, data: &[u8]) -> Self {
        Self { index, event_type, digest: sha384(data), data: data.to_vec() }
    }

    /// An event with a digest of something else than what stands beside it.
    #[must_use]
    pub fn described(index: u32, event_type: u32, measured: &[u8], data: &[u8]) -> Self {
        Self { index, event_type, digest: sha384(measured), data: data.to_vec() }
    }

    /// What CoCo's attestation agent records for `POST /aa/aael`.
    #[must_use]
    pub fn application(domain: &str, operation: &str, content: &str) -> Self {
        let text = format!("{domain} {operation} {content}");
        let len = u32::try_from(text.len()).expect("a short text");
        let data = [b"LEAA", &len.to_le_bytes()[..], text.as_bytes()].concat();
        Self::of_data(4, EV_EVENT_TAG, &data)
    }

    /// The bytes of the event.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let len = u32::try_from(self.data.len()).expect("short data");
        let mut bytes = Vec::new();
        for word in [self.index, self.event_type, 1] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(SHA384.to_le_bytes());
        bytes.extend(self.digest);
        bytes.extend(len.to_le_bytes());
        bytes.extend(&self.data);
        bytes
    }
}

/// An event log in the making.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FakeEventLog {
    /// Its events after the Spec ID event.
    pub events: Vec<FakeEvent>,
}

impl Default for FakeEventLog {
    /// A boot: firmware variables, boot loader, kernel command line, an application event.
    fn default() -> Self {
        Self {
            events: vec![
                FakeEvent::described(1, 0x8000_000b, b"td hob", b"TdxTable"),
                FakeEvent::of_data(1, 0x8000_0001, b"SecureBoot"),
                FakeEvent::of_data(1, EV_SEPARATOR, &[0; 4]),
                FakeEvent::described(2, 0x8000_0003, b"boot loader", b"\\EFI\\BOOT\\BOOTX64.EFI"),
                FakeEvent::of_data(2, EV_SEPARATOR, &[0; 4]),
                FakeEvent::described(3, EV_IPL, b"quiet", b"kernel_cmdline: quiet\0"),
                FakeEvent::application("coco.example", "load-model", "{\"model\": \"llama\"}"),
            ],
        }
    }
}

impl FakeEventLog {
    /// The first event: what the others are made of.
    #[must_use]
    pub fn spec_id() -> Vec<u8> {
        let mut body = b"Spec ID Event03\0".to_vec();
        body.extend(0_u32.to_le_bytes());
        body.extend([0, 2, 0, 2]);
        body.extend(1_u32.to_le_bytes());
        body.extend(SHA384.to_le_bytes());
        body.extend(48_u16.to_le_bytes());
        body.push(0);
        let mut bytes = 1_u32.to_le_bytes().to_vec();
        bytes.extend(EV_NO_ACTION.to_le_bytes());
        bytes.extend([0; 20]);
        bytes.extend(u32::try_from(body.len()).expect("short").to_le_bytes());
        bytes.extend(body);
        bytes
    }

    /// The log without padding.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let events = self.events.iter().flat_map(FakeEvent::to_bytes);
        Self::spec_id().into_iter().chain(events).collect()
    }

    /// The log as in the ACPI table, filled up with 0xff.
    #[must_use]
    pub fn to_table(&self, len: usize) -> Vec<u8> {
        let mut bytes = self.to_bytes();
        bytes.resize(len.max(bytes.len()), 0xff);
        bytes
    }

    /// RTMR0 to RTMR3 after these events.
    #[must_use]
    pub fn rtmrs(&self) -> [[u8; 48]; 4] {
        let mut registers = [[0; 48]; 4];
        for (register, index) in registers.iter_mut().zip(1_u32..) {
            for event in self.events.iter().filter(|event| event.index == index) {
                if event.event_type != EV_NO_ACTION {
                    *register = sha384([*register, event.digest].as_flattened());
                }
            }
        }
        registers
    }

    /// The table as a guest sends it, with those of the `faults` that concern
    /// [`Site::EventLog`](crate::Site::EventLog).
    pub(crate) fn to_faulty_table(&self, faults: &[Fault]) -> Vec<u8> {
        let mut log = self.clone();
        faults.iter().for_each(|fault| log.spoil(*fault));
        let mut table = log.to_table(log.to_bytes().len() + PADDING);
        let end = table.len() - PADDING;
        for fault in faults {
            match fault {
                Fault::TruncatedEventLog => table.truncate(end - 1),
                // The algorithm that the first event declares, behind its name, class and versions.
                Fault::Sha256EventLog => table[32 + 16 + 4 + 4 + 4] = SHA256,
                Fault::GarbageAfterEventLog => table.extend(*b"garbage"),
                _ => {}
            }
        }
        table
    }

    /// Defects in what the events are.
    fn spoil(&mut self, fault: Fault) {
        let events = &mut self.events;
        match fault {
            Fault::DroppedEvent => drop(events.remove(1)),
            Fault::AppendedEvent => events.push(FakeEvent::of_data(4, EV_EVENT_TAG, b"appended")),
            Fault::RepeatedEvent => events.insert(1, events[1].clone()),
            Fault::ReorderedEvents => events.swap(0, 1),
            Fault::MovedEvent => events[1].index = 2,
            Fault::OtherEventDigest => events[1].digest[0] ^= 1,
            Fault::SilencedEvent => events[1].event_type = EV_NO_ACTION,
            Fault::LogOfAnotherBoot => {
                events[5] = FakeEvent::described(3, EV_IPL, b"single", b"kernel_cmdline: single\0");
            }
            Fault::EmptyEventLog => events.clear(),
            Fault::UnknownRegister => events[1].index = 5,
            _ => {}
        }
    }
}
