//! Requests to authorities.
//!
//! Owns the bounds of a request (time, size, no redirects, TLS always) and what its response says about waiting; leaves what is
//! in it to the library. Invariant: a request ends within [`REQUEST_TIMEOUT`], whatever the other side does.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use tidegate_tls::{Automatic, directory_authorities, rustls};
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};
use ureq::{Agent, http};

/// For a whole request, the look-up of the name and the handshake included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// For a connection to one of the addresses.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest body: a chain of certificates has 10 kB, a directory 1 kB.
const BODY_BYTES_MAX: u64 = 256 * 1024;

/// One exchange of a request and its response; a status of failure is a response like any other.
pub(crate) trait Exchange: Send + Sync + 'static {
    /// Waits for the response.
    ///
    /// # Errors
    /// There is none; why.
    fn exchange(&self, request: http::Request<Vec<u8>>) -> Result<http::Response<Vec<u8>>, String>;
}

/// An authority over HTTPS.
pub(crate) struct Https(Agent);

impl Https {
    /// Believes the authority's server as the settings say.
    ///
    /// # Errors
    /// The certificates that it is to be believed from cannot be read.
    pub(crate) fn new(settings: &Automatic) -> Result<Self, String> {
        let believed = directory_authorities(&settings.directory_ca);
        let believed = believed.map_err(|problem| problem.to_string())?;
        let roots: Vec<_> =
            believed.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .root_certs(RootCerts::new_with_certs(&roots))
            .unversioned_rustls_crypto_provider(provider)
            .build();
        let config = Agent::config_builder()
            .https_only(true)
            .http_status_as_error(false)
            // A signed request names the URL that it is for.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(REQUEST_TIMEOUT))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .max_idle_connections(1)
            .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls)
            .build();
        Ok(Self(config.new_agent()))
    }
}

impl Exchange for Https {
    fn exchange(&self, request: http::Request<Vec<u8>>) -> Result<http::Response<Vec<u8>>, String> {
        let response = self.0.run(request).map_err(|error| error.to_string())?;
        let (parts, mut body) = response.into_parts();
        let bytes = body.with_config().limit(BODY_BYTES_MAX).read_to_vec();
        let bytes = bytes.map_err(|error| error.to_string())?;
        Ok(http::Response::from_parts(parts, bytes))
    }
}

/// What the library sends its requests through.
#[derive(Clone)]
pub(crate) struct Transport {
    exchange: Arc<dyn Exchange>,
    retry_after: Arc<Mutex<Option<SystemTime>>>,
}

impl Transport {
    pub(crate) fn new(exchange: Arc<dyn Exchange>) -> Self {
        Self { exchange, retry_after: Arc::default() }
    }

    /// Until when the last response asked to wait.
    pub(crate) fn retry_after(&self) -> Option<SystemTime> {
        *self.retry_after.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, headers: Option<&http::HeaderMap>, now: SystemTime) {
        let value = headers.and_then(|headers| headers.get(http::header::RETRY_AFTER));
        let until = value.and_then(|value| value.to_str().ok()).and_then(|text| until(text, now));
        *self.retry_after.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }

    fn send(&self, request: http::Request<Vec<u8>>) -> Result<BytesResponse, Error> {
        let other = |text: String| Error::Other(text.into());
        let url = request.uri().clone();
        let outcome = self.exchange.exchange(request);
        self.note(outcome.as_ref().ok().map(http::Response::headers), SystemTime::now());
        let response = outcome.map_err(|why| other(format!("{url}: {why}")))?;
        let (parts, body) = response.into_parts();
        if parts.status.is_redirection() {
            let to = parts.headers.get(http::header::LOCATION);
            let to = to.and_then(|to| to.to_str().ok()).unwrap_or("elsewhere");
            return Err(other(format!("{url} redirects to {to}: name that one as the directory")));
        }
        // A problem document is the library's to read; what a machine in between says has no such thing.
        let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_ok();
        if parts.status.as_u16() >= 400 && !is_json {
            return Err(other(format!("{url} answered {}", parts.status)));
        }
        Ok(BytesResponse { parts, body: Box::new(Bytes::from(body)) })
    }
}

impl HttpClient for Transport {
    fn request(
        &self,
        request: http::Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let transport = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            // The library's own way from a body to its bytes.
            let mut body = BytesResponse::from(http::Response::new(body)).body;
            let body = body.into_bytes().await.map_err(Error::Other)?;
            transport.send(http::Request::from_parts(parts, body.to_vec()))
        })
    }
}

/// The time of a `Retry-After` (RFC 9110 §10.2.3): seconds, or a date.
fn until(text: &str, now: SystemTime) -> Option<SystemTime> {
    match text.trim().parse() {
        Ok(seconds) => now.checked_add(Duration::from_secs(seconds)),
        Err(_) => httpdate::parse_http_date(text.trim()).ok(),
    }
}

/// Sees a future of the library to its end. It waits for nothing but requests, and those are over when they are asked for.
///
/// # Errors
/// It waits for something else, which would be forever.
pub(crate) fn now<T>(future: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => Err(Error::Str("an answer that is there at once")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_retry_after_are_read() {
        let now_is = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        for (text, expected) in [
            ("120", Some(1_120)),
            (" 0 ", Some(1_000)),
            ("Thu, 01 Jan 1970 01:00:00 GMT", Some(3_600)),
            ("soon", None),
            ("-5", None),
            ("18446744073709551615", None),
        ] {
            let expected = expected.map(|at| SystemTime::UNIX_EPOCH + Duration::from_secs(at));
            assert_eq!(until(text, now_is), expected, "{text}");
        }
    }

    #[test]
    fn a_future_that_waits_for_something_else_is_an_error() {
        assert!(now(std::future::pending::<Result<(), Error>>()).is_err());
        assert_eq!(now(async { Ok(7) }).ok(), Some(7));
    }
}
