//! The SGX extension of a PCK certificate: which machine it is, and how patched.
//!
//! Source: Intel SGX PCK Certificate and Certificate Revocation List Profile Specification, rev.
//! 1.5, section 1.3.5 (OID 1.2.840.113741.1.13.1 and below).

use x509_cert::der::asn1::{Any, ObjectIdentifier, OctetString};
use x509_cert::der::{Encode as _, Error, Tag};
use x509_cert::ext::Extension;

use super::machine::Machine;

/// Root of the tree.
const SGX: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113741.1.13.1");
/// Children of [`SGX`].
const PPID: u8 = 1;
const TCB: u8 = 2;
const PCEID: u8 = 3;
const FMSPC: u8 = 4;
const SGX_TYPE: u8 = 5;
const PLATFORM_INSTANCE: u8 = 6;
const CONFIGURATION: u8 = 7;
/// Children of [`TCB`]: components 1 to 16, then these.
const PCESVN: u8 = 17;
const CPUSVN: u8 = 18;
/// Children of [`CONFIGURATION`].
const DYNAMIC_PLATFORM: u8 = 1;
const CACHED_KEYS: u8 = 2;
const SMT_ENABLED: u8 = 3;
/// SGX type: scalable, without integrity of memory.
const SCALABLE: u8 = 1;

/// What the certificate says about the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PckFacts {
    /// Which machine it is; the certificate says it by the ids and the key.
    pub machine: Machine,
    /// Platform provisioning id.
    pub ppid: [u8; 16],
    /// Security versions of the CPU's components, also as `CPUSVN`.
    pub tcb_components: [u8; 16],
    /// Security version of the provisioning enclave.
    pub pcesvn: u8,
    /// Id of the provisioning enclave.
    pub pceid: [u8; 2],
    /// Family, model, stepping, platform and custom SKU.
    pub fmspc: [u8; 6],
    /// Platform instance id.
    pub platform_instance: [u8; 16],
    /// Hyper-threading is on.
    pub smt_enabled: bool,
}

impl PckFacts {
    /// The certificate extension, not critical.
    pub fn extension(&self) -> Result<Extension, Error> {
        let octets = |bytes: &[u8]| tlv(Tag::OctetString, bytes.to_vec());
        let tree = sequence([
            attribute(SGX, PPID, octets(&self.ppid)?)?,
            attribute(SGX, TCB, self.tcb()?)?,
            attribute(SGX, PCEID, octets(&self.pceid)?)?,
            attribute(SGX, FMSPC, octets(&self.fmspc)?)?,
            attribute(SGX, SGX_TYPE, tlv(Tag::Enumerated, vec![SCALABLE])?)?,
            attribute(SGX, PLATFORM_INSTANCE, octets(&self.platform_instance)?)?,
            attribute(SGX, CONFIGURATION, self.configuration()?)?,
        ])?;
        Ok(Extension { extn_id: SGX, critical: false, extn_value: OctetString::new(tree)? })
    }

    fn tcb(&self) -> Result<Vec<u8>, Error> {
        let under = SGX.push_arc(TCB.into())?;
        let mut parts = Vec::new();
        for (index, svn) in (1..).zip(self.tcb_components) {
            parts.push(attribute(under, index, svn.to_der()?)?);
        }
        parts.push(attribute(under, PCESVN, self.pcesvn.to_der()?)?);
        parts.push(attribute(under, CPUSVN, tlv(Tag::OctetString, self.tcb_components.to_vec())?)?);
        sequence(parts)
    }

    fn configuration(&self) -> Result<Vec<u8>, Error> {
        let under = SGX.push_arc(CONFIGURATION.into())?;
        sequence([
            attribute(under, DYNAMIC_PLATFORM, false.to_der()?)?,
            attribute(under, CACHED_KEYS, false.to_der()?)?,
            attribute(under, SMT_ENABLED, self.smt_enabled.to_der()?)?,
        ])
    }
}

/// SEQUENCE of an OID one below `under` and a value.
fn attribute(under: ObjectIdentifier, child: u8, value: Vec<u8>) -> Result<Vec<u8>, Error> {
    sequence([under.push_arc(child.into())?.to_der()?, value])
}

fn sequence(parts: impl IntoIterator<Item = Vec<u8>>) -> Result<Vec<u8>, Error> {
    tlv(Tag::Sequence, parts.into_iter().flatten().collect())
}

fn tlv(tag: Tag, contents: Vec<u8>) -> Result<Vec<u8>, Error> {
    Any::new(tag, contents)?.to_der()
}
