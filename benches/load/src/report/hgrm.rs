//! The text form of a histogram that HdrHistogram's plotting tools read: percentile distribution
//! with five steps per halving, values in milliseconds. Invariant: the last line is the maximum at
//! 100 % and the counts never decrease.

use std::fmt::Write;

use hdrhistogram::Histogram;

/// Steps for each halving of the distance to 100 %, the tools' default.
const STEPS_PER_HALVING: u32 = 5;
const NS_PER_MS: f64 = 1e6;

/// The distribution of a histogram of nanoseconds.
pub fn text(histogram: &Histogram<u64>) -> String {
    let mut text = format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    let mut total = 0;
    for step in histogram.iter_quantiles(STEPS_PER_HALVING) {
        total += step.count_since_last_iteration();
        let value = step.value_iterated_to() as f64 / NS_PER_MS;
        let quantile = step.quantile_iterated_to();
        let line = if quantile < 1.0 {
            let inverse = 1.0 / (1.0 - quantile);
            writeln!(text, "{value:12.3} {quantile:2.12} {total:10} {inverse:14.2}")
        } else {
            writeln!(text, "{value:12.3} {quantile:2.12} {total:10}")
        };
        line.expect("writing to a string");
    }
    footer(&mut text, histogram).expect("writing to a string");
    text
}

fn footer(text: &mut String, histogram: &Histogram<u64>) -> std::fmt::Result {
    let mean = histogram.mean() / NS_PER_MS;
    let deviation = histogram.stdev() / NS_PER_MS;
    let max = histogram.max() as f64 / NS_PER_MS;
    let sub_buckets = 2_u32 * 10_u32.pow(u32::from(histogram.sigfig()));
    writeln!(text, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]")?;
    writeln!(text, "#[Max     = {max:12.3}, Total count    = {:12}]", histogram.len())?;
    writeln!(
        text,
        "#[Buckets = {:12}, SubBuckets     = {:12}]",
        histogram.buckets(),
        sub_buckets.next_power_of_two()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::empty_histogram;

    #[test]
    fn format_is_what_the_plotting_tools_read() {
        let mut histogram = empty_histogram();
        (1..=10_000_u64).for_each(|n| histogram.saturating_record(n * 10_000));
        let text = text(&histogram);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "       Value     Percentile TotalCount 1/(1-Percentile)");
        assert_eq!(lines[1], "");
        let rows: Vec<Vec<f64>> = lines[2..]
            .iter()
            .filter(|line| !line.starts_with('#'))
            .map(|line| {
                let words = line.split_whitespace();
                words.map(|word| word.parse().expect("rows are numbers")).collect()
            })
            .collect();
        assert!(rows.windows(2).all(|pair| pair[0][1] <= pair[1][1] && pair[0][2] <= pair[1][2]));
        let middle = rows.iter().find(|row| row[1] >= 0.5).expect("a median");
        assert!((middle[0] - 50.0).abs() < 0.2 && (middle[3] - 2.0).abs() < 0.1, "{middle:?}");
        let last = rows.last().expect("rows");
        assert_eq!((last.len(), last[1], last[2]), (3, 1.0, 10_000.0));
        assert!((last[0] - 100.0).abs() < 0.1);
        assert!(text.contains("#[Mean    =       50.0"), "{text}");
        assert!(text.contains("#[Max     =      100.0"));
        assert!(text.contains("Total count    =        10000]"));
        assert!(text.contains("SubBuckets     =         2048]"));
    }

    #[test]
    fn an_empty_histogram_has_a_footer() {
        assert!(text(&empty_histogram()).contains("Total count    =            0]"));
    }
}
