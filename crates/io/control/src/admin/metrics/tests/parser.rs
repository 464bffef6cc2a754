//! The text format of Prometheus, read strictly.
//!
//! **Invariant:** the parser takes only what the text format allows, each family whole and once.

use std::collections::{BTreeMap, BTreeSet};

pub(super) type Labels = Vec<(String, String)>;
pub(super) type Families = BTreeMap<String, ParsedFamily>;

#[derive(Debug)]
pub(super) struct ParsedFamily {
    pub(super) help: String,
    pub(super) kind: String,
    pub(super) samples: Vec<(String, Labels, f64)>,
}

pub(super) fn parse(text: &str) -> Result<Families, String> {
    let text = text.strip_suffix('\n').ok_or("the last line has no end")?;
    let mut families = Families::new();
    let mut lines = text.split('\n').peekable();
    while let Some(line) = lines.next() {
        let (name, help) = comment(line, "HELP")?;
        let kind_line = lines.next().ok_or("no TYPE after HELP")?;
        let (typed, kind) = comment(kind_line, "TYPE")?;
        if typed != name || !["counter", "gauge", "histogram"].contains(&kind) {
            return Err(format!("not the type of {name}: {kind_line}"));
        }
        let mut samples = Vec::new();
        while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
            samples.push(sample(line).ok_or_else(|| format!("not a sample: {line}"))?);
        }
        check_samples(name, kind, &samples)?;
        let family = ParsedFamily { help: help.to_owned(), kind: kind.to_owned(), samples };
        if families.insert(name.to_owned(), family).is_some() {
            return Err(format!("{name} appears twice"));
        }
    }
    Ok(families)
}

fn comment<'a>(line: &'a str, keyword: &str) -> Result<(&'a str, &'a str), String> {
    line.strip_prefix("# ")
        .and_then(|line| line.strip_prefix(keyword)?.strip_prefix(' ')?.split_once(' '))
        .filter(|(name, _)| is_name(name))
        .ok_or_else(|| format!("not a {keyword} line: {line}"))
}

fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
}

fn sample(line: &str) -> Option<(String, Labels, f64)> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Labels::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, value) = rest.split_once("=\"")?;
            let (value, after) = quoted(value)?;
            labels.push((is_name(label).then(|| label.to_owned())?, value));
            rest = match after.strip_prefix(',') {
                Some(more) => more,
                None => break rest = after.strip_prefix('}')?,
            };
        }
    }
    let value = rest.strip_prefix(' ').filter(|value| !value.contains(char::is_whitespace))?;
    is_name(name).then_some((name.to_owned(), labels, value.parse().ok()?))
}

/// A label value up to its closing quote, without its escapes, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((position, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[position + 1..])),
            '\\' => value.push(match characters.next()?.1 {
                'n' => '\n',
                escaped @ ('\\' | '"') => escaped,
                _ => return None,
            }),
            other => value.push(other),
        }
    }
    None
}

fn check_samples(name: &str, kind: &str, samples: &[(String, Labels, f64)]) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for (sample, labels, value) in samples {
        let suffix = sample.strip_prefix(name).ok_or_else(|| format!("{sample} under {name}"))?;
        let expected = match kind {
            "histogram" => ["_bucket", "_sum", "_count"].contains(&suffix),
            _ => suffix.is_empty(),
        };
        let distinct: BTreeSet<_> = labels.iter().map(|(label, _)| label).collect();
        if !expected || distinct.len() != labels.len() || !seen.insert((sample, labels)) {
            return Err(format!("{sample} {labels:?} does not belong or is there twice"));
        }
        if kind != "gauge" && *value < 0.0 {
            return Err(format!("{sample} is below zero"));
        }
    }
    if kind == "histogram" { check_histograms(name, samples) } else { Ok(()) }
}

fn check_histograms(name: &str, samples: &[(String, Labels, f64)]) -> Result<(), String> {
    let mut samples = samples.iter().peekable();
    while samples.peek().is_some() {
        let (mut last_le, mut last_count) = (f64::NEG_INFINITY, 0.0);
        let mut series = None;
        while let Some((_, labels, count)) =
            samples.next_if(|(sample, ..)| sample.ends_with("_bucket"))
        {
            let (le, rest) = labels.split_last().ok_or("a bucket without labels")?;
            let boundary = le.1.parse().map_err(|_| format!("{name}: le {le:?}"))?;
            let same_series = *series.get_or_insert(rest) == rest;
            if le.0 != "le" || !same_series || boundary <= last_le || *count < last_count {
                return Err(format!("{name}: bucket {labels:?} after le {last_le}"));
            }
            (last_le, last_count) = (boundary, *count);
        }
        let sum = samples.next().ok_or("no _sum")?;
        let count = samples.next().ok_or("no _count")?;
        let of_series = |labels: &Labels| series == Some(labels.as_slice());
        let complete = last_le.is_infinite() && of_series(&sum.1) && of_series(&count.1);
        if !complete || !sum.0.ends_with("_sum") || !count.0.ends_with("_count") {
            return Err(format!("{name}: incomplete histogram before {count:?}"));
        }
        if count.2 != last_count {
            return Err(format!("{name}: +Inf is {last_count} and the count {}", count.2));
        }
    }
    Ok(())
}

#[test]
fn the_parser_of_these_tests_is_strict() {
    let valid = "# HELP a help\n# TYPE a counter\na{x=\"1\"} 1\na{x=\"2\"} 2\n";
    assert!(parse(valid).is_ok());
    let header = "# HELP h help\n# TYPE h histogram\n";
    let histogram = "h_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n";
    assert!(parse(&format!("{header}{histogram}")).is_ok());
    for invalid in [
        valid.trim_end(),
        &valid.replace("# HELP a help\n", ""),
        &valid.replace("# TYPE a counter\n", ""),
        &valid.replace("counter", "number"),
        &valid.replace("\"2\"", "\"1\""),
        &valid.replace("\"2\"", "2"),
        &valid.replace("\"2\"", "\"\\2\""),
        &valid.replace("} 2", "} two"),
        &valid.replace("a{x=\"2\"", "b{x=\"2\""),
        &valid.replace("{x=\"2\"", "{x-y=\"2\""),
        &valid.replace("{x=\"2\"}", "{x=\"2\",x=\"2\"}"),
        &format!("{valid}{valid}"),
        &format!("{valid}\n"),
        &format!("{header}{}", histogram.replace("+Inf", "2")),
        &format!("{header}{}", histogram.replace("1\"} 1", "1\"} 3")),
        &format!("{header}{}", histogram.replace("count 2", "count 3")),
        &format!("{header}{}", histogram.replace("h_sum 3\n", "")),
    ] {
        assert!(parse(invalid).is_err(), "took\n{invalid}");
    }
}
