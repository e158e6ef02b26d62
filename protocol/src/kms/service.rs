//! The calls of a KMS: one service for each kind of client.

use super::members::{AdmitRequest, AppendRequest, GetKmsKeyRequest, ProposeRequest, VoteRequest};
use super::messages::{
    AcceptEnvVersionRequest, AnchorRequest, AppIdRequest, GetAppKeyRequest, LedgerRequest,
    NewEpochRequest, OpenDiskRequest, PendingRequest, PutImageRequest, Share, SignCertRequest,
    SignedDocument,
};
use super::pads::{
    AuditHeadRequest, AuditRequest, EnrolRequest, FetchKeysRequest, KeepRequest, PushKeyRequest,
    RevokeRequest, SpendRequest, UpdateRequest,
};
use super::time::GetTimeRequest;
use crate::prpc::{Arguments, PrpcError};

/// Which calls there are, by who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KmsService {
    /// `KMS` for a guest that was verified, on the attested channel.
    Guest,
    /// `KMS` for anybody, over plain TLS.
    Public,
    /// `Onboard`, for an owner on the attested channel.
    Owner,
    /// `Pads`, for the middleware of a guest that was verified, on the attested channel.
    Middleware,
    /// `Pads`, for a custodian on the attested channel.
    Custodian,
    /// `Members`, for another process of the same KMS on the attested channel.
    Member,
}

/// One call with its arguments.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)] // the names are the methods'
pub enum Request {
    GetAppKey(GetAppKeyRequest),
    OpenDisk(OpenDiskRequest),
    Anchor(AnchorRequest),
    AcceptEnvVersion(AcceptEnvVersionRequest),
    GetTime(GetTimeRequest),
    SignCert(SignCertRequest),
    GetTempCaCert,
    GetMeta,
    GetAppEnvEncryptPubKey(AppIdRequest),
    Status,
    Bootstrap,
    NewEpoch(NewEpochRequest),
    TakeShare,
    GiveShare(Share),
    CertifyRoot(SignedDocument),
    SetList(SignedDocument),
    Resume(SignedDocument),
    SetPolicy(SignedDocument),
    GetPolicy,
    Pending(PendingRequest),
    PutImage(PutImageRequest),
    ClearImageCache,
    Ledger(LedgerRequest),
    GetKmsKey(GetKmsKeyRequest),
    Images,
    Head,
    Admit(AdmitRequest),
    Append(AppendRequest),
    Vote(VoteRequest),
    Propose(ProposeRequest),
    FetchKeys(FetchKeysRequest),
    Spend(SpendRequest),
    Keep(KeepRequest),
    Update(UpdateRequest),
    AuditHead(AuditHeadRequest),
    Enrol(EnrolRequest),
    PushKey(PushKeyRequest),
    Revoke(RevokeRequest),
    Audit(AuditRequest),
}

impl KmsService {
    /// Its name in paths.
    pub fn name(self) -> &'static str {
        match self {
            Self::Guest | Self::Public => "KMS",
            Self::Owner => "Onboard",
            Self::Middleware | Self::Custodian => "Pads",
            Self::Member => "Members",
        }
    }

    /// Its methods.
    pub fn methods(self) -> &'static [&'static str] {
        match self {
            Self::Guest => &[
                "GetAppKey",
                "OpenDisk",
                "Anchor",
                "AcceptEnvVersion",
                "GetTime",
                "SignCert",
                "GetTempCaCert",
                "GetMeta",
            ],
            Self::Public => &["GetMeta", "GetAppEnvEncryptPubKey"],
            Self::Owner => &[
                "Status",
                "Bootstrap",
                "NewEpoch",
                "TakeShare",
                "GiveShare",
                "CertifyRoot",
                "SetList",
                "Resume",
                "SetPolicy",
                "GetPolicy",
                "Pending",
                "PutImage",
                "ClearImageCache",
                "Ledger",
                "GetAppEnvEncryptPubKey",
            ],
            Self::Middleware => &["FetchKeys", "Spend", "Keep", "Update", "AuditHead", "GetTime"],
            Self::Custodian => &["Enrol", "PushKey", "Revoke", "Audit"],
            Self::Member => {
                &["GetKmsKey", "Ledger", "Images", "Head", "Admit", "Append", "Vote", "Propose"]
            }
        }
    }

    /// The method that a path names: `/prpc/METHOD` or `/prpc/SERVICE.METHOD`.
    ///
    /// # Errors
    /// If there is no such method for this client.
    pub fn method(self, path: &str) -> Result<&'static str, PrpcError> {
        let last = path.strip_prefix("/prpc/").unwrap_or_default();
        let bare =
            last.strip_prefix(self.name()).and_then(|rest| rest.strip_prefix('.')).unwrap_or(last);
        let known = self.methods().iter().find(|known| **known == bare);
        known.copied().ok_or_else(|| PrpcError::NotFound(crate::prpc::shortened(bare, 64).into()))
    }

    /// Reads the arguments of `method`.
    ///
    /// # Errors
    /// If there is no such method for this client, or its arguments are others.
    pub fn read(self, method: &str, arguments: Arguments<'_>) -> Result<Request, PrpcError> {
        let unknown = || PrpcError::NotFound(crate::prpc::shortened(method, 64).to_owned());
        if !self.methods().contains(&method) {
            return Err(unknown());
        }
        Ok(match method {
            "GetAppKey" => Request::GetAppKey(arguments.decode()?),
            "OpenDisk" => Request::OpenDisk(arguments.decode()?),
            "Anchor" => Request::Anchor(arguments.decode()?),
            "AcceptEnvVersion" => Request::AcceptEnvVersion(arguments.decode()?),
            "GetTime" => Request::GetTime(arguments.decode()?),
            "SignCert" => Request::SignCert(arguments.decode()?),
            "GetTempCaCert" => Request::GetTempCaCert,
            "GetMeta" => Request::GetMeta,
            "GetAppEnvEncryptPubKey" => Request::GetAppEnvEncryptPubKey(arguments.decode()?),
            "Status" => Request::Status,
            "Bootstrap" => Request::Bootstrap,
            "NewEpoch" => Request::NewEpoch(arguments.decode()?),
            "TakeShare" => Request::TakeShare,
            "GiveShare" => Request::GiveShare(arguments.decode()?),
            "CertifyRoot" => Request::CertifyRoot(arguments.decode()?),
            "SetList" => Request::SetList(arguments.decode()?),
            "Resume" => Request::Resume(arguments.decode()?),
            "SetPolicy" => Request::SetPolicy(arguments.decode()?),
            "GetPolicy" => Request::GetPolicy,
            "Pending" => Request::Pending(arguments.decode()?),
            "PutImage" => Request::PutImage(arguments.decode()?),
            "ClearImageCache" => Request::ClearImageCache,
            "Ledger" => Request::Ledger(arguments.decode()?),
            "GetKmsKey" => Request::GetKmsKey(arguments.decode()?),
            "Images" => Request::Images,
            "Head" => Request::Head,
            "Admit" => Request::Admit(arguments.decode()?),
            "Append" => Request::Append(arguments.decode()?),
            "Vote" => Request::Vote(arguments.decode()?),
            "Propose" => Request::Propose(arguments.decode()?),
            "FetchKeys" => Request::FetchKeys(arguments.decode()?),
            "Spend" => Request::Spend(arguments.decode()?),
            "Keep" => Request::Keep(arguments.decode()?),
            "Update" => Request::Update(arguments.decode()?),
            "AuditHead" => Request::AuditHead(arguments.decode()?),
            "Enrol" => Request::Enrol(arguments.decode()?),
            "PushKey" => Request::PushKey(arguments.decode()?),
            "Revoke" => Request::Revoke(arguments.decode()?),
            "Audit" => Request::Audit(arguments.decode()?),
            _ => return Err(unknown()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prpc::Encoding;

    #[test]
    fn every_method_is_read_and_only_by_its_own_client() {
        use KmsService::{Custodian, Guest, Member, Middleware, Owner, Public};
        for service in [Guest, Public, Owner, Middleware, Custodian, Member] {
            for method in service.methods() {
                let path = format!("/prpc/{}.{method}", service.name());
                assert_eq!(service.method(&path), Ok(*method));
                service.read(method, Arguments::Body(Encoding::Protobuf, b"")).unwrap();
            }
        }
        for path in ["/prpc/KMS.GetAppKey", "/prpc/Bootstrap", "/GetMeta", "/prpc/"] {
            assert!(KmsService::Public.method(path).is_err(), "{path}");
        }
        assert!(KmsService::Guest.method("/prpc/Bootstrap").is_err());
        assert!(KmsService::Owner.method("/prpc/GetAppKey").is_err());
        for service in [KmsService::Guest, KmsService::Public, KmsService::Owner] {
            assert!(service.method("/prpc/GetKmsKey").is_err());
            assert!(service.method("/prpc/Append").is_err());
            assert!(service.method("/prpc/Pads.FetchKeys").is_err());
        }
        assert!(KmsService::Custodian.method("/prpc/Pads.FetchKeys").is_err());
        assert!(KmsService::Middleware.method("/prpc/Pads.Enrol").is_err());
    }
}
