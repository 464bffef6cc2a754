//! Owns a name server whose answers the test writes, and its misbehaviour.
//!
//! Leaves what a resolver makes of them to the tests; a real server is in `dnsmasq`. Invariant: it answers what it was last told
//! to, over UDP and TCP on one port, and notes every question.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

/// Response codes (RFC 1035 §4.1.1).
const NAME_ERROR: u8 = 3;

/// The flag of an answer that was cut off.
const TRUNCATED: u8 = 0x02;

/// What an answer over UDP has room for if the question does not say.
const DATAGRAM_BYTES: usize = 512;

/// One record of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// Where a service is: priority, weight, port, host.
    Srv(u16, u16, u16, String),
    /// Another name that it stands for.
    Cname(String),
}

impl Data {
    const fn kind(&self) -> u16 {
        match self {
            Self::A(_) => 1,
            Self::Cname(_) => 5,
            Self::Aaaa(_) => 28,
            Self::Srv(..) => 33,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::A(address) => address.octets().into(),
            Self::Aaaa(address) => address.octets().into(),
            Self::Cname(name) => encoded(name),
            Self::Srv(priority, weight, port, target) => {
                let numbers = [priority, weight, port].map(|number| number.to_be_bytes()).concat();
                [numbers, encoded(target)].concat()
            }
        }
    }
}

/// What it does with questions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Conduct {
    /// It answers.
    #[default]
    Answers,
    /// It says nothing.
    IsSilent,
    /// It answers with this response code.
    Fails(u8),
    /// Before the answer it sends others, with a wrong id and about a wrong name.
    IsForged,
}

/// A question that was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The name, without a dot at its end.
    pub name: String,
    /// The type.
    pub kind: u16,
    /// It came over TCP.
    pub over_tcp: bool,
}

#[derive(Default)]
struct State {
    records: HashMap<String, (u32, Vec<Data>)>,
    conduct: Conduct,
    asked: Vec<Asked>,
}

/// A running name server.
pub struct NameServer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl NameServer {
    /// Starts one that knows no name.
    ///
    /// # Panics
    /// When no port is free.
    #[must_use]
    #[track_caller]
    pub fn start() -> Self {
        let (udp, tcp) = sockets();
        let address = udp.local_addr().expect("a bound socket has an address");
        let (state, is_over) = (Arc::<Mutex<State>>::default(), Arc::<AtomicBool>::default());
        let (own, over) = (state.clone(), is_over.clone());
        let datagrams = std::thread::spawn(move || serve_datagrams(&udp, &own, &over));
        let (own, over) = (state.clone(), is_over.clone());
        let streams = std::thread::spawn(move || serve_streams(&tcp, &own, &over));
        Self { address, state, is_over, threads: vec![datagrams, streams] }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the records of a name; without any, it exists and has none.
    pub fn set(&self, name: &str, ttl: u32, records: impl IntoIterator<Item = Data>) {
        let records = records.into_iter().collect();
        self.state().records.insert(name.to_owned(), (ttl, records));
    }

    /// Sets the IPv4 addresses of a name.
    pub fn set_addresses(&self, name: &str, ttl: u32, last: impl IntoIterator<Item = u8>) {
        let records = last.into_iter().map(|last| Data::A(Ipv4Addr::new(127, 0, 0, last)));
        self.set(name, ttl, records);
    }

    /// Forgets a name: it does not exist.
    pub fn remove(&self, name: &str) {
        self.state().records.remove(name);
    }

    /// Sets what it does with questions.
    pub fn behave(&self, conduct: Conduct) {
        self.state().conduct = conduct;
    }

    /// The questions so far.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.state().asked.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panics with it")
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // Each thread waits for one of these.
        if let Ok(socket) = UdpSocket::bind("127.0.0.1:0") {
            let _ = socket.send_to(b"", self.address);
        }
        drop(TcpStream::connect(self.address));
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Both on one port.
#[track_caller]
fn sockets() -> (UdpSocket, TcpListener) {
    const TRIES: usize = 100;
    for _ in 0..TRIES {
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        let address = udp.local_addr().expect("a bound socket has an address");
        if let Ok(tcp) = TcpListener::bind(address) {
            return (udp, tcp);
        }
    }
    panic!("no port is free for both UDP and TCP")
}

fn serve_datagrams(socket: &UdpSocket, state: &Mutex<State>, is_over: &AtomicBool) {
    let mut buffer = [0; 4096];
    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
        if is_over.load(Ordering::SeqCst) {
            return;
        }
        for answer in answers(&buffer[..length], state, false) {
            let _ = socket.send_to(&answer, from);
        }
    }
}

fn serve_streams(listener: &TcpListener, state: &Mutex<State>, is_over: &AtomicBool) {
    for stream in listener.incoming() {
        if is_over.load(Ordering::SeqCst) {
            return;
        }
        let Ok(mut stream) = stream else { continue };
        let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
        let mut length = [0; 2];
        while stream.read_exact(&mut length).is_ok() {
            let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
            if stream.read_exact(&mut query).is_err() {
                break;
            }
            for answer in answers(&query, state, true) {
                let length = u16::try_from(answer.len()).expect("a test's answer is short");
                let _ = stream.write_all(&[&length.to_be_bytes()[..], &answer].concat());
            }
        }
    }
}

/// What is sent to a question.
fn answers(query: &[u8], state: &Mutex<State>, over_tcp: bool) -> Vec<Vec<u8>> {
    let Some((name, kind, end)) = question(query) else { return Vec::new() };
    let mut state = state.lock().expect("no thread panics with it");
    state.asked.push(Asked { name: name.clone(), kind, over_tcp });
    let question = &query[12..end];
    let answer = match state.conduct {
        Conduct::IsSilent => return Vec::new(),
        Conduct::Fails(code) => message(&query[..2], 0, code, question, &[]),
        Conduct::Answers | Conduct::IsForged => {
            let (code, records) = found(&state, &name, kind);
            let whole = message(&query[..2], 0, code, question, &records);
            if over_tcp || whole.len() <= room(query, end) {
                whole
            } else {
                message(&query[..2], TRUNCATED, code, question, &[])
            }
        }
    };
    if state.conduct != Conduct::IsForged {
        return vec![answer];
    }
    let forged = |id: [u8; 2], question: &[u8]| {
        let address = (name.clone(), 60, Data::A(Ipv4Addr::new(127, 0, 0, 66)));
        message(&id, 0, 0, question, &[address])
    };
    let other = [encoded("other.test"), kind.to_be_bytes().into(), vec![0, 1]].concat();
    let (id, wrong) = ([query[0], query[1]], [query[0] ^ 0xff, query[1]]);
    vec![forged(wrong, question), forged(id, &other), answer]
}

/// Name, type, and the end of the question.
fn question(query: &[u8]) -> Option<(String, u16, usize)> {
    let (mut at, mut labels) = (12, Vec::new());
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + length)?).into_owned());
        at += length;
    }
    let kind = u16::from_be_bytes([*query.get(at)?, *query.get(at + 1)?]);
    Some((labels.join("."), kind, at + 4))
}

/// The room that a question's last record promises, if it has one (RFC 6891 §6.1.2).
fn room(query: &[u8], end: usize) -> usize {
    match query.get(end..end + 5) {
        Some([0, 0, 41, high, low]) => usize::from(u16::from_be_bytes([*high, *low])),
        _ => DATAGRAM_BYTES,
    }
}

type Named = (String, u32, Data);

fn found(state: &State, name: &str, kind: u16) -> (u8, Vec<Named>) {
    let (mut name, mut records) = (name.to_owned(), Vec::new());
    // As a resolver that follows aliases, within reason.
    for _ in 0..32 {
        let Some((ttl, all)) = state.records.get(&name) else { return (NAME_ERROR, records) };
        let of = |data: &Data| (name.clone(), *ttl, data.clone());
        let alias = all.iter().find_map(|data| match data {
            Data::Cname(to) => Some(to.clone()),
            _ => None,
        });
        let Some(to) = alias else {
            records.extend(all.iter().filter(|data| data.kind() == kind).map(of));
            break;
        };
        records.push((name.clone(), *ttl, Data::Cname(to.clone())));
        name = to;
    }
    (0, records)
}

fn message(id: &[u8], flags: u8, code: u8, question: &[u8], records: &[Named]) -> Vec<u8> {
    let count = u16::try_from(records.len()).expect("a test's answer is short").to_be_bytes();
    // An answer, recursion asked for and available.
    let mut bytes = [id, &[0x81 | flags, 0x80 | code, 0, 1], &count, &[0; 4], question].concat();
    for (name, ttl, data) in records {
        bytes.extend(encoded(name));
        bytes.extend(data.kind().to_be_bytes());
        bytes.extend([0, 1]);
        bytes.extend(ttl.to_be_bytes());
        let data = data.bytes();
        bytes.extend(u16::try_from(data.len()).expect("a record is short").to_be_bytes());
        bytes.extend(data);
    }
    bytes
}

fn encoded(name: &str) -> Vec<u8> {
    let label = |label: &str| {
        let length = u8::try_from(label.len()).expect("a label is short");
        [&[length], label.as_bytes()].concat()
    };
    let labels = name.split('.').filter(|part| !part.is_empty()).flat_map(label);
    labels.chain([0]).collect()
}
