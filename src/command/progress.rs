//! Progress bars on standard error; silent where that is not a terminal.

use crate::convert::usize_to_f64;
use crate::fetch::Observer;
use crate::study::{Event, Progress};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

/// A bar that counts `length` things called `what`.
pub(super) fn count(length: u64, what: &str) -> ProgressBar {
    let bar = ProgressBar::new(length);
    bar.set_style(style("{msg} [{bar:30}] {pos}/{len} {eta}"));
    bar.set_message(what.to_owned());
    bar
}

/// Draws a fetch.
#[derive(Debug)]
pub(super) struct FetchBar {
    bar: ProgressBar,
}

impl FetchBar {
    pub(super) fn new() -> Self {
        Self {
            bar: ProgressBar::no_length(),
        }
    }

    pub(super) fn finish(self) {
        self.bar.finish_and_clear();
    }
}

impl Observer for FetchBar {
    fn begin(&mut self, name: &str, bytes: Option<u64>) {
        match bytes {
            Some(bytes) => {
                self.bar.set_length(bytes);
                self.bar
                    .set_style(style("{msg} [{bar:30}] {bytes}/{total_bytes} {eta}"));
            }
            None => {
                self.bar.unset_length();
                self.bar.set_style(style("{msg} {spinner} {bytes}"));
            }
        }
        self.bar.reset();
        self.bar.set_message(name.to_owned());
    }

    fn advance(&mut self, bytes: u64) {
        self.bar.inc(bytes);
    }

    fn note(&mut self, message: &str) {
        self.bar.suspend(|| super::note(message));
    }
}

/// Draws a study.
#[derive(Debug)]
pub(super) struct StudyBar {
    bar: ProgressBar,
    /// When the estimate was made, and when a line was last written where there is no terminal to draw on.
    started: Option<Instant>,
    last_note: Option<Instant>,
    texts: (usize, usize),
}

/// Between two lines of progress where there is no terminal.
const NOTE_EVERY: Duration = Duration::from_secs(60);

impl StudyBar {
    pub(super) fn new() -> Self {
        Self {
            bar: ProgressBar::hidden(),
            started: None,
            last_note: None,
            texts: (0, 0),
        }
    }

    /// A line now and then for a log: where it is, how fast, how long still.
    fn log(&mut self, done_cells: usize, cells: usize) {
        let now = Instant::now();
        let is_due = self
            .last_note
            .is_none_or(|last| now.duration_since(last) >= NOTE_EVERY);
        let (Some(started), true, false) = (self.started, is_due, io::stderr().is_terminal())
        else {
            return;
        };
        self.last_note = Some(now);
        let (done, total) = self.texts;
        let rate = usize_to_f64(done) / now.duration_since(started).as_secs_f64().max(1e-9);
        let left = usize_to_f64(total.saturating_sub(done)) / rate.max(1e-9);
        super::note(&format!(
            "{done_cells} of {cells} cells, {done} of {total} texts, {rate:.2} a second, {:.0} min left",
            left / 60.0
        ));
    }

    pub(super) fn finish(self) {
        self.bar.finish_and_clear();
    }
}

impl Progress for StudyBar {
    fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Cut { bytes } => {
                super::note(&format!(
                    "an interrupted run left {bytes} bytes of half a line; cut"
                ));
            }
            Event::Planned { cells, done, .. } => {
                super::note(&format!("{cells} cells, of which {done} are there already"));
            }
            Event::Composed { .. } => {}
            Event::Estimate {
                cells,
                texts,
                texts_per_second,
                seconds,
            } => {
                super::note(&format!(
                    "{cells} cells, {texts} texts / {texts_per_second:.2} a second = {seconds:.0} s"
                ));
                self.started = Some(Instant::now());
                self.bar = count(u64::try_from(*texts).unwrap_or(u64::MAX), "texts");
            }
            Event::Texts { done, total } => {
                self.texts = (*done, *total);
                self.bar
                    .set_length(u64::try_from(*total).unwrap_or(u64::MAX));
                self.bar
                    .set_position(u64::try_from(*done).unwrap_or(u64::MAX));
            }
            Event::Cell { done, total, .. } => {
                self.bar
                    .set_message(format!("cell {done} of {total}, texts"));
                self.log(*done, *total);
            }
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .expect("the templates of this file are well formed")
        .progress_chars("=> ")
}
