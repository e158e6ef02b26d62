//! The calls that a guest answers: three services, one list of requests.

use super::{
    Arguments, DeriveKeyArgs, EmitEventArgs, GetAttestationForAppKeyRequest, GetKeyArgs,
    GetTlsKeyArgs, PrpcError, RawQuoteArgs, SignRequest, TdxQuoteArgs, VerifyRequest,
};

/// A service, and so a place where calls come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// `DstackGuest` on `dstack.sock`.
    DstackGuest,
    /// `Tappd` on `tappd.sock`, the interface before it.
    Tappd,
    /// `Worker` on the public port.
    Worker,
}

/// One call with its arguments.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)] // the names are the methods'
pub enum Request {
    GetTlsKey(GetTlsKeyArgs),
    DeriveKey(DeriveKeyArgs),
    GetKey(GetKeyArgs),
    DeriveK256Key(GetKeyArgs),
    GetQuote(RawQuoteArgs),
    TdxQuote(TdxQuoteArgs),
    Attest(RawQuoteArgs),
    EmitEvent(EmitEventArgs),
    Info,
    GpuInfo,
    Sign(SignRequest),
    Verify(VerifyRequest),
    Version,
    GetAttestationForAppKey(GetAttestationForAppKeyRequest),
    Anchor,
    Release,
}

impl Service {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::DstackGuest, Self::Tappd, Self::Worker];

    /// Its name in paths.
    pub fn name(self) -> &'static str {
        match self {
            Self::DstackGuest => "DstackGuest",
            Self::Tappd => "Tappd",
            Self::Worker => "Worker",
        }
    }

    /// Its methods.
    pub fn methods(self) -> &'static [&'static str] {
        match self {
            Self::DstackGuest => &[
                "GetTlsKey",
                "GetKey",
                "GetQuote",
                "Attest",
                "EmitEvent",
                "Info",
                "GpuInfo",
                "Sign",
                "Verify",
                "Version",
                "Anchor",
                "Release",
            ],
            Self::Tappd => {
                &["DeriveKey", "DeriveK256Key", "TdxQuote", "RawQuote", "Info", "Version"]
            }
            Self::Worker => &["Info", "Version", "GetAttestationForAppKey"],
        }
    }

    /// The method that a path names: `/METHOD`, `/SERVICE.METHOD`, either behind `/prpc`, and
    /// behind `/v0`, which is what dstack calls this version of the interface. The public port has
    /// only those behind `/prpc`.
    pub fn method(self, path: &str) -> Result<&'static str, PrpcError> {
        let last = path.strip_prefix("/prpc").map(|rest| rest.strip_prefix("/v0").unwrap_or(rest));
        let last = match (self, last) {
            (_, Some(rest)) => rest,
            (Self::Worker, None) => "",
            (_, None) => path.strip_prefix("/v0").unwrap_or(path),
        };
        let last = last.strip_prefix('/').unwrap_or_default();
        let bare =
            last.strip_prefix(self.name()).and_then(|rest| rest.strip_prefix('.')).unwrap_or(last);
        let known = self.methods().iter().find(|known| **known == bare);
        known.copied().ok_or_else(|| PrpcError::NotFound(super::shortened(bare, 64).to_owned()))
    }

    /// Reads the arguments of `method`; a method without any takes whatever was sent.
    pub fn read(self, method: &str, arguments: Arguments<'_>) -> Result<Request, PrpcError> {
        if !self.methods().contains(&method) {
            return Err(PrpcError::NotFound(super::shortened(method, 64).to_owned()));
        }
        Ok(match method {
            "GetTlsKey" => Request::GetTlsKey(arguments.decode()?),
            "DeriveKey" => Request::DeriveKey(arguments.decode()?),
            "GetKey" => Request::GetKey(arguments.decode()?),
            "DeriveK256Key" => Request::DeriveK256Key(arguments.decode()?),
            "GetQuote" => Request::GetQuote(arguments.decode()?),
            "TdxQuote" => Request::TdxQuote(arguments.decode()?),
            "RawQuote" => Request::TdxQuote(raw(arguments.decode()?)),
            "Attest" => Request::Attest(arguments.decode()?),
            "EmitEvent" => Request::EmitEvent(arguments.decode()?),
            "Info" => Request::Info,
            "GpuInfo" => Request::GpuInfo,
            "Sign" => Request::Sign(arguments.decode()?),
            "Verify" => Request::Verify(arguments.decode()?),
            "Version" => Request::Version,
            "Anchor" => Request::Anchor,
            "Release" => Request::Release,
            "GetAttestationForAppKey" => Request::GetAttestationForAppKey(arguments.decode()?),
            _ => return Err(PrpcError::NotFound(method.to_owned())),
        })
    }
}

/// `RawQuote` is `TdxQuote` without a hash.
fn raw(RawQuoteArgs { report_data }: RawQuoteArgs) -> TdxQuoteArgs {
    TdxQuoteArgs { report_data, hash_algorithm: "raw".to_owned(), prefix: String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prpc::Encoding;

    #[test]
    fn every_method_of_every_service_is_read() {
        for service in Service::ALL {
            for method in service.methods() {
                for encoding in [Encoding::Json, Encoding::Protobuf] {
                    service.read(method, Arguments::Body(encoding, b"")).unwrap();
                }
            }
        }
    }

    #[test]
    fn paths_are_dstacks() {
        let found = |service: Service, path| service.method(path).is_ok();
        for path in [
            "/Info",
            "/DstackGuest.Info",
            "/prpc/Info",
            "/prpc/DstackGuest.Info",
            "/v0/Info",
            "/prpc/v0/Info",
        ] {
            assert!(found(Service::DstackGuest, path), "{path}");
        }
        for path in [
            "/",
            "",
            "/info",
            "/v1/Info",
            "/Tappd.Info",
            "/Info/",
            "//Info",
            "/prpcInfo",
            "/TdxQuote",
        ] {
            assert!(!found(Service::DstackGuest, path), "{path}");
        }
        assert!(
            found(Service::Tappd, "/prpc/Tappd.TdxQuote") && !found(Service::Tappd, "/GetQuote")
        );
        assert!(found(Service::Worker, "/prpc/Worker.Info") && !found(Service::Worker, "/Info"));
        assert_eq!(Service::Tappd.method("/x").unwrap_err().to_string(), "Service not found: x");
    }

    #[test]
    fn a_method_without_arguments_takes_anything_and_a_raw_quote_is_not_hashed() {
        let body = |bytes| Arguments::Body(Encoding::Json, bytes);
        assert_eq!(Service::Worker.read("Info", body(b"no JSON")), Ok(Request::Info));
        let Ok(Request::TdxQuote(args)) =
            Service::Tappd.read("RawQuote", body(br#"{"report_data":"00"}"#))
        else {
            panic!()
        };
        assert_eq!((args.hash_algorithm.as_str(), args.report_data), ("raw", vec![0]));
        assert!(matches!(
            Service::Tappd.read("GetQuote", body(b"{}")),
            Err(PrpcError::NotFound(_))
        ));
    }
}
