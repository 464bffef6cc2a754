//! The account at an authority.
//!
//! Owns registering it and its file; leaves what is done with it to `order`. Invariant: a key whose account the authority knows
//! is in the file before the account is used, and stays.

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use instant_acme::{Account, AccountCredentials, ExternalAccountKey, Key, NewAccount, RenewalInfo};
use serde::{Deserialize, Serialize};
use tidegate_tls::{Certificate, ExternalAccount, HMAC_FILE_BYTES_MAX};
use zeroize::Zeroizing;

use crate::Event;
use crate::failure::{Failure, Step};
use crate::order::{Dialogue, renewal_identifier};
use crate::storage;
use crate::transport::now;

/// Keys of external accounts are written with padding by some authorities, and without by others.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

const STEP: Step = Step::Account;

/// The account's file.
#[derive(Deserialize, Serialize)]
struct Kept {
    /// Whom the authority writes to, as it was told last.
    email: Option<String>,
    credentials: serde_json::Value,
}

impl Dialogue<'_> {
    /// The account, which is registered if there is none.
    pub(crate) fn account(&self) -> Result<Account, Failure> {
        let Some(mut kept) = self.kept()? else { return self.register() };
        let account = self.call(STEP, || {
            let credentials = serde_json::from_value(kept.credentials.clone())?;
            now(self.builder().from_credentials(credentials))
        })?;
        if kept.email != self.settings.email {
            let contacts = self.contacts();
            let contacts: Vec<&str> = contacts.iter().map(String::as_str).collect();
            let updated = self.call(STEP, || now(account.update_contacts(&contacts)));
            match updated {
                // The order will say so, and be begun anew.
                Err(failure) if failure.is_unknown_account() => return Ok(account),
                updated => updated?,
            }
            kept.email.clone_from(&self.settings.email);
            self.save(&kept)?;
        }
        Ok(account)
    }

    /// Makes the account anew at an authority that has forgotten it: with its key, where no other account vouches for it.
    pub(crate) fn register_again(&self) -> Result<Account, Failure> {
        let kept = if self.settings.external_account.is_none() { self.kept()? } else { None };
        let Some(kept) = kept else { return self.register() };
        let (account, credentials) = self.call(STEP, || {
            let credentials: AccountCredentials = serde_json::from_value(kept.credentials.clone())?;
            let key = credentials.private_key().clone_key();
            let pair = (Key::from_pkcs8_der(key.clone_key())?, key.into());
            now(self.builder().create_from_key(pair, self.settings.directory.clone()))
        })?;
        self.save_new(&account, &credentials, None)?;
        // Tells it the address as well.
        self.account()
    }

    /// When the authority wants a certificate renewed, and how long that holds; none: it does not say so.
    pub(crate) fn renewal(
        &self,
        certificate: &Certificate,
    ) -> Result<Option<(RenewalInfo, std::time::Duration)>, Failure> {
        let Some(identifier) = renewal_identifier(certificate) else { return Ok(None) };
        if self.kept()?.is_none() {
            return Ok(None);
        }
        let account = self.account()?;
        self.call(STEP, || match now(account.renewal_info(&identifier)) {
            Err(instant_acme::Error::Unsupported(_)) => Ok(None),
            renewal => renewal.map(Some),
        })
    }

    fn register(&self) -> Result<Account, Failure> {
        let contacts = self.contacts();
        let contacts: Vec<&str> = contacts.iter().map(String::as_str).collect();
        let wanted = NewAccount {
            contact: &contacts,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let vouching = self.settings.external_account.as_ref().map(external).transpose()?;
        let (account, credentials) = self.call(STEP, || {
            let directory = self.settings.directory.clone();
            now(self.builder().create(&wanted, directory, vouching.as_ref()))
        })?;
        self.save_new(&account, &credentials, self.settings.email.clone())?;
        Ok(account)
    }

    fn builder(&self) -> instant_acme::AccountBuilder {
        Account::builder_with_http(Box::new(self.transport.clone()))
    }

    fn contacts(&self) -> Vec<String> {
        self.settings.email.iter().map(|email| format!("mailto:{email}")).collect()
    }

    fn kept(&self) -> Result<Option<Kept>, Failure> {
        let file = self.settings.account_file();
        let told = |why: String| Failure::new(Step::Storage, format!("{}: {why}", file.display()));
        let bytes = storage::read_account(&file).map_err(|error| told(error.to_string()))?;
        let Some(bytes) = bytes.map(Zeroizing::new) else { return Ok(None) };
        // The reason would quote the key.
        let kept = serde_json::from_slice(&bytes).map_err(|_| {
            told("is not what was written there; without it a new account is made".to_owned())
        });
        kept.map(Some)
    }

    fn save_new(
        &self,
        account: &Account,
        credentials: &AccountCredentials,
        email: Option<String>,
    ) -> Result<(), Failure> {
        let credentials = serde_json::to_value(credentials);
        let credentials = credentials.map_err(|error| Failure::new(STEP, error))?;
        self.save(&Kept { email, credentials })?;
        (self.tell)(Event::AccountMade {
            directory: self.settings.directory.clone(),
            account: account.id().to_owned(),
            file: self.settings.account_file(),
        });
        Ok(())
    }

    fn save(&self, kept: &Kept) -> Result<(), Failure> {
        let file = self.settings.account_file();
        let bytes = serde_json::to_vec(kept).map_err(|error| Failure::new(STEP, error))?;
        storage::replace(&file, &Zeroizing::new(bytes))
            .map_err(|error| Failure::new(Step::Storage, format!("{}: {error}", file.display())))
    }
}

/// The key of the account that vouches for ours.
fn external(account: &ExternalAccount) -> Result<ExternalAccountKey, Failure> {
    let file = account.hmac_key_file.display();
    let told = |why: &str| Failure::new(STEP, format!("{file}: {why}"));
    let text = std::fs::read(&account.hmac_key_file).map(Zeroizing::new);
    let text = text.map_err(|error| told(&error.to_string()))?;
    if text.len() > HMAC_FILE_BYTES_MAX {
        return Err(told("is longer than a key"));
    }
    let key = BASE64URL.decode(text.trim_ascii()).map(Zeroizing::new);
    let key = key.map_err(|_| told("is not in base64url"))?;
    Ok(ExternalAccountKey::new(account.key_id.clone(), &key))
}
