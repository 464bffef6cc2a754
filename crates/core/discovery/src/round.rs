//! All questions about one name, once.
//!
//! Owns which they are and what follows from the findings together; leaves each of them to `lookup`, and what was known before to
//! `watch`. Invariant: a round ends when every question that it gave has its finding, and gives a bounded number of them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::finding::{Absence, Endpoint, Fault, Finding, Outcome, SHARE_WHOLE};
use crate::message::{Kind, Record};
use crate::name::DnsName;
use crate::settings::Family;

/// The hosts that one service may name; those beyond are left out.
pub const TARGETS_MAX: usize = 256;

/// The addresses that one name may stand for; those beyond are left out.
pub const ENDPOINTS_MAX: usize = 1024;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Question {
    /// Of which name.
    pub name: DnsName,
    /// What.
    pub kind: Kind,
}

#[derive(Clone, Debug)]
struct Service {
    priority: u16,
    weight: u16,
    port: u16,
    target: DnsName,
}

/// One round of questions about one name.
#[derive(Clone, Debug)]
pub struct Round {
    name: DnsName,
    family: Family,
    services: Vec<Service>,
    /// Each question with its finding once it has one.
    findings: BTreeMap<Question, Option<Finding>>,
    ttl: u32,
}

impl Round {
    /// Begins a round; the questions are to be asked all at once.
    #[must_use]
    pub fn new(name: &DnsName, family: Family) -> (Self, Vec<Question>) {
        let mut round = Self {
            name: name.clone(),
            family,
            services: Vec::new(),
            findings: BTreeMap::new(),
            ttl: u32::MAX,
        };
        let questions = if name.is_service() {
            round.ask([Question { name: name.clone(), kind: Kind::Srv }].into())
        } else {
            round.ask_host(name)
        };
        (round, questions)
    }

    /// What follows from addresses that are known without asking.
    #[must_use]
    pub fn of_addresses(name: &DnsName, family: Family, addresses: &[IpAddr]) -> Outcome {
        let (mut round, questions) = Self::new(name, family);
        for question in questions {
            let of_kind = |address: &&IpAddr| match question.kind {
                Kind::A => address.is_ipv4(),
                Kind::Aaaa => address.is_ipv6(),
                Kind::Srv => false,
            };
            let records: Vec<_> =
                addresses.iter().filter(of_kind).map(|of| Record::Address(*of)).collect();
            let finding = if records.is_empty() {
                Finding::Absent(Absence::NoRecords)
            } else {
                // How long it holds is a matter of who knows it.
                Finding::Records { records, ttl: 0 }
            };
            round.found(&question, finding);
        }
        round.outcome()
    }

    /// Takes what a question came to; more questions may follow from it.
    pub fn found(&mut self, question: &Question, finding: Finding) -> Vec<Question> {
        let mut more = Vec::new();
        if question.kind == Kind::Srv
            && let Finding::Records { records, .. } = &finding
        {
            for record in records.iter().take(TARGETS_MAX) {
                let Record::Service { priority, weight, port, target } = record else { continue };
                let (priority, weight, port) = (*priority, *weight, *port);
                self.services.push(Service { priority, weight, port, target: target.clone() });
            }
            let targets: Vec<_> = self.services.iter().map(|of| of.target.clone()).collect();
            more = targets.iter().flat_map(|target| self.ask_host(target)).collect();
        }
        if let Finding::Records { ttl, .. } = &finding {
            self.ttl = self.ttl.min(*ttl);
        }
        self.findings.insert(question.clone(), Some(finding));
        more
    }

    /// Whether every question has its finding.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.findings.values().all(Option::is_some)
    }

    /// What the round came to.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        if !self.name.is_service() {
            return match self.host(&self.name) {
                (addresses, fault) if !addresses.is_empty() => {
                    let endpoint =
                        |address| Endpoint { tier: 0, address, port: None, share: SHARE_WHOLE };
                    self.outcome_of(addresses.into_iter().map(endpoint).collect(), fault)
                }
                (_, Some(fault)) => Outcome::Failed(fault),
                (_, None) => Outcome::Absent(self.absence(&self.name)),
            };
        }
        let question = Question { name: self.name.clone(), kind: Kind::Srv };
        match self.findings.get(&question) {
            Some(Some(Finding::Records { .. })) => self.outcome_of_services(),
            Some(Some(Finding::Absent(absence))) => Outcome::Absent(*absence),
            Some(Some(Finding::Failed(fault))) => Outcome::Failed(*fault),
            Some(None) | None => Outcome::Failed(Fault::NoResolver),
        }
    }

    fn ask_host(&mut self, name: &DnsName) -> Vec<Question> {
        let kinds: &[Kind] = match self.family {
            Family::Ipv4 => &[Kind::A],
            Family::Ipv6 => &[Kind::Aaaa],
            Family::Ipv4First | Family::Ipv6First | Family::Both => &[Kind::A, Kind::Aaaa],
        };
        let question = |kind: &Kind| Question { name: name.clone(), kind: *kind };
        self.ask(kinds.iter().map(question).collect())
    }

    /// Those of the questions that have not been asked in this round.
    fn ask(&mut self, mut questions: Vec<Question>) -> Vec<Question> {
        questions.retain(|question| !self.findings.contains_key(question));
        self.findings.extend(questions.iter().map(|question| (question.clone(), None)));
        questions
    }

    /// The addresses of a host that are to be used, and what went wrong with questions that could have brought others.
    fn host(&self, name: &DnsName) -> (Vec<IpAddr>, Option<Fault>) {
        let of = |kind| self.addresses(name, kind);
        let first = |(one, fault): (Vec<IpAddr>, Option<Fault>), other: Kind| {
            if !one.is_empty() {
                return (one, None);
            }
            let (second, other_fault) = of(other);
            (second, fault.or(other_fault))
        };
        match self.family {
            Family::Ipv4 => of(Kind::A),
            Family::Ipv6 => of(Kind::Aaaa),
            Family::Ipv4First => first(of(Kind::A), Kind::Aaaa),
            Family::Ipv6First => first(of(Kind::Aaaa), Kind::A),
            Family::Both => {
                let ((mut all, fault), (more, other)) = (of(Kind::A), of(Kind::Aaaa));
                all.extend(more);
                (all, fault.or(other))
            }
        }
    }

    fn addresses(&self, name: &DnsName, kind: Kind) -> (Vec<IpAddr>, Option<Fault>) {
        let question = Question { name: name.clone(), kind };
        match self.findings.get(&question) {
            Some(Some(Finding::Records { records, .. })) => {
                let address = |record: &Record| match record {
                    Record::Address(address) => Some(*address),
                    Record::Service { .. } => None,
                };
                (records.iter().filter_map(address).collect(), None)
            }
            Some(Some(Finding::Failed(fault))) => (Vec::new(), Some(*fault)),
            Some(Some(Finding::Absent(_)) | None) | None => (Vec::new(), None),
        }
    }

    fn absence(&self, name: &DnsName) -> Absence {
        let gone = self.findings.iter().any(|(question, finding)| {
            question.name == *name && matches!(finding, Some(Finding::Absent(Absence::NoSuchName)))
        });
        if gone { Absence::NoSuchName } else { Absence::NoRecords }
    }

    fn outcome_of_services(&self) -> Outcome {
        let mut greatest: BTreeMap<u16, u16> = BTreeMap::new();
        for service in &self.services {
            let weight = greatest.entry(service.priority).or_default();
            *weight = service.weight.max(*weight);
        }
        let (mut endpoints, mut fault) = (Vec::new(), None);
        for service in &self.services {
            let (addresses, failed) = self.host(&service.target);
            fault = fault.or(failed);
            let share = share(service.weight, greatest[&service.priority]);
            let endpoint = |address| Endpoint {
                tier: service.priority,
                address,
                port: Some(service.port),
                share,
            };
            endpoints.extend(addresses.into_iter().map(endpoint));
        }
        match fault {
            _ if !endpoints.is_empty() => self.outcome_of(endpoints, fault),
            Some(fault) => Outcome::Failed(fault),
            None => Outcome::Absent(Absence::NoRecords),
        }
    }

    fn outcome_of(&self, mut endpoints: Vec<Endpoint>, fault: Option<Fault>) -> Outcome {
        // Of an address that is there twice, the better place counts.
        endpoints
            .sort_unstable_by_key(|of| (of.address, of.port, of.tier, std::cmp::Reverse(of.share)));
        endpoints.dedup_by_key(|of| (of.address, of.port));
        endpoints.sort_unstable();
        endpoints.truncate(ENDPOINTS_MAX);
        Outcome::Found { endpoints, ttl: self.ttl, fault }
    }
}

/// A weight's part of the greatest of its priority. RFC 2782 gives weight 0 a very small chance, and where all have it, equal ones.
fn share(weight: u16, greatest: u16) -> u16 {
    if greatest == 0 {
        return SHARE_WHOLE;
    }
    let parts = (u32::from(weight) * u32::from(SHARE_WHOLE)).div_ceil(u32::from(greatest));
    u16::try_from(parts).unwrap_or(SHARE_WHOLE).max(1)
}
