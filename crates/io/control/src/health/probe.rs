//! One check of one server over the control executor's ring.
//!
//! Owns the socket and the time; leaves what is said to `tidegate_health`. Invariant: a check ends at its timeout at the
//! latest, and leaves no connection behind.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use socket2::SockAddr;
use tidegate_config::BackendProtocol;
use tidegate_health::{Conversation, Failure, Fault, Next, Outcome, Probe};
use tidegate_proxy::{ProbeDialing, ProbeError, ProbeStream};
use tidegate_shard::{Alarm, Shard};
use tidegate_tls::ClientTls;
use tidegate_tls::rustls::pki_types::ServerName;

/// How a check speaks TLS, and the name that the server has to prove; none: it does not.
pub(crate) type CheckTls = Option<(Arc<ClientTls>, ServerName<'static>)>;

/// What a check needs to know.
#[derive(Clone)]
pub(crate) struct Job {
    pub(crate) probe: Arc<Probe>,
    pub(crate) address: SockAddr,
    pub(crate) tls: CheckTls,
    /// What carries a check by HTTP.
    pub(crate) protocol: BackendProtocol,
    /// The address as HTTP servers are told.
    pub(crate) authority: Arc<str>,
    pub(crate) timeout: Duration,
}

/// Makes the check. Must run as a task of `shard`.
pub(crate) async fn run(shard: &Rc<Shard>, job: &Job) -> Outcome {
    let Some(task) = shard.tasks.current() else { return Outcome::Skipped };
    let alarm = Alarm::new(shard, task);
    let deadline = alarm.now() + job.timeout;
    let socket = match shard.ring.connect(&job.address) {
        Ok(socket) => socket,
        Err(error) => return failed(&error, &job.address),
    };
    let mut dialing = ProbeDialing::new(socket, job.tls.as_ref());
    match alarm.within(deadline, |context| dialing.poll(context)).await {
        Ok(Ok(())) => {}
        Ok(Err(ProbeError::Connect(error))) => return failed(&error, &job.address),
        Ok(Err(ProbeError::Tls(detail))) => return Failure { fault: Fault::Tls, detail }.into(),
        Err(_) => {
            let detail = "no connection".to_owned();
            return Failure { fault: Fault::TimedOut, detail }.into();
        }
    }
    let speaks_http2 = match (&*job.probe, job.protocol) {
        (Probe::Http(_) | Probe::Grpc(_), BackendProtocol::Http2) => true,
        (Probe::Http(_), BackendProtocol::Auto) => dialing.speaks_http2(),
        _ => false,
    };
    let mut stream = dialing.established();
    if speaks_http2 {
        stream = match stream.speak_http2(shard).await {
            Ok(stream) => stream,
            Err(error) => return failed(&error, &job.address),
        };
    }
    let mut conversation = Conversation::new(&job.probe, &job.authority);
    let talked = talk(&alarm, deadline, &stream, &mut conversation, &job.address).await;
    // Thousands of checks a second would otherwise leave as many ports waiting for a minute each. An exchange may end with
    // a farewell, which a reset would overtake.
    if !matches!(*job.probe, Probe::Exchange(_)) {
        stream.reset();
    }
    match talked {
        Some(outcome) => outcome,
        None => conversation.timed_out(),
    }
}

/// Talks until the verdict; `None` when the time is over.
async fn talk(
    alarm: &Alarm,
    deadline: Instant,
    stream: &ProbeStream,
    conversation: &mut Conversation<'_>,
    address: &SockAddr,
) -> Option<Outcome> {
    let mut next = conversation.connected();
    loop {
        next = match next {
            Next::Ended(outcome) => return Some(outcome),
            Next::Send(bytes) => {
                stream.send(bytes);
                match alarm.within(deadline, |context| stream.poll_sent(context)).await {
                    Ok(Ok(())) => conversation.sent(),
                    Ok(Err(error)) => return Some(failed(&error, address)),
                    Err(_) => return None,
                }
            }
            Next::Receive => {
                // What is behind the verdict is nobody's business.
                match alarm.within(deadline, |context| stream.poll_recv(context)).await {
                    Ok(Ok(Some(bytes))) => conversation.received(&bytes),
                    Ok(Ok(None)) => return Some(conversation.closed()),
                    // With TLS: it has ended without saying so.
                    Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                        return Some(conversation.closed());
                    }
                    Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                        let detail = error.to_string();
                        return Some(Failure { fault: Fault::Malformed, detail }.into());
                    }
                    Ok(Err(error)) => return Some(failed(&error, address)),
                    Err(_) => return None,
                }
            }
        };
    }
}

/// What an error of the socket says of the server: nothing, where this machine lacks something.
fn failed(error: &io::Error, address: &SockAddr) -> Outcome {
    let fault = match Errno::from_io_error(error) {
        // The queue of a Unix socket is full.
        Some(Errno::AGAIN) if address.is_unix() => Fault::Refused,
        Some(
            Errno::MFILE
            | Errno::NFILE
            | Errno::NOMEM
            | Errno::NOBUFS
            | Errno::ADDRNOTAVAIL
            | Errno::ADDRINUSE
            | Errno::AGAIN,
        ) => return Outcome::Skipped,
        Some(Errno::TIMEDOUT) => Fault::TimedOut,
        Some(Errno::CONNRESET | Errno::PIPE) => Fault::Reset,
        Some(Errno::HOSTUNREACH | Errno::NETUNREACH | Errno::HOSTDOWN | Errno::NETDOWN) => {
            Fault::Unreachable
        }
        _ => Fault::Refused,
    };
    Failure::new(fault).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_this_machine_are_not_blamed_on_the_server() {
        let tcp = SockAddr::from(std::net::SocketAddr::from(([127, 0, 0, 1], 80)));
        let unix = SockAddr::unix("/x").expect("short");
        let outcome = |errno: Errno, address| match failed(&errno.into(), address) {
            Outcome::Failed(failure) => Some(failure.fault),
            _ => None,
        };
        for (errno, expected) in [
            (Errno::CONNREFUSED, Some(Fault::Refused)),
            (Errno::TIMEDOUT, Some(Fault::TimedOut)),
            (Errno::HOSTUNREACH, Some(Fault::Unreachable)),
            (Errno::PIPE, Some(Fault::Reset)),
            (Errno::MFILE, None),
            (Errno::AGAIN, None),
        ] {
            assert_eq!(outcome(errno, &tcp), expected, "{errno:?}");
        }
        assert_eq!(outcome(Errno::AGAIN, &unix), Some(Fault::Refused));
    }
}
