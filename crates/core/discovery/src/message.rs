//! Questions and answers on the wire (RFC 1035 §4, RFC 6891).
//!
//! Owns which bytes are an answer to a question and what they say; leaves the grammar of messages to `domain`, and what to do next to
//! `lookup`. Invariant: no bytes make it panic, and what it takes from an answer is bounded.

use std::net::IpAddr;

use domain::base::iana::{Class, Rcode};
use domain::base::{Message, MessageBuilder, Name, ParsedName, Question, Rtype};
use domain::dep::octseq::Array;
use domain::rdata::{A, Aaaa, Cname, Srv};

use crate::finding::{Absence, Fault};
use crate::name::DnsName;

/// The largest answer that is asked for in one datagram, in bytes: what passes networks without being cut into pieces (RFC 9715
/// §3). A longer one is fetched over TCP.
pub const DATAGRAM_BYTES_MAX: u16 = 1232;

/// The records of one answer that are looked at; those beyond are left out. An answer over TCP has at most 65,535 bytes, which
/// is some four thousand addresses: more than a backend may have.
pub const RECORDS_MAX: usize = 4096;

/// How often one name may stand for another within one answer and over several: resolvers themselves follow 8 to 16.
pub(crate) const ALIASES_MAX: usize = 12;

/// What a query has room for: head, name, type, class, and the record that tells how much may come back.
type QueryBytes = Array<320>;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Where a service is (RFC 2782).
    Srv,
}

impl Kind {
    const fn rtype(self) -> Rtype {
        match self {
            Self::A => Rtype::A,
            Self::Aaaa => Rtype::AAAA,
            Self::Srv => Rtype::SRV,
        }
    }
}

/// A record of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// An address.
    Address(IpAddr),
    /// Where a service is.
    Service {
        /// Lower ones are used first.
        priority: u16,
        /// Its share among those of its priority.
        weight: u16,
        /// The port.
        port: u16,
        /// The host.
        target: DnsName,
    },
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Records of the kind that was asked for, at least one.
    Records {
        /// What they say.
        records: Vec<Record>,
        /// For how many seconds, that of the names on the way included.
        ttl: u32,
    },
    /// The name stands for another one, of which the answer says nothing.
    Alias {
        /// The other one.
        to: DnsName,
        /// For how many seconds.
        ttl: u32,
        /// How many names there were on the way.
        aliases: usize,
    },
    /// There are none.
    Absent(Absence),
    /// The answer did not fit into a datagram.
    Truncated,
    /// The resolver does not know what a query's limit of bytes is (RFC 6891 §7).
    NoExtensions,
    /// The resolver says that it cannot answer.
    Failed(Fault),
}

/// Why bytes are not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotRead {
    /// They are not an answer to this question: a late one to another, or somebody's guess.
    Foreign,
    /// They are, and make no sense.
    Malformed,
}

/// The bytes of a question; `extended` says how long an answer may be.
///
/// # Panics
/// Never: a [`DnsName`] fits into a message.
#[must_use]
pub fn write_query(id: u16, name: &DnsName, kind: Kind, extended: bool) -> Vec<u8> {
    let fits = "a query has room for the longest name";
    let mut message = MessageBuilder::from_target(QueryBytes::new()).expect(fits);
    message.header_mut().set_id(id);
    message.header_mut().set_rd(true);
    let mut message = message.question();
    message.push((&wire_name(name), kind.rtype(), Class::IN)).expect(fits);
    let mut message = message.additional();
    if extended {
        let limit = |opt: &mut domain::base::message_builder::OptBuilder<'_, _>| {
            opt.set_udp_payload_size(DATAGRAM_BYTES_MAX);
            Ok(())
        };
        message.opt(limit).expect(fits);
    }
    message.finish().as_ref().to_vec()
}

fn wire_name(name: &DnsName) -> Name<Array<256>> {
    Name::from_chars(name.as_str().chars()).expect("a name that was read fits into a message")
}

/// Reads the answer to the question with this id.
///
/// # Errors
/// The bytes are not an answer to it, or make no sense.
pub fn read_reply(bytes: &[u8], id: u16, name: &DnsName, kind: Kind) -> Result<Reply, NotRead> {
    let message = Message::from_slice(bytes).map_err(|_| NotRead::Foreign)?;
    let header = message.header();
    if !header.qr() || header.id() != id || header.opcode().to_int() != 0 {
        return Err(NotRead::Foreign);
    }
    let rcode = header.rcode();
    let has_question = message.header_counts().qdcount() > 0;
    if has_question {
        let asked = message.sole_question().map_err(|_| NotRead::Foreign)?;
        if !is_question(&asked, name, kind) {
            return Err(NotRead::Foreign);
        }
    } else if rcode == Rcode::NOERROR || rcode == Rcode::NXDOMAIN {
        // Only who could not read the question may leave it out.
        return Err(NotRead::Foreign);
    }
    if header.tc() {
        return Ok(Reply::Truncated);
    }
    match rcode {
        Rcode::NOERROR => read_records(message, name, kind),
        Rcode::NXDOMAIN => Ok(Reply::Absent(Absence::NoSuchName)),
        Rcode::SERVFAIL => Ok(Reply::Failed(Fault::ServerFailure)),
        Rcode::FORMERR | Rcode::NOTIMP => Ok(Reply::NoExtensions),
        _ => Ok(Reply::Failed(Fault::Refused)),
    }
}

fn is_question(asked: &Question<ParsedName<&[u8]>>, name: &DnsName, kind: Kind) -> bool {
    let same_kind = asked.qtype() == kind.rtype() && asked.qclass() == Class::IN;
    same_kind && *asked.qname() == wire_name(name)
}

/// The records of the name, or of the one it stands for (RFC 1034 §3.6.2).
fn read_records(message: &Message<[u8]>, name: &DnsName, kind: Kind) -> Result<Reply, NotRead> {
    let malformed = |_| NotRead::Malformed;
    let mut owner = wire_name(name);
    let (mut ttl, mut aliases) = (u32::MAX, 0);
    // Aliases may stand in any order; each round follows one.
    while aliases < ALIASES_MAX {
        let mut next = None;
        for record in message.answer().map_err(malformed)?.limit_to_in::<Cname<_>>() {
            let record = record.map_err(malformed)?;
            if *record.owner() == owner {
                ttl = ttl.min(record.ttl().as_secs());
                next = Some(record.data().cname().to_string());
                break;
            }
        }
        let Some(next) = next else { break };
        let next = next.parse::<DnsName>().map_err(|_| NotRead::Malformed)?;
        owner = wire_name(&next);
        aliases += 1;
    }
    let mut records = Vec::new();
    let answer = message.answer().map_err(malformed)?;
    for record in answer.take(RECORDS_MAX) {
        let record = record.map_err(malformed)?;
        let of_kind = record.rtype() == kind.rtype() && record.class() == Class::IN;
        if !of_kind || record.owner() != owner {
            continue;
        }
        ttl = ttl.min(record.ttl().as_secs());
        let read = match kind {
            Kind::A => record
                .to_record::<A>()
                .map_err(malformed)?
                .map(|record| Some(Record::Address(IpAddr::V4(record.data().addr())))),
            Kind::Aaaa => record
                .to_record::<Aaaa>()
                .map_err(malformed)?
                .map(|record| Some(Record::Address(IpAddr::V6(record.data().addr())))),
            Kind::Srv => record
                .to_record::<Srv<ParsedName<&[u8]>>>()
                .map_err(malformed)?
                .map(|record| service(record.data())),
        };
        records.extend(read.flatten());
    }
    // RFC 2181 §8: a TTL with the highest bit set is zero.
    let ttl = if ttl > i32::MAX.unsigned_abs() { 0 } else { ttl };
    Ok(match (records.is_empty(), aliases) {
        (false, _) => Reply::Records { records, ttl },
        (true, 0) => Reply::Absent(Absence::NoRecords),
        (true, aliases) => {
            let to = owner.to_string().parse().map_err(|_| NotRead::Malformed)?;
            Reply::Alias { to, ttl, aliases }
        }
    })
}

/// None for a record that names no place: the root as target says that the service is not offered (RFC 2782).
fn service(record: &Srv<ParsedName<&[u8]>>) -> Option<Record> {
    let target = record.target().to_string().parse().ok()?;
    (record.port() > 0).then(|| Record::Service {
        priority: record.priority(),
        weight: record.weight(),
        port: record.port(),
        target,
    })
}
