//! What the balancer says about itself, read from its `/metrics`.
//!
//! Owns fetching and reading the few series that the live view shows; leaves what they mean over
//! time to `history`. Invariant: it reads what any monitoring would read, from the outside.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// The frontend whose requests are shown.
pub(super) const FRONTEND: &str = "web";
/// The backend whose servers are shown.
pub(super) const BACKEND: &str = "demo";

/// A whole answer. One frontend, one backend and 64 shards take a quarter of it.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// For connecting, and for each read and write.
const TIMEOUT: Duration = Duration::from_secs(2);

/// What has been counted up to one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sample {
    /// Responses received from each server.
    pub(super) servers: BTreeMap<String, u64>,
    /// Requests that clients saw fail: answered with a 5xx.
    pub(super) failed: u64,
    /// Of the frontend's request durations: upper bounds in seconds, ascending, the last one
    /// infinite; each with how many requests took at most as long.
    pub(super) durations: Vec<(f64, u64)>,
}

/// Asks the balancer at `admin`.
///
/// # Errors
/// It does not answer, or with something else than metrics.
pub(super) fn fetch(admin: &str) -> io::Result<Sample> {
    let address: SocketAddr = admin.parse().map_err(io::Error::other)?;
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    read(body(&answer)?)
}

fn body(answer: &str) -> io::Result<&str> {
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) == Some("200") {
        Ok(body)
    } else {
        Err(io::Error::other(format!("answered {status:?}")))
    }
}

/// Picks what is shown out of the text.
fn read(text: &str) -> io::Result<Sample> {
    let mut sample = Sample::default();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, rest)) = line.split_once('{') else { continue };
        let Some((labels, value)) = rest.rsplit_once("} ") else { continue };
        let count = || value.parse::<u64>().map_err(|_| io::Error::other(line.to_owned()));
        match name {
            "tidegate_server_requests_total" if has(labels, "backend", BACKEND) => {
                let server = label(labels, "server").unwrap_or_default().to_owned();
                *sample.servers.entry(server).or_default() += count()?;
            }
            "tidegate_frontend_requests_total"
                if has(labels, "frontend", FRONTEND) && has(labels, "status", "5xx") =>
            {
                sample.failed += count()?;
            }
            "tidegate_frontend_request_duration_seconds_bucket"
                if has(labels, "frontend", FRONTEND) =>
            {
                let bound = label(labels, "le").and_then(|bound| bound.parse().ok());
                let bound = bound.ok_or_else(|| io::Error::other(line.to_owned()))?;
                sample.durations.push((bound, count()?));
            }
            _ => {}
        }
    }
    sample.durations.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    Ok(sample)
}

fn has(labels: &str, name: &str, value: &str) -> bool {
    label(labels, name) == Some(value)
}

/// The value of a label. The names in this configuration hold nothing that would be escaped.
fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    labels.split(',').find_map(|pair| {
        let (found, value) = pair.split_once('=')?;
        (found == name).then(|| value.trim_matches('"'))
    })
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::thread;

    use super::*;

    const TEXT: &str = r#"# HELP tidegate_server_requests_total Responses received from the server.
# TYPE tidegate_server_requests_total counter
tidegate_server_requests_total{backend="demo",server="app2",status="2xx"} 7
tidegate_server_requests_total{backend="demo",server="app1",status="2xx"} 40
tidegate_server_requests_total{backend="demo",server="app1",status="4xx"} 2
tidegate_server_requests_total{backend="other",server="app1",status="2xx"} 1000
tidegate_frontend_requests_total{frontend="web",shard="0",status="2xx"} 30
tidegate_frontend_requests_total{frontend="web",shard="0",status="5xx"} 1
tidegate_frontend_requests_total{frontend="web",shard="1",status="5xx"} 2
tidegate_frontend_requests_total{frontend="web2",shard="1",status="5xx"} 9
tidegate_frontend_request_duration_seconds_bucket{frontend="web",le="0.0001"} 5
tidegate_frontend_request_duration_seconds_bucket{frontend="web",le="+Inf"} 49
tidegate_frontend_request_duration_seconds_bucket{frontend="web",le="10"} 48
tidegate_frontend_request_duration_seconds_sum{frontend="web"} 0.5
process_open_fds 12
"#;

    fn sample() -> Sample {
        Sample {
            servers: BTreeMap::from([("app1".into(), 42), ("app2".into(), 7)]),
            failed: 3,
            durations: vec![(0.0001, 5), (10.0, 48), (f64::INFINITY, 49)],
        }
    }

    #[test]
    fn the_series_that_are_shown_are_summed_and_the_others_are_passed_over() {
        assert_eq!(read(TEXT).expect("valid"), sample());
        assert_eq!(read("").expect("valid"), Sample::default());
    }

    #[test]
    fn a_count_that_is_none_is_an_error_that_shows_its_line() {
        let line = r#"tidegate_server_requests_total{backend="demo",server="a",status="2xx"} many"#;
        assert_eq!(read(line).expect_err("no number").to_string(), line);
    }

    #[test]
    fn only_a_whole_and_successful_answer_is_read() {
        assert_eq!(body("HTTP/1.1 200 OK\r\nA: b\r\n\r\ntext").expect("an answer"), "text");
        assert!(body("HTTP/1.1 200 OK\r\nA: b\r\n").is_err());
        let error = body("HTTP/1.1 503 Service Unavailable\r\n\r\n").expect_err("refused");
        assert!(error.to_string().contains("503"), "{error}");
    }

    #[test]
    fn a_sample_comes_over_a_socket() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
        let address = listener.local_addr().expect("bound").to_string();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).expect("a whole head");
                request.push(byte[0]);
            }
            let answer = format!("HTTP/1.1 200 OK\r\n\r\n{TEXT}");
            stream.write_all(answer.as_bytes()).expect("writable");
            String::from_utf8(request).expect("text")
        });
        assert_eq!(fetch(&address).expect("an answer"), sample());
        let request = server.join().expect("no panic");
        assert!(request.starts_with("GET /metrics HTTP/1.1\r\n"), "{request}");
        assert!(fetch(&address).is_err(), "nobody listens any more");
    }
}
