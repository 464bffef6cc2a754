//! The admin listener: metrics and health of the process itself.
//!
//! Owns a small HTTP/1.1 server on the control executor; leaves what it tells to `metrics` and the runtime, and writing that to `scribe`. Invariant: it
//! is bounded in connections and time, and no request to it reaches a shard.

pub(crate) mod metrics;
pub(crate) mod scribe;

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use tidegate_http1::{
    ConnectionHeader, HeaderLists, Limits, Method, Parsed, RequestHead, SimpleResponse,
    encode_simple_response, parse_request,
};
use tidegate_ring::{Listener, SendBuf, Socket};
use tidegate_shard::{Alarm, Shard};

use self::metrics::{CONTENT_TYPE, ProcessInfo};
use self::scribe::{Material, Scribe};

/// Connections served at once; an admin port that is flooded must not cost the process its descriptors.
const CONNECTIONS_MAX: usize = 64;

/// Time for one request and its answer, and between two.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a scrape may take, those before it included.
const SCRAPE_PATIENCE: Duration = Duration::from_secs(60);

/// Pause after a failed accept.
const FAILURE_PAUSE: Duration = Duration::from_millis(100);

/// What the admin listener tells about the process.
pub(crate) trait Status {
    /// Whether every shard serves the newest configuration and the process is to go on.
    fn is_ready(&self) -> bool;

    /// What the metrics' text is written from.
    fn material(&self, process: ProcessInfo) -> Material;
}

/// The admin server of one process.
pub(crate) struct Admin<S> {
    shard: Rc<Shard>,
    status: Rc<S>,
    scribe: Scribe,
    started: SystemTime,
    connections: Cell<usize>,
}

impl<S: Status + 'static> Admin<S> {
    /// The server, with the thread that writes its scrapes.
    ///
    /// # Errors
    /// The thread cannot be made.
    pub(crate) fn new(shard: Rc<Shard>, status: Rc<S>) -> std::io::Result<Rc<Admin<S>>> {
        Ok(Rc::new(Admin {
            shard,
            status,
            // One for each connection, so that all fit.
            scribe: Scribe::start(CONNECTIONS_MAX)?,
            started: SystemTime::now(),
            connections: Cell::new(0),
        }))
    }

    /// Accepts until `stopping`; the task must be woken after setting it.
    pub(crate) async fn accept(self: Rc<Self>, listener: Rc<Listener>, stopping: Rc<Cell<bool>>) {
        let Some(task) = self.shard.tasks.current() else { return };
        let alarm = Alarm::new(&self.shard, task);
        loop {
            listener.accept_many();
            let accepted = poll_fn(|context| {
                if stopping.get() {
                    Poll::Ready(None)
                } else {
                    listener.poll_accept(context).map(Some)
                }
            });
            match accepted.await {
                None => return,
                Some(Ok(socket)) if self.connections.get() < CONNECTIONS_MAX => {
                    self.connections.set(self.connections.get() + 1);
                    let admin = self.clone();
                    self.shard.tasks.spawn(async move {
                        admin.serve(&socket).await;
                        admin.connections.set(admin.connections.get() - 1);
                    });
                }
                Some(Ok(socket)) => drop(socket),
                Some(Err(_)) => {
                    let _ =
                        alarm.within(alarm.now() + FAILURE_PAUSE, |_| Poll::<()>::Pending).await;
                }
            }
        }
    }

    async fn serve(&self, socket: &Socket) {
        let Some(task) = self.shard.tasks.current() else { return };
        let alarm = Alarm::new(&self.shard, task);
        let (limits, mut head, mut bytes) = (Limits::default(), RequestHead::new(), Vec::new());
        loop {
            let deadline = alarm.now() + PATIENCE;
            let parsed = loop {
                match parse_request(&bytes, &limits, &mut head) {
                    Ok(Parsed::Incomplete) => {}
                    parsed => break parsed,
                }
                match alarm.within(deadline, |context| socket.poll_recv(context)).await {
                    Ok(Ok(Some(received))) => bytes.extend_from_slice(&received),
                    Ok(Ok(None) | Err(_)) | Err(_) => return,
                }
            };
            let (answer, head_bytes) = match parsed {
                Ok(Parsed::Complete { head_bytes }) => {
                    (self.answer(&head, &bytes, &alarm).await, head_bytes)
                }
                Ok(Parsed::Incomplete) => return,
                Err(error) => (Answer::plain(error.status(), error.reason()), 0),
            };
            let persists = head_bytes > 0
                && head.keep_alive()
                && head.body() == tidegate_http1::BodyLength::None;
            let mut out = self.shard.ring.take_vec();
            answer.encode(&mut out, &head, persists);
            socket.queue(SendBuf::Vec(out));
            socket.flush();
            let deadline = alarm.now() + PATIENCE;
            let sent = alarm.within(deadline, |context| socket.poll_flushed(context, 0)).await;
            if !persists || !matches!(sent, Ok(Ok(()))) {
                return;
            }
            bytes.drain(..head_bytes);
        }
    }

    async fn answer(&self, head: &RequestHead, bytes: &[u8], alarm: &Alarm) -> Answer {
        if !matches!(head.method(), Method::Get | Method::Head) {
            return Answer {
                allow: true,
                ..Answer::plain(405, "only GET and HEAD are answered here")
            };
        }
        let target = head.path_and_query(bytes);
        let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
        match path {
            b"/metrics" => self.scrape(alarm).await,
            b"/healthz" => Answer::plain(200, "ok"),
            b"/readyz" if self.status.is_ready() => Answer::plain(200, "ready"),
            b"/readyz" => Answer::plain(503, "not ready"),
            _ => Answer::plain(404, "try /metrics, /healthz or /readyz"),
        }
    }

    async fn scrape(&self, alarm: &Alarm) -> Answer {
        let process = ProcessInfo {
            scrapes_refused: self.scribe.refused(),
            ..ProcessInfo::read(env!("CARGO_PKG_VERSION"), self.started)
        };
        let material = self.status.material(process);
        let asked = poll_fn(|context| Poll::Ready(context.waker().clone())).await;
        let Some(pending) = self.scribe.ask(material, asked) else {
            return Answer::plain(503, "too many scrapes wait");
        };
        match alarm.within(alarm.now() + SCRAPE_PATIENCE, |_| pending.poll()).await {
            Ok(Some(text)) => Answer {
                status: 200,
                content_type: CONTENT_TYPE,
                body: text.into_bytes(),
                allow: false,
            },
            Ok(None) => Answer::plain(500, "the metrics could not be written"),
            Err(_) => Answer::plain(503, "the metrics took too long"),
        }
    }
}

struct Answer {
    status: u16,
    content_type: &'static str,
    body: Vec<u8>,
    allow: bool,
}

impl Answer {
    fn plain(status: u16, text: &str) -> Answer {
        Answer {
            status,
            content_type: "text/plain",
            body: format!("{text}\n").into_bytes(),
            allow: false,
        }
    }

    fn encode(&self, out: &mut Vec<u8>, head: &RequestHead, persists: bool) {
        let headers: [(&[u8], &[u8]); 3] = [
            (b"Content-Type", self.content_type.as_bytes()),
            (b"Cache-Control", b"no-store"),
            (b"Allow", b"GET, HEAD"),
        ];
        let response = SimpleResponse {
            status: self.status,
            headers: HeaderLists {
                add: if self.allow { &headers } else { &headers[..2] },
                remove: &[],
            },
            body: &self.body,
            connection: if persists {
                ConnectionHeader::KeepAlive
            } else {
                ConnectionHeader::Close
            },
            client_version: head.version(),
            method: head.method(),
        };
        encode_simple_response(out, &response);
    }
}
