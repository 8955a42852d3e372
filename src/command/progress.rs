//! Progress bars on standard error; silent where that is not a terminal.

use crate::fetch::Observer;
use crate::study::{Event, Progress};
use indicatif::{ProgressBar, ProgressStyle};

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
}

impl StudyBar {
    pub(super) fn new() -> Self {
        Self {
            bar: ProgressBar::hidden(),
        }
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
                self.bar = count(u64::try_from(*texts).unwrap_or(u64::MAX), "texts");
            }
            Event::Texts { done, total } => {
                self.bar
                    .set_length(u64::try_from(*total).unwrap_or(u64::MAX));
                self.bar
                    .set_position(u64::try_from(*done).unwrap_or(u64::MAX));
            }
            Event::Cell { done, total, .. } => {
                self.bar
                    .set_message(format!("cell {done} of {total}, texts"));
            }
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .expect("the templates of this file are well formed")
        .progress_chars("=> ")
}
