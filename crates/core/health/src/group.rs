//! The servers of one backend: what checks, agents and traffic say, joined.
//!
//! Owns each server's standing, the cap on ejections and the panic threshold; leaves making checks and
//! telling the shards to the control plane. Invariant: a standing follows from what is known now and not
//! from the order in which it became known; never more servers are ejected than the cap allows.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tidegate_balance::{Availability, Weight};

use crate::active::{Change, Checked};
use crate::agent::{AgentReport, Duty};
use crate::event::{Event, What};
use crate::outcome::{Failure, Fault, Outcome};
use crate::passive::{Outlier, PassiveSettings, Sample};
use crate::settings::Timing;

/// What holds for all servers of a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupSettings {
    /// With fewer than this percentage of servers well, all are used; 0: never.
    pub panic_threshold: u8,
    /// Who is an outlier; none: traffic is not looked at.
    pub passive: Option<PassiveSettings>,
}

/// What is configured of one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberSettings {
    /// Its weight.
    pub weight: Weight,
    /// It is used only while no other server is usable.
    pub backup: bool,
    /// How often it is checked; none: not at all.
    pub timing: Option<Timing>,
    /// Its checks ask an agent, which may set a share of its weight.
    pub has_agent: bool,
    /// It is where a name is that it shares with others; none: its address is fixed.
    pub named: Option<Named>,
}

/// A name that servers share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// Which of the names of the backend.
    pub group: usize,
    /// Its addresses may have different shares of their servers' weights.
    pub has_shares: bool,
}

/// What is known of the address of a server that has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standby {
    /// While a server of the same name with a lower one is well, it stands by.
    pub tier: u16,
    /// Its part of its weight, in 256ths.
    pub share: u16,
}

/// A share that is the whole.
const SHARE_WHOLE: u64 = 256;

/// What a server is to be for balancing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether it takes requests.
    pub availability: Availability,
    /// Its share of them.
    pub weight: Weight,
    /// When it came up after having been down: it may start slowly.
    pub since: Option<Instant>,
    /// Whether it is well and gets requests; in a panic, servers that are not well get them too.
    pub healthy: bool,
    /// Connections that its agent allows, in the place of what is configured; 0: as many as come.
    pub max_connections: Option<u32>,
}

/// Why a server does or does not get requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Well,
    Failing,
    Ejected,
    Draining,
    Maintenance,
    /// Its name stands for no address that it could have.
    Nowhere,
}

#[derive(Clone, Debug)]
struct Member {
    settings: MemberSettings,
    checked: Option<Checked>,
    /// What its agent has said, everything that was mentioned so far.
    said: AgentReport,
    outlier: Outlier,
    /// None: it is nowhere, if it has a name.
    address: Option<Standby>,
    /// It has not been well yet since it is at another address.
    has_moved: bool,
    /// What was last settled.
    standing: Standing,
}

impl Member {
    fn cause(&self) -> Cause {
        let failing = self.checked.is_some_and(|checked| !checked.is_up());
        match self.said.duty.unwrap_or_default() {
            _ if self.settings.named.is_some() && self.address.is_none() => Cause::Nowhere,
            Duty::Maintenance => Cause::Maintenance,
            _ if failing || self.said.up == Some(false) => Cause::Failing,
            _ if self.outlier.ejected_until().is_some() => Cause::Ejected,
            Duty::Drain => Cause::Draining,
            Duty::Ready => Cause::Well,
        }
    }

    fn weight(&self, scale: u16) -> Weight {
        let configured = u64::from(self.settings.weight.value()) * u64::from(scale);
        let percent = u64::from(self.said.weight_percent.unwrap_or(100));
        let share = self.address.map_or(SHARE_WHOLE, |address| u64::from(address.share));
        let weight = (configured * percent * share)
            .div_ceil(100 * SHARE_WHOLE)
            .min(u64::from(Weight::MAX.value()));
        u16::try_from(weight).ok().and_then(Weight::new).unwrap_or(Weight::MAX)
    }
}

/// The servers of one backend.
#[derive(Clone, Debug)]
pub struct Group {
    settings: GroupSettings,
    members: Vec<Member>,
    /// What weights are multiplied by, so that percentages and shares of small ones make a difference.
    scale: u16,
    panics: bool,
    none_up: bool,
    ejections_capped: u64,
    events: Vec<Event>,
    /// Something became known that standings may not show yet.
    unsettled: bool,
    /// When the next ejection is over.
    returns_at: Option<Instant>,
}

impl Group {
    /// Servers of which nothing is known yet.
    #[must_use]
    pub fn new(settings: GroupSettings, members: &[MemberSettings]) -> Self {
        let greatest = members.iter().map(|member| member.weight.value()).max().unwrap_or(0);
        let has_parts = members
            .iter()
            .any(|member| member.has_agent || member.named.is_some_and(|named| named.has_shares));
        let scale = if has_parts { Weight::MAX.value() / greatest.max(1) } else { 1 };
        let member = |settings: &MemberSettings| Member {
            settings: *settings,
            checked: settings.timing.map(|timing| Checked::new(timing.initial)),
            said: AgentReport::default(),
            outlier: Outlier::default(),
            address: None,
            has_moved: false,
            standing: Standing {
                availability: Availability::Up,
                weight: settings.weight,
                since: None,
                healthy: settings.weight > Weight::ZERO,
                max_connections: None,
            },
        };
        let members = members.iter().map(member).collect();
        Self {
            settings,
            members,
            scale,
            panics: false,
            none_up: false,
            ejections_capped: 0,
            events: Vec::new(),
            unsettled: true,
            returns_at: None,
        }
    }

    /// Takes over what checks have said of a server in the configuration before.
    pub fn adopt_checks(&mut self, server: usize, before: &Self, there: usize) {
        let (Some(member), Some(known)) = (self.members.get_mut(server), before.members.get(there))
        else {
            return;
        };
        (member.checked, member.said) = (known.checked, known.said.clone());
        (member.standing.since, member.standing.healthy) =
            (known.standing.since, known.standing.healthy);
    }

    /// Takes over what traffic has said of a server in the configuration before.
    pub fn adopt_traffic(&mut self, server: usize, before: &Self, there: usize) {
        if let (Some(member), Some(known)) =
            (self.members.get_mut(server), before.members.get(there))
        {
            member.outlier = known.outlier.clone();
            member.standing.healthy = known.standing.healthy;
        }
    }

    /// Takes over whether there was a panic, so that it is not told of twice.
    pub fn adopt_alarms(&mut self, before: &Self) {
        (self.panics, self.none_up) = (before.panics, before.none_up);
        self.ejections_capped = before.ejections_capped;
    }

    /// Takes note of what the address of a server with a name is; none: it has none. Of one that has `moved`, nothing that was known is
    /// of use.
    pub fn set_address(&mut self, server: usize, address: Option<Standby>, moved: bool) {
        let Some(member) = self.members.get_mut(server) else { return };
        self.unsettled |= moved || member.address != address;
        member.address = address;
        if moved {
            member.checked = member.settings.timing.map(|timing| Checked::new(timing.initial));
            (member.said, member.outlier) = (AgentReport::default(), Outlier::default());
            member.has_moved = true;
        }
    }

    /// Takes note of a check of `server`; when the next one is due, counted from the beginning of this one.
    pub fn checked(&mut self, server: usize, outcome: &Outcome) -> Option<Duration> {
        let member = self.members.get_mut(server)?;
        let (timing, checked) = (member.settings.timing?, member.checked.as_mut()?);
        let was_up = checked.is_up() && member.said.up != Some(false);
        match outcome {
            Outcome::Skipped => return Some(checked.interval(&timing)),
            Outcome::Passed | Outcome::Said(_) => checked.record(true, &timing),
            Outcome::Failed(_) => checked.record(false, &timing),
        };
        let (is_up, interval) = (checked.is_up(), checked.interval(&timing));
        if let Outcome::Said(report) = outcome {
            let (duty, max) = (member.said.duty, member.said.max_connections);
            self.unsettled = true;
            let mut said = report.clone();
            said.up = said.up.or(member.said.up);
            said.duty = said.duty.or(duty);
            said.weight_percent = said.weight_percent.or(member.said.weight_percent);
            said.max_connections = said.max_connections.or(max);
            member.said = said;
            if let Some(now) = member.said.max_connections.filter(|now| Some(*now) != max) {
                self.events.push(Event { server: Some(server), what: What::Limit(now) });
            }
            if member.said.duty.unwrap_or_default() != duty.unwrap_or_default() {
                let what = What::Duty(member.said.duty.unwrap_or_default());
                self.events.push(Event { server: Some(server), what });
            }
        }
        let is_up = is_up && member.said.up != Some(false);
        if was_up != is_up {
            let what = if is_up { What::Up } else { What::Down(failure(outcome)) };
            self.unsettled = true;
            self.events.push(Event { server: Some(server), what });
        }
        Some(interval)
    }

    /// The streak of checks that disagree with the server's state, and how many a change takes.
    #[must_use]
    pub fn progress(&self, server: usize) -> Option<(u32, u32)> {
        let member = self.members.get(server)?;
        Some(member.checked.as_ref()?.progress(&member.settings.timing?))
    }

    /// What checks alone say of a server: `None` where it is not checked, or has not been yet.
    #[must_use]
    pub fn last_word(&self, server: usize) -> Option<Change> {
        let checked =
            self.members.get(server)?.checked.filter(|checked| !checked.is_unsettled())?;
        Some(if checked.is_up() { Change::Up } else { Change::Down })
    }

    /// Takes note of what the shards have counted of `server` in traffic.
    pub fn observed(&mut self, server: usize, samples: impl Iterator<Item = Sample>, now: Instant) {
        let Some(settings) = self.settings.passive else { return };
        let Some(member) = self.members.get_mut(server) else { return };
        let Some(sign) = member.outlier.look(samples, &settings, now) else { return };
        if !matches!(member.cause(), Cause::Well | Cause::Draining) {
            // It gets nothing anyway: these were the last of its requests.
            return;
        }
        if self.ejected_count() >= self.ejected_max(&settings) {
            self.ejections_capped += 1;
            return;
        }
        let Some(member) = self.members.get_mut(server) else { return };
        let time = member.outlier.eject(&settings, now);
        self.unsettled = true;
        let what = What::Ejected { sign, time, times: member.outlier.times() };
        self.events.push(Event { server: Some(server), what });
    }

    /// Servers that are ejected now.
    #[must_use]
    pub fn ejected_count(&self) -> usize {
        self.members.iter().filter(|member| member.outlier.ejected_until().is_some()).count()
    }

    /// One of several may always be ejected, and the last one only where all may.
    fn ejected_max(&self, settings: &PassiveSettings) -> usize {
        let is_somewhere = |member: &&Member| member.cause() != Cause::Nowhere;
        let count = self.members.iter().filter(is_somewhere).count();
        let share = count * usize::from(settings.max_ejected_percent.min(100)) / 100;
        if count > 1 { share.max(1) } else { share }
    }

    /// Outliers that were left where they were because enough others are ejected.
    #[must_use]
    pub const fn ejections_capped(&self) -> u64 {
        self.ejections_capped
    }

    /// When the next ejection is over, as last settled.
    #[must_use]
    pub const fn next_return(&self) -> Option<Instant> {
        self.returns_at
    }

    /// Whether [`Group::settle`] may find something to do at `now`.
    #[must_use]
    pub fn is_unsettled(&self, now: Instant) -> bool {
        self.unsettled || self.returns_at.is_some_and(|at| at <= now)
    }

    /// Brings all standings up to date: calls `changed` with those that are not what they were.
    pub fn settle(&mut self, now: Instant, mut changed: impl FnMut(usize, Standing)) {
        for (server, member) in self.members.iter_mut().enumerate() {
            if member.outlier.returns(now) {
                self.events.push(Event { server: Some(server), what: What::Returned });
            }
        }
        self.unsettled = false;
        self.returns_at =
            self.members.iter().filter_map(|member| member.outlier.ejected_until()).min();
        self.judge_panic();
        let tiers = self.tiers();
        for (server, member) in self.members.iter_mut().enumerate() {
            let cause = member.cause();
            let weight = member.weight(self.scale);
            let healthy = cause == Cause::Well && weight > Weight::ZERO;
            let stands_by =
                member.settings.named.zip(member.address).is_some_and(|(named, own)| {
                    tiers.get(&named.group).is_some_and(|first| own.tier > *first)
                });
            let availability = match cause {
                // Clients that are bound to it may stay, as with a backup.
                Cause::Well if stands_by => Availability::Draining,
                Cause::Well => Availability::Up,
                Cause::Failing | Cause::Ejected if self.panics => Availability::Up,
                Cause::Draining => Availability::Draining,
                Cause::Failing | Cause::Ejected | Cause::Maintenance | Cause::Nowhere => {
                    Availability::Down
                }
            };
            let before = member.standing;
            // It comes up there when it is well there.
            let has_moved = healthy && std::mem::take(&mut member.has_moved);
            let since = if has_moved || (healthy && before.availability == Availability::Down) {
                Some(now)
            } else {
                before.since
            };
            let max_connections = member.said.max_connections;
            member.standing = Standing { availability, weight, since, healthy, max_connections };
            if member.standing != before {
                changed(server, member.standing);
            }
        }
        let none_up = self.healthy_count() == 0 && !self.members.is_empty();
        if none_up != std::mem::replace(&mut self.none_up, none_up) {
            let what = if none_up { What::NoneUp } else { What::SomeUp };
            self.events.push(Event { server: None, what });
        }
    }

    /// The lowest tier of each name that has a server which is well.
    fn tiers(&self) -> BTreeMap<usize, u16> {
        let mut tiers = BTreeMap::new();
        let well = self.members.iter().filter(|member| {
            member.cause() == Cause::Well && member.settings.weight > Weight::ZERO
        });
        for (named, address) in well.filter_map(|member| member.settings.named.zip(member.address))
        {
            let tier = tiers.entry(named.group).or_insert(address.tier);
            *tier = address.tier.min(*tier);
        }
        tiers
    }

    /// A backup that is well is better than a server that is not.
    fn judge_panic(&mut self) {
        let (mut well, mut count, mut backups_well) = (0, 0, 0);
        for member in self.members.iter().filter(|member| member.settings.weight > Weight::ZERO) {
            let is_well = usize::from(member.cause() == Cause::Well);
            match member.cause() {
                _ if member.settings.backup => backups_well += is_well,
                Cause::Draining | Cause::Maintenance | Cause::Nowhere => {}
                Cause::Well | Cause::Failing | Cause::Ejected => {
                    well += is_well;
                    count += 1;
                }
            }
        }
        let panics =
            well * 100 < usize::from(self.settings.panic_threshold) * count && backups_well == 0;
        if panics != std::mem::replace(&mut self.panics, panics) {
            let what = if panics {
                What::PanicBegan { healthy: well, of: count }
            } else {
                What::PanicEnded
            };
            self.events.push(Event { server: None, what });
        }
    }

    /// What has happened since the last call.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// What was last settled of a server.
    #[must_use]
    pub fn standing(&self, server: usize) -> Option<Standing> {
        self.members.get(server).map(|member| member.standing)
    }

    /// Whether a server is ejected.
    #[must_use]
    pub fn is_ejected(&self, server: usize) -> bool {
        self.members.get(server).is_some_and(|member| member.outlier.ejected_until().is_some())
    }

    /// Servers that are well and get requests, as last settled.
    #[must_use]
    pub fn healthy_count(&self) -> usize {
        self.members.iter().filter(|member| member.standing.healthy).count()
    }

    /// Whether all servers are used because too few are well.
    #[must_use]
    pub const fn panics(&self) -> bool {
        self.panics
    }

    /// How many servers there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

/// What is told of a server that went down.
fn failure(outcome: &Outcome) -> Failure {
    match outcome {
        Outcome::Failed(failure) => failure.clone(),
        Outcome::Said(report) => Failure { fault: Fault::Agent, detail: report.reason.clone() },
        Outcome::Passed | Outcome::Skipped => Failure::new(Fault::Agent),
    }
}
