//! One place to ask: how a question is put there, where redirects may lead, and who is shown a
//! credential.
//!
//! Credentials and tokens go to the registry itself over verified HTTPS, never to where it
//! redirects and never to a mirror; a mirror or an insecure registry is not followed anywhere.

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue, LOCATION, RANGE};
use reqwest::{Client, Response, StatusCode, Url};

use super::transfer::short;
use super::{Kind, MAX_REDIRECTS, SourceError};
use crate::manifest::ACCEPTED;

/// One place to ask.
pub(super) struct Source<'a> {
    pub(super) base: Url,
    pub(super) client: &'a Client,
    pub(super) role: Role,
}

/// What a source is, and so what it is trusted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// A hint of the host.
    Mirror,
    /// The registry itself over plain HTTP, as the measured file allows.
    Insecure,
    /// The registry itself over HTTPS: it may redirect, and ask who we are.
    Registry,
}

/// A question for one document or blob.
pub(super) struct Question {
    pub(super) url: Url,
    pub(super) kind: Kind,
    /// How many bytes we have already.
    pub(super) offset: u64,
}

/// An answer, and whether the source itself gave it.
pub(super) struct Answer {
    pub(super) response: Response,
    pub(super) redirected: bool,
}

impl Source<'_> {
    /// Asks and follows redirects as far as this source is trusted with them.
    pub(super) async fn ask(
        &self,
        question: &Question,
        authorization: Option<&HeaderValue>,
    ) -> Result<Answer, SourceError> {
        let mut url = question.url.clone();
        for hop in 0..=MAX_REDIRECTS {
            let same = url.origin() == self.base.origin();
            let authorization = authorization.filter(|_| same && self.role == Role::Registry);
            let response = self.get(&url, question, authorization).await?;
            if !is_redirect(response.status()) || self.role != Role::Registry {
                return Ok(Answer { response, redirected: hop > 0 });
            }
            url = target(&url, &response)?;
        }
        Err(SourceError::Redirects)
    }

    async fn get(
        &self,
        url: &Url,
        question: &Question,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, SourceError> {
        let mut request = self.client.get(url.clone());
        if question.kind == Kind::Manifest {
            request = request.header(ACCEPT, ACCEPTED);
        }
        if question.offset > 0 {
            request = request.header(RANGE, format!("bytes={}-", question.offset));
        }
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        request.send().await.map_err(SourceError::from)
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Where a redirect leads: over HTTPS, and without a name or password in the address.
fn target(from: &Url, response: &Response) -> Result<Url, SourceError> {
    let location = response.headers().get(LOCATION).map(HeaderValue::as_bytes).unwrap_or_default();
    let location = String::from_utf8_lossy(location);
    let url = from.join(&location).ok().filter(|_| !location.is_empty());
    let fits = |url: &Url| {
        url.scheme() == "https" && url.username().is_empty() && url.password().is_none()
    };
    // An address with a signature in it is as good as a password: only where it leads is told.
    let shown = || {
        url.as_ref()
            .map_or_else(|| short(&location), |url| short(&url.origin().ascii_serialization()))
    };
    match &url {
        Some(url) if fits(url) => Ok(url.clone()),
        _ => Err(SourceError::Redirect(shown())),
    }
}
