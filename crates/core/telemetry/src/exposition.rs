//! The Prometheus text format (0.0.4) for what is already aggregated: whole histograms, single
//! samples.
//!
//! Owns the escaping, the lines and how a histogram becomes cumulative buckets. Leaves to the
//! control plane which families exist, their names and their order.
//!
//! **Invariant:** what is written is valid whatever the label values hold; a histogram's buckets
//! never fall and its `+Inf` bucket equals its count.

use crate::{BOUNDARIES_MICROS, HistogramSnapshot};
use std::fmt::{self, Display, Write};

/// Label names with their values, in the order they are written.
pub type Labels<'a> = [(&'a str, &'a str)];

/// Writes the `# HELP` and `# TYPE` lines that open a family.
pub fn write_header(out: &mut String, name: &str, kind: &str, help: &str) {
    infallible(write!(out, "# HELP {name} "));
    write_escaped(out, help, Quotes::Keep);
    infallible(write!(out, "\n# TYPE {name} {kind}\n"));
}

/// Writes one sample of a family.
pub fn write_sample(out: &mut String, name: &str, labels: &Labels<'_>, value: impl Display) {
    out.push_str(name);
    write_labels(out, labels, None);
    infallible(writeln!(out, " {value}"));
}

/// Writes the samples of one histogram: cumulative buckets in seconds, the sum in seconds, the
/// count.
pub fn write_histogram(
    out: &mut String,
    name: &str,
    labels: &Labels<'_>,
    histogram: &HistogramSnapshot,
) {
    for (boundary, count) in BOUNDARIES_MICROS.into_iter().zip(histogram.cumulative()) {
        write_bucket(out, name, labels, &(f64::from(boundary) / 1e6), count);
    }
    let count = histogram.count();
    write_bucket(out, name, labels, &"+Inf", count);
    for (suffix, value) in
        [("_sum", &histogram.sum().as_secs_f64() as &dyn Display), ("_count", &count)]
    {
        out.push_str(name);
        out.push_str(suffix);
        write_labels(out, labels, None);
        infallible(writeln!(out, " {value}"));
    }
}

fn write_bucket(out: &mut String, name: &str, labels: &Labels<'_>, le: &dyn Display, count: u64) {
    out.push_str(name);
    out.push_str("_bucket");
    write_labels(out, labels, Some(le));
    infallible(writeln!(out, " {count}"));
}

fn write_labels(out: &mut String, labels: &Labels<'_>, le: Option<&dyn Display>) {
    let mut separator = '{';
    for (name, value) in labels {
        out.push(separator);
        out.push_str(name);
        out.push_str("=\"");
        write_escaped(out, value, Quotes::Escape);
        out.push('"');
        separator = ',';
    }
    if let Some(le) = le {
        infallible(write!(out, "{separator}le=\"{le}\""));
        separator = ',';
    }
    if separator == ',' {
        out.push('}');
    }
}

/// Double quotes end a label value and mean nothing in a help text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quotes {
    Escape,
    Keep,
}

fn write_escaped(out: &mut String, text: &str, quotes: Quotes) {
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes == Quotes::Escape => out.push_str("\\\""),
            other => out.push(other),
        }
    }
}

fn infallible(written: fmt::Result) {
    written.expect("writing to a String does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Histogram;
    use std::time::Duration;

    #[test]
    fn a_histogram_is_written_with_exact_cumulative_buckets() {
        let histogram = Histogram::new();
        for micros in [100, 101, 1_000_000, 90_000_000] {
            histogram.record(Duration::from_micros(micros));
        }
        let mut out = String::new();
        write_histogram(&mut out, "t_seconds", &[("frontend", "web")], &histogram.snapshot());
        let bucket = |le: &str, count: u64| {
            let line = format!("t_seconds_bucket{{frontend=\"web\",le=\"{le}\"}} {count}\n");
            assert!(out.contains(&line), "no {line}in\n{out}");
        };
        bucket("0.0001", 1);
        bucket("0.00025", 2);
        bucket("0.5", 2);
        bucket("1", 3);
        bucket("60", 3);
        bucket("+Inf", 4);
        assert_eq!(out.lines().count(), BOUNDARIES_MICROS.len() + 3);
        assert!(out.ends_with(
            "t_seconds_sum{frontend=\"web\"} 91.000201\nt_seconds_count{frontend=\"web\"} 4\n"
        ));
    }

    #[test]
    fn a_histogram_without_labels_has_only_the_boundary() {
        let mut out = String::new();
        write_histogram(&mut out, "t", &[], &HistogramSnapshot::empty());
        assert!(out.starts_with("t_bucket{le=\"0.0001\"} 0\n"));
        assert!(out.ends_with("t_sum 0\nt_count 0\n"));
    }

    #[test]
    fn headers_and_samples_escape_what_would_end_them() {
        let mut out = String::new();
        write_header(&mut out, "t_total", "counter", "a \"b\" \\ c\nd");
        write_sample(&mut out, "t_total", &[("x", "a\"b\\c\nd\\\\"), ("y", "")], 1.5);
        write_sample(&mut out, "t_total", &[], 2);
        assert_eq!(
            out,
            "# HELP t_total a \"b\" \\\\ c\\nd\n# TYPE t_total counter\n\
             t_total{x=\"a\\\"b\\\\c\\nd\\\\\\\\\",y=\"\"} 1.5\nt_total 2\n"
        );
    }
}
