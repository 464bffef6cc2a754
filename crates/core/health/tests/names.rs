//! Servers that share the addresses of a name: what their priorities, shares and moves make of them.

use std::time::{Duration, Instant};

use tidegate_balance::{Availability, Weight};
use tidegate_health::{
    Failure, Fault, Group, GroupSettings, Initial, MemberSettings, Named, Outcome, PassiveSettings,
    Sample, Standby, StatusSet, Timing, What,
};

fn member(group: usize) -> MemberSettings {
    let ms = Duration::from_millis;
    let timing = Timing {
        interval: ms(200),
        fast_interval: ms(200),
        down_interval: ms(200),
        timeout: ms(100),
        rise: 1,
        fall: 1,
        initial: Initial::Up,
    };
    MemberSettings {
        weight: Weight::default(),
        backup: false,
        timing: Some(timing),
        has_agent: false,
        named: Some(Named { group, has_shares: true }),
    }
}

const fn at(tier: u16, share: u16) -> Option<Standby> {
    Some(Standby { tier, share })
}

fn refused() -> Outcome {
    Failure::new(Fault::Refused).into()
}

/// Settles, and tells which servers are up (`U`), standing by (`~`) and down (`.`).
fn settled(group: &mut Group) -> String {
    group.settle(Instant::now(), |_, _| ());
    let letter = |server| match group.standing(server).expect("one of them").availability {
        Availability::Up => 'U',
        Availability::Draining => '~',
        Availability::Down => '.',
    };
    (0..group.len()).map(letter).collect()
}

#[test]
fn a_server_without_an_address_gets_nothing_not_even_in_a_panic() {
    let settings = GroupSettings { panic_threshold: 100, passive: None };
    let mut group = Group::new(settings, &[member(1), member(1)]);
    assert_eq!(settled(&mut group), "..");
    let whats: Vec<_> = group.take_events().into_iter().map(|event| event.what).collect();
    assert_eq!(whats, [What::NoneUp], "none is well, and none is somewhere to be used anyway");
    group.set_address(0, at(0, 256), true);
    assert_eq!(settled(&mut group), "U.");
    group.checked(0, &refused());
    assert_eq!(settled(&mut group), "U.", "a panic uses what there is");
    group.set_address(0, None, false);
    assert_eq!(settled(&mut group), "..");
}

#[test]
fn a_higher_priority_stands_by_for_its_own_name_alone() {
    let fixed = MemberSettings { named: None, ..member(0) };
    let members = [member(1), member(1), member(2), fixed];
    let mut group = Group::new(GroupSettings::default(), &members);
    for (server, tier) in [(0, 10), (1, 20), (2, 30)] {
        group.set_address(server, at(tier, 256), false);
    }
    assert_eq!(settled(&mut group), "U~UU");
    assert_eq!(group.healthy_count(), 4, "who stands by is well");
    group.checked(0, &refused());
    assert_eq!(settled(&mut group), ".UUU");
    group.checked(0, &Outcome::Passed);
    assert_eq!(settled(&mut group), "U~UU");
    group.set_address(0, None, false);
    assert_eq!(settled(&mut group), ".UUU");
}

#[test]
fn a_share_is_a_part_of_the_weight() {
    let heavy = MemberSettings { weight: Weight::new(2).expect("in range"), ..member(1) };
    let mut group = Group::new(GroupSettings::default(), &[heavy, member(1), member(1)]);
    for (server, share) in [(0, 256), (1, 128), (2, 1)] {
        group.set_address(server, at(0, share), false);
    }
    assert_eq!(settled(&mut group), "UUU");
    let weights: Vec<_> =
        (0..3).filter_map(|server| group.standing(server)).map(|of| of.weight.value()).collect();
    assert_eq!(weights, [256, 64, 1]);
}

#[test]
fn of_another_address_nothing_is_known() {
    let mut group = Group::new(GroupSettings::default(), &[member(1)]);
    group.set_address(0, at(0, 256), false);
    assert_eq!(settled(&mut group), "U");
    assert_eq!(
        group.standing(0).and_then(|standing| standing.since),
        None,
        "no slow start at first"
    );
    group.checked(0, &refused());
    assert_eq!(settled(&mut group), ".");
    group.set_address(0, at(0, 256), true);
    assert_eq!(settled(&mut group), "U", "as a server that begins");
    assert!(group.standing(0).is_some_and(|standing| standing.since.is_some()), "it starts slowly");
}

#[test]
fn what_traffic_said_of_another_address_is_forgotten() {
    let passive = PassiveSettings {
        errors: None,
        consecutive_errors: Some(3),
        error_percent: None,
        latency: None,
        requests_min: 10,
        window: Duration::from_secs(10),
        eject_for: Duration::from_secs(5),
        eject_for_max: Duration::from_secs(5),
        max_ejected_percent: 100,
        statuses: StatusSet::range(500, 599),
    };
    let settings = GroupSettings { panic_threshold: 0, passive: Some(passive) };
    let mut group = Group::new(settings, &[member(1), member(1)]);
    let now = Instant::now();
    (0..2).for_each(|server| group.set_address(server, at(0, 256), false));
    let errors = |errors| Sample { errors, errors_in_a_row: errors, ..Sample::default() };
    let look = |group: &mut Group, server, count| {
        group.observed(server, std::iter::once(errors(count)), now);
    };
    for server in 0..2 {
        look(&mut group, server, 0);
        look(&mut group, server, 2);
    }
    group.set_address(0, at(0, 256), true);
    for server in 0..2 {
        look(&mut group, server, 2);
        look(&mut group, server, 3);
    }
    assert_eq!(settled(&mut group), "U.", "one error there, three at the one that stayed");
    group.set_address(1, at(0, 256), true);
    assert_eq!(settled(&mut group), "UU", "who is there now was not ejected");
}

#[test]
fn who_moves_while_it_is_not_well_starts_slowly_once_it_is() {
    let settings = GroupSettings { panic_threshold: 100, passive: None };
    let mut group = Group::new(settings, &[member(1)]);
    group.set_address(0, at(0, 256), false);
    settled(&mut group);
    // Tried anyway: it is never down for those who pick.
    group.set_address(0, at(0, 256), true);
    group.checked(0, &refused());
    assert_eq!(settled(&mut group), "U");
    let since = |group: &Group| group.standing(0).and_then(|standing| standing.since);
    let before = since(&group);
    group.checked(0, &Outcome::Passed);
    assert_eq!(settled(&mut group), "U");
    assert!(since(&group).is_some() && since(&group) != before);
}
