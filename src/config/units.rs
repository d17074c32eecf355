//! Sizes and times with their units: `4MiB`, `512KiB`, `250ms`, `2h`, `10%`.

use std::time::Duration;

use super::types::MinFree;

/// 1024 bytes.
pub(super) const KIB: u64 = 1024;
/// 1024 KiB.
pub(super) const MIB: u64 = 1024 * KIB;
/// 1024 MiB.
pub(super) const GIB: u64 = 1024 * MIB;
/// 1024 GiB.
pub(super) const TIB: u64 = 1024 * GIB;

/// The units of a size, largest first within their family.
const SIZES: [(&str, u64); 9] = [
    ("TiB", TIB),
    ("GiB", GIB),
    ("MiB", MIB),
    ("KiB", KIB),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

/// The units of a time, in milliseconds, largest first.
const TIMES: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Reads `1MiB`, `4MB`, `512KiB` or `100` (bytes); none when it is no size or does not fit.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split_number(text)?;
    let bytes = match unit {
        "" => 1,
        _ => SIZES.iter().find(|(name, _)| *name == unit)?.1,
    };
    number.checked_mul(bytes)
}

/// Reads `5s`, `250ms`, `1m`, `2h` or `1d`; none when it is no time, has no unit or does not fit.
pub(super) fn parse_time(text: &str) -> Option<Duration> {
    let (number, unit) = split_number(text)?;
    let (_, millis) = TIMES.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*millis).map(Duration::from_millis)
}

/// Reads `10%` or a size.
pub(super) fn parse_min_free(text: &str) -> Option<MinFree> {
    let Some(number) = text.strip_suffix('%') else {
        return parse_size(text).map(MinFree::Bytes);
    };
    let percent = split_number(number).filter(|(_, unit)| unit.is_empty())?.0;
    u8::try_from(percent)
        .ok()
        .filter(|percent| *percent < 100)
        .map(MinFree::Percent)
}

/// What to do about a text that is no size: most often its unit is written in another way.
pub(super) fn size_hint(text: &str) -> String {
    let Some((number, unit)) = split_number(text) else {
        return "write a whole number and a unit, such as 4MiB".to_owned();
    };
    let meant =
        |name: &str| name.eq_ignore_ascii_case(unit) || name.eq_ignore_ascii_case(&format!("{unit}B"));
    match SIZES.iter().find(|(name, _)| meant(name)) {
        // The unit is right, so the number must be what does not fit.
        Some((name, _)) if *name == unit => "write a smaller number".to_owned(),
        Some((name, _)) => format!("write {number}{name}"),
        None => "the units are KiB, MiB, GiB, TiB and KB, MB, GB, TB; without one it is bytes".to_owned(),
    }
}

/// What to do about a text that is no time.
pub(super) fn time_hint(text: &str) -> String {
    match split_number(text) {
        Some((number, "")) => format!("write a unit behind it, such as {number}s"),
        Some((_, unit)) if TIMES.iter().any(|(name, _)| *name == unit) => "write a smaller number".to_owned(),
        Some(_) => "the units are ms, s, m, h and d".to_owned(),
        None => "write a whole number and a unit, such as 5s".to_owned(),
    }
}

/// Writes a size in the largest binary unit that divides it.
pub(super) fn show_size(bytes: u64) -> String {
    let fits = |unit: &&(&str, u64)| bytes >= unit.1 && bytes.is_multiple_of(unit.1);
    match SIZES[..4].iter().find(fits) {
        Some((name, unit)) => format!("{}{name}", bytes / unit),
        None => bytes.to_string(),
    }
}

/// Writes a time in the largest unit that divides it.
pub(super) fn show_time(time: Duration) -> String {
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let fits = |unit: &&(&str, u64)| millis >= unit.1 && millis.is_multiple_of(unit.1);
    match TIMES.iter().find(fits) {
        Some((name, unit)) => format!("{}{name}", millis / unit),
        None => format!("{millis}s"),
    }
}

/// Splits a number from the unit behind it; a single blank may stand between them.
fn split_number(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = unit
        .strip_prefix(' ')
        .filter(|unit| !unit.is_empty())
        .unwrap_or(unit);
    Some((number.parse().ok()?, unit))
}
