//! What a certificate says about its holder.
//!
//! Owns reading subjects, names, dates and fingerprints; leaves belief in them to the verifiers. Invariant: a certificate that
//! cannot be read is an error, never a half-empty identity.

use std::fmt::Write as _;
use std::time::SystemTime;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::der::Decode as _;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{AuthorityKeyIdentifier, SubjectAltName};
use x509_cert::name::Name;

/// Longest subject or issuer that is kept, in bytes: a longer one is cut. Real ones stay below 300; they stand in headers and
/// in the log.
const NAME_BYTES_MAX: usize = 1024;

/// The common name (X.520).
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// Who is at the other end, by a certificate that was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The subject as RFC 4514 writes it: `CN=client,O=Example`, no control characters, at most 1024 bytes.
    pub subject: String,
    /// The issuer, likewise.
    pub issuer: String,
    /// The serial number in upper-case hexadecimal digits, two for each byte.
    pub serial: String,
    /// SHA-256 over the certificate in 64 lower-case hexadecimal digits.
    pub fingerprint: String,
    /// The last moment at which it is valid.
    pub not_after: SystemTime,
}

impl PeerIdentity {
    /// Reads the first certificate of a chain.
    ///
    /// # Errors
    /// The certificate cannot be read; the reason.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, String> {
        let parsed = parse(certificate)?;
        let certificate_fields = parsed.tbs_certificate();
        Ok(Self {
            subject: name(certificate_fields.subject()),
            issuer: name(certificate_fields.issuer()),
            serial: serial(certificate_fields.serial_number().as_bytes()),
            fingerprint: fingerprint(certificate),
            not_after: certificate_fields.validity().not_after.to_system_time(),
        })
    }

    /// Whether it is no longer valid. A session that is resumed brings the certificate of its first handshake, which nobody
    /// has verified again.
    #[must_use]
    pub fn is_expired(&self, now: SystemTime) -> bool {
        now > self.not_after
    }
}

/// What a certificate of ours says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// DNS names in lower case, wildcards as they stand.
    pub names: Vec<String>,
    pub subject: String,
    pub serial: String,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
}

impl Facts {
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, String> {
        let parsed = parse(certificate)?;
        let fields = parsed.tbs_certificate();
        let alternatives = fields.get_extension::<SubjectAltName>().map_err(|e| e.to_string())?;
        let mut names: Vec<String> = Vec::new();
        for alternative in alternatives.iter().flat_map(|(_, names)| &names.0) {
            if let GeneralName::DnsName(dns) = alternative {
                names.push(dns.as_str().trim_end_matches('.').to_ascii_lowercase());
            }
        }
        if alternatives.is_none() {
            // What certificates of before 2000 have, and those that are made by hand.
            names.extend(common_name(fields.subject()).filter(|name| !name.contains(' ')));
        }
        Ok(Self {
            names,
            subject: name(fields.subject()),
            serial: serial(fields.serial_number().as_bytes()),
            not_before: fields.validity().not_before.to_system_time(),
            not_after: fields.validity().not_after.to_system_time(),
        })
    }
}

/// The identifier of the issuer's key and the content of the serial number.
pub(crate) fn renewal_identifier(certificate: &CertificateDer<'_>) -> Option<(Vec<u8>, Vec<u8>)> {
    let parsed = parse(certificate).ok()?;
    let fields = parsed.tbs_certificate();
    let (_, issuer) = fields.get_extension::<AuthorityKeyIdentifier>().ok()??;
    let key = issuer.key_identifier?.as_bytes().to_vec();
    Some((key, fields.serial_number().as_bytes().to_vec()))
}

/// The profile `Raw` takes what real authorities have issued against RFC 5280, such as negative serial numbers.
fn parse(certificate: &CertificateDer<'_>) -> Result<CertificateInner<Raw>, String> {
    CertificateInner::<Raw>::from_der(certificate).map_err(|error| error.to_string())
}

/// The digits of a serial number, without the zero byte that DER puts before a high bit (X.690 §8.3).
fn serial(bytes: &[u8]) -> String {
    let digits = match bytes {
        [0, rest @ ..] if !rest.is_empty() => rest,
        all => all,
    };
    hexadecimal(digits, Case::Upper)
}

fn name(name: &Name) -> String {
    let mut text = name.to_string();
    // Cuts at a character.
    let end = (0..=NAME_BYTES_MAX.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    text.truncate(end.unwrap_or(0));
    text
}

fn common_name(name: &Name) -> Option<String> {
    let mut values = name.iter();
    let value = values.find(|value| value.oid == COMMON_NAME)?;
    Some(std::str::from_utf8(value.value.value()).ok()?.to_ascii_lowercase())
}

#[derive(Clone, Copy)]
enum Case {
    Upper,
    Lower,
}

fn hexadecimal(bytes: &[u8], case: Case) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        match case {
            Case::Upper => write!(text, "{byte:02X}"),
            Case::Lower => write!(text, "{byte:02x}"),
        }
        .expect("a String takes everything");
    }
    text
}

/// SHA-256 over a certificate.
pub(crate) fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    hexadecimal(digest(&SHA256, certificate).as_ref(), Case::Lower)
}
