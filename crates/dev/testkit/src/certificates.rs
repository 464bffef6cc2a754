//! Owns certificates made at test time: authorities, what they sign, and what they revoke.
//!
//! Leaves who shows and believes them to `tls`. Invariant: nothing here is read from this machine, and every key is new.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    PKCS_RSA_SHA256, RevokedCertParams, SerialNumber, date_time_ymd,
};
use std::sync::atomic::{AtomicU64, Ordering};

/// When a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// From 2020 to 2090.
    Now,
    /// Until 2021.
    Past,
    /// From 2089 on.
    Future,
}

/// A certificate with its key.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate, in PEM.
    pub chain: String,
    /// Its key, in PEM.
    pub key: String,
    serial: SerialNumber,
}

impl Identity {
    /// Both, as one file has them.
    #[must_use]
    pub fn both(&self) -> String {
        format!("{}{}", self.chain, self.key)
    }

    /// One that signs itself.
    ///
    /// # Panics
    /// When a name is none.
    #[must_use]
    #[track_caller]
    pub fn self_signed(names: &[&str]) -> Self {
        let key = KeyPair::generate().expect("a key can be made");
        let (params, serial) = params(names, Validity::Now);
        let certificate = params.self_signed(&key).expect("it is complete");
        Self { chain: certificate.pem(), key: key.serialize_pem(), serial }
    }
}

/// An authority that signs certificates.
pub struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new one.
    ///
    /// # Panics
    /// When no key can be made.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names are no wrong ones");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key can be made");
        let pem = params.self_signed(&key).expect("it is complete").pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// Its own certificate, in PEM.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Signs a certificate with an ECDSA key (P-256) for these names, the first of which is its common name.
    ///
    /// # Panics
    /// When a name is none.
    #[must_use]
    #[track_caller]
    pub fn sign(&self, names: &[&str]) -> Identity {
        self.sign_valid(names, Validity::Now)
    }

    /// As [`Authority::sign`], valid at some time.
    ///
    /// # Panics
    /// When a name is none.
    #[must_use]
    #[track_caller]
    pub fn sign_valid(&self, names: &[&str], validity: Validity) -> Identity {
        self.sign_with(names, validity, &PKCS_ECDSA_P256_SHA256)
    }

    /// As [`Authority::sign`], with an RSA key.
    ///
    /// # Panics
    /// When a name is none.
    #[must_use]
    #[track_caller]
    pub fn sign_rsa(&self, names: &[&str]) -> Identity {
        self.sign_with(names, Validity::Now, &PKCS_RSA_SHA256)
    }

    #[track_caller]
    fn sign_with(
        &self,
        names: &[&str],
        validity: Validity,
        algorithm: &'static rcgen::SignatureAlgorithm,
    ) -> Identity {
        let key = KeyPair::generate_for(algorithm).expect("a key can be made");
        let (params, serial) = params(names, validity);
        let certificate = params.signed_by(&key, &self.issuer).expect("it is complete");
        Identity { chain: certificate.pem(), key: key.serialize_pem(), serial }
    }

    /// A list that revokes these, in PEM.
    ///
    /// # Panics
    /// When it cannot be signed.
    #[must_use]
    pub fn revoke(&self, revoked: &[&Identity]) -> String {
        let entry = |identity: &&Identity| RevokedCertParams {
            serial_number: identity.serial.clone(),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2090, 1, 1),
            crl_number: 1_u64.into(),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&self.issuer).expect("it is complete");
        list.pem().expect("a signed list can be written")
    }
}

#[track_caller]
fn params(names: &[&str], validity: Validity) -> (CertificateParams, SerialNumber) {
    static SERIAL: AtomicU64 = AtomicU64::new(1_000);
    let alternative: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(alternative).expect("they are names");
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Example");
    params.distinguished_name.push(DnType::CommonName, *names.first().unwrap_or(&"nobody"));
    let serial = SerialNumber::from(SERIAL.fetch_add(1, Ordering::Relaxed));
    params.serial_number = Some(serial.clone());
    let (from, until) = match validity {
        Validity::Now => (2020, 2090),
        Validity::Past => (2020, 2021),
        Validity::Future => (2089, 2090),
    };
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    (params, serial)
}
