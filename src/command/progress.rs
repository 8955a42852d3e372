//! Progress bars on standard error; silent where that is not a terminal.

use crate::fetch::Observer;
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

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .expect("the templates of this file are well formed")
        .progress_chars("=> ")
}
