//! The lies that the service can be told to tell, each to be refused by a verifier for its own
//! reason.
//!
//! A lie changes exactly one thing; where it does so is in the module that owns the thing (`quote`,
//! `quote::platform`, `pki`, `collateral`), so that a further lie is one variant here and one
//! branch there. The certificates of all of them lead to keys that are published: nobody is
//! deceived who does not want to be.

use clap::ValueEnum;

/// One thing that is wrong with everything this service says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
pub enum Lie {
    // The quote's bytes.
    /// One bit of the quote's signature is flipped.
    FlipSignature,
    /// The last byte of the quote is missing.
    QuoteTruncated,
    /// One zero byte stands behind the quote.
    QuotePadded,
    /// The certification data is followed by more empty lines than any quote may have bytes.
    OversizeCertificationData,
    // The signed report.
    /// The quote, validly signed, answers for other report data than was asked for.
    OtherReportData,
    /// The report says that the TD can be debugged (`TDATTRIBUTES.DEBUG`).
    Debug,
    /// A bit of `TDATTRIBUTES` is set that no specification names.
    UnknownAttribute,
    /// `TDATTRIBUTES.SEPT_VE_DISABLE` is 0.
    NoSeptVeDisable,
    /// The TD can be moved to another host (`TDATTRIBUTES.MIGRATABLE`).
    Migratable,
    /// A service TD is bound: `MRSERVICETD`, or in a version 4 quote `TDATTRIBUTES.SERVTD_EXT`.
    ServiceTd,
    /// The report is of a virtual machine inside the TD; the quote is one with an extended body.
    TdPartition,
    /// Supervisor protection keys are on (`TDATTRIBUTES.PKS`).
    Pks,
    /// A bit of `XFAM` is set that no TDX module offers.
    UnknownXfam,
    /// `SEAMATTRIBUTES` is not zero.
    SeamAttributes,
    /// `MRSIGNERSEAM` is not zero: somebody else's TDX module.
    WrongMrsignerseam,
    /// The TDX module has a version of which the TCB info knows nothing.
    UnknownModule,
    // The quoting enclave.
    /// The header names another vendor of quoting enclaves.
    ForeignQeVendor,
    /// The quoting enclave's report vouches for another attestation key.
    UnvouchedKey,
    /// One bit of the PCK's signature over the quoting enclave's report is flipped.
    FlipQeSignature,
    /// The quoting enclave has another signer than the QE identity wants.
    WrongQeIdentity,
    /// The quoting enclave's authentication data, properly hashed, has a length that no real one
    /// has.
    LongQeAuthData,
    // The certificates.
    /// The PCK certificate leads to another root.
    ForeignCa,
    /// The PCK's issuer has the right name, but the root did not sign it.
    ForgedCa,
    /// The PCK certificate ran out a month ago.
    ExpiredPck,
    /// The PCK certificate is on its issuer's revocation list.
    RevokedPck,
    /// Another machine: PPID and platform instance id differ.
    OtherPlatformId,
    /// The machine was never updated: its TCB level is `OutOfDate`.
    OldTcb,
    /// The TD was launched on a SEAM loader that is out of date, and runs on one that is not; the
    /// quote is one of version 5.
    OldLaunch,
    /// The TD runs on a SEAM loader that is out of date; the quote is one of version 5.
    OldCurrent,
    /// The TDX module is out of date.
    OldModule,
    /// The quoting enclave is out of date.
    OldQe,
    /// The quoting enclave's level asks for configuration.
    UnconfiguredQe,
    // The collateral.
    /// TCB info and QE identity ran out a month ago.
    ExpiredCollateral,
    /// Both revocation lists ran out a month ago.
    ExpiredCrl,
    /// The revocation list of the PCK's issuer is signed by somebody else.
    ForeignCrl,
    /// The revocation list of the PCK's issuer says that it leaves out certificates of CAs.
    PartialCrl,
    /// The signer of TCB info and QE identity has the right name, but the root did not sign it.
    ForeignTcbSigner,
    /// The TCB info is that of another family of machines.
    WrongFmspc,
}

impl Lie {
    /// Every one.
    pub fn all() -> &'static [Self] {
        Self::value_variants()
    }

    /// How `--danger-lie` spells it.
    pub fn name(self) -> String {
        self.to_possible_value().expect("no variant is hidden").get_name().to_owned()
    }
}
