//! Owns a reader of the Prometheus text exposition format, as far as tests ask questions about it.
//!
//! Leaves fetching to `tidegate`. Invariant: a line that is not valid exposition text is an error,
//! not skipped.

use std::collections::BTreeMap;

/// One sample: a name, its labels and a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The metric's name, with any suffix such as `_bucket`.
    pub name: String,
    /// The labels.
    pub labels: BTreeMap<String, String>,
    /// The value.
    pub value: f64,
}

/// One scrape.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    samples: Vec<Sample>,
}

impl Metrics {
    /// Reads exposition text.
    ///
    /// # Errors
    /// The first line that is not valid.
    pub fn parse(text: &str) -> Result<Self, String> {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let samples =
            lines.map(|line| sample(line).ok_or_else(|| format!("not a sample: {line:?}")));
        Ok(Self { samples: samples.collect::<Result<_, _>>()? })
    }

    /// Every sample.
    #[must_use]
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// The samples of this name that carry at least these labels.
    pub fn matching<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = &'a Sample> {
        let carries = |sample: &Sample| {
            labels
                .iter()
                .all(|(key, value)| sample.labels.get(*key).is_some_and(|found| found == value))
        };
        self.samples.iter().filter(move |sample| sample.name == name && carries(sample))
    }

    /// The sum over the samples of this name that carry at least these labels; 0 when there is
    /// none.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(name, labels).fold(0.0, |sum, sample| sum + sample.value)
    }

    /// The same sum for a count.
    ///
    /// # Panics
    /// When it is negative or has a fraction.
    #[must_use]
    #[track_caller]
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let sum = self.sum(name, labels);
        assert!(sum >= 0.0 && sum.fract() == 0.0, "{name}{labels:?} is {sum}, not a count");
        // Exact for every count that a double can hold, which is what the exposition can carry.
        format!("{sum:.0}").parse().expect("a non-negative whole number")
    }

    /// Whether there is a sample of this name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.samples.iter().any(|sample| sample.name == name)
    }
}

fn sample(line: &str) -> Option<Sample> {
    let name_end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(name_end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    let value = match rest.trim() {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        text => text.parse().ok()?,
    };
    let valid = |char: char| char.is_ascii_alphanumeric() || char == '_' || char == ':';
    (!name.is_empty() && name.chars().all(valid)).then(|| Sample {
        name: name.to_owned(),
        labels,
        value,
    })
}

/// Reads `key="value",…}` and returns the labels with what follows.
fn labels(mut rest: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (key, after) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next()? {
                (place, '"') => break place,
                (_, '\\') => value.push(match chars.next()?.1 {
                    'n' => '\n',
                    escaped => escaped,
                }),
                (_, char) => value.push(char),
            }
        };
        if labels.insert(key.to_owned(), value).is_some() {
            return None;
        }
        rest = &after[end + 1..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_the_samples_that_carry_the_labels() {
        let text = "# HELP r requests\n# TYPE r counter\nr{frontend=\"web\",code=\"2xx\"} 3\n\
                    r{frontend=\"web\",code=\"5xx\"} 1\nr{frontend=\"api\",code=\"2xx\"} 10\nup 1\n\
                    b{le=\"+Inf\"} 4\nq{name=\"a\\\"b\\\\c\\nd\"} +Inf\n";
        let metrics = Metrics::parse(text).expect("valid text");
        assert_eq!(metrics.count("r", &[("frontend", "web")]), 4);
        assert_eq!(metrics.count("r", &[("code", "2xx"), ("frontend", "api")]), 10);
        assert_eq!(metrics.count("r", &[("frontend", "none")]), 0);
        assert_eq!(metrics.count("up", &[]), 1);
        assert!(metrics.contains("b") && !metrics.contains("c"));
        assert_eq!(metrics.matching("q", &[("name", "a\"b\\c\nd")]).count(), 1);
    }

    #[test]
    fn refuses_text_that_is_not_exposition() {
        for line in [
            "name",
            "name{a=\"b\" 1",
            "name{a=b} 1",
            "name{a=\"b\"} x",
            "{a=\"b\"} 1",
            "n{a=\"1\",a=\"2\"} 1",
        ] {
            assert!(Metrics::parse(line).is_err(), "{line}");
        }
    }
}
