//! Records as a peer could make them, right or wrong: sealed with the cipher itself and the text of the RFCs, without the code that
//! is tested.

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};
use tidegate_tls_records::{Cipher, Opener, Sealer, Secret, Version};

pub const ALERT: u8 = 21;
pub const HANDSHAKE: u8 = 22;
pub const DATA: u8 = 23;

/// One version with one cipher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suite {
    pub version: Version,
    pub cipher: Cipher,
}

pub const SUITES: [Suite; 6] = [
    Suite { version: Version::Tls13, cipher: Cipher::Aes128Gcm },
    Suite { version: Version::Tls13, cipher: Cipher::Aes256Gcm },
    Suite { version: Version::Tls13, cipher: Cipher::ChaCha20Poly1305 },
    Suite { version: Version::Tls12, cipher: Cipher::Aes128Gcm },
    Suite { version: Version::Tls12, cipher: Cipher::Aes256Gcm },
    Suite { version: Version::Tls12, cipher: Cipher::ChaCha20Poly1305 },
];

const KEY: [u8; 32] = *b"the key of a test: 32 bytes long";
const IV: [u8; 12] = *b"twelve bytes";

impl Suite {
    pub fn secret(self) -> Secret<'static> {
        Secret { cipher: self.cipher, key: self.key(), iv: &IV }
    }

    fn key(self) -> &'static [u8] {
        if self.cipher == Cipher::Aes128Gcm { &KEY[..16] } else { &KEY }
    }

    pub fn opener(self, sequence: u64) -> Opener {
        Opener::new(self.version, &self.secret(), sequence).expect("the lengths are right")
    }

    pub fn sealer(self, sequence: u64) -> Sealer {
        Sealer::new(self.version, &self.secret(), sequence).expect("the lengths are right")
    }

    /// Bytes before the ciphertext: header and explicit nonce.
    pub fn start(self) -> usize {
        if self.is_explicit() { 13 } else { 5 }
    }

    pub fn is_explicit(self) -> bool {
        self.version == Version::Tls12 && self.cipher != Cipher::ChaCha20Poly1305
    }

    /// A record whose header says `code` and whose sealed content is `content`: in TLS 1.3 with type and padding.
    pub fn record(self, sequence: u64, code: u8, content: &[u8]) -> Vec<u8> {
        let mut nonce = IV;
        for (at, byte) in sequence.to_be_bytes().into_iter().enumerate() {
            nonce[4 + at] ^= byte;
        }
        let explicit: &[u8] = if self.is_explicit() { &[9, 8, 7, 6, 5, 4, 3, 2] } else { &[] };
        nonce[12 - explicit.len()..].copy_from_slice(explicit);
        let length = u16::try_from(explicit.len() + content.len() + 16).expect("short enough");
        let header = [&[code, 3, 3][..], &length.to_be_bytes()].concat();
        let data = match self.version {
            Version::Tls13 => header.clone(),
            Version::Tls12 => {
                let plain = u16::try_from(content.len()).expect("short enough").to_be_bytes();
                [&sequence.to_be_bytes()[..], &header[..3], &plain].concat()
            }
        };
        let algorithm = match self.cipher {
            Cipher::Aes128Gcm => &AES_128_GCM,
            Cipher::Aes256Gcm => &AES_256_GCM,
            Cipher::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        };
        let key = LessSafeKey::new(UnboundKey::new(algorithm, self.key()).expect("a key"));
        let mut sealed = content.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(nonce, Aad::from(data), &mut sealed).expect("it seals");
        [header, explicit.to_vec(), sealed].concat()
    }

    /// A correct record of this type.
    pub fn plain(self, sequence: u64, code: u8, plaintext: &[u8]) -> Vec<u8> {
        match self.version {
            Version::Tls13 => self.record(sequence, DATA, &[plaintext, &[code]].concat()),
            Version::Tls12 => self.record(sequence, code, plaintext),
        }
    }
}
