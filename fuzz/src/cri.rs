//! Lines of a log against a second, slow CRI parser that takes its calendar from `jiff`.

use longshore::codec::stamp;
use longshore::parse::cri::{CriParser, Tag};
use longshore::record::{Stamp, Stream};

/// The parts of a line: seconds, nanoseconds, stream, whether more follows, content.
type Parts<'a> = (i64, u32, &'static str, bool, &'a [u8]);

/// Takes the input for a log file.
pub fn run(bytes: &[u8]) {
    let mut parser = CriParser::default();
    for line in bytes.split(|byte| *byte == b'\n') {
        let found = parser.parse(line);
        assert_eq!(found, CriParser::default().parse(line), "the line before matters");
        let parts = found.map(|found| {
            written(found.stamp);
            let Stamp { secs, nanos } = found.stamp;
            let more = found.tag == Tag::Partial;
            (secs, nanos, name(found.stream), more, found.content)
        });
        assert_eq!(parts, reference(line), "\"{}\"", line.escape_ascii());
    }
}

fn name(stream: Stream) -> &'static str {
    match stream {
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
    }
}

/// What documents say of a stamp is that stamp.
fn written(stamp: Stamp) {
    let (stamp, _) = stamp::clamp(stamp);
    let mut text = Vec::new();
    stamp::push_text(&mut text, stamp);
    text.push(b'Z');
    assert!(stamp::is_canonical(&text));
    assert_eq!(stamp::parse(&text), Some(stamp));
}

fn reference(line: &[u8]) -> Option<Parts<'_>> {
    let mut words = line.splitn(3, |byte| *byte == b' ');
    let (secs, nanos) = moment(std::str::from_utf8(words.next()?).ok()?)?;
    let stream = match words.next()? {
        b"stdout" => "stdout",
        b"stderr" => "stderr",
        _ => return None,
    };
    let mut words = words.next()?.splitn(2, |byte| *byte == b' ');
    let more = match words.next()?.split(|byte| *byte == b':').next()? {
        b"P" => true,
        b"F" => false,
        _ => return None,
    };
    Some((secs, nanos, stream, more, words.next().unwrap_or_default()))
}

/// Seconds since 1970 and nanoseconds of `YYYY-MM-DDTHH:MM:SS[.f…](Z|±HH:MM)`.
pub(crate) fn moment(text: &str) -> Option<(i64, u32)> {
    let (date, time) = text.split_once('T')?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let date = jiff::civil::Date::new(year as i16, month as i8, day as i8).ok()?;
    let (time, zone) = match time.strip_suffix(['Z', 'z']) {
        Some(time) => (time, 0),
        None => {
            let at = time.rfind(['+', '-'])?;
            let [hours, minutes] = numbers(&time[at + 1..], ':', [2, 2])?;
            let zone = (hours < 24 && minutes < 60).then_some(hours * 3600 + minutes * 60)?;
            (
                &time[..at],
                if time[at..].starts_with('-') { -zone } else { zone },
            )
        }
    };
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    let in_day = hour < 24 && minute < 60 && second <= 60;
    let digits = fraction.len() <= 9 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let nanos = format!("{fraction:0<9}")
        .parse()
        .ok()
        .filter(|_| in_day && digits)?;
    let midnight = date
        .to_zoned(jiff::tz::TimeZone::UTC)
        .ok()?
        .timestamp()
        .as_second();
    Some((midnight + hour * 3600 + minute * 60 + second - zone, nanos))
}

/// Numbers of exactly so many digits each.
fn numbers<const N: usize>(text: &str, separator: char, digits: [usize; N]) -> Option<[i64; N]> {
    let mut words = text.split(separator);
    let mut found = [0; N];
    for (number, digits) in found.iter_mut().zip(digits) {
        let word = words.next()?;
        let plain = word.len() == digits && word.bytes().all(|byte| byte.is_ascii_digit());
        *number = word.parse().ok().filter(|_| plain)?;
    }
    words.next().is_none().then_some(found)
}
