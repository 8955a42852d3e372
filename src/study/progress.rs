//! What a study tells while it runs.

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<'a> {
    /// The results file ended in half a line, left by a killed run; it was cut.
    Cut {
        /// Bytes removed.
        bytes: u64,
    },
    /// What there is to do.
    Planned {
        /// Cells of the plan.
        cells: usize,
        /// Cells whose results are there.
        done: usize,
        /// Paragraphs of distractors left out because MLQA has their article or their text, over all languages.
        distractors_left_out: usize,
    },
    /// Documents of one set and seed were composed.
    Composed {
        /// CONTEXT-QUESTION, or the context language.
        set: &'a str,
        /// Noise seed.
        seed: u64,
        /// Counts, among them how often distractors are reused.
        report: crate::noise::Report,
    },
    /// How long it will take: `seconds` = `texts` / `texts_per_second`, measured on a few of the texts under every arm.
    Estimate {
        /// Cells to make.
        cells: usize,
        /// Documents to embed in them, at most: texts that cells share are embedded once.
        texts: usize,
        /// Measured rate, over arms in the mix the cells have.
        texts_per_second: f64,
        /// The quotient.
        seconds: f64,
    },
    /// Some documents of a cell were embedded.
    Texts {
        /// Documents embedded, over all cells of this run.
        done: usize,
        /// As estimated.
        total: usize,
    },
    /// A cell is stored.
    Cell {
        /// Its key.
        key: &'a str,
        /// Cells stored, those of earlier runs included.
        done: usize,
        /// Cells of the plan.
        total: usize,
        /// Wall-clock seconds it took.
        seconds: f64,
    },
}

/// Receiver of events.
pub trait Progress {
    /// Called for every event, from the thread that runs the study.
    fn event(&mut self, event: &Event<'_>);
}

/// Ignores all events.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn event(&mut self, _: &Event<'_>) {}
}
