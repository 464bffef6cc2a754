//! Moments as text: the date of HAProxy's log, RFC 3339, and the date of old syslog messages.
//!
//! Owns the calendar and the texts that are kept from line to line; leaves the clock and the time zone to the caller.
//! Invariant: the text of a moment depends on the moment and the offset alone, never on what was asked before.

use crate::line::{Line, three_digits, two_digits};

/// A moment: microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

/// The last moment that has a text, at the end of the year 9999; later ones are shown as it.
const SECONDS_MAX: u64 = 253_402_300_799;

/// Half a day more than any time zone has.
const OFFSET_SECONDS_MAX: i32 = 26 * 3600;

const MONTHS: [[u8; 3]; 12] = [
    *b"Jan", *b"Feb", *b"Mar", *b"Apr", *b"May", *b"Jun", *b"Jul", *b"Aug", *b"Sep", *b"Oct",
    *b"Nov", *b"Dec",
];

/// Which of the two moments of a record a text is for: each keeps its own second, because a connection may have been
/// accepted long before the request that is logged.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Moment {
    Started,
    Accepted,
}

/// The texts of the seconds that were asked last, so that most lines copy a date instead of making it. Each shard
/// keeps one.
#[derive(Clone, Debug)]
pub struct DateCache {
    offset_seconds: i32,
    zone: [u8; 6],
    started: Second,
    accepted: Second,
}

#[derive(Clone, Debug)]
struct Second {
    /// Which second the texts are of; `u64::MAX` before the first.
    second: u64,
    /// `06/Feb/2009:12:14:14.`
    haproxy: [u8; 21],
    /// `2009-02-06T12:14:14.`
    rfc3339: [u8; 20],
    /// `Feb  6 12:14:14`
    rfc3164: [u8; 15],
}

const EMPTY: Second =
    Second { second: u64::MAX, haproxy: [b'0'; 21], rfc3339: [b'0'; 20], rfc3164: [b'0'; 15] };

impl DateCache {
    /// Dates in a time zone this many seconds east of UTC. More than 26 hours either way count as 26 hours.
    #[must_use]
    pub fn new(offset_seconds: i32) -> Self {
        let offset_seconds = offset_seconds.clamp(-OFFSET_SECONDS_MAX, OFFSET_SECONDS_MAX);
        Self { offset_seconds, zone: zone(offset_seconds), started: EMPTY, accepted: EMPTY }
    }

    /// Writes `06/Feb/2009:12:14:14.655`, without a zone as HAProxy does.
    #[inline]
    pub(crate) fn haproxy(&mut self, moment: Moment, at: Timestamp, line: &mut Line) {
        let text = self.second(moment, at);
        line.put_array(&text.haproxy);
        line.put_array(&three_digits(at.0 / 1000 % 1000));
    }

    /// Writes `2009-02-06T12:14:14.655123Z`, or with an offset such as `+01:00`.
    pub(crate) fn rfc3339(&mut self, moment: Moment, at: Timestamp, line: &mut Line) {
        let text = self.second(moment, at);
        line.put_array(&text.rfc3339);
        line.put_array(&three_digits(at.0 / 1000 % 1000));
        line.put_array(&three_digits(at.0 % 1000));
        line.put(self.zone());
    }

    /// Appends the date of RFC 5424 §6.2.3.
    pub(crate) fn append_rfc5424(&mut self, at: Timestamp, out: &mut Vec<u8>) {
        let text = self.second(Moment::Started, at);
        out.extend_from_slice(&text.rfc3339);
        out.extend_from_slice(&three_digits(at.0 / 1000 % 1000));
        out.extend_from_slice(&three_digits(at.0 % 1000));
        out.extend_from_slice(self.zone());
    }

    /// Appends the date of RFC 3164 §4.1.2: `Feb  6 12:14:14`.
    pub(crate) fn append_rfc3164(&mut self, at: Timestamp, out: &mut Vec<u8>) {
        let text = self.second(Moment::Started, at);
        out.extend_from_slice(&text.rfc3164);
    }

    fn zone(&self) -> &[u8] {
        if self.offset_seconds == 0 { b"Z" } else { &self.zone }
    }

    #[inline]
    fn second(&mut self, moment: Moment, at: Timestamp) -> &Second {
        let place = match moment {
            Moment::Started => &mut self.started,
            Moment::Accepted => &mut self.accepted,
        };
        let second = at.0 / 1_000_000;
        if place.second != second {
            *place = text_of(second, self.offset_seconds);
        }
        place
    }
}

fn zone(offset_seconds: i32) -> [u8; 6] {
    let minutes = u64::from(offset_seconds.unsigned_abs() / 60);
    let [hours, minutes] = [two_digits(minutes / 60), two_digits(minutes % 60)];
    let sign = if offset_seconds < 0 { b'-' } else { b'+' };
    [sign, hours[0], hours[1], b':', minutes[0], minutes[1]]
}

#[cold]
fn text_of(second: u64, offset_seconds: i32) -> Second {
    let local =
        second.min(SECONDS_MAX).saturating_add_signed(offset_seconds.into()).min(SECONDS_MAX);
    let (year, month, day) = civil(local / 86_400);
    let of_day = local % 86_400;
    let [hour, minute, second_of] = [of_day / 3600, of_day / 60 % 60, of_day % 60].map(two_digits);
    let [century, year_of, month_of, day_of] = [year / 100, year % 100, month, day].map(two_digits);
    let name = usize::try_from(month - 1).ok().and_then(|at| MONTHS.get(at)).unwrap_or(&MONTHS[0]);
    let mut text = Second { second, ..EMPTY };
    let clock = |separator: u8| {
        [hour[0], hour[1], separator, minute[0], minute[1], separator, second_of[0], second_of[1]]
    };
    join(
        &mut text.haproxy,
        &[&day_of, b"/", name, b"/", &century, &year_of, b":", &clock(b':'), b"."],
    );
    join(
        &mut text.rfc3339,
        &[&century, &year_of, b"-", &month_of, b"-", &day_of, b"T", &clock(b':'), b"."],
    );
    let padded = if day < 10 { [b' ', day_of[1]] } else { day_of };
    join(&mut text.rfc3164, &[name, b" ", &padded, b" ", &clock(b':')]);
    text
}

fn join(into: &mut [u8], parts: &[&[u8]]) {
    for (place, byte) in into.iter_mut().zip(parts.iter().copied().flatten()) {
        *place = *byte;
    }
}

/// Year, month and day of a day since 1970-01-01, in the Gregorian calendar. Years are taken to begin in March, so
/// that the leap day is the last one, in eras of 400 years, which all have as many days.
fn civil(day: u64) -> (u64, u64, u64) {
    let day = day + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(at: u64, offset_seconds: i32) -> (String, String, String) {
        let mut dates = DateCache::new(offset_seconds);
        let (mut line, mut old) = (Line::new(), Vec::new());
        dates.haproxy(Moment::Started, Timestamp(at), &mut line);
        line.push(b' ');
        dates.rfc3339(Moment::Accepted, Timestamp(at), &mut line);
        dates.append_rfc3164(Timestamp(at), &mut old);
        let text = String::from_utf8(line.as_bytes().to_vec()).expect("a date is text");
        let (haproxy, rfc3339) = text.split_once(' ').expect("there are two dates");
        let old = String::from_utf8(old).expect("a date is text");
        (haproxy.to_owned(), rfc3339.to_owned(), old)
    }

    #[test]
    fn known_moments_have_their_dates() {
        let cases = [
            (0, 0, "01/Jan/1970:00:00:00.000", "1970-01-01T00:00:00.000000Z", "Jan  1 00:00:00"),
            (
                1_233_922_454_655_123,
                0,
                "06/Feb/2009:12:14:14.655",
                "2009-02-06T12:14:14.655123Z",
                "Feb  6 12:14:14",
            ),
            (
                1_709_251_199_999_999,
                3600,
                "01/Mar/2024:00:59:59.999",
                "2024-03-01T00:59:59.999999+01:00",
                "Mar  1 00:59:59",
            ),
            (
                1_709_164_800_000_000,
                -34_200,
                "28/Feb/2024:14:30:00.000",
                "2024-02-28T14:30:00.000000-09:30",
                "Feb 28 14:30:00",
            ),
            (
                u64::MAX,
                3600,
                "31/Dec/9999:23:59:59.551",
                "9999-12-31T23:59:59.551615+01:00",
                "Dec 31 23:59:59",
            ),
        ];
        for (at, offset, haproxy, rfc3339, rfc3164) in cases {
            let expected = (haproxy.to_owned(), rfc3339.to_owned(), rfc3164.to_owned());
            assert_eq!(texts(at, offset), expected, "{at} {offset}");
        }
    }

    /// The calendar by counting days one by one.
    #[test]
    fn every_day_follows_the_one_before() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for number in 0..200_000 {
            assert_eq!(civil(number), (year, month, day), "day {number}");
            let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
            let days = match month {
                2 if leap => 29,
                2 => 28,
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > days {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
    }

    #[test]
    fn what_was_asked_before_does_not_matter() {
        let mut kept = DateCache::new(0);
        for at in [5_000_000, 5_999_999, 4_000_000, 86_400_000_000, 5_000_001].map(Timestamp) {
            let (mut line, mut fresh) = (Line::new(), Line::new());
            kept.haproxy(Moment::Started, at, &mut line);
            DateCache::new(0).haproxy(Moment::Started, at, &mut fresh);
            assert_eq!(line.as_bytes(), fresh.as_bytes());
        }
    }
}
