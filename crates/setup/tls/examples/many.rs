//! How long ten thousand certificates take: to read, to look at again, and for a handshake among them.
//!
//! Owns the figures of docs/PERFORMANCE.md about that. `cargo run --release -p tidegate-tls --example many [COUNT]`

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256};
use tidegate_tls::rustls::pki_types::ServerName;
use tidegate_tls::rustls::{ClientConnection, ServerConnection};
use tidegate_tls::{CertificateSource, ClientSettings, Loader, ServerSettings, ServerTls, Trust};

/// RSA keys take a tenth of a second each to make: certificates share so many.
const RSA_KEYS: usize = 8;

fn main() {
    let count = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(10_000);
    let directory = std::env::temp_dir().join(format!("tidegate-many-{}", std::process::id()));
    for (kind, algorithm, keys) in [
        ("ECDSA P-256", &PKCS_ECDSA_P256_SHA256, usize::MAX),
        ("RSA 2048", &PKCS_RSA_SHA256, RSA_KEYS),
    ] {
        std::fs::create_dir_all(&directory).expect("a directory");
        let mut made: Vec<KeyPair> = Vec::new();
        for number in 0..count {
            if made.len() < keys {
                made.push(KeyPair::generate_for(algorithm).expect("a key"));
            }
            let key = &made[number % made.len()];
            let names = vec![format!("site{number}.example"), format!("*.site{number}.example")];
            let certificate = CertificateParams::new(names).expect("names").self_signed(key);
            let text = certificate.expect("signed").pem() + &key.serialize_pem();
            std::fs::write(directory.join(format!("{number:05}.pem")), text).expect("written");
        }
        let begun = Instant::now();
        let many = load(directory.clone());
        println!("{kind}: {count} certificates read in {:?}", begun.elapsed());
        // Until nothing was written a moment ago.
        std::thread::park_timeout(Duration::from_secs(3));
        many.refresh();
        let begun = Instant::now();
        assert!(many.refresh().is_empty());
        println!("{kind}: looked at again in {:?}", begun.elapsed());
        let name = format!("site{}.example", count / 2);
        println!("{kind}: handshake among them, both sides: {:?}", handshake(&many, &name));
        let alone = directory.join("alone");
        std::fs::create_dir_all(&alone).expect("a directory");
        let file = format!("{:05}.pem", count / 2);
        std::fs::copy(directory.join(&file), alone.join(&file)).expect("copied");
        println!("{kind}: handshake with it alone: {:?}", handshake(&load(alone), &name));
        std::fs::remove_dir_all(&directory).expect("removed");
    }
}

fn load(directory: PathBuf) -> ServerTls {
    let certificates = vec![CertificateSource::Directory(directory)];
    let settings = ServerSettings { certificates, ..ServerSettings::default() };
    let mut warnings = Vec::new();
    Loader::default().server(settings, &mut warnings).expect("good")
}

/// The mean of a few hundred.
fn handshake(tls: &ServerTls, name: &str) -> Duration {
    const COUNT: u32 = 500;
    let settings = ClientSettings { trust: Trust::Anybody, ..ClientSettings::default() };
    let client = Loader::default().client(settings, &mut Vec::new()).expect("good");
    let config = client.config();
    let mut config = tidegate_tls::rustls::ClientConfig::clone(&config);
    config.resumption = tidegate_tls::rustls::client::Resumption::disabled();
    let config = std::sync::Arc::new(config);
    let begun = Instant::now();
    for _ in 0..COUNT {
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let mut client = ClientConnection::new(config.clone(), name).expect("a client");
        let mut server = ServerConnection::new(tls.config()).expect("a server");
        while client.is_handshaking() || server.is_handshaking() {
            let mut bytes = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut bytes).expect("taken");
            }
            server.read_tls(&mut &bytes[..]).expect("read");
            server.process_new_packets().expect("good");
            bytes.clear();
            while server.wants_write() {
                server.write_tls(&mut bytes).expect("taken");
            }
            client.read_tls(&mut &bytes[..]).expect("read");
            client.process_new_packets().expect("good");
        }
    }
    begun.elapsed() / COUNT
}
