//! Quotes through configfs-tsm: a directory a request, report data in, quote out.
//!
//! The kernel commits `inblob` when it is closed and makes the quote when `outblob` is read;
//! `generation` counts changes, so an answer to somebody else's request is noticed and never
//! returned. Source: Linux 7.2, `Documentation/ABI/testing/configfs-tsm-report`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use protocol::digest::ReportData;
use protocol::quote;

use crate::TeeError;

/// Name of the driver that serves TDX quotes.
const PROVIDER: &str = "tdx_guest";

/// A request's directory, removed when the request is over.
struct Request {
    directory: PathBuf,
}

/// Asks the provider below `reports` for one quote.
pub(crate) fn quote(reports: &Path, report_data: &ReportData) -> Result<Vec<u8>, TeeError> {
    let request = Request::create(reports)?;
    request.write_inblob(report_data)?;
    let before = request.attribute("generation")?;
    let quote = request.outblob()?;
    let provider = request.attribute("provider")?;
    if provider != PROVIDER {
        return Err(TeeError::Provider { found: provider, expected: PROVIDER });
    }
    let after = request.attribute("generation")?;
    if before != after {
        return Err(TeeError::Raced { before, after });
    }
    Ok(quote)
}

impl Request {
    /// One name a process: callers serialise their quotes, and a directory that a killed
    /// predecessor with the same process id left is replaced.
    fn create(reports: &Path) -> Result<Self, TeeError> {
        let directory = reports.join(format!("dstyx-{}", std::process::id()));
        let mut made = fs::create_dir(&directory);
        if made.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists) {
            made = fs::remove_dir(&directory).and_then(|()| fs::create_dir(&directory));
        }
        made.map_err(|source| TeeError::io("make", &directory, source))?;
        Ok(Self { directory })
    }

    fn write_inblob(&self, report_data: &ReportData) -> Result<(), TeeError> {
        let path = self.directory.join("inblob");
        let mut file = OpenOptions::new()
            .write(true)
            .open(&path)
            .map_err(|source| TeeError::io("open", &path, source))?;
        match file
            .write(report_data.as_bytes())
            .map_err(|source| TeeError::io("write", &path, source))?
        {
            written if written == report_data.0.len() => Ok(()),
            found => Err(TeeError::Length {
                path: path.display().to_string(),
                found,
                expected: report_data.0.len(),
            }),
        }
    }

    fn outblob(&self) -> Result<Vec<u8>, TeeError> {
        let path = self.directory.join("outblob");
        let mut quote = Vec::new();
        let file = File::open(&path).map_err(|source| TeeError::io("open", &path, source))?;
        file.take(quote::MAX_BYTES as u64 + 1)
            .read_to_end(&mut quote)
            .map_err(|source| TeeError::io("read", &path, source))?;
        if quote.len() > quote::MAX_BYTES {
            return Err(TeeError::QuoteTooLarge { limit: quote::MAX_BYTES });
        }
        Ok(quote)
    }

    fn attribute(&self, name: &str) -> Result<String, TeeError> {
        let path = self.directory.join(name);
        let text =
            fs::read_to_string(&path).map_err(|source| TeeError::io("read", &path, source))?;
        Ok(text.trim_end().to_owned())
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        // Best effort: an entry that stays is replaced by the next request of this process.
        let _ = fs::remove_dir(&self.directory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Plain files stand in for configfs attributes; that the kernel fills them is shown by the
    // booted guest.
    fn prepared(provider: &str) -> (tempfile::TempDir, Request) {
        let reports = tempfile::tempdir().unwrap();
        let request = Request::create(reports.path()).unwrap();
        for (name, content) in
            [("inblob", ""), ("outblob", "quote"), ("generation", "1\n"), ("provider", provider)]
        {
            fs::write(request.directory.join(name), content).unwrap();
        }
        (reports, request)
    }

    #[test]
    fn a_request_writes_its_report_data_once_and_reads_the_answer() {
        let (_reports, request) = prepared("tdx_guest\n");
        request.write_inblob(&ReportData([9; 64])).unwrap();
        assert_eq!(fs::read(request.directory.join("inblob")).unwrap(), [9; 64]);
        assert_eq!(request.outblob().unwrap(), b"quote");
        assert_eq!(request.attribute("provider").unwrap(), PROVIDER);
    }

    #[test]
    fn a_quote_beyond_the_budget_is_refused() {
        let (_reports, request) = prepared("tdx_guest\n");
        fs::write(request.directory.join("outblob"), vec![0; quote::MAX_BYTES + 1]).unwrap();
        assert!(matches!(request.outblob(), Err(TeeError::QuoteTooLarge { .. })));
    }

    #[test]
    fn an_empty_directory_of_a_predecessor_is_replaced() {
        let reports = tempfile::tempdir().unwrap();
        fs::create_dir(reports.path().join(format!("dstyx-{}", std::process::id()))).unwrap();
        assert!(Request::create(reports.path()).is_ok());
        assert_eq!(fs::read_dir(reports.path()).unwrap().count(), 0, "removed with the request");
    }
}
