//! CPU time of TLS handshakes: opens connection after connection, with one request on each, against several targets in turns.
//! Owns the client and the rounds; reading /proc is `procstat`'s, checking responses `http1`'s.
//!
//! Invariant: a connection counts when its response was correct and it was resumed, or was not, as asked; any other ends the
//! measurement. All targets are offered the same: a key of one group (x25519) and one cipher (AES-128-GCM), so that what differs is the
//! program.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::pki_types::ServerName;
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, StreamOwned, SupportedProtocolVersion,
};
use tidegate_tls::{Unverified, rustls};

use crate::procstat::Group;
use crate::protocol::http1::{Http1, Persistence};
use crate::protocol::{Protocol as _, Session as _};
use crate::results::Spread;

/// A target that is silent for so long has failed.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Bytes read at a time: more than the responses that are asked for.
const READ_BYTES: usize = 16 << 10;

/// What is measured: `NAME=IP:PORT=PID`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Shown.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// The process that does the handshakes, with all of its threads.
    pub pid: u32,
}

impl Target {
    /// Of `NAME=IP:PORT=PID` with a loopback address; none: it is something else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '=');
        let (name, address, pid) = (parts.next()?, parts.next()?, parts.next()?);
        let address: SocketAddr = address.parse().ok()?;
        let pid = pid.parse().ok()?;
        address.ip().is_loopback().then(|| Self { name: name.to_owned(), address, pid })
    }
}

/// What to do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// In the order in which a round visits them.
    pub targets: Vec<Target>,
    /// Rounds.
    pub rounds: usize,
    /// Connections for each target and round.
    pub count: usize,
    /// Clients at a time, each with its own sessions.
    pub clients: usize,
    /// The name asked for; `{}` is replaced by the numbers below `names`, spread over all of them.
    pub name: String,
    /// See `name`.
    pub names: usize,
    /// Whether each connection goes on with the session of its client's one before, or none does.
    pub resumed: bool,
    /// The version spoken.
    pub version: &'static SupportedProtocolVersion,
    /// What is asked for on each.
    pub path: String,
}

/// CPU time per connection of one target, in microseconds, round by round.
#[derive(Debug, Clone)]
pub struct Figures {
    /// The target's name.
    pub name: String,
    /// One for each round.
    pub cpu_us: Vec<f64>,
}

impl Figures {
    /// Over all rounds.
    pub fn spread(&self) -> Spread {
        Spread::of(self.cpu_us.iter().copied()).unwrap_or(Spread {
            median: 0.0,
            min: 0.0,
            max: 0.0,
        })
    }

    /// The ratio of `self` to `other` in each round.
    pub fn to(&self, other: &Self) -> Option<Spread> {
        Spread::of(self.cpu_us.iter().zip(&other.cpu_us).map(|(own, other)| own / other))
    }
}

/// Carries it out; the figures are in the order of the targets.
///
/// # Errors
/// When a connection fails, a response is wrong, or a connection was resumed although it was not to be, or the other way round.
pub fn measure(plan: &Plan) -> io::Result<Vec<Figures>> {
    let figures = |target: &Target| Figures { name: target.name.clone(), cpu_us: Vec::new() };
    let mut all: Vec<Figures> = plan.targets.iter().map(figures).collect();
    for _ in 0..plan.rounds {
        for (target, figures) in plan.targets.iter().zip(&mut all) {
            figures.cpu_us.push(once(plan, target)?);
        }
    }
    Ok(all)
}

/// Microseconds of CPU time per connection.
fn once(plan: &Plan, target: &Target) -> io::Result<f64> {
    let group = Group::single(target.pid);
    let clients: Vec<Client> =
        (0..plan.clients).map(|_| Client::new(plan, target)).collect::<io::Result<_>>()?;
    let begun = AtomicUsize::new(0);
    // The sessions to go on with, and the first use of everything, are not counted.
    each(&clients, |client| client.connect(0, None))?;
    let before = group.cpu_time();
    each(&clients, |client| {
        loop {
            let number = begun.fetch_add(1, Ordering::Relaxed);
            if number >= plan.count {
                return Ok(());
            }
            client.connect(number, Some(plan.resumed))?;
        }
    })?;
    let spent = group.cpu_time().saturating_sub(before);
    Ok(spent.as_secs_f64() * 1e6 / plan.count.max(1) as f64)
}

/// Does `what` with all clients at once; the first error, if any.
fn each(clients: &[Client], what: impl Fn(&Client) -> io::Result<()> + Sync) -> io::Result<()> {
    thread::scope(|scope| {
        let running: Vec<_> = clients.iter().map(|client| scope.spawn(|| what(client))).collect();
        let ended = running.into_iter().map(thread::ScopedJoinHandle::join);
        let mut ended = ended.map(|one| one.unwrap_or_else(|_| Err(io::Error::other("panicked"))));
        ended.try_for_each(|one| one)
    })
}

/// One after another, connections that share sessions.
struct Client {
    config: Arc<ClientConfig>,
    address: SocketAddr,
    name: String,
    names: usize,
    path: String,
}

impl Client {
    fn new(plan: &Plan, target: &Target) -> io::Result<Self> {
        let mut provider = default_provider();
        // The second for certificates: TLS 1.2 has one list for both (RFC 8422 §5.1).
        provider.kx_groups = vec![kx_group::X25519, kx_group::SECP256R1];
        provider.cipher_suites = vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        ];
        let provider = Arc::new(provider);
        let mut config = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[plan.version])
            .map_err(io::Error::other)?
            .dangerous()
            // What is measured is not the client.
            .with_custom_certificate_verifier(Arc::new(Unverified(provider)))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        if !plan.resumed {
            config.resumption = Resumption::disabled();
        }
        Ok(Self {
            config: Arc::new(config),
            address: target.address,
            name: plan.name.clone(),
            names: plan.names.max(1),
            path: plan.path.clone(),
        })
    }

    /// Makes one connection with one request; `resumed`: what it has to be.
    fn connect(&self, number: usize, resumed: Option<bool>) -> io::Result<()> {
        // A large odd step visits names far apart one after another, and each as often.
        let place = number.wrapping_mul(7_919) % self.names;
        let name = self.name.replace("{}", &place.to_string());
        let server = ServerName::try_from(name.clone()).map_err(io::Error::other)?;
        let tcp = TcpStream::connect(self.address)?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(SILENCE_MAX))?;
        let connection =
            ClientConnection::new(self.config.clone(), server).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, tcp);
        let mut session = Http1::get(&self.path, &name, Persistence::KeepAlive, None).session();
        let (mut out, mut done) = (Vec::new(), Vec::new());
        session.begin(0, &mut out);
        stream.write_all(&out)?;
        let mut bytes = [0; READ_BYTES];
        while done.is_empty() {
            let length = stream.read(&mut bytes)?;
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let received = session.receive(&bytes[..length], &mut out, &mut done);
            received.map_err(|failure| io::Error::other(format!("{failure:?}")))?;
        }
        if let Some(Err(failure)) = done.first().map(|exchange| exchange.outcome) {
            return Err(io::Error::other(format!("{failure:?}")));
        }
        let was_resumed = stream.conn.handshake_kind() == Some(HandshakeKind::Resumed);
        if resumed.is_some_and(|resumed| resumed != was_resumed) {
            return Err(io::Error::other(format!("connection {number}: resumed: {was_resumed}")));
        }
        stream.conn.send_close_notify();
        stream.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_on_loopback() {
        let target = Target::parse("nginx=127.0.0.1:6443=42").expect("good");
        assert_eq!((target.name.as_str(), target.address.port(), target.pid), ("nginx", 6443, 42));
        for bad in ["nginx=192.0.2.1:6443=42", "127.0.0.1:6443=42", "a=127.0.0.1:1=x", ""] {
            assert_eq!(Target::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn ratios_pair_rounds() {
        let figures = |cpu_us: [f64; 3]| Figures { name: String::new(), cpu_us: cpu_us.to_vec() };
        let ratio = figures([1.0, 2.0, 4.0]).to(&figures([2.0, 2.0, 16.0])).expect("rounds");
        assert_eq!(ratio, Spread { median: 0.5, min: 0.25, max: 1.0 });
    }
}
