//! Dates as text: for `Date` (RFC 9110 §5.6.7), for logs (RFC 3339, HAProxy's, syslog's of RFC 3164).
//!
//! Owns the calendar and the formats. Leaves the clock and the offset of the local time to the
//! caller, who formats once a second or once a millisecond, not once a request. Invariant: every
//! time gives a text of the format's fixed length; times before 1970 are 1970-01-01T00:00:00 and
//! those after the year 9999 its last second.

/// The last second of the year 9999.
const SECONDS_MAX: i64 = 253_402_300_799;

const DAYS: [&[u8; 3]; 7] = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"];

const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

/// The offset of a local time from UTC, in seconds east of it; less than a day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offset(i32);

impl Offset {
    /// UTC itself.
    pub const UTC: Self = Self(0);

    /// Takes `seconds` east of UTC if that is less than a day.
    #[must_use]
    pub fn new(seconds: i32) -> Option<Self> {
        (seconds.unsigned_abs() < 86_400).then_some(Self(seconds))
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`, the one format that may be sent (IMF-fixdate).
#[must_use]
pub fn imf_fixdate(unix_seconds: i64) -> [u8; 29] {
    let time = Civil::new(unix_seconds, Offset::UTC);
    let mut text = *b"Day, 00 Mon 0000 00:00:00 GMT";
    text[..3].copy_from_slice(DAYS[time.weekday]);
    put(&mut text[5..7], time.day);
    text[8..11].copy_from_slice(MONTHS[time.month]);
    put(&mut text[12..16], time.year);
    put_clock(&mut text[17..25], &time);
    text
}

/// `1994-11-06T08:49:37.123Z` (RFC 3339) from milliseconds.
#[must_use]
pub fn rfc3339_millis(unix_millis: i64) -> [u8; 24] {
    let time = Civil::new(unix_millis.div_euclid(1_000), Offset::UTC);
    let mut text = *b"0000-00-00T00:00:00.000Z";
    put_rfc3339(&mut text, &time);
    put(&mut text[20..23], time.fraction(unix_millis.rem_euclid(1_000)));
    text
}

/// `1994-11-06T08:49:37.123456Z` (RFC 3339) from microseconds.
#[must_use]
pub fn rfc3339_micros(unix_micros: i64) -> [u8; 27] {
    let time = Civil::new(unix_micros.div_euclid(1_000_000), Offset::UTC);
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    put_rfc3339(&mut text, &time);
    put(&mut text[20..26], time.fraction(unix_micros.rem_euclid(1_000_000)));
    text
}

/// `[06/Nov/1994:08:49:37.123]`, the accept date of HAProxy's `http` and `tcp` log lines, in local
/// time.
#[must_use]
pub fn haproxy_log(unix_millis: i64, offset: Offset) -> [u8; 26] {
    let time = Civil::new(unix_millis.div_euclid(1_000), offset);
    let mut text = *b"[00/Mon/0000:00:00:00.000]";
    put(&mut text[1..3], time.day);
    text[4..7].copy_from_slice(MONTHS[time.month]);
    put(&mut text[8..12], time.year);
    put_clock(&mut text[13..21], &time);
    put(&mut text[22..25], time.fraction(unix_millis.rem_euclid(1_000)));
    text
}

/// `Nov  6 08:49:37`, the timestamp of syslog (RFC 3164 §4.1.2), in local time.
#[must_use]
pub fn rfc3164(unix_seconds: i64, offset: Offset) -> [u8; 15] {
    let time = Civil::new(unix_seconds, offset);
    let mut text = *b"Mon 00 00:00:00";
    text[..3].copy_from_slice(MONTHS[time.month]);
    put(&mut text[4..6], time.day);
    if text[4] == b'0' {
        text[4] = b' ';
    }
    put_clock(&mut text[7..15], &time);
    text
}

/// A time taken apart.
struct Civil {
    year: u32,
    /// 0 is January.
    month: usize,
    /// The first is 1.
    day: u32,
    /// 0 is Monday.
    weekday: usize,
    /// Since midnight.
    seconds: u32,
    /// Whether the time was outside the years 1970 to 9999.
    is_clamped: bool,
}

impl Civil {
    fn new(unix_seconds: i64, offset: Offset) -> Self {
        let local = unix_seconds.saturating_add(i64::from(offset.0));
        let clamped = local.clamp(0, SECONDS_MAX);
        let unsigned = clamped.unsigned_abs();
        let in_range = |number: u64| u32::try_from(number).expect("the time ends in the year 9999");
        let days = in_range(unsigned / 86_400);
        let (year, month, day) = date_of(days);
        Self {
            year,
            month,
            day,
            // 1970-01-01 was a Thursday.
            weekday: ((days + 3) % 7) as usize,
            seconds: in_range(unsigned % 86_400),
            is_clamped: clamped != local,
        }
    }

    /// The fraction of a second, which a clamped time has not.
    fn fraction(&self, fraction: i64) -> u32 {
        if self.is_clamped { 0 } else { u32::try_from(fraction).unwrap_or_default() }
    }
}

/// Year, month from 0 and day from 1 of the day that is `days` after 1970-01-01. Years are counted
/// from March, so that the leap day is the last of its year, and in eras of 400 years, which all
/// have 146,097 days.
fn date_of(days: u32) -> (u32, usize, u32) {
    // From 0000-03-01 to 1970-01-01.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let leap_days = day_of_era / 1_460 - day_of_era / 36_524 + day_of_era / 146_096;
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Five months from March have 153 days, whichever five.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12;
    let year = era * 400 + year_of_era + u32::from(month < 2);
    (year, month as usize, day)
}

/// Puts `number` into `digits`, with leading zeros.
fn put(digits: &mut [u8], mut number: u32) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789"[(number % 10) as usize];
        number /= 10;
    }
}

/// Puts `08:49:37`.
fn put_clock(text: &mut [u8], time: &Civil) {
    put(&mut text[..2], time.seconds / 3_600);
    put(&mut text[3..5], time.seconds / 60 % 60);
    put(&mut text[6..8], time.seconds % 60);
}

/// Puts `1994-11-06T08:49:37`.
fn put_rfc3339(text: &mut [u8], time: &Civil) {
    put(&mut text[..4], time.year);
    put(&mut text[5..7], u32::try_from(time.month + 1).unwrap_or_default());
    put(&mut text[8..10], time.day);
    put_clock(&mut text[11..19], time);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps through the calendar a day at a time, by its rules.
    #[test]
    fn every_day_until_the_year_9999_is_right() {
        let (mut year, mut month, mut day) = (1970, 0, 1);
        let mut days = 0;
        while year < 10_000 {
            assert_eq!(date_of(days), (year, month, day), "{days}");
            let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let month_days = match month {
                1 if is_leap => 29,
                1 => 28,
                3 | 5 | 8 | 10 => 30,
                _ => 31,
            };
            (days, day) = (days + 1, day + 1);
            if day > month_days {
                (month, day) = (month + 1, 1);
            }
            if month == 12 {
                (year, month) = (year + 1, 0);
            }
        }
        assert_eq!(i64::from(days) * 86_400, SECONDS_MAX + 1);
    }

    #[test]
    fn known_times_are_spelled_as_the_formats_say() {
        assert_eq!(&imf_fixdate(784_111_777), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(&imf_fixdate(0), b"Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(&imf_fixdate(951_782_400), b"Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(&imf_fixdate(4_107_542_399), b"Sun, 28 Feb 2100 23:59:59 GMT");
        assert_eq!(&imf_fixdate(SECONDS_MAX), b"Fri, 31 Dec 9999 23:59:59 GMT");
        assert_eq!(&rfc3339_millis(784_111_777_012), b"1994-11-06T08:49:37.012Z");
        assert_eq!(&rfc3339_micros(784_111_777_012_345), b"1994-11-06T08:49:37.012345Z");
        let plus_two = Offset::new(7_200).expect("less than a day");
        assert_eq!(&haproxy_log(971_178_956_123, plus_two), b"[10/Oct/2000:13:55:56.123]");
        assert_eq!(&haproxy_log(971_178_956_123, Offset::UTC), b"[10/Oct/2000:11:55:56.123]");
        let west = Offset::new(-12_600).expect("less than a day");
        assert_eq!(&rfc3164(784_111_777, west), b"Nov  6 05:19:37");
        assert_eq!(&rfc3164(971_178_956, Offset::UTC), b"Oct 10 11:55:56");
    }

    #[test]
    fn times_out_of_range_are_clamped() {
        assert_eq!(&imf_fixdate(i64::MIN), b"Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(&imf_fixdate(i64::MAX), b"Fri, 31 Dec 9999 23:59:59 GMT");
        assert_eq!(&rfc3339_millis(-1), b"1970-01-01T00:00:00.000Z");
        assert_eq!(&rfc3339_micros(i64::MAX), b"9999-12-31T23:59:59.000000Z");
        let west = Offset::new(-86_399).expect("less than a day");
        assert_eq!(&haproxy_log(5, west), b"[01/Jan/1970:00:00:00.000]");
        assert_eq!(Offset::new(86_400), None);
        assert_eq!(Offset::new(i32::MIN), None);
    }
}
