//! What authorities are answered while they look whether a domain is ours.
//!
//! Owns the table of pending answers, for all shards; leaves making them to `tidegate-acme`. Invariant: an answer is given only
//! to who names its token or its domain, and only while its order is under way.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;

/// The protocol in whose name an authority asks for a certificate (RFC 8737 §4).
pub(crate) const ACME_ALPN: &[u8] = b"acme-tls/1";

/// Where the path of an http-01 request begins (RFC 8555 §8.3).
const PATH: &[u8] = b"/.well-known/acme-challenge/";

/// Pending answers: one order has at most [`DOMAINS_MAX`](crate::DOMAINS_MAX), and one is under way at a time.
#[derive(Clone, Default)]
struct Answers {
    /// Key authorizations by token.
    texts: HashMap<Box<[u8]>, Arc<[u8]>>,
    /// Certificates by domain.
    certificates: HashMap<Box<str>, Arc<CertifiedKey>>,
}

/// What authorities are answered, for all shards.
#[derive(Default)]
pub struct Challenges(ArcSwap<Answers>);

impl Challenges {
    /// The key authorization for a request of that path; none: it is a request like any other.
    #[inline]
    #[must_use]
    pub fn text(&self, path: &[u8]) -> Option<Arc<[u8]>> {
        let token = path.strip_prefix(PATH)?;
        self.0.load().texts.get(token).cloned()
    }

    /// From now on the token is answered so.
    pub fn add_text(&self, token: &str, key_authorization: &str) {
        self.change(|answers| {
            answers.texts.insert(token.as_bytes().into(), key_authorization.as_bytes().into());
        });
    }

    /// From now on authorities that ask for `domain` are shown this certificate; its key is PKCS #8.
    ///
    /// # Errors
    /// The key cannot be used; the reason.
    pub fn add_certificate(
        &self,
        domain: &str,
        certificate: CertificateDer<'static>,
        key: Vec<u8>,
    ) -> Result<(), String> {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key));
        let key = any_supported_type(&key).map_err(|error| error.to_string())?;
        let certified = Arc::new(CertifiedKey::new(vec![certificate], key));
        self.change(|answers| {
            answers.certificates.insert(domain.into(), certified.clone());
        });
        Ok(())
    }

    /// The order is over.
    pub fn clear(&self) {
        self.0.store(Arc::default());
    }

    pub(crate) fn certificate(&self, domain: &str) -> Option<Arc<CertifiedKey>> {
        self.0.load().certificates.get(domain).cloned()
    }

    fn change(&self, change: impl Fn(&mut Answers)) {
        self.0.rcu(|answers| {
            let mut answers = Answers::clone(answers);
            change(&mut answers);
            answers
        });
    }
}

impl fmt::Debug for Challenges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let answers = self.0.load();
        let counts = (answers.texts.len(), answers.certificates.len());
        f.debug_tuple("Challenges").field(&counts).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_path_of_a_pending_token_is_answered() {
        let challenges = Challenges::default();
        challenges.add_text("token", "token.print");
        let answer = |path: &str| challenges.text(path.as_bytes()).map(|text| text.to_vec());
        assert_eq!(
            answer("/.well-known/acme-challenge/token").as_deref(),
            Some(&b"token.print"[..])
        );
        for other in [
            "/.well-known/acme-challenge/",
            "/.well-known/acme-challenge/toke",
            "/.well-known/acme-challenge/token/",
            "/.well-known/acme-challenge/token?x",
            "/x/.well-known/acme-challenge/token",
            "token",
        ] {
            assert_eq!(answer(other), None, "{other}");
        }
        challenges.clear();
        assert_eq!(answer("/.well-known/acme-challenge/token"), None);
    }
}
