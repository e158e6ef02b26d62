//! Plain downloads over HTTP and HTTPS that can be resumed.
//!
//! TLS is checked against the host's trust store, but nothing rests on it: the
//! digests judge. So any mirror and any proxy will do.

use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::time::Duration;

use fs_err as fs;
use ureq::Agent;
use ureq::http::StatusCode;

use crate::progress::Activity;
use crate::tls;

/// A connection that does not come about in this time will not.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// A body that takes longer is fetched in several goes; each resumes the last.
const BODY_TIMEOUT: Duration = Duration::from_secs(300);
/// Goes without a single new byte before an address counts as dead.
const IDLE_ATTEMPTS: u32 = 3;
/// Read at once; progress shows in such steps.
const BLOCK_BYTES: usize = 64 << 10;

/// How much of one file the progress has shown: bytes that are fetched again do not count twice.
pub(super) struct Shown<'a> {
    activity: &'a dyn Activity,
    bytes: u64,
}

impl<'a> Shown<'a> {
    pub(super) fn new(activity: &'a dyn Activity) -> Self {
        Self { activity, bytes: 0 }
    }

    fn reach(&mut self, bytes: u64) {
        self.activity.advance(bytes.saturating_sub(self.bytes));
        self.bytes = self.bytes.max(bytes);
    }
}

pub(super) struct Client(Agent);

impl Client {
    /// The environment's proxy is used, else `proxy`, else none.
    pub(super) fn new(proxy: Option<&str>) -> Self {
        let mut config = Agent::config_builder()
            .tls_config(tls::config())
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(CONNECT_TIMEOUT))
            .timeout_recv_body(Some(BODY_TIMEOUT));
        let from_env = ureq::Proxy::try_from_env();
        if let (None, Some(proxy)) = (from_env, proxy.and_then(|p| ureq::Proxy::new(p).ok())) {
            config = config.proxy(Some(proxy));
        }
        Self(config.build().new_agent())
    }

    /// The whole body, if it has at most `limit_bytes`.
    pub(super) fn get(&self, url: &str, limit_bytes: u64) -> Result<Vec<u8>, HttpError> {
        let fail = |error: ureq::Error| HttpError::request(url, error);
        let response = self.0.get(url).call().map_err(fail)?;
        let body = response.into_body().into_with_config();
        body.limit(limit_bytes).read_to_vec().map_err(fail)
    }

    pub(super) fn exists(&self, url: &str) -> bool {
        self.0.head(url).call().is_ok()
    }

    /// Brings `path` to `size` bytes, going on where an earlier try ended.
    pub(super) fn resume(
        &self,
        url: &str,
        path: &Path,
        size: u64,
        shown: &mut Shown<'_>,
    ) -> Result<(), HttpError> {
        let mut have = fs::metadata(path).map_or(0, |meta| meta.len()).min(size);
        shown.reach(have);
        if have == size {
            return Ok(());
        }
        let mut idle = 0;
        loop {
            let before = have;
            let outcome = self.go_on(url, path, &mut have, size, shown);
            match outcome {
                Ok(()) if have == size => return Ok(()),
                Err(error @ HttpError::Request(..)) if error.is_final() => return Err(error),
                Err(error @ (HttpError::File(_) | HttpError::TooLong(..))) => return Err(error),
                Ok(()) | Err(HttpError::Request(..) | HttpError::Short(..)) if have > before => {
                    idle = 0;
                }
                other => {
                    idle += 1;
                    if idle == IDLE_ATTEMPTS {
                        other?;
                        return Err(HttpError::Short(url.into(), have, size));
                    }
                }
            }
        }
    }

    fn go_on(
        &self,
        url: &str,
        path: &Path,
        have: &mut u64,
        size: u64,
        shown: &mut Shown<'_>,
    ) -> Result<(), HttpError> {
        let fail = |error: ureq::Error| HttpError::request(url, error);
        let mut request = self.0.get(url);
        if *have > 0 {
            request = request.header("Range", format!("bytes={have}-"));
        }
        let response = request.call().map_err(fail)?;
        if response.status() != StatusCode::PARTIAL_CONTENT {
            *have = 0;
        }
        let mut file = fs::File::options().create(true).write(true).truncate(false).open(path)?;
        file.file().set_len(*have)?;
        io::Seek::seek(&mut file, io::SeekFrom::End(0))?;
        let mut body = response.into_body().into_reader();
        let mut block = vec![0; BLOCK_BYTES];
        loop {
            let n = body.read(&mut block).map_err(|error| fail(ureq::Error::Io(error)))?;
            if n == 0 {
                return Ok(());
            }
            *have += n as u64;
            if *have > size {
                fs::remove_file(path)?;
                return Err(HttpError::TooLong(url.into(), size));
            }
            file.write_all(&block[..n])?;
            shown.reach(*have);
        }
    }
}

/// Why an address did not give the file.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// {0} cannot be fetched
    #[error("{0} cannot be fetched")]
    Request(String, #[source] Box<ureq::Error>),
    /// {0} ended after {1} bytes of {2}
    #[error("{0} ended after {1} bytes of {2}")]
    Short(String, u64, u64),
    /// {0} has more than the {1} bytes that the lock states
    #[error("{0} has more than the {1} bytes that the lock states")]
    TooLong(String, u64),
    /// the download cannot be written
    #[error("the download cannot be written")]
    File(#[from] io::Error),
}

impl HttpError {
    fn request(url: &str, error: ureq::Error) -> Self {
        Self::Request(url.into(), Box::new(error))
    }

    /// The server has answered; asking again changes nothing.
    fn is_final(&self) -> bool {
        matches!(self, Self::Request(_, error) if matches!(**error, ureq::Error::StatusCode(400..=499)))
    }
}
