//! Writes the platform description that Intel puts into every PCK certificate.
//!
//! In: [`Platform`]. Out: the DER content of extension 1.2.840.113741.1.13.1 ("Intel SGX PCK
//! Certificate and CRL Profile Specification", section 1.3.5). It only encodes; whoever verifies
//! has a reader of its own.

/// What the simulated vendor certified about one machine.
#[derive(Clone, Debug)]
pub(crate) struct Platform {
    /// Platform provisioning id.
    pub(crate) ppid: [u8; 16],
    /// SGX TCB component SVNs; also the CPUSVN.
    pub(crate) component_svns: [u8; 16],
    /// Security version of the provisioning certification enclave.
    pub(crate) pce_svn: u8,
    /// Id of the provisioning certification enclave.
    pub(crate) pce_id: [u8; 2],
    /// Family, model, stepping, platform and custom SKU: selects the TCB info.
    pub(crate) fmspc: [u8; 6],
    /// Id of this installation of the platform.
    pub(crate) instance_id: [u8; 16],
}

/// The object identifier of the extension, as rcgen takes it.
pub(crate) const SGX_EXTENSION: &[u64] = &[1, 2, 840, 113_741, 1, 13, 1];

/// The same identifier as DER content octets; members append one or two arcs below 128.
const SGX_EXTENSION_DER: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01];

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const ENUMERATED: u8 = 0x0a;
const SEQUENCE: u8 = 0x30;

/// SGX type "scalable": the only one that TDX platforms have.
const SGX_TYPE_SCALABLE: u8 = 1;

impl Platform {
    /// The extension's content.
    pub(crate) fn to_der(&self) -> Vec<u8> {
        let mut tcb: Vec<Vec<u8>> = (1_u8..)
            .zip(self.component_svns)
            .map(|(number, svn)| member(&[2, number], &tlv(INTEGER, &[svn])))
            .collect();
        tcb.push(member(&[2, 17], &tlv(INTEGER, &[self.pce_svn])));
        tcb.push(member(&[2, 18], &tlv(OCTET_STRING, &self.component_svns)));
        // Real TDX platforms are multi-package, cache their keys and run with SMT.
        let configuration: Vec<Vec<u8>> =
            [1, 2, 3].map(|arc| member(&[7, arc], &tlv(BOOLEAN, &[0xff]))).into();
        sequence(&[
            member(&[1], &tlv(OCTET_STRING, &self.ppid)),
            member(&[2], &sequence(&tcb)),
            member(&[3], &tlv(OCTET_STRING, &self.pce_id)),
            member(&[4], &tlv(OCTET_STRING, &self.fmspc)),
            member(&[5], &tlv(ENUMERATED, &[SGX_TYPE_SCALABLE])),
            member(&[6], &tlv(OCTET_STRING, &self.instance_id)),
            member(&[7], &sequence(&configuration)),
        ])
    }
}

/// `SEQUENCE { OID, value }`, where the OID is the extension's own plus `arcs`.
fn member(arcs: &[u8], value: &[u8]) -> Vec<u8> {
    let oid = [SGX_EXTENSION_DER, arcs].concat();
    sequence(&[tlv(OBJECT_IDENTIFIER, &oid), value.to_vec()])
}

fn sequence(members: &[Vec<u8>]) -> Vec<u8> {
    tlv(SEQUENCE, &members.concat())
}

/// Tag, definite length, content. Nothing here is longer than 64 KiB.
fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("the extension is a few hundred bytes");
    let mut out = vec![tag];
    match length.to_be_bytes() {
        [0, low] if low < 0x80 => out.push(low),
        [0, low] => out.extend([0x81, low]),
        [high, low] => out.extend([0x82, high, low]),
    }
    out.extend_from_slice(content);
    out
}
