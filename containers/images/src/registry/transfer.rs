//! One blob on its way from one source: hashed as it streams, and taken up again where it broke
//! off.
//!
//! The hash goes over the whole, whatever pieces it came in; a source that ignores the question for
//! the rest begins anew. Source: RFC 9110, section 14 (range requests).

use compose::digest::ContentDigest;
use reqwest::header::{CONTENT_ENCODING, CONTENT_RANGE, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncSeekExt, AsyncWrite, AsyncWriteExt, BufWriter};

use super::{SourceError, Wanted};

/// Where what is fetched goes; emptied before each source is tried.
pub(crate) trait Sink: AsyncWrite + Unpin {
    /// Forgets what was written.
    fn restart(&mut self) -> impl Future<Output = std::io::Result<()>> + Send;
}

impl Sink for Vec<u8> {
    async fn restart(&mut self) -> std::io::Result<()> {
        self.clear();
        Ok(())
    }
}

impl Sink for BufWriter<tokio::fs::File> {
    async fn restart(&mut self) -> std::io::Result<()> {
        self.flush().await?;
        let file = self.get_mut();
        file.set_len(0).await?;
        file.rewind().await.map(|_| ())
    }
}

/// What has come of a blob so far.
pub(super) struct Transfer<'a, S> {
    wanted: Wanted<'a>,
    sink: &'a mut S,
    hasher: Sha256,
    received: u64,
    whole: bool,
}

impl<'a, S: Sink> Transfer<'a, S> {
    /// Nothing yet; `sink` is emptied.
    pub(super) async fn begin(wanted: Wanted<'a>, sink: &'a mut S) -> Result<Self, SourceError> {
        sink.restart().await.map_err(SourceError::Store)?;
        Ok(Self { wanted, sink, hasher: Sha256::new(), received: 0, whole: false })
    }

    /// How many bytes have come.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Takes in an answer to the question for everything from [`Transfer::received`] on.
    pub(super) async fn take(&mut self, mut response: Response) -> Result<(), SourceError> {
        self.check_head(&response).await?;
        let limit = self.limit();
        while let Some(chunk) = response.chunk().await? {
            let received = self.received.saturating_add(chunk.len() as u64);
            if received > limit {
                return Err(SourceError::TooLong(limit));
            }
            self.received = received;
            self.hasher.update(&chunk);
            self.sink.write_all(&chunk).await.map_err(SourceError::Store)?;
            self.wanted.count(|progress| progress.received(chunk.len() as u64));
        }
        match self.wanted.size {
            Some(expected) if expected != self.received => {
                Err(SourceError::Truncated { expected, found: self.received })
            }
            _ => Ok(()),
        }
    }

    /// Says whether what came is what was wanted.
    pub(super) async fn finish(mut self) -> Result<(), SourceError> {
        self.sink.flush().await.map_err(SourceError::Store)?;
        let found = ContentDigest::from_bytes(self.hasher.finalize_reset().into());
        self.whole = found == self.wanted.digest;
        match self.whole {
            true => Ok(()),
            false => Err(SourceError::WrongDigest { expected: self.wanted.digest, found }),
        }
    }

    fn limit(&self) -> u64 {
        self.wanted.size.unwrap_or(self.wanted.max_bytes).min(self.wanted.max_bytes)
    }

    /// Status, range, encoding and length, before a byte is taken.
    async fn check_head(&mut self, response: &Response) -> Result<(), SourceError> {
        let header = |name| {
            response.headers().get(name).map(|value| String::from_utf8_lossy(value.as_bytes()))
        };
        match response.status() {
            StatusCode::OK => self.restart().await?,
            StatusCode::PARTIAL_CONTENT if self.received > 0 => {
                let found = header(CONTENT_RANGE).unwrap_or_default();
                if !continues(&found, self.received, self.wanted.size) {
                    return Err(SourceError::WrongRange {
                        offset: self.received,
                        found: short(&found),
                    });
                }
            }
            status => {
                let after = header(RETRY_AFTER);
                return Err(SourceError::of_status(status.as_u16(), after.as_deref()));
            }
        }
        if let Some(encoding) = header(CONTENT_ENCODING).filter(|encoding| encoding != "identity") {
            return Err(SourceError::Encoded(short(&encoding)));
        }
        let missing = self.limit() - self.received;
        match (response.content_length(), self.wanted.size) {
            (Some(stated), Some(_)) if stated != missing => {
                Err(SourceError::WrongLength { expected: missing, stated })
            }
            (Some(stated), None) if stated > missing => Err(SourceError::TooLong(self.limit())),
            _ => Ok(()),
        }
    }

    /// The source sends everything, from the first byte on.
    async fn restart(&mut self) -> Result<(), SourceError> {
        if self.received > 0 {
            self.sink.restart().await.map_err(SourceError::Store)?;
            self.wanted.count(|progress| progress.forgotten(self.received));
            self.hasher = Sha256::new();
            self.received = 0;
        }
        Ok(())
    }
}

impl<S> Drop for Transfer<'_, S> {
    /// What came is of no use, however it ended.
    fn drop(&mut self) {
        if !self.whole {
            self.wanted.count(|progress| progress.forgotten(self.received));
        }
    }
}

/// Whether a `Content-Range` is `bytes OFFSET-LAST/SIZE` up to the end of the whole.
fn continues(text: &str, offset: u64, size: Option<u64>) -> bool {
    let parts = || {
        let (range, whole) = text.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let whole = match whole {
            "*" => None,
            whole => Some(whole.parse::<u64>().ok()?),
        };
        Some((first.parse::<u64>().ok()?, last.parse::<u64>().ok()?, whole))
    };
    parts().is_some_and(|(first, last, whole)| {
        let ends = size.is_none_or(|size| last.checked_add(1) == Some(size));
        first == offset && ends && (whole.is_none() || size.is_none() || whole == size)
    })
}

/// As much of a foreign header as an error needs.
pub(super) fn short(text: &str) -> String {
    text.chars().take(120).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_rest_continues() {
        for good in ["bytes 10-99/100", "bytes 10-99/*"] {
            assert!(continues(good, 10, Some(100)), "{good}");
        }
        for bad in [
            "",
            "bytes 0-99/100",
            "bytes 10-98/100",
            "bytes 10-99/101",
            "bytes 11-99/100",
            "items 10-99/100",
            "bytes */100",
        ] {
            assert!(!continues(bad, 10, Some(100)), "{bad}");
        }
    }
}
