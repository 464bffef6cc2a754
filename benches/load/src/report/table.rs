//! The Markdown page: a saturation table and one latency table per level for every scenario, then
//! idle connections, shards and verdicts. Owns the layout; figures come from the results.
//!
//! Invariant: every figure over several rounds is a median, its range beside it.

use std::fmt::Write;

use super::verdict;
use crate::results::{Latency, Level, Results, Run, Spread, unique};
use crate::scenario::{self, TRAFFIC};

const MIB: f64 = (1_u64 << 20) as f64;

/// The names of the scenarios that ran, in their usual order.
pub fn scenario_names(results: &Results) -> Vec<&'static str> {
    let ran = |name: &str| results.runs.iter().any(|run| run.scenario == name);
    TRAFFIC.iter().map(|scenario| scenario.name).filter(|name| ran(name)).collect()
}

/// The whole page.
pub fn markdown(results: &Results) -> String {
    let mut page = String::new();
    write_page(&mut page, results).expect("writing to a string");
    page
}

fn write_page(page: &mut String, results: &Results) -> std::fmt::Result {
    writeln!(page, "# Measured side by side\n")?;
    writeln!(page, "Written by `tidegate-load compare`; how to read it: `README.md`.\n")?;
    for (name, value) in &results.environment {
        writeln!(page, "- {name}: {value}")?;
    }
    verdict::write_table(page, results)?;
    for name in scenario_names(results) {
        let title = scenario::by_name(name).map_or(name, |scenario| scenario.title);
        writeln!(page, "\n## {title}\n")?;
        write_saturation(page, results, name)?;
        for level in results.levels(name) {
            write_level(page, results, name, level)?;
        }
        if !results.levels(name).is_empty() {
            writeln!(page, "\n![Latency by percentile](latency-{name}.svg)")?;
        }
    }
    write_idle(page, results)?;
    write_shards(page, results)
}

fn write_saturation(page: &mut String, results: &Results, name: &str) -> std::fmt::Result {
    writeln!(
        page,
        "| saturation | CPU µs/request | × best peer | requests/s | CPU s/GiB | harness µs/request | memory MiB | errors |"
    )?;
    writeln!(page, "| --- | --- | --- | --- | --- | --- | --- | --- |")?;
    for proxy in results.proxies(name) {
        let spread = |metric: fn(&Run) -> f64| {
            results.spread(name, Level::Saturation, proxy, metric).map_or_else(String::new, range)
        };
        let ratio = results
            .ratio(name, Level::Saturation, proxy, verdict::PEERS, Run::cpu_us)
            .map_or_else(String::new, |ratio| format!("{:.2}", ratio.value));
        let errors: u64 = errors(results, name, Level::Saturation, proxy);
        writeln!(
            page,
            "| {proxy} | {} | {ratio} | {} | {} | {} | {} | {errors} |",
            spread(Run::cpu_us),
            spread(Run::per_second),
            spread(Run::cpu_s_per_gib),
            spread(Run::harness_cpu_us),
            spread(|run| run.memory.allocated_bytes() as f64 / MIB),
        )?;
    }
    Ok(())
}

fn write_level(page: &mut String, results: &Results, name: &str, level: Level) -> std::fmt::Result {
    let rate = results
        .runs
        .iter()
        .find(|run| run.scenario == name && run.level == level)
        .and_then(|run| run.rate)
        .unwrap_or(0);
    writeln!(
        page,
        "\n| {level}: {rate}/s | p50 µs | p90 µs | p99 µs | p99.9 µs | p99.99 µs | max µs | CPU µs/request | errors |"
    )?;
    writeln!(page, "| --- | --- | --- | --- | --- | --- | --- | --- | --- |")?;
    let percentiles: [fn(&Latency) -> f64; 6] = [
        |latency| latency.p50,
        |latency| latency.p90,
        |latency| latency.p99,
        |latency| latency.p99_9,
        |latency| latency.p99_99,
        |latency| latency.max,
    ];
    for proxy in results.proxies(name) {
        let Some(cpu) = results.spread(name, level, proxy, Run::cpu_us) else { continue };
        write!(page, "| {proxy} |")?;
        for percentile in percentiles {
            let spread = results.spread(name, level, proxy, |run| percentile(&run.latency_us));
            write!(page, " {} |", spread.map_or_else(String::new, range))?;
        }
        writeln!(page, " {} | {} |", range(cpu), errors(results, name, level, proxy))?;
    }
    Ok(())
}

fn errors(results: &Results, name: &str, level: Level, proxy: &str) -> u64 {
    results.cell(name, level, proxy).map(|run| run.errors.total()).sum()
}

fn write_idle(page: &mut String, results: &Results) -> std::fmt::Result {
    let Some(first) = results.idle.first() else { return Ok(()) };
    writeln!(page, "\n## {} idle keep-alive connections\n", first.connections)?;
    writeln!(
        page,
        "| fresh process | bytes/connection | of these after the first thousandth | memory before MiB | after MiB | CPU % unconnected | CPU % connected |"
    )?;
    writeln!(page, "| --- | --- | --- | --- | --- | --- | --- |")?;
    for proxy in unique(results.idle.iter().map(|run| &*run.proxy)) {
        let spread = |metric: fn(&crate::results::IdleRun) -> f64| {
            let runs = results.idle.iter().filter(|run| run.proxy == proxy);
            Spread::of(runs.map(metric)).map_or_else(String::new, range)
        };
        writeln!(
            page,
            "| {proxy} | {} | {} | {} | {} | {} | {} |",
            spread(|run| run.bytes_per_connection),
            spread(|run| run.marginal_bytes_per_connection),
            spread(|run| run.memory_before.allocated_bytes() as f64 / MIB),
            spread(|run| run.memory_after.allocated_bytes() as f64 / MIB),
            spread(|run| run.idle_cpu_percent),
            spread(|run| run.connected_cpu_percent),
        )?;
    }
    Ok(())
}

fn write_shards(page: &mut String, results: &Results) -> std::fmt::Result {
    let Some(first) = results.shards.first() else { return Ok(()) };
    let one = Spread::of(results.shards.iter().map(|run| run.one_cpu_us));
    let many = Spread::of(results.shards.iter().map(|run| run.many_cpu_us));
    writeln!(page, "\n## One shard and {}\n", first.shards)?;
    writeln!(page, "| {}/s a shard | CPU µs/request |\n| --- | --- |", first.rate)?;
    writeln!(page, "| 1 shard | {} |", one.map_or_else(String::new, range))?;
    writeln!(page, "| {} shards | {} |", first.shards, many.map_or_else(String::new, range))
}

/// A median with its range, in as many digits as carry meaning.
pub fn range(spread: Spread) -> String {
    let Spread { median, min, max } = spread;
    if (max - min).abs() < f64::EPSILON {
        return number(median);
    }
    format!("{} ({}–{})", number(median), number(min), number(max))
}

/// Three significant digits for small figures, thousands separated for large ones.
pub fn number(value: f64) -> String {
    if value.abs() < 10.0 {
        return format!("{value:.2}");
    }
    if value.abs() < 1_000.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 && digit.is_ascii_digit() {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::add;

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.123, "0.12"),
            (12.345, "12.3"),
            (999.9, "999.9"),
            (1_000.0, "1,000"),
            (61_234.5, "61,234"),
            (1_234_567.0, "1,234,567"),
        ];
        for (value, expected) in cases {
            assert_eq!(number(value), expected);
        }
    }

    #[test]
    fn page_holds_every_proxy_and_level_with_ranges() {
        let mut results = Results::default();
        for (proxy, base) in [("tidegate", 10.0), ("haproxy", 16.0), ("nginx", 14.0)] {
            for level in [Level::Saturation, Level::Percent(50)] {
                add(&mut results, level, proxy, &[base, base + 1.0, base + 2.0]);
            }
        }
        let page = markdown(&results);
        assert!(page.contains("| tidegate | 11.0 (10.0–12.0) | 0.73 |"), "{page}");
        assert!(page.contains("| 50 %: 0/s |"));
        assert!(page.contains("latency-keepalive-64.svg"));
        let columns = |line: &str| line.matches('|').count();
        for table in page.split("\n\n").filter(|part| part.starts_with('|')) {
            let widths: Vec<usize> = table.lines().map(columns).collect();
            assert!(widths.windows(2).all(|pair| pair[0] == pair[1]), "{table}");
        }
    }
}
