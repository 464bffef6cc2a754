//! The live view on standard output, from ready to end.
//!
//! Owns the thread's loop, the terminal and the end after a set time; leaves the numbers to
//! `metrics` and `history` and the layout to `display`. Invariant: it never blocks the balancer,
//! and when nobody can see it any more it ends the process as Ctrl-C would.

use std::io::{self, IsTerminal as _};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rustix::process::{Signal, getpid, kill_process};

use super::display;
use super::history::{History, View};
use super::metrics;
use crate::console;

/// Between two looks at the metrics.
const INTERVAL: Duration = Duration::from_millis(500);

/// Looks for each line where there is no terminal: one line a second.
const LOOKS_PER_LINE: u64 = 2;

/// Columns of a terminal that does not say how wide it is.
const WIDTH_DEFAULT: usize = 80;

/// What the view is told about the balancer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It serves: the view begins.
    Serving {
        /// What is written first.
        introduction: String,
        /// Address of the admin listener.
        admin: String,
    },
    /// It has ended, and so does the view.
    Ended,
}

/// Waits until the balancer serves, then shows the view until it has ended; ends it after
/// `duration`.
pub(super) fn watch(news: &Receiver<News>, duration: Option<Duration>) {
    let Ok(News::Serving { introduction, admin }) = news.recv() else { return };
    let ended = console::print(&introduction)
        .and_then(|()| show(news, &admin, duration))
        .unwrap_or(End::Wanted);
    if ended == End::Wanted {
        // SIGINT is what Ctrl-C sends: the balancer ends in the same way.
        let _ = kill_process(getpid(), Signal::INT);
    }
}

/// Why the view is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The balancer has ended.
    Happened,
    /// The time is up.
    Wanted,
}

fn show(news: &Receiver<News>, admin: &str, duration: Option<Duration>) -> io::Result<End> {
    let start = Instant::now();
    let mut history = History::default();
    let mut screen = io::stdout().is_terminal().then(Screen::default);
    let mut looks = 0_u64;
    loop {
        let now = start.elapsed();
        let left = duration.map(|duration| duration.saturating_sub(now));
        let latest = metrics::fetch(admin).map(|sample| history.push(now, sample));
        let problem = latest.err().map(|error| format!("http://{admin}/metrics: {error}"));
        match &mut screen {
            Some(screen) => screen.show(&history.view(), problem.as_deref())?,
            None if looks.is_multiple_of(LOOKS_PER_LINE) || left == Some(Duration::ZERO) => {
                let line = || display::line(&history.view(), now.as_secs());
                console::print(&problem.unwrap_or_else(line))?;
            }
            None => {}
        }
        looks += 1;
        let wait = match left {
            Some(Duration::ZERO) => return Ok(End::Wanted),
            Some(left) => left.min(INTERVAL),
            None => INTERVAL,
        };
        if news.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
            return Ok(End::Happened);
        }
    }
}

/// A terminal, on which each frame takes the place of the one before.
#[derive(Default)]
struct Screen {
    /// Lines of the frame that stands there.
    lines: usize,
}

impl Screen {
    fn show(&mut self, view: &View, problem: Option<&str>) -> io::Result<()> {
        let width = match rustix::termios::tcgetwinsize(io::stdout()) {
            Ok(size) if size.ws_col > 0 => usize::from(size.ws_col),
            _ => WIDTH_DEFAULT,
        };
        let frame = match problem {
            None => display::frame(view, width),
            Some(problem) => display::cut(problem, width),
        };
        let text = self.replace(&frame);
        console::print(&text)
    }

    /// `frame`, behind what makes it take the place of the one before; the cursor is to end up in
    /// the line below it.
    fn replace(&mut self, frame: &str) -> String {
        let text = match self.lines {
            0 => frame.to_owned(),
            // Up to the first line's first column, and clear from there to the end of the screen.
            lines => format!("\x1b[{lines}F\x1b[J{frame}"),
        };
        self.lines = frame.split('\n').count();
        text
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn each_frame_takes_exactly_the_place_of_the_one_before() {
        let mut screen = Screen::default();
        assert_eq!(screen.replace("a\n\nb"), "a\n\nb");
        assert_eq!(screen.replace("c"), "\x1b[3F\x1b[Jc");
        assert_eq!(screen.replace("d\n"), "\x1b[1F\x1b[Jd\n");
        assert_eq!(screen.replace("e"), "\x1b[2F\x1b[Je");
    }

    #[test]
    fn a_balancer_that_never_serves_has_no_view() {
        let (teller, news) = channel();
        teller.send(News::Ended).expect("it is received below");
        // Returns although it could be told more, and does not end this process.
        watch(&news, Some(Duration::ZERO));
    }

    #[test]
    fn the_view_is_over_when_the_balancer_has_ended_or_the_time_is_up() {
        let (teller, news) = channel();
        let no_metrics = "127.0.0.1:0";
        assert_eq!(show(&news, no_metrics, Some(Duration::ZERO)).expect("shown"), End::Wanted);
        teller.send(News::Ended).expect("it is received below");
        assert_eq!(show(&news, no_metrics, None).expect("shown"), End::Happened);
    }
}
