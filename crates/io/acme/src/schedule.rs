//! When certificates are renewed, and when a failure is tried again.
//!
//! Owns the arithmetic; time and chance come in as arguments. Invariant: no failure leads to an attempt at once, and none puts
//! the next one off for good.

use std::time::{Duration, SystemTime};

/// The part of its life after which a certificate is renewed, in twelfths: two thirds, as authorities advise, so that there is a
/// third for everything that may go wrong.
const RENEW_TWELFTHS: u32 = 8;

/// The part of its life by which that is earlier at most, in twelfths: many certificates of one day are not renewed all at once.
const SPREAD_TWELFTHS: u32 = 1;

/// Longest pause between two attempts that fail: four a day for as long as it takes.
pub(crate) const BACK_OFF_MAX: Duration = Duration::from_secs(6 * 3600);

/// Longest wait that an authority can ask for; its limits count by the week.
pub(crate) const RETRY_AFTER_MAX: Duration = Duration::from_secs(7 * 86_400);

/// The least pause after an authority said that there was too much, without saying until when.
pub(crate) const RATE_LIMITED: Duration = Duration::from_secs(3600);

/// An authority is asked so often when to renew, whatever it says itself.
const ASK_AGAIN: (Duration, Duration) = (Duration::from_secs(3600), Duration::from_secs(86_400));

/// When a certificate is renewed; `chance` is in 0..1.
pub(crate) fn renew_at(not_before: SystemTime, not_after: SystemTime, chance: f64) -> SystemTime {
    let life = not_after.duration_since(not_before).unwrap_or_default();
    not_before + life * RENEW_TWELFTHS / 12
        - (life * SPREAD_TWELFTHS / 12).mul_f64(fraction(chance))
}

/// When a certificate is renewed whose authority has named a time for it (RFC 9773 §4.2): a random moment of that. Never so
/// late that the certificate has ended.
pub(crate) fn renew_within(
    (start, end): (SystemTime, SystemTime),
    not_after: SystemTime,
    chance: f64,
) -> SystemTime {
    let window = end.duration_since(start).unwrap_or_default();
    (start + window.mul_f64(fraction(chance))).min(not_after)
}

/// How long it is until the authority is asked again when to renew, by its word.
pub(crate) fn ask_again(after: Duration) -> Duration {
    after.clamp(ASK_AGAIN.0, ASK_AGAIN.1)
}

/// What the authority said to a failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Not before (RFC 9110 §10.2.3).
    pub retry_after: Option<SystemTime>,
    /// There was too much (RFC 8555 §6.6).
    pub rate_limited: bool,
}

/// When it is tried again after so many failures in a row, at least one: `first` after the first, twice as long each time, and
/// up to a quarter longer by `chance`.
pub(crate) fn try_again_at(
    now: SystemTime,
    failures: u32,
    first: Duration,
    asked: Asked,
    chance: f64,
) -> SystemTime {
    let doublings = failures.saturating_sub(1).min(20);
    let pause = first.saturating_mul(1 << doublings).min(BACK_OFF_MAX);
    let pause = if asked.rate_limited && asked.retry_after.is_none() {
        pause.max(RATE_LIMITED)
    } else {
        pause
    };
    let own = now + pause + (pause / 4).mul_f64(fraction(chance));
    let theirs = asked.retry_after.unwrap_or(now).min(now + RETRY_AFTER_MAX);
    own.max(theirs)
}

fn fraction(chance: f64) -> f64 {
    if chance.is_finite() { chance.clamp(0.0, 1.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);
    const SECOND: Duration = Duration::from_secs(1);

    fn start() -> SystemTime {
        SystemTime::UNIX_EPOCH + 20_000 * DAY
    }

    #[test]
    fn renewal_is_at_two_thirds_of_life_or_a_little_before() {
        for (life, chance, expected) in [
            (90 * DAY, 0.0, 60 * DAY),
            (90 * DAY, 1.0, 60 * DAY - 180 * 3600 * SECOND),
            (6 * DAY, 0.0, 4 * DAY),
            (12 * SECOND, 0.5, Duration::from_millis(7_500)),
            (90 * DAY, f64::NAN, 60 * DAY),
            (90 * DAY, 7.0, 60 * DAY - 180 * 3600 * SECOND),
        ] {
            let at = renew_at(start(), start() + life, chance);
            assert_eq!(at.duration_since(start()).ok(), Some(expected), "{life:?} {chance}");
        }
        // One that ended before it began is due at once.
        assert_eq!(renew_at(start(), start() - DAY, 0.5), start());
    }

    #[test]
    fn the_authority_may_name_the_time() {
        let window = (start(), start() + 2 * DAY);
        let end = start() + 30 * DAY;
        assert_eq!(renew_within(window, end, 0.0), start());
        assert_eq!(renew_within(window, end, 0.5), start() + DAY);
        assert_eq!(renew_within((end + DAY, end + 2 * DAY), end, 0.5), end);
        assert_eq!(renew_within((window.1, window.0), end, 0.5), window.1);
        assert_eq!(ask_again(Duration::ZERO), 3600 * SECOND);
        assert_eq!(ask_again(6 * 3600 * SECOND), 6 * 3600 * SECOND);
        assert_eq!(ask_again(365 * DAY), DAY);
    }

    #[test]
    fn failures_are_tried_again_ever_more_seldom() {
        let pause = |failures, chance| {
            let at = try_again_at(start(), failures, 120 * SECOND, Asked::default(), chance);
            at.duration_since(start()).expect("later").as_secs()
        };
        let without_chance: Vec<u64> = (1..=9).map(|failures| pause(failures, 0.0)).collect();
        assert_eq!(without_chance, [120, 240, 480, 960, 1920, 3840, 7680, 15_360, 21_600]);
        assert_eq!((pause(1, 1.0), pause(u32::MAX, 1.0)), (150, 27_000));
        // What large authorities allow in an hour: five failures for a name.
        let within_an_hour = without_chance.iter().scan(0, |at, pause| {
            *at += pause;
            Some(*at)
        });
        assert_eq!(1 + within_an_hour.filter(|at| *at < 3600).count(), 5);
    }

    #[test]
    fn what_the_authority_asks_for_is_respected_within_reason() {
        let pause = |asked| {
            let at = try_again_at(start(), 1, 120 * SECOND, asked, 0.0);
            at.duration_since(start()).expect("later")
        };
        let after = |later| Asked { retry_after: Some(start() + later), rate_limited: true };
        assert_eq!(pause(after(600 * SECOND)), 600 * SECOND);
        assert_eq!(pause(after(SECOND)), 120 * SECOND, "never sooner than without");
        assert_eq!(pause(after(365 * DAY)), RETRY_AFTER_MAX);
        assert_eq!(pause(Asked { retry_after: None, rate_limited: true }), RATE_LIMITED);
        let past = Asked { retry_after: Some(start() - DAY), rate_limited: false };
        assert_eq!(pause(past), 120 * SECOND);
    }
}
