//! What checks, agents and traffic make of the servers of a backend: by the case, and simulated.

use std::time::{Duration, Instant};

use tidegate_balance::{Availability, Weight};
use tidegate_health::{
    Duty, Failure, Fault, Group, GroupSettings, Initial, MemberSettings, Outcome, PassiveSettings,
    Sample, Standing, StatusSet, Timing, What, parse_agent,
};
use tidegate_testkit::Rng;

fn timing() -> Timing {
    let ms = Duration::from_millis;
    Timing {
        interval: ms(200),
        fast_interval: ms(200),
        down_interval: ms(200),
        timeout: ms(100),
        rise: 2,
        fall: 3,
        initial: Initial::Up,
    }
}

fn member() -> MemberSettings {
    MemberSettings {
        weight: Weight::default(),
        backup: false,
        timing: Some(timing()),
        has_agent: false,
        named: None,
    }
}

fn passive() -> PassiveSettings {
    PassiveSettings {
        errors: Some(3),
        consecutive_errors: None,
        error_percent: None,
        latency: None,
        requests_min: 10,
        window: Duration::from_secs(10),
        eject_for: Duration::from_secs(5),
        eject_for_max: Duration::from_secs(60),
        max_ejected_percent: 50,
        statuses: StatusSet::range(502, 504),
    }
}

fn refused() -> Outcome {
    Failure::new(Fault::Refused).into()
}

fn said(line: &str) -> Outcome {
    Outcome::Said(parse_agent(line.as_bytes()).expect("valid"))
}

/// Settles, and tells which servers are up (`U`, small while not healthy), draining (`~`) and down (`.`).
fn settled(group: &mut Group, now: Instant) -> String {
    group.settle(now, |_, _| ());
    let letter = |standing: Standing| match (standing.availability, standing.healthy) {
        (Availability::Up, true) => 'U',
        (Availability::Up, false) => 'u',
        (Availability::Draining, _) => '~',
        (Availability::Down, _) => '.',
    };
    (0..group.len()).filter_map(|server| group.standing(server)).map(letter).collect()
}

fn whats(group: &mut Group) -> Vec<What> {
    group.take_events().into_iter().map(|event| event.what).collect()
}

/// Fails a server's checks until it is down.
fn fell(group: &mut Group, server: usize) {
    for _ in 0..3 {
        assert!(group.checked(server, &refused()).is_some());
    }
}

#[test]
fn a_server_goes_down_and_comes_up_and_each_is_told_once() {
    let mut group = Group::new(GroupSettings::default(), &[member(), member()]);
    let now = Instant::now();
    assert_eq!(settled(&mut group, now), "UU");
    group.checked(0, &Outcome::Passed);
    assert!(!group.is_unsettled(now), "nothing has changed");
    fell(&mut group, 0);
    group.checked(0, &refused());
    assert!(group.is_unsettled(now));
    let mut changes = Vec::new();
    group.settle(now, |server, standing| changes.push((server, standing.availability)));
    assert_eq!(changes, [(0, Availability::Down)]);
    assert_eq!(whats(&mut group), [What::Down(Failure::new(Fault::Refused))]);
    group.checked(0, &Outcome::Skipped);
    group.checked(0, &Outcome::Passed);
    assert_eq!((settled(&mut group, now), whats(&mut group)), (".U".into(), vec![]));
    let later = now + Duration::from_secs(1);
    group.checked(0, &Outcome::Passed);
    assert_eq!(settled(&mut group, later), "UU");
    assert_eq!(group.standing(0).and_then(|standing| standing.since), Some(later));
    assert_eq!(whats(&mut group), [What::Up]);
}

#[test]
fn the_last_server_that_goes_is_told_of_the_backend() {
    let mut group = Group::new(GroupSettings::default(), &[member()]);
    let now = Instant::now();
    fell(&mut group, 0);
    assert_eq!(settled(&mut group, now), ".");
    assert_eq!(whats(&mut group).last(), Some(&What::NoneUp));
    group.checked(0, &Outcome::Passed);
    group.checked(0, &Outcome::Passed);
    assert_eq!(settled(&mut group, now), "U");
    assert_eq!(whats(&mut group), [What::Up, What::SomeUp]);
}

#[test]
fn an_agents_word_holds_until_it_says_something_else() {
    let agent = MemberSettings { has_agent: true, ..member() };
    let heavy = MemberSettings { weight: Weight::new(4).expect("in range"), ..agent };
    let mut group = Group::new(GroupSettings::default(), &[agent, heavy]);
    let now = Instant::now();
    let weights = |group: &mut Group| -> Vec<u16> {
        group.settle(now, |_, _| ());
        (0..2).filter_map(|server| group.standing(server)).map(|s| s.weight.value()).collect()
    };
    assert_eq!(weights(&mut group), [64, 256], "so that a quarter of one is something");
    for (line, standing, weight) in [
        ("up 75%", "UU", 48),
        ("drain", "~U", 48),
        ("up", "~U", 48),
        ("maint", ".U", 48),
        ("ready 1%", "UU", 1),
        ("0%", "uU", 0),
        ("100%", "UU", 64),
        ("fail #disk", ".U", 64),
        ("50%", ".U", 32),
        ("up maxconn:7", "UU", 32),
        ("25600%", "UU", 256),
    ] {
        group.checked(0, &said(line));
        assert_eq!(settled(&mut group, now), standing, "{line}");
        assert_eq!(weights(&mut group)[0], weight, "{line}");
    }
    assert_eq!(group.standing(0).and_then(|standing| standing.max_connections), Some(7));
    let disk = Failure { fault: Fault::Agent, detail: "disk".into() };
    let expected = [
        What::Duty(Duty::Drain),
        What::Duty(Duty::Maintenance),
        What::Duty(Duty::Ready),
        What::Down(disk),
        What::Limit(7),
        What::Up,
    ];
    assert_eq!(whats(&mut group), expected);
    fell(&mut group, 0);
    assert_eq!(settled(&mut group, now), ".U", "an agent that does not answer");
}

#[test]
fn too_few_healthy_servers_are_a_panic_but_not_beside_a_healthy_backup() {
    let settings = GroupSettings { panic_threshold: 50, passive: None };
    let backup = MemberSettings { backup: true, ..member() };
    let spare = MemberSettings { weight: Weight::ZERO, ..member() };
    let mut group = Group::new(settings, &[member(), member(), member(), backup, spare]);
    let now = Instant::now();
    fell(&mut group, 0);
    fell(&mut group, 1);
    assert_eq!(settled(&mut group, now), "..UUu", "the backup is well");
    whats(&mut group);
    fell(&mut group, 3);
    assert_eq!(settled(&mut group, now), "uuUuu");
    assert_eq!(group.healthy_count(), 1);
    assert!(whats(&mut group).contains(&What::PanicBegan { healthy: 1, of: 3 }));
    group.checked(1, &said("maint"));
    assert_eq!(settled(&mut group, now), "..U.u", "who is in maintenance is not counted");
    assert!(whats(&mut group).contains(&What::PanicEnded));
}

/// Traffic that one shard counted: so many errors more.
fn errors(group: &mut Group, server: usize, count: &mut u64, more: u64, now: Instant) {
    *count += more;
    let sample = Sample { errors: *count, ..Sample::default() };
    group.observed(server, [sample].into_iter(), now);
}

#[test]
fn ejections_are_capped_and_end() {
    let settings = GroupSettings { panic_threshold: 0, passive: Some(passive()) };
    let mut group = Group::new(settings, &[member(); 4]);
    let mut counts = [0; 4];
    let mut now = Instant::now();
    for (server, count) in counts.iter_mut().enumerate() {
        errors(&mut group, server, count, 0, now);
        errors(&mut group, server, count, 3, now);
    }
    assert_eq!(settled(&mut group, now), "..UU");
    assert_eq!((group.ejected_count(), group.ejections_capped()), (2, 2));
    assert_eq!(group.next_return(), Some(now + Duration::from_secs(5)));
    now += Duration::from_secs(5);
    assert!(group.is_unsettled(now));
    assert_eq!(settled(&mut group, now), "UUUU");
    errors(&mut group, 0, &mut counts[0], 3, now);
    assert_eq!(settled(&mut group, now), ".UUU");
    assert_eq!(group.next_return(), Some(now + Duration::from_secs(10)), "twice as long");
    let mut alone = Group::new(settings, &[member()]);
    errors(&mut alone, 0, &mut 0, 0, now);
    errors(&mut alone, 0, &mut 0, 9, now);
    assert_eq!(settled(&mut alone, now), "U", "half of one is none");
}

#[test]
fn a_server_that_stays_keeps_what_is_known_of_it() {
    let settings = GroupSettings { panic_threshold: 0, passive: Some(passive()) };
    let mut before = Group::new(settings, &[member(), member(), member()]);
    let now = Instant::now();
    fell(&mut before, 0);
    errors(&mut before, 2, &mut 0, 0, now);
    errors(&mut before, 2, &mut 0, 5, now);
    assert_eq!(settled(&mut before, now), ".U.");
    let mut after = Group::new(settings, &[member(), member(), member()]);
    after.adopt_checks(1, &before, 0);
    after.adopt_traffic(0, &before, 2);
    after.adopt_alarms(&before);
    assert_eq!(settled(&mut after, now), "..U");
    assert_eq!(whats(&mut after), [], "what stays as it was is not told");
}

/// A server as it really is, and what the rules say should be known of it.
struct Model {
    well: bool,
    checks: Vec<bool>,
    up: bool,
    errors: u64,
}

#[test]
fn servers_that_fail_flap_and_recover_stand_as_the_rules_say() {
    let seed = tidegate_testkit::seed();
    let mut rng = seed.rng();
    for _ in 0..60 {
        simulate(&mut rng);
    }
}

fn simulate(rng: &mut Rng) {
    let count = 1 + rng.below(12);
    let percent = [0, 10, 34, 50, 100][rng.below(5)];
    let threshold = [0, 30, 50, 100][rng.below(4)];
    let passive = PassiveSettings { max_ejected_percent: percent, ..passive() };
    let settings = GroupSettings {
        panic_threshold: u8::try_from(threshold).expect("a percentage"),
        passive: Some(passive),
    };
    let mut group = Group::new(settings, &vec![member(); count]);
    let mut models: Vec<_> =
        (0..count).map(|_| Model { well: true, checks: Vec::new(), up: true, errors: 0 }).collect();
    let mut now = Instant::now();
    let share = count * usize::from(percent) / 100;
    let ejected_max = if count > 1 { share.max(1) } else { share };
    let mut told = vec![Availability::Up; count];
    for _ in 0..400 {
        now += Duration::from_millis(rng.below(400) as u64);
        let server = rng.below(count);
        let model = &mut models[server];
        match rng.below(4) {
            0 => model.well = rng.below(3) > 0,
            1 => {
                model.errors += if model.well { 0 } else { rng.below(3) as u64 };
                let sample = Sample { errors: model.errors, ..Sample::default() };
                group.observed(server, [sample].into_iter(), now);
            }
            _ => {
                model.checks.push(model.well);
                let needed = if model.up { 3 } else { 2 };
                let last = &model.checks[model.checks.len().saturating_sub(needed)..];
                let agree = last.len() == needed || model.checks.len() == 1;
                if agree && last.iter().all(|check| *check != model.up) {
                    model.up = !model.up;
                }
                let outcome = if model.well { Outcome::Passed } else { refused() };
                assert!(group.checked(server, &outcome).is_some());
            }
        }
        if group.is_unsettled(now) {
            group.settle(now, |server, standing| told[server] = standing.availability);
        }
        assert!(group.ejected_count() <= ejected_max, "{count} servers, {percent} %");
        let well: Vec<bool> = models
            .iter()
            .enumerate()
            .map(|(server, model)| model.up && !group.is_ejected(server))
            .collect();
        let healthy = well.iter().filter(|well| **well).count();
        let panics = healthy * 100 < threshold * count;
        assert_eq!((group.healthy_count(), group.panics()), (healthy, panics));
        for (server, well) in well.into_iter().enumerate() {
            let expected = if well || panics { Availability::Up } else { Availability::Down };
            assert_eq!(told[server], expected, "what is told last is how it is");
        }
    }
}
