//! What long steps tell a person: bars on a terminal, plain lines otherwise.
//!
//! The library never prints by itself; whoever calls it hands in a [`Progress`].

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// How much an activity will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// Nobody knows; only the time shows.
    Unknown,
    /// So many bytes.
    Bytes(u64),
    /// So many things of whatever kind the title names.
    Items(u64),
}

/// Where long steps report.
pub trait Progress: Send + Sync {
    /// Announces an activity; it ends by [`Activity::end`], or unfinished when dropped.
    fn start(&self, title: &str, amount: Amount) -> Box<dyn Activity>;
    /// One line that stays.
    fn say(&self, line: &str);
}

/// One activity that is going on.
pub trait Activity: Send + Sync {
    /// So much more is done.
    fn advance(&self, by: u64);
    /// What it is doing just now; replaces the last such text.
    fn status(&self, text: &str);
    /// It is done; the text says with which outcome.
    fn end(&self, text: &str);
}

/// Bars if standard error is a terminal, else plain lines there.
#[must_use]
pub fn for_stderr() -> Arc<dyn Progress> {
    if io::stderr().is_terminal() { Arc::new(Bars(MultiProgress::new())) } else { Arc::new(Lines) }
}

/// Reports nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn start(&self, _: &str, _: Amount) -> Box<dyn Activity> {
        Box::new(Self)
    }

    fn say(&self, _: &str) {}
}

impl Activity for Silent {
    fn advance(&self, _: u64) {}
    fn status(&self, _: &str) {}
    fn end(&self, _: &str) {}
}

/// Bars drawn by `indicatif`.
struct Bars(MultiProgress);

impl Progress for Bars {
    fn start(&self, title: &str, amount: Amount) -> Box<dyn Activity> {
        let (length, template) = match amount {
            Amount::Unknown => (None, "{spinner} {prefix}  {elapsed}  {wide_msg:.dim}"),
            Amount::Bytes(n) => (
                Some(n),
                "{spinner} {prefix}  {bar:24} {bytes}/{total_bytes}  {bytes_per_sec}  {wide_msg:.dim}",
            ),
            Amount::Items(n) => {
                (Some(n), "{spinner} {prefix}  {bar:24} {pos}/{len}  {elapsed}  {wide_msg:.dim}")
            }
        };
        let bar = match length {
            Some(n) => ProgressBar::new(n),
            None => ProgressBar::new_spinner(),
        };
        let style = ProgressStyle::with_template(template);
        let bar = self.0.add(bar).with_prefix(title.to_owned());
        bar.set_style(style.expect("the templates above are well formed"));
        bar.enable_steady_tick(Duration::from_millis(120));
        Box::new(BarActivity { bar, all: self.0.clone(), title: title.to_owned() })
    }

    fn say(&self, line: &str) {
        // A terminal that went away must not end a build.
        let _ = self.0.println(line);
    }
}

struct BarActivity {
    bar: ProgressBar,
    all: MultiProgress,
    title: String,
}

impl Activity for BarActivity {
    fn advance(&self, by: u64) {
        self.bar.inc(by);
    }

    fn status(&self, text: &str) {
        self.bar.set_message(text.to_owned());
    }

    fn end(&self, text: &str) {
        self.bar.finish_and_clear();
        let _ = self.all.println(format!("  {}: {text}", self.title));
    }
}

impl Drop for BarActivity {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Plain lines for logs and pipes: start, a sign of life now and then, end.
#[derive(Debug, Clone, Copy, Default)]
struct Lines;

/// Often enough that a reader sees life, seldom enough that a log stays short.
const LINE_INTERVAL: Duration = Duration::from_secs(20);

impl Progress for Lines {
    fn start(&self, title: &str, amount: Amount) -> Box<dyn Activity> {
        let total = match amount {
            Amount::Unknown => String::new(),
            Amount::Bytes(n) => format!(" ({} MB)", n.div_ceil(1_000_000)),
            Amount::Items(n) => format!(" ({n})"),
        };
        self.say(&format!("{title}{total} …"));
        let started = Instant::now();
        Box::new(LineActivity {
            title: title.to_owned(),
            amount,
            started,
            done: AtomicU64::new(0),
            last: Mutex::new(started),
        })
    }

    fn say(&self, line: &str) {
        let _ = writeln!(io::stderr().lock(), "{line}");
    }
}

struct LineActivity {
    title: String,
    amount: Amount,
    started: Instant,
    done: AtomicU64,
    last: Mutex<Instant>,
}

impl LineActivity {
    fn now_and_then(&self, text: &str) {
        let Ok(mut last) = self.last.lock() else {
            return;
        };
        if last.elapsed() < LINE_INTERVAL {
            return;
        }
        *last = Instant::now();
        let done = self.done.load(Ordering::Relaxed);
        let part = match self.amount {
            Amount::Bytes(n) | Amount::Items(n) if n > 0 => format!("{} %, ", done * 100 / n),
            _ => String::new(),
        };
        let secs = self.started.elapsed().as_secs();
        Lines.say(&format!("{} … {part}{secs} s {text}", self.title));
    }
}

impl Activity for LineActivity {
    fn advance(&self, by: u64) {
        self.done.fetch_add(by, Ordering::Relaxed);
        self.now_and_then("");
    }

    fn status(&self, text: &str) {
        self.now_and_then(text);
    }

    fn end(&self, text: &str) {
        let secs = self.started.elapsed().as_secs();
        Lines.say(&format!("{}: {text} ({secs} s)", self.title));
    }
}
