//! RFC 3339 time stamps of container runtimes ⇄ [`Stamp`].
//!
//! containerd writes Go's RFC3339Nano (0 to 9 fraction digits, `Z` or `±hh:mm`), conmon nine digits
//! and a numeric offset (`research` and `tests/corpus/cri` hold real samples). Days are the
//! proleptic Gregorian calendar; no leap seconds (a `:60` is taken as the next minute's start).

use crate::record::Stamp;

/// Length of `2026-11-21T09:15:27.123456789`, the stamp without its zone.
pub const TEXT_LEN: usize = 29;

/// Earliest and latest second a document may carry: `date_nanos` of Elasticsearch covers 1970–2262.
const MIN_SECS: i64 = 0;
const MAX_SECS: i64 = 9_223_372_036;

/// Parses the stamp at the start of `text`, which must be the whole stamp.
pub fn parse(text: &[u8]) -> Option<Stamp> {
    let day = day_secs(text.get(..10)?)?;
    parse_time(day, text)
}

/// Parses a stamp whose date part is already known: the hot path, as neighbours share their day.
#[inline]
pub fn parse_time(day_secs: i64, text: &[u8]) -> Option<Stamp> {
    if text.len() < 20 || text[10] != b'T' || text[13] != b':' || text[16] != b':' {
        return None;
    }
    let hour = two(text, 11)?;
    let minute = two(text, 14)?;
    let second = two(text, 17)?;
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (nanos, zone_at) = if text[19] == b'.' {
        fraction(text)?
    } else {
        (0, 19)
    };
    let offset = zone_secs(&text[zone_at..])?;
    let secs = day_secs + i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second) - offset;
    Some(Stamp { secs, nanos })
}

/// Seconds since 1970 of midnight UTC of the date `YYYY-MM-DD`.
pub fn day_secs(date: &[u8]) -> Option<i64> {
    if date.len() != 10 || date[4] != b'-' || date[7] != b'-' {
        return None;
    }
    let year = i64::from(two(date, 0)?) * 100 + i64::from(two(date, 2)?);
    let month = i64::from(two(date, 5)?);
    let day = i64::from(two(date, 8)?);
    if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
        return None;
    }
    Some(days_from_civil(year, month, day) * 86_400)
}

/// True when `text` ends in a zone that means UTC and has nine fraction digits: then its first
/// [`TEXT_LEN`] bytes are already in the form documents use.
pub fn is_canonical(text: &[u8]) -> bool {
    text.len() > TEXT_LEN && text[19] == b'.' && matches!(&text[TEXT_LEN..], b"Z" | b"+00:00")
}

/// Writes `2026-11-21T09:15:27.123456789`, in UTC, without a zone.
pub fn push_text(out: &mut Vec<u8>, stamp: Stamp) {
    let days = stamp.secs.div_euclid(86_400);
    let rest = stamp.secs.rem_euclid(86_400);
    let (year, month, day) = civil_from_days(days);
    push_digits(out, year.unsigned_abs(), 4);
    out.push(b'-');
    push_digits(out, month as u64, 2);
    out.push(b'-');
    push_digits(out, day as u64, 2);
    out.push(b'T');
    push_digits(out, (rest / 3600) as u64, 2);
    out.push(b':');
    push_digits(out, (rest / 60 % 60) as u64, 2);
    out.push(b':');
    push_digits(out, (rest % 60) as u64, 2);
    out.push(b'.');
    push_digits(out, u64::from(stamp.nanos), 9);
}

/// Any stamp as a text in UTC, also outside the years of four digits.
pub fn text(stamp: Stamp) -> String {
    let (year, month, day) = civil_from_days(stamp.secs.div_euclid(86_400));
    let rest = stamp.secs.rem_euclid(86_400);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    let nanos = stamp.nanos;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

/// The stamp moved into 1970–2262, and whether it had to be moved.
pub fn clamp(stamp: Stamp) -> (Stamp, bool) {
    if stamp.secs < MIN_SECS {
        (
            Stamp {
                secs: MIN_SECS,
                nanos: 0,
            },
            true,
        )
    } else if stamp.secs >= MAX_SECS {
        (
            Stamp {
                secs: MAX_SECS,
                nanos: 0,
            },
            true,
        )
    } else {
        (stamp, false)
    }
}

/// Year, month (1–12) and day (1–31) of a day number since 1970-01-01.
pub fn civil_from_days(days: i64) -> (i64, i64, i64) {
    // Howard Hinnant's algorithm: eras of 400 years, years that begin in March.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Day number since 1970-01-01.
pub fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Appends `value` in decimal, padded with zeros to `width`.
pub fn push_digits(out: &mut Vec<u8>, value: u64, width: usize) {
    let at = out.len();
    out.resize(at + width, b'0');
    let mut rest = value;
    for slot in out[at..].iter_mut().rev() {
        *slot = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

#[inline]
fn two(text: &[u8], at: usize) -> Option<u32> {
    let tens = text[at].wrapping_sub(b'0');
    let ones = text[at + 1].wrapping_sub(b'0');
    if tens > 9 || ones > 9 {
        return None;
    }
    Some(u32::from(tens) * 10 + u32::from(ones))
}

/// Nanoseconds of the digits after `.` at byte 19, and where the zone starts.
#[inline]
fn fraction(text: &[u8]) -> Option<(u32, usize)> {
    let mut nanos = 0u32;
    let mut at = 20;
    while let Some(digit) = text
        .get(at)
        .map(|byte| byte.wrapping_sub(b'0'))
        .filter(|digit| *digit <= 9)
    {
        if at >= TEXT_LEN {
            return None;
        }
        nanos = nanos * 10 + u32::from(digit);
        at += 1;
    }
    let digits = at - 20;
    let scale = 10u32.pow(9 - digits as u32);
    Some((nanos * scale, at))
}

#[inline]
fn zone_secs(zone: &[u8]) -> Option<i64> {
    match zone {
        b"Z" | b"z" => Some(0),
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let hours = two(zone, 1)?;
            let minutes = two(zone, 4)?;
            if hours > 23 || minutes > 59 {
                return None;
            }
            let secs = i64::from(hours * 3600 + minutes * 60);
            Some(if *sign == b'+' { secs } else { -secs })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text_of(stamp: Stamp) -> String {
        let mut out = Vec::new();
        push_text(&mut out, stamp);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_dialect_of_one_moment_is_the_same_stamp() {
        let expected = Stamp {
            secs: 1_772_615_727,
            nanos: 120_000_000,
        };
        for text in [
            "2026-03-04T09:15:27.12Z",
            "2026-03-04T09:15:27.120000000Z",
            "2026-03-04T09:15:27.120000000+00:00",
            "2026-03-04T17:15:27.12+08:00",
            "2026-03-04T04:45:27.12-04:30",
        ] {
            assert_eq!(parse(text.as_bytes()), Some(expected), "{text}");
        }
        assert_eq!(text_of(expected), "2026-03-04T09:15:27.120000000");
    }

    #[test]
    fn what_is_no_stamp_is_refused() {
        for text in [
            "",
            "2026-03-04",
            "2026-03-04T09:15:27",
            "2026-13-04T09:15:27Z",
            "2026-02-29T09:15:27Z",
            "2026-03-04T24:15:27Z",
            "2026-03-04T09:15:27.1234567890Z",
            "2026-03-04 09:15:27Z",
            "2026-03-04T09:15:27+0800",
            "2026-03-04T09:15:27.5",
            "2026-03-04T09:1x:27Z",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn any_time_has_a_text() {
        for (stamp, expected) in [
            ("1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59.500000000Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000000Z"),
            ("9999-12-31T23:59:59-23:59", "10000-01-01T23:58:59.000000000Z"),
        ] {
            assert_eq!(text(parse(stamp.as_bytes()).unwrap()), expected);
        }
    }

    #[test]
    fn times_outside_the_range_of_date_nanos_are_clamped() {
        assert_eq!(clamp(Stamp { secs: -1, nanos: 5 }), (Stamp::default(), true));
        let (late, moved) = clamp(parse(b"9999-01-01T00:00:00Z").unwrap());
        assert!(moved);
        assert_eq!(&text_of(late)[..4], "2262");
        let now = parse(b"2026-11-21T00:00:00Z").unwrap();
        assert_eq!(clamp(now), (now, false));
    }

    proptest! {
        #[test]
        fn text_and_stamp_are_inverse(secs in 0i64..9_223_372_036, nanos in 0u32..1_000_000_000) {
            let stamp = Stamp { secs, nanos };
            let text = format!("{}Z", text_of(stamp));
            prop_assert!(is_canonical(text.as_bytes()));
            prop_assert_eq!(parse(text.as_bytes()), Some(stamp));
        }

        #[test]
        fn no_input_panics(text in proptest::collection::vec(any::<u8>(), 0..40)) {
            parse(&text);
        }
    }
}
