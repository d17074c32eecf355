//! Figures for people: medians, units, and whether a threshold was met.

use longshore_kit::verifier::Report;
use std::time::Duration;

/// 2^20 bytes, the unit of memory figures.
const MIB: f64 = 1_048_576.0;

/// The middle value; of an even number of values the mean of the two in the middle. 0 of none.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        count if count % 2 == 1 => values[count / 2],
        count => (values[count / 2 - 1] + values[count / 2]) / 2.0,
    }
}

/// Of values in ascending order, the one that `share` (0 to 1) of them do not exceed.
pub(crate) fn quantile(ascending: &[Duration], share: f64) -> Duration {
    let last = ascending.len().saturating_sub(1);
    ascending
        .get((last as f64 * share).ceil() as usize)
        .copied()
        .unwrap_or_default()
}

/// Bytes as MiB.
pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / MIB
}

/// Milliseconds.
pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// One row of a table.
pub(crate) fn row(name: &str, value: &str) {
    println!("  {name:<26} {value}");
}

/// A row with a limit that the value must not exceed.
pub(crate) fn row_at_most(name: &str, value: f64, limit: f64, digits: usize) {
    let verdict = if value <= limit { "met" } else { "not met" };
    row(name, &format!("{value:.digits$} (at most {limit}: {verdict})"));
}

/// A row with a limit that the value must reach.
pub(crate) fn row_at_least(name: &str, value: f64, limit: f64, digits: usize) {
    let verdict = if value >= limit { "met" } else { "not met" };
    row(name, &format!("{value:.digits$} (at least {limit}: {verdict})"));
}

/// The row that says what became of the lines, and whether each arrived exactly once.
pub(crate) fn row_lines(report: &Report) -> bool {
    let verdict = if report.is_exactly_once() {
        "each exactly once"
    } else {
        "NOT exactly once"
    };
    row("lines", &format!("{report}: {verdict}"));
    report.is_exactly_once()
}

/// The end of a line for programs.
pub(crate) fn lost_and_duplicate(report: &Report) -> String {
    // A damaged line did not arrive, one that nobody wrote arrived once too often.
    format!(
        "lost={} duplicate={}",
        report.lost + report.corrupt,
        report.duplicate + report.unexpected
    )
}
