//! Which certificate is shown for a name.
//!
//! Owns the look-up; leaves loading to `store`. Invariant: a look-up takes the same time with ten certificates and with ten
//! thousand, and allocates nothing for a name in lower case.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::SignatureScheme;

use crate::certificate::{Certificate, KeyKind};

/// The certificates of one name, at most one of each kind of key, in the order of preference.
#[derive(Clone, Debug, Default)]
struct Slot([Option<Arc<Certificate>>; 3]);

impl Slot {
    /// The first one of its kind stays.
    fn add(&mut self, certificate: &Arc<Certificate>) {
        let place = match certificate.kind() {
            KeyKind::Ecdsa => 0,
            KeyKind::Ed25519 => 1,
            KeyKind::Rsa => 2,
        };
        self.0[place].get_or_insert_with(|| certificate.clone());
    }

    fn fitting(&self, schemes: &[SignatureScheme]) -> Option<&Arc<Certificate>> {
        let fits = |one: &&Arc<Certificate>| one.certified.key.choose_scheme(schemes).is_some();
        self.0.iter().flatten().find(fits)
    }

    fn first(&self) -> Option<&Arc<Certificate>> {
        self.0.iter().flatten().next()
    }
}

/// All certificates of a bind by their names.
#[derive(Debug, Default)]
pub(crate) struct Index {
    exact: HashMap<Box<str>, Slot>,
    /// By what follows the `*.` (RFC 6125 §6.4.3: a wildcard stands for one label).
    wildcard: HashMap<Box<str>, Slot>,
    default: Slot,
}

impl Index {
    /// Of certificates in the order of the configuration: of two for the same name with keys of the same kind the first is
    /// shown, and the first of all, or another with its first name, where no name fits.
    pub fn new<'a>(certificates: impl Iterator<Item = &'a Arc<Certificate>>) -> Self {
        let mut index = Self::default();
        let mut default_name: Option<&str> = None;
        for (place, certificate) in certificates.enumerate() {
            for name in certificate.names() {
                let (map, key) = match name.strip_prefix("*.") {
                    Some(suffix) => (&mut index.wildcard, suffix),
                    None => (&mut index.exact, name.as_str()),
                };
                map.entry(key.into()).or_default().add(certificate);
            }
            if place == 0 {
                default_name = certificate.names().first().map(String::as_str);
            }
            let is_sibling =
                default_name.is_some_and(|name| certificate.names().iter().any(|own| own == name));
            if place == 0 || is_sibling {
                index.default.add(certificate);
            }
        }
        index
    }

    /// The certificate for a client that asked for `name`, which is in lower case, and verifies these signatures. With
    /// `strict` there is none where no name fits.
    pub fn find(
        &self,
        name: Option<&str>,
        schemes: &[SignatureScheme],
        strict: bool,
    ) -> Option<&Arc<Certificate>> {
        let exact = name.and_then(|name| self.exact.get(name));
        let wildcard = name
            .and_then(|name| name.split_once('.'))
            .and_then(|(_, suffix)| self.wildcard.get(suffix));
        let named = [exact, wildcard];
        let named = || named.into_iter().flatten();
        if named().next().is_some() {
            let fitting = named().find_map(|slot| slot.fitting(schemes));
            // One that does not fit lets the handshake fail with the right words.
            return fitting.or_else(|| named().find_map(Slot::first));
        }
        if strict {
            return None;
        }
        self.default.fitting(schemes).or_else(|| self.default.first())
    }
}
