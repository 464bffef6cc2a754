//! HAProxy's own lines: `option httplog` and `option tcplog` (its documentation, sections 8.2.2 and 8.2.3).
//!
//! Owns their order of fields; leaves the fields' texts to `line`, `value` and `escape`. Invariant: a tool that reads
//! HAProxy's logs reads these: the fields are its fields, absent times and statuses are -1, and the blocks of captured
//! headers are there exactly if something is captured. A blank in a name or a cookie is escaped, so that nobody can
//! shift the fields.

use crate::date::{DateCache, Moment, Timestamp};
use crate::escape::Alphabet;
use crate::line::Line;
use crate::record::{Micros, Record, VALUE_BYTES_MAX};
use crate::value::termination;

/// `%ci:%cp [%tr] %ft %b/%s %TR/%Tw/%Tc/%Tr/%Ta %ST %B %CC %CS %tsc %ac/%fc/%bc/%sc/%rc %sq/%bq %hr %hs %{+Q}r`
pub(crate) fn http(record: &Record<'_>, dates: &mut DateCache, line: &mut Line) {
    let times = &record.times;
    opening(record, Moment::Started, record.started_at, dates, line);
    for part in [times.request_head, times.queue, times.connect, times.response_head] {
        time(line, part);
    }
    line.number_and(times.total.0 / 1000, b' ');
    match record.status {
        Some(status) => line.number_and(status.into(), b' '),
        None => line.put_array(b"-1 "),
    }
    line.number_and(record.traffic.sent, b' ');
    match (record.cookies.request, record.cookies.response) {
        (None, None) => line.put_array(b"- - "),
        (request, response) => {
            cookie(line, request);
            cookie(line, response);
        }
    }
    let [cause, stage, request, response] = termination(record);
    line.put_array(&[cause, stage, request, response, b' ']);
    counts(record, line);
    if !record.request_headers.is_empty() {
        line.push(b' ');
        line.headers(record.request_headers);
    }
    if !record.response_headers.is_empty() {
        line.push(b' ');
        line.headers(record.response_headers);
    }
    line.put_array(b" \"");
    line.request_line(&record.request);
    line.push(b'"');
}

/// `%ci:%cp [%t] %ft %b/%s %Tw/%Tc/%Tt %B %ts %ac/%fc/%bc/%sc/%rc %sq/%bq`
pub(crate) fn tcp(record: &Record<'_>, dates: &mut DateCache, line: &mut Line) {
    opening(record, Moment::Accepted, record.accepted_at, dates, line);
    time(line, record.times.queue);
    time(line, record.times.connect);
    line.number_and(record.times.total.0 / 1000, b' ');
    line.number_and(record.traffic.sent, b' ');
    let [cause, stage] = record.ending.letters();
    line.put_array(&[cause, stage, b' ']);
    counts(record, line);
}

/// Up to and with the blank after the server's name.
#[inline]
fn opening(
    record: &Record<'_>,
    moment: Moment,
    at: Timestamp,
    dates: &mut DateCache,
    line: &mut Line,
) {
    line.ip(&record.client);
    line.push(b':');
    line.number_and(record.client.port().into(), b' ');
    line.push(b'[');
    dates.haproxy(moment, at, line);
    line.put_array(b"] ");
    name(line, record.frontend);
    match record.tls {
        Some(_) => line.put_array(b"~ "),
        None => line.push(b' '),
    }
    name(line, record.backend.unwrap_or(record.frontend));
    line.push(b'/');
    match record.server {
        Some(server) => name(line, server),
        None => line.put_array(b"<NOSRV>"),
    }
    line.push(b' ');
}

#[inline]
fn name(line: &mut Line, name: &str) {
    line.escaped(name.as_bytes(), Alphabet::Word, VALUE_BYTES_MAX);
}

/// The time and a slash.
#[inline]
fn time(line: &mut Line, time: Option<Micros>) {
    match time {
        Some(time) => line.number_and(time.0 / 1000, b'/'),
        None => line.put_array(b"-1/"),
    }
}

fn cookie(line: &mut Line, cookie: Option<&[u8]>) {
    match cookie {
        Some(cookie) => {
            line.escaped(cookie, Alphabet::Word, VALUE_BYTES_MAX);
            line.push(b' ');
        }
        None => line.put_array(b"- "),
    }
}

/// `%ac/%fc/%bc/%sc/%rc %sq/%bq`
#[inline]
fn counts(record: &Record<'_>, line: &mut Line) {
    let connections = &record.connections;
    let counts =
        [connections.process, connections.frontend, connections.backend, connections.server];
    for count in counts {
        line.number_and(count.into(), b'/');
    }
    if record.retries.redispatched {
        line.push(b'+');
    }
    line.number_and(record.retries.count.into(), b' ');
    line.number_and(record.queues.server.into(), b'/');
    line.number(record.queues.backend.into());
}
