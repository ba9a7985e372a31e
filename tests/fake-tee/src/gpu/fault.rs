//! What can be made wrong in a GPU's Evidence, one defect a name.

macro_rules! faults {
    ($(#[doc = $doc:literal] $name:ident: $rung:literal, $code:literal;)+) => {
        /// One deliberate defect in a GPU's Evidence. Each belongs to one rung.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum GpuFault {
            $(#[doc = $doc] $name,)+
        }

        impl GpuFault {
            /// Every fault with the rung that it fails and the code of the refusal.
            pub const ALL: &[(Self, &'static str, &'static str)] =
                &[$((Self::$name, $rung, $code)),+];
        }
    };
}

faults! {
    /// G1: the sender calls it another architecture.
    OtherArchitecture: "G1", "gpu.architecture";
    /// G1: the sender calls it an architecture that nobody has.
    UnknownArchitecture: "G1", "gpu.evidence.architecture";
    /// G1: no certificates come with the report.
    NoCertificates: "G1", "gpu.evidence.member";
    /// G1: the report has 20000 bytes.
    Oversized: "G1", "gpu.evidence.too-large";
    /// G1: SPDM version 1.2.
    SpdmVersion: "G1", "gpu.report.malformed";
    /// G1: the report ends inside its signature.
    Truncated: "G1", "gpu.report.malformed";
    /// G1: bytes that are not zero follow the report.
    TrailingBytes: "G1", "gpu.report.malformed";
    /// G1: a measurement block is numbered twice.
    BlockTwice: "G1", "gpu.report.malformed";
    /// G2: the chain ends in another root of the same name.
    OtherRoot: "G2", "gpu.chain";
    /// G2: the leaf's validity has ended.
    ExpiredLeaf: "G2", "gpu.chain";
    /// G2: an authority of another architecture issued the chain.
    OtherIdentity: "G2", "gpu.chain.identity";
    /// G2: the leaf has no firmware id.
    NoFirmwareId: "G2", "gpu.chain.member";
    /// G2: the chip's certificate has no serial number.
    NoChipSerial: "G2", "gpu.chain.member";
    /// G2: an intermediate is no CA.
    IntermediateIsNoCa: "G2", "gpu.chain";
    /// G2: the leaf has a critical extension that nobody knows.
    CriticalExtension: "G2", "gpu.chain";
    /// G2: an intermediate's key is for signing lists alone.
    IntermediateForListsOnly: "G2", "gpu.chain";
    /// G3: one bit of a measurement was flipped after signing.
    FlippedMeasurement: "G3", "gpu.report.signature";
    /// G3: another key signed.
    OtherKey: "G3", "gpu.report.signature";
    /// G4: the certificate speaks for other firmware.
    OtherFirmwareId: "G4", "gpu.firmware-id";
    /// G4: the report states no driver version.
    NoDriverVersion: "G4", "gpu.report.field";
    /// G4: the report states no VBIOS version.
    NoVbiosVersion: "G4", "gpu.report.field";
    /// G4: the report states no board.
    NoBoard: "G4", "gpu.report.field";
    /// G4: the report does not say whether NVDEC 0 counts.
    NoNvdec0: "G4", "gpu.report.field";
    /// G4: the report states no firmware id.
    NoReportedFirmwareId: "G4", "gpu.report.field";
    /// G5: the device was asked with another nonce.
    OtherNonce: "G5", "gpu.nonce";
    /// G6: the driver measured otherwise.
    OtherDriverMeasurement: "G6", "gpu.measurement";
    /// G6: a VBIOS that no set lists.
    OtherVbiosVersion: "G6", "gpu.vbios.unknown";
}
