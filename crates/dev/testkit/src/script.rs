//! Owns ready-made scripts for [`Origin::start`](crate::Origin::start) and the response bytes they
//! send.
//!
//! Leaves the connection to `origin`. A script is any function from a connection to a result; these
//! are the ones that many tests share. Invariant: what a constructor here builds is a valid
//! message.

use crate::message::Request;
use crate::origin::Connection;
use std::fmt::Write as _;
use std::io;

/// Answers every request of a connection with the same bytes, until the other side finishes.
pub fn answer(
    response: impl AsRef<[u8]>,
) -> impl Fn(Connection) -> io::Result<()> + Send + Sync + 'static {
    let response = response.as_ref().to_vec();
    answer_with(move |_, _| response.clone())
}

/// Answers every request with `200 OK` and this body.
pub fn answer_ok(body: &str) -> impl Fn(Connection) -> io::Result<()> + Send + Sync + 'static {
    answer(ok(body))
}

/// Answers every request with what `respond` makes of it and of the connection's number.
pub fn answer_with(
    respond: impl Fn(usize, &Request) -> Vec<u8> + Send + Sync + 'static,
) -> impl Fn(Connection) -> io::Result<()> + Send + Sync + 'static {
    move |mut connection| {
        while let Some(request) = connection.read_request()? {
            let response = respond(connection.index(), &request);
            connection.send(response)?;
        }
        Ok(())
    }
}

/// Answers the first request with these bytes, before its body has been read, and closes the
/// connection in order.
pub fn answer_early_and_close(
    response: impl AsRef<[u8]>,
) -> impl Fn(Connection) -> io::Result<()> + Send + Sync + 'static {
    let response = response.as_ref().to_vec();
    move |mut connection| {
        if connection.read_request_head()?.is_some() {
            connection.send(&response)?;
        }
        connection.finish()
    }
}

/// Answers the first request with these bytes, which may be a part of a response, and closes the
/// connection at once.
pub fn answer_and_close(
    response: impl AsRef<[u8]>,
) -> impl Fn(Connection) -> io::Result<()> + Send + Sync + 'static {
    let response = response.as_ref().to_vec();
    move |mut connection| match connection.read_request()? {
        Some(_) => connection.send(&response),
        None => Ok(()),
    }
}

/// Answers the first request with these bytes, which may be a part of a response, and resets the
/// connection.
pub fn answer_and_reset(
    response: impl AsRef<[u8]>,
) -> impl Fn(Connection) -> io::Result<()> + Send + Sync + 'static {
    let response = response.as_ref().to_vec();
    move |mut connection| {
        if connection.read_request()?.is_some() {
            connection.send(&response)?;
        }
        connection.reset()
    }
}

/// Answers an upgrade request with `101 Switching Protocols` to `protocol`, then sends every byte
/// back.
pub fn upgrade_echo(
    protocol: &str,
) -> impl Fn(Connection) -> io::Result<()> + Send + Sync + 'static {
    let response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: {protocol}\r\n\r\n"
    );
    move |mut connection| match connection.read_request_head()? {
        Some(_) => {
            connection.send(&response)?;
            connection.echo()
        }
        None => Ok(()),
    }
}

/// A `200 OK` with this body and its length.
#[must_use]
pub fn ok(body: impl AsRef<[u8]>) -> Vec<u8> {
    response(200, "OK", &[], body)
}

/// A response with a Content-Length and these further header fields.
#[must_use]
pub fn response(
    status: u16,
    reason: &str,
    headers: &[(&str, &str)],
    body: impl AsRef<[u8]>,
) -> Vec<u8> {
    let body = body.as_ref();
    let mut head = format!("HTTP/1.1 {status} {reason}\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        write!(head, "{name}: {value}\r\n").expect("a String takes everything");
    }
    [head.as_bytes(), b"\r\n", body].concat()
}

/// A `200 OK` with a chunked body in these pieces.
#[must_use]
pub fn ok_chunked(pieces: &[&str]) -> Vec<u8> {
    let mut message = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
    for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
        write!(message, "{:x}\r\n{piece}\r\n", piece.len()).expect("a String takes everything");
    }
    message.push_str("0\r\n\r\n");
    message.into_bytes()
}

/// A `200 OK` whose body ends with the connection.
#[must_use]
pub fn ok_until_close(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{body}").into_bytes()
}
