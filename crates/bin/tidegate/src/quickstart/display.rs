//! The live view as text.
//!
//! Owns the layout, for a terminal of any width and for a log; leaves the numbers to `history` and
//! the terminal to `watch`. Invariant: no line is wider than it was asked to be, so that a frame is
//! as many lines on the screen as in the text.

use super::history::{ServerView, View};

/// Narrower terminals get no bar and no rate per server.
const RATE_WIDTH_MIN: usize = 60;

/// The widest bar; on wider terminals the eye has nothing to gain.
const BAR_WIDTH_MAX: usize = 50;

/// The view for a terminal of `width` columns, without a line end at its end.
pub(super) fn frame(view: &View, width: usize) -> String {
    let mut lines = wrap(&figures(view), width);
    lines.push(String::new());
    let total = view.answered();
    let name_width = longest(view.servers.iter().map(|server| server.name.chars().count()));
    let count_width = longest(view.servers.iter().map(|server| grouped(server.answered).len()));
    let rate_width = longest(view.servers.iter().map(|server| grouped(server.rate).len()));
    for server in &view.servers {
        let ServerView { name, answered, rate } = server;
        let (count, share) = (grouped(*answered), share(*answered, total));
        let mut line = format!("{name:name_width$}  {count:>count_width$}  {share}  ");
        if width >= RATE_WIDTH_MIN {
            line.push_str(&format!("{:>rate_width$}/s  ", grouped(*rate)));
        }
        let room = width.saturating_sub(line.chars().count()).min(BAR_WIDTH_MAX);
        line.push_str(&bar(*answered, total, room));
        lines.push(line);
    }
    let cut: Vec<String> = lines.iter().map(|line| cut(line, width)).collect();
    cut.join("\n")
}

/// The view as one line of a log, `seconds` after the start.
pub(super) fn line(view: &View, seconds: u64) -> String {
    let mut line = format!(
        "t={seconds}s requests={} rate={}/s failed={} p50={} p99={}",
        view.answered(),
        view.rate(),
        view.failed,
        bound(view.p50).replace(' ', ""),
        bound(view.p99).replace(' ', ""),
    );
    for server in &view.servers {
        line.push_str(&format!(" {}={}", server.name, server.answered));
    }
    line
}

fn figures(view: &View) -> [String; 5] {
    [
        format!("requests {}", grouped(view.answered())),
        format!("rate {}/s", grouped(view.rate())),
        format!("failed {}", grouped(view.failed)),
        format!("p50 {}", bound(view.p50)),
        format!("p99 {}", bound(view.p99)),
    ]
}

/// As many pieces on a line as fit.
fn wrap(pieces: &[String], width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for piece in pieces {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 3 + piece.chars().count() <= width => {
                line.push_str("   ");
                line.push_str(piece);
            }
            _ => lines.push(piece.clone()),
        }
    }
    lines
}

/// The beginning of `line`, as wide as fits.
pub(super) fn cut(line: &str, width: usize) -> String {
    line.trim_end().chars().take(width).collect()
}

fn longest(lengths: impl Iterator<Item = usize>) -> usize {
    lengths.max().unwrap_or(0)
}

/// A bar whose full length stands for all requests.
fn bar(part: u64, total: u64, room: usize) -> String {
    let room_wide = u64::try_from(room).unwrap_or(u64::MAX);
    let filled = part.saturating_mul(room_wide).checked_div(total).unwrap_or(0);
    "█".repeat(usize::try_from(filled).unwrap_or(room).min(room))
}

/// The upper bound of a duration, in the unit that reads best.
fn bound(seconds: Option<f64>) -> String {
    match seconds {
        None => "-".into(),
        Some(seconds) if seconds.is_infinite() => "> 1 min".into(),
        Some(seconds) if seconds >= 1.0 => format!("≤ {seconds} s"),
        // Rounded to a hundredth, which hides what the factor does to binary fractions.
        Some(seconds) => format!("≤ {} ms", (seconds * 100_000.0).round() / 100.0),
    }
}

/// A number in groups of three digits.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A part in percent, right-aligned to seven columns.
pub(super) fn share(part: u64, total: u64) -> String {
    let permille = part.saturating_mul(1000).saturating_add(total / 2).checked_div(total);
    let permille = permille.unwrap_or(0);
    format!("{:>3}.{} %", permille / 10, permille % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(answered: [u64; 3], rates: [u64; 3]) -> View {
        let server = |index: usize| ServerView {
            name: format!("app{}", index + 1),
            answered: answered[index],
            rate: rates[index],
        };
        View {
            servers: (0..3).map(server).collect(),
            failed: 2,
            p50: Some(0.00025),
            p99: Some(2.5),
        }
    }

    fn busy() -> View {
        view([61_728, 30_864, 30_865], [2050, 1025, 1024])
    }

    #[test]
    fn a_frame_for_a_terminal_of_80_columns() {
        assert_eq!(
            frame(&busy(), 80),
            "\
requests 123,457   rate 4,099/s   failed 2   p50 ≤ 0.25 ms   p99 ≤ 2.5 s

app1  61,728   50.0 %  2,050/s  ███████████████████████
app2  30,864   25.0 %  1,025/s  ███████████
app3  30,865   25.0 %  1,024/s  ████████████"
        );
    }

    #[test]
    fn a_frame_for_a_terminal_of_40_columns() {
        assert_eq!(
            frame(&busy(), 40),
            "\
requests 123,457   rate 4,099/s
failed 2   p50 ≤ 0.25 ms   p99 ≤ 2.5 s

app1  61,728   50.0 %  ████████
app2  30,864   25.0 %  ████
app3  30,865   25.0 %  ████"
        );
    }

    #[test]
    fn a_frame_before_the_first_request_and_before_the_first_sample() {
        let idle = View { p50: None, p99: None, failed: 0, ..view([0; 3], [0; 3]) };
        assert_eq!(
            frame(&idle, 80),
            "\
requests 0   rate 0/s   failed 0   p50 -   p99 -

app1  0    0.0 %  0/s
app2  0    0.0 %  0/s
app3  0    0.0 %  0/s"
        );
        assert_eq!(
            frame(&View::default(), 80),
            "requests 0   rate 0/s   failed 0   p50 -   p99 -\n"
        );
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_whatever_the_numbers() {
        let huge = view([u64::MAX / 4; 3], [u64::MAX / 4; 3]);
        for view in [busy(), huge, View::default()] {
            for width in 0..200 {
                for line in frame(&view, width).lines() {
                    assert!(line.chars().count() <= width, "{width}: {line}");
                }
            }
        }
    }

    #[test]
    fn a_line_for_a_log() {
        assert_eq!(
            line(&busy(), 12),
            "t=12s requests=123457 rate=4099/s failed=2 p50=≤0.25ms p99=≤2.5s \
             app1=61728 app2=30864 app3=30865"
        );
    }

    #[test]
    fn bounds_read_as_they_are_in_the_configuration_of_the_histogram() {
        let cases = [
            (None, "-"),
            (Some(0.0001), "≤ 0.1 ms"),
            (Some(0.00025), "≤ 0.25 ms"),
            (Some(0.0025), "≤ 2.5 ms"),
            (Some(0.01), "≤ 10 ms"),
            (Some(0.5), "≤ 500 ms"),
            (Some(1.0), "≤ 1 s"),
            (Some(2.5), "≤ 2.5 s"),
            (Some(60.0), "≤ 60 s"),
            (Some(f64::INFINITY), "> 1 min"),
        ];
        for (seconds, text) in cases {
            assert_eq!(bound(seconds), text);
        }
    }

    #[test]
    fn numbers_are_grouped_and_shares_rounded() {
        let grouped: Vec<String> = [0, 999, 1000, 123_456, 1_234_567].map(super::grouped).to_vec();
        assert_eq!(grouped, ["0", "999", "1,000", "123,456", "1,234,567"]);
        let shares: Vec<String> =
            [(0, 0), (1, 3), (2, 3), (5, 5)].map(|(part, total)| share(part, total)).to_vec();
        assert_eq!(shares, ["  0.0 %", " 33.3 %", " 66.7 %", "100.0 %"]);
    }
}
