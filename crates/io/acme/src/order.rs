//! One order, from the account to the certificate on disk.
//!
//! Owns the dialogue with the authority (RFC 8555 §7); leaves when it is held to the worker. Invariant: the certificate in
//! storage is replaced only by one that was read back, has its key, is for all domains and is valid; and what an authority can
//! make us wait for ends at a deadline.

use std::time::{Duration, Instant, SystemTime};

use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeType, Error, Identifier,
    NewOrder, Order, OrderStatus,
};
use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256,
};
use tidegate_tls::{
    Automatic, Certificate, ChallengeKind, Challenges, DOMAINS_MAX, read_stored, rustls,
};
use zeroize::Zeroizing;

use crate::Event;
use crate::failure::{Failure, Step};
use crate::storage::Draft;
use crate::transport::{Transport, now};

/// The first pause before the state of an order is asked for; each is twice as long, up to the longest.
const POLL: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// Longest pause that an authority can ask for within an order.
const POLL_AFTER_MAX: Duration = Duration::from_secs(60);

/// For each of the two waits of an order: until the domains are looked at, and until the certificate is signed.
const WAIT_MAX: Duration = Duration::from_secs(300);

/// Tries of a request whose nonce the authority does not take (RFC 8555 §6.5), on top of those of the library.
const NONCE_TRIES_MAX: u32 = 10;

/// Why an order did not lead to a certificate.
#[derive(Debug)]
pub(crate) enum Stopped {
    Failed(Failure),
    /// It is no longer wanted.
    Abandoned,
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// What an order is held with.
pub(crate) struct Dialogue<'a> {
    pub(crate) settings: &'a Automatic,
    pub(crate) transport: Transport,
    pub(crate) challenges: &'a Challenges,
    /// Waits; false: the order is no longer wanted.
    pub(crate) pause: &'a dyn Fn(Duration) -> bool,
    pub(crate) tell: &'a dyn Fn(Event),
}

/// Answers are given only as long as an order is under way.
struct Answering<'a>(&'a Challenges);

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.0.clear();
    }
}

impl Dialogue<'_> {
    /// Gets a certificate and puts it in its place. `before` is the one that it replaces.
    pub(crate) fn order(&self, before: Option<&Certificate>) -> Result<Certificate, Stopped> {
        let account = self.account()?;
        let mut order = match self.begin(&account, before) {
            Err(failure) if failure.is_unknown_account() => {
                (self.tell)(Event::AccountUnknown { directory: self.settings.directory.clone() });
                let account = self.register_again()?;
                self.begin(&account, before)?
            }
            order => order?,
        };
        let answering = Answering(self.challenges);
        self.prove(&mut order)?;
        drop(answering);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256);
        let key = key.map_err(|error| Failure::new(Step::Certificate, error))?;
        self.finalize(&mut order, &key)?;
        let step = Step::Certificate;
        let chain = self.call(step, || now(order.certificate()))?;
        let chain = chain.ok_or_else(|| Failure::new(step, "it is said to be there and is not"))?;
        Ok(self.keep(&key, &chain)?)
    }

    /// Calls the library, again where a nonce is not taken.
    pub(crate) fn call<T>(
        &self,
        step: Step,
        mut call: impl FnMut() -> Result<T, Error>,
    ) -> Result<T, Failure> {
        let mut tries = 0;
        loop {
            tries += 1;
            match call() {
                Ok(value) => return Ok(value),
                Err(error) if is_bad_nonce(&error) && tries < NONCE_TRIES_MAX => {}
                Err(error) => return Err(Failure::of(step, &error, self.transport.retry_after())),
            }
        }
    }

    /// Asks for a certificate; where the authority cares, with word of the one that it replaces (RFC 9773 §5).
    fn begin(&self, account: &Account, before: Option<&Certificate>) -> Result<Order, Failure> {
        let identifiers: Vec<_> =
            self.settings.domains.iter().cloned().map(Identifier::Dns).collect();
        let plain = || now(account.new_order(&NewOrder::new(&identifiers)));
        let replaced = before.and_then(renewal_identifier);
        self.call(Step::Order, || match &replaced {
            None => plain(),
            Some(replaced) => {
                let order = NewOrder::new(&identifiers).replaces(replaced.clone());
                match now(account.new_order(&order)) {
                    // The second: one that says when to renew and yet does not repeat what is replaced, as it should.
                    Err(Error::Unsupported(_) | Error::Other(_)) => plain(),
                    Err(Error::Api(problem)) if problem.status == Some(409) => plain(),
                    order => order,
                }
            }
        })
    }

    /// Shows that the domains are ours.
    fn prove(&self, order: &mut Order) -> Result<(), Stopped> {
        let step = Step::Challenge;
        if order.state().authorizations.len() > DOMAINS_MAX {
            return Err(Failure::new(step, "the authority asks for more than there are").into());
        }
        // All are read first: what fails half-way begins anew, and what was read is not asked for again.
        self.call(step, || {
            let mut all = order.authorizations();
            while let Some(one) = now(async { Ok(all.next().await) })? {
                one?;
            }
            Ok(())
        })?;
        let kind = match self.settings.challenge {
            ChallengeKind::Http01 => ChallengeType::Http01,
            ChallengeKind::TlsAlpn01 => ChallengeType::TlsAlpn01,
        };
        let mut all = order.authorizations();
        let failed = |error| Failure::of(step, &error, None);
        while let Some(one) = now(async { Ok(all.next().await) }).map_err(failed)? {
            let mut one = one.map_err(failed)?;
            let domain = one.identifier().to_string();
            match one.status {
                AuthorizationStatus::Valid => continue,
                AuthorizationStatus::Pending => {}
                status => {
                    let detail = format!("{domain}: the authorization is {status:?}");
                    return Err(Failure::new(step, detail.to_lowercase()).into());
                }
            }
            let Some(mut challenge) = one.challenge(kind.clone()) else {
                let kind = if kind == ChallengeType::Http01 { "http-01" } else { "tls-alpn-01" };
                let detail = format!("{domain}: the authority does not offer {kind}");
                return Err(Failure::new(step, detail).into());
            };
            let authorization = challenge.key_authorization();
            if kind == ChallengeType::Http01 {
                self.challenges.add_text(&challenge.token, authorization.as_str());
            } else {
                self.show(&domain, authorization.digest().as_ref())?;
            }
            self.call(step, || now(challenge.set_ready()))?;
        }
        self.wait(order, step, &[OrderStatus::Ready, OrderStatus::Processing, OrderStatus::Valid])
    }

    /// Has the certificate for a look at the domain ready (RFC 8737 §3).
    fn show(&self, domain: &str, digest: &[u8]) -> Result<(), Failure> {
        let failed = |why: String| Failure::new(Step::Challenge, why);
        if digest.len() != 32 {
            return Err(failed("a digest of another length".to_owned()));
        }
        let make = || {
            let mut params = CertificateParams::new([domain.to_owned()])?;
            params.distinguished_name = DistinguishedName::new();
            params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
            let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
            Ok::<_, rcgen::Error>((params.self_signed(&key)?, key))
        };
        let (certificate, key) = make().map_err(|error| failed(error.to_string()))?;
        let der = rustls::pki_types::CertificateDer::from(certificate.der().to_vec());
        let added = self.challenges.add_certificate(domain, der, key.serialize_der());
        added.map_err(failed)
    }

    /// Waits until the order is in one of these states.
    fn wait(&self, order: &mut Order, step: Step, wanted: &[OrderStatus]) -> Result<(), Stopped> {
        let deadline = Instant::now() + WAIT_MAX;
        let mut pause = POLL.0;
        let mut status = order.state().status;
        while !wanted.contains(&status) {
            if status == OrderStatus::Invalid {
                return Err(self.refused(order, step).into());
            }
            if Instant::now() >= deadline {
                let detail = format!("the authority took longer than {} s", WAIT_MAX.as_secs());
                return Err(Failure::new(step, detail).into());
            }
            if !(self.pause)(pause) {
                return Err(Stopped::Abandoned);
            }
            status = self.call(step, || now(async { Ok(order.refresh().await?.status) }))?;
            let asked = self.transport.retry_after();
            let asked = asked.and_then(|until| until.duration_since(SystemTime::now()).ok());
            pause = asked.map_or((pause * 2).min(POLL.1), |asked| asked.min(POLL_AFTER_MAX));
        }
        Ok(())
    }

    /// Why an order has failed: what the authority says of the first domain that it does not believe, or else of the order.
    fn refused(&self, order: &mut Order, step: Step) -> Failure {
        let mut all = order.authorizations();
        while let Ok(Some(Ok(mut one))) = now(async { Ok(all.next().await) }) {
            let domain = one.identifier().to_string();
            if self.call(step, || now(async { one.refresh().await.map(drop) })).is_err() {
                continue;
            }
            if let Some(problem) = one.challenges.iter().find_map(|one| one.error.as_ref()) {
                let mut failure = Failure::told(step, problem);
                failure.detail = format!("{domain}: {}", failure.detail);
                return failure;
            }
        }
        if let Some(problem) = &order.state().error {
            return Failure::told(step, problem);
        }
        Failure::new(step, "the authority refused the order and does not say why")
    }

    /// Hands the key's request in, and waits until it is signed.
    fn finalize(&self, order: &mut Order, key: &KeyPair) -> Result<(), Stopped> {
        let step = Step::Certificate;
        let make = || {
            let mut params = CertificateParams::new(self.settings.domains.clone())?;
            params.distinguished_name = DistinguishedName::new();
            params.serialize_request(key)
        };
        let request = make().map_err(|error| Failure::new(step, error))?;
        if order.state().status == OrderStatus::Ready {
            self.call(step, || now(order.finalize_csr(request.der())))?;
        }
        self.wait(order, step, &[OrderStatus::Valid])
    }

    /// Puts chain and key into their file.
    fn keep(&self, key: &KeyPair, chain: &str) -> Result<Certificate, Failure> {
        let place = self.settings.certificate_file();
        let of_file = |why: &dyn std::fmt::Display| {
            Failure::new(Step::Storage, format!("{}: {why}", place.display()))
        };
        let key = Zeroizing::new(key.serialize_pem());
        let mut draft = Draft::create(&place).map_err(|error| of_file(&error))?;
        let written = draft.write(key.as_bytes()).and_then(|()| draft.write(chain.as_bytes()));
        written.map_err(|error| of_file(&error))?;
        let refused = |why: String| Failure::new(Step::Certificate, why);
        let got = read_stored(draft.path());
        let got = got.map_err(|fault| refused(format!("what the authority sent {fault}")))?;
        if !self.settings.is_covered_by(&got) {
            return Err(refused(format!("it is for other names: {}", got.names().join(", "))));
        }
        if got.not_after() <= SystemTime::now() {
            return Err(refused("it has already expired: is the clock right?".to_owned()));
        }
        draft.keep().map_err(|error| of_file(&error))?;
        Ok(got)
    }
}

fn is_bad_nonce(error: &Error) -> bool {
    let Error::Api(problem) = error else { return false };
    problem.r#type.as_deref() == Some("urn:ietf:params:acme:error:badNonce")
}

/// What the authority knows a certificate by.
pub(crate) fn renewal_identifier(
    certificate: &Certificate,
) -> Option<CertificateIdentifier<'static>> {
    let (key, serial) = certificate.renewal_identifier()?;
    Some(CertificateIdentifier::new(key.into(), serial.into()))
}
