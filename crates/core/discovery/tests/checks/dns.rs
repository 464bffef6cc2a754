//! What must hold of an answer, whatever its bytes are.

use tidegate_discovery::{
    DnsName, Finding, Kind, Lookup, Next, Question, RECORDS_MAX, Record, Reply, Taken, read_reply,
};

/// Reads `data` as an answer to each kind of question with its own id, and has a lookup take it.
pub fn check(data: &[u8]) {
    let id = data.first_chunk().map_or(0, |id| u16::from_be_bytes(*id));
    for (name, kind) in
        [("app.test", Kind::A), ("app.test", Kind::Aaaa), ("_http._tcp.app.test", Kind::Srv)]
    {
        let name: DnsName = name.parse().expect("a name");
        let reply = read_reply(data, id, &name, kind);
        if let Ok(Reply::Records { records, ttl }) = &reply {
            assert!(!records.is_empty() && records.len() <= RECORDS_MAX && *ttl <= i32::MAX as u32);
            let fits = |record: &Record| match (record, kind) {
                (Record::Address(address), Kind::A) => address.is_ipv4(),
                (Record::Address(address), Kind::Aaaa) => address.is_ipv6(),
                (Record::Service { port, .. }, Kind::Srv) => *port > 0,
                _ => false,
            };
            assert!(records.iter().all(fits), "{records:?}");
        }
        // However often the same comes, a lookup ends.
        let mut lookup = Lookup::new(Question { name, kind }, vec![0, 1], 2);
        let mut tries = 0;
        let finding = loop {
            match lookup.next(id) {
                Next::Done(finding) => break finding,
                Next::Ask(_) => tries += 1,
            }
            assert!(tries <= 64, "it does not end");
            if lookup.received(data) == Taken::Ignored {
                lookup.failed(tidegate_discovery::Fault::TimedOut);
            }
        };
        if let Finding::Records { records, .. } = finding {
            assert!(!records.is_empty());
        }
    }
}
