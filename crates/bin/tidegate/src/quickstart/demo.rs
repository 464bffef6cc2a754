//! The demo servers: small HTTP/1.1 servers that answer with their name.
//!
//! Owns their sockets, threads and answers; leaves everything about balancing to the balancer. They
//! are for loopback, and speak as much HTTP as the balancer asks of them: keep-alive, bodies of
//! both kinds (read and dropped), HEAD, `Expect`. Invariant: one answer per request, counted before
//! it is sent.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Connections to one server, each with a thread of [`STACK_BYTES`]; the next one waits in the
/// listen queue. Also the clients that the balancer takes: with a descriptor each for client,
/// server and the server's own end, they stay below the usual limit of 20,000.
pub(super) const CONNECTIONS_MAX: u64 = 5_000;

/// Stack of a connection's thread; it uses a few KiB.
const STACK_BYTES: usize = 64 << 10;

/// A request's head. The balancer takes 16 KiB from clients and adds less than one.
const HEAD_BYTES_MAX: u64 = 64 << 10;

/// A line of chunked framing or a trailer.
const LINE_BYTES_MAX: u64 = 16 << 10;

/// An idle connection is closed after this; longer than the balancer keeps one idle (4 s).
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// What browsers are shown; `{name}`, `{hue}` and `{count}` are filled in.
const PAGE: &str = include_str!("page.html");

/// A running demo server. It ends with the process.
pub(super) struct Server {
    /// Its name.
    pub(super) name: &'static str,
    /// Where it listens.
    pub(super) address: SocketAddr,
    identity: Arc<Identity>,
}

/// What the connections of one server share.
struct Identity {
    name: &'static str,
    hue: u16,
    answered: AtomicU64,
}

impl Server {
    /// Starts a server on a port of its own.
    ///
    /// # Errors
    /// It cannot listen, or no thread can be started.
    pub(super) fn start(name: &'static str, hue: u16) -> io::Result<Server> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let identity = Arc::new(Identity { name, hue, answered: AtomicU64::new(0) });
        let shared = identity.clone();
        thread::Builder::new().name(name.into()).spawn(move || accept(&listener, &shared))?;
        Ok(Server { name, address, identity })
    }

    /// Requests answered so far.
    pub(super) fn answered(&self) -> u64 {
        self.identity.answered.load(Ordering::Relaxed)
    }
}

fn accept(listener: &TcpListener, identity: &Arc<Identity>) {
    let slots = Arc::new(Slots::default());
    loop {
        let slot = slots.take();
        // A connection that was reset while it waited, or no descriptor left for the moment.
        let Ok((stream, _)) = listener.accept() else { continue };
        let identity = identity.clone();
        let connection = move || {
            let _slot = slot;
            // A connection that fails ends; the balancer sees that it did.
            let _ = serve(&stream, &identity);
        };
        // Without a thread the connection is dropped with its closure, which closes it.
        let _ = thread::Builder::new().stack_size(STACK_BYTES).spawn(connection);
    }
}

fn serve(stream: &TcpStream, identity: &Identity) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(IDLE_TIMEOUT))?;
    stream.set_write_timeout(Some(IDLE_TIMEOUT))?;
    converse(&mut BufReader::new(stream), &mut &*stream, identity)
}

/// Answers requests until one of the two sides has had enough.
fn converse(
    input: &mut impl BufRead,
    output: &mut impl Write,
    identity: &Identity,
) -> io::Result<()> {
    while let Some(request) = Request::read(input)? {
        if request.expects_continue {
            output.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        match request.body {
            Body::Length(length) => drop_bytes(input, length)?,
            Body::Chunked => drop_chunks(input)?,
        }
        let count = identity.answered.fetch_add(1, Ordering::Relaxed) + 1;
        output.write_all(&answer(&request, identity, count))?;
        if !request.keeps_alive {
            break;
        }
    }
    Ok(())
}

/// What of a request matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Request {
    wants_body: bool,
    from_browser: bool,
    keeps_alive: bool,
    expects_continue: bool,
    body: Body,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    Length(u64),
    Chunked,
}

impl Request {
    /// Reads a head; `None` at the end of the connection.
    fn read(input: &mut impl BufRead) -> io::Result<Option<Request>> {
        if input.fill_buf()?.is_empty() {
            return Ok(None);
        }
        let mut input = input.take(HEAD_BYTES_MAX);
        let first = read_line(&mut input)?;
        let mut request = Request {
            wants_body: !first.starts_with("HEAD "),
            from_browser: false,
            keeps_alive: first.ends_with(" HTTP/1.1"),
            expects_continue: false,
            body: Body::Length(0),
        };
        loop {
            let line = read_line(&mut input)?;
            if line.is_empty() {
                return Ok(Some(request));
            }
            request.note(&line)?;
        }
    }

    fn note(&mut self, line: &str) -> io::Result<()> {
        let (name, value) = line.split_once(':').ok_or(io::ErrorKind::InvalidData)?;
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "accept" => self.from_browser = value.contains("text/html"),
            "connection" => self.keeps_alive &= !value.eq_ignore_ascii_case("close"),
            "expect" => self.expects_continue = value.eq_ignore_ascii_case("100-continue"),
            "content-length" => {
                self.body = Body::Length(value.parse().map_err(io::Error::other)?);
            }
            "transfer-encoding" => self.body = Body::Chunked,
            _ => {}
        }
        Ok(())
    }
}

/// A line without its end. Bytes that are not UTF-8 are replaced: what matters here is ASCII.
fn read_line(input: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    input.take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
    if !line.ends_with(b"\n") {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned())
}

fn drop_bytes(input: &mut impl BufRead, length: u64) -> io::Result<()> {
    match io::copy(&mut input.take(length), &mut io::sink())? {
        copied if copied == length => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn drop_chunks(input: &mut impl BufRead) -> io::Result<()> {
    loop {
        let line = read_line(input)?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(digits, 16).map_err(io::Error::other)?;
        if size == 0 {
            while !read_line(input)?.is_empty() {}
            return Ok(());
        }
        drop_bytes(input, size)?;
        read_line(input)?;
    }
}

fn answer(request: &Request, identity: &Identity, count: u64) -> Vec<u8> {
    let name = identity.name;
    let (kind, body) = if request.from_browser {
        let page = PAGE.replace("{name}", name).replace("{hue}", &identity.hue.to_string());
        ("html", page.replace("{count}", &count.to_string()))
    } else {
        ("plain", format!("Hello from {name}, answer {count}\n"))
    };
    let close = if request.keeps_alive { "" } else { "Connection: close\r\n" };
    let mut bytes = format!(
        "HTTP/1.1 200 OK\r\nServer: {name}\r\nContent-Type: text/{kind}; charset=utf-8\r\n\
         Content-Length: {}\r\nCache-Control: no-store\r\n{close}\r\n",
        body.len()
    )
    .into_bytes();
    if request.wants_body {
        bytes.extend_from_slice(body.as_bytes());
    }
    bytes
}

/// Counts the connections, and makes the next one wait when there are [`CONNECTIONS_MAX`].
#[derive(Default)]
struct Slots {
    taken: Mutex<u64>,
    freed: Condvar,
}

/// One connection's place; it is free again when this is dropped.
struct Slot(Arc<Slots>);

impl Slots {
    fn take(self: &Arc<Slots>) -> Slot {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = self
            .freed
            .wait_while(taken, |taken| *taken >= CONNECTIONS_MAX)
            .unwrap_or_else(PoisonError::into_inner);
        *taken += 1;
        Slot(self.clone())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        *self.0.taken.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a server answers to these bytes, and how many of them it left unread.
    fn exchange(input: &[u8]) -> (String, usize) {
        let identity = Identity { name: "app1", hue: 7, answered: AtomicU64::new(0) };
        let (mut rest, mut output) = (input, Vec::new());
        // A broken request ends the conversation: what was answered before is what is asked here.
        let _ = converse(&mut rest, &mut output, &identity);
        (String::from_utf8(output).expect("answers are text"), rest.len())
    }

    fn plain(count: u32, close: &str) -> String {
        let body = format!("Hello from app1, answer {count}\n");
        format!(
            "HTTP/1.1 200 OK\r\nServer: app1\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Length: {}\r\nCache-Control: no-store\r\n{close}\r\n{body}",
            body.len()
        )
    }

    const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    #[test]
    fn requests_on_one_connection_are_answered_in_turn() {
        let (output, _) = exchange(GET.repeat(2).as_bytes());
        assert_eq!(output, plain(1, "") + &plain(2, ""));
    }

    #[test]
    fn the_connection_ends_where_the_client_says_so() {
        for first in ["GET / HTTP/1.1\r\nConnection: Close\r\n\r\n", "GET / HTTP/1.0\r\n\r\n"] {
            let (output, left) = exchange(format!("{first}{GET}").as_bytes());
            assert_eq!(output, plain(1, "Connection: close\r\n"), "{first}");
            assert_eq!(left, GET.len(), "{first}");
        }
    }

    #[test]
    fn bodies_are_read_to_their_end_so_that_the_next_request_is_found() {
        let bodies = [
            "Content-Length: 5\r\n\r\nhello",
            "Content-Length: 0\r\n\r\n",
            "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n",
            "Transfer-Encoding: chunked\r\n\r\n0\r\nTrailer: x\r\n\r\n",
        ];
        for body in bodies {
            let (output, _) = exchange(format!("POST / HTTP/1.1\r\n{body}{GET}").as_bytes());
            assert_eq!(output, plain(1, "") + &plain(2, ""), "{body}");
        }
    }

    #[test]
    fn a_client_that_waits_for_permission_to_send_its_body_gets_it() {
        let (output, _) =
            exchange(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi");
        assert_eq!(output, format!("HTTP/1.1 100 Continue\r\n\r\n{}", plain(1, "")));
    }

    #[test]
    fn head_is_answered_with_the_length_alone() {
        let (output, _) = exchange(b"HEAD / HTTP/1.1\r\n\r\n");
        let get = plain(1, "");
        let (head, body) = get.split_once("\r\n\r\n").expect("a head");
        assert_eq!(output, format!("{head}\r\n\r\n"));
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
    }

    #[test]
    fn a_browser_gets_a_page_with_everything_filled_in() {
        let (output, _) = exchange(b"GET / HTTP/1.1\r\nAccept: text/html,*/*;q=0.8\r\n\r\n");
        let (head, body) = output.split_once("\r\n\r\n").expect("a head");
        assert!(head.contains("Content-Type: text/html; charset=utf-8\r\n"), "{head}");
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
        assert!(body.contains("app1"));
        for placeholder in ["{name}", "{hue}", "{count}"] {
            assert!(PAGE.contains(placeholder), "{placeholder}");
            assert!(!body.contains(placeholder), "{placeholder}");
        }
    }

    #[test]
    fn what_ends_in_the_middle_or_makes_no_sense_is_not_answered() {
        let times = |text: &str, bytes: u64| text.repeat(usize::try_from(bytes).expect("small"));
        let endless = format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", times("a", LINE_BYTES_MAX));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", times("A: a\r\n", HEAD_BYTES_MAX));
        for input in [
            "",
            "GET / HTTP/1.1",
            "GET / HTTP/1.1\r\n",
            "GET / HTTP/1.1\r\nHost",
            "GET / HTTP/1.1\r\nHost: a\r\n",
            "GET / HTTP/1.1\r\nno colon\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhi",
            "POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
            &endless,
            &many,
        ] {
            assert_eq!(exchange(input.as_bytes()).0, "", "{:.60}", input);
        }
    }

    #[test]
    fn a_server_serves_over_a_socket_and_counts() {
        let server = Server::start("app1", 7).expect("loopback");
        for count in 1..=2 {
            let mut stream = TcpStream::connect(server.address).expect("it listens");
            stream.set_read_timeout(Some(Duration::from_secs(10))).expect("settable");
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("writable");
            let mut output = String::new();
            stream.read_to_string(&mut output).expect("an answer");
            assert_eq!(output, plain(count, "Connection: close\r\n"));
            assert_eq!(server.answered(), u64::from(count));
        }
    }
}
