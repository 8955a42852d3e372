//! Distractor paragraphs and the runs of whole sentences they offer, by length.

use std::ops::Range;

use super::draws::Draws;
use super::sentences::sentences;
use super::{NoiseError, TokenCounter};

/// A paragraph that answers none of the questions, in the documents' language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distractor {
    /// The paragraph.
    pub text: String,
    /// Its sentences, where the corpus gives them; found by rule otherwise.
    pub sentences: Option<Vec<Range<usize>>>,
}

/// Every run of consecutive whole sentences of every distractor, up to a length.
#[derive(Clone, Debug)]
pub struct DistractorPool {
    paragraphs: Vec<Distractor>,
    /// Ascending by (tokens, paragraph, start).
    runs: Vec<Run>,
}

/// Consecutive sentences of one paragraph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) tokens: usize,
    pub(super) paragraph: usize,
    pub(super) bytes: Range<usize>,
}

/// A choice is made among at least this many paragraphs before longer shortfalls are let in: with fewer, the few
/// runs of an exact length would come back again and again.
const CHOICE_MIN: usize = 16;

impl DistractorPool {
    /// The pool of these paragraphs with runs of at most `tokens_max` tokens. Counts each run once.
    ///
    /// # Errors
    /// [`NoiseError::EmptyPool`] where no paragraph has a sentence; [`NoiseError::Count`].
    pub fn new(
        paragraphs: Vec<Distractor>,
        tokens_max: usize,
        count: &mut TokenCounter<'_>,
    ) -> Result<Self, NoiseError> {
        let mut runs = Vec::new();
        for (paragraph, distractor) in paragraphs.iter().enumerate() {
            let spans = distractor
                .sentences
                .clone()
                .unwrap_or_else(|| sentences(&distractor.text));
            for (first, start) in spans.iter().enumerate() {
                for end in &spans[first..] {
                    let bytes = start.start..end.end;
                    let tokens =
                        count(&distractor.text[bytes.clone()]).map_err(NoiseError::Count)?;
                    // The shortest run of each start stays, so that a pool of long sentences is not empty.
                    if tokens > tokens_max && end != start {
                        break;
                    }
                    runs.push(Run {
                        tokens,
                        paragraph,
                        bytes,
                    });
                }
            }
        }
        if runs.is_empty() {
            return Err(NoiseError::EmptyPool);
        }
        runs.sort_unstable_by(|a, b| {
            (a.tokens, a.paragraph, a.bytes.start).cmp(&(b.tokens, b.paragraph, b.bytes.start))
        });
        Ok(Self { paragraphs, runs })
    }

    /// Paragraphs to draw from.
    #[must_use]
    pub fn paragraph_count(&self) -> usize {
        self.paragraphs.len()
    }

    pub(super) fn text(&self, run: &Run) -> &str {
        &self.paragraphs[run.paragraph].text[run.bytes.clone()]
    }

    /// A run of at most `tokens` tokens and as near to it as leaves a choice, of no paragraph in `taken`: first a
    /// paragraph is drawn (draw `counter`), then one of its runs (draw `counter + 1`), so that long paragraphs come no
    /// oftener. Where every run is longer, one of the paragraphs' shortest. `None` where all paragraphs are taken.
    pub(super) fn draw(
        &self,
        tokens: usize,
        taken: &[usize],
        draws: &Draws,
        counter: u64,
    ) -> Option<&Run> {
        let longest = self.runs.partition_point(|run| run.tokens <= tokens);
        let mut shortfall = (tokens / 16).max(2);
        let of_window = |low: usize| -> Vec<&Run> {
            let first = self.runs.partition_point(|run| run.tokens < low);
            self.runs[first..longest.max(first)]
                .iter()
                .filter(|run| !taken.contains(&run.paragraph))
                .collect()
        };
        loop {
            let low = tokens.saturating_sub(shortfall);
            let runs = of_window(low);
            if distinct(&runs) >= CHOICE_MIN || (low == 0 && !runs.is_empty()) {
                return choose(&runs, draws, counter);
            }
            if low == 0 {
                let all: Vec<&Run> = self
                    .runs
                    .iter()
                    .filter(|run| !taken.contains(&run.paragraph))
                    .collect();
                let shortest = all.first().map(|run| run.tokens)?;
                let near: Vec<&Run> = all
                    .into_iter()
                    .filter(|run| run.tokens <= shortest.saturating_mul(2).max(tokens))
                    .collect();
                return choose(&near, draws, counter);
            }
            shortfall = shortfall.saturating_mul(2);
        }
    }
}

fn distinct(runs: &[&Run]) -> usize {
    paragraphs_of(runs).len()
}

fn paragraphs_of(runs: &[&Run]) -> Vec<usize> {
    let mut paragraphs: Vec<usize> = runs.iter().map(|run| run.paragraph).collect();
    paragraphs.sort_unstable();
    paragraphs.dedup();
    paragraphs
}

fn choose<'a>(runs: &[&'a Run], draws: &Draws, counter: u64) -> Option<&'a Run> {
    let paragraphs = paragraphs_of(runs);
    let paragraph = *paragraphs.get(draws.below(counter, paragraphs.len()))?;
    let of_paragraph: Vec<&Run> = runs
        .iter()
        .copied()
        .filter(|run| run.paragraph == paragraph)
        .collect();
    of_paragraph
        .get(draws.below(counter + 1, of_paragraph.len()))
        .copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Result<usize, String> {
        Ok(text.split_whitespace().count())
    }

    fn pool(texts: &[&str], tokens_max: usize) -> Result<DistractorPool, NoiseError> {
        let paragraphs = texts
            .iter()
            .map(|&text| Distractor {
                text: text.to_owned(),
                sentences: None,
            })
            .collect();
        DistractorPool::new(paragraphs, tokens_max, &mut words)
    }

    #[test]
    fn an_empty_pool_is_an_error() {
        assert_eq!(pool(&[], 10).unwrap_err(), NoiseError::EmptyPool);
        assert_eq!(pool(&[" ", "\n"], 10).unwrap_err(), NoiseError::EmptyPool);
    }

    #[test]
    fn runs_are_whole_sentences_near_the_length() {
        let pool = pool(
            &["Aa bb cc. Dd ee ff. Gg hh ii jj.", "Kk ll mm nn oo pp."],
            8,
        )
        .unwrap();
        let lengths: Vec<usize> = pool.runs.iter().map(|run| run.tokens).collect();
        assert_eq!(
            lengths,
            [3, 3, 4, 6, 6, 7],
            "runs over 8 words are left out"
        );
        let draws = Draws::new(0, "test", "d");
        for counter in 0..20 {
            let run = pool.draw(6, &[0], &draws, counter).unwrap();
            assert_eq!(pool.text(run), "Kk ll mm nn oo pp.");
            assert!(pool.draw(7, &[], &draws, counter).unwrap().tokens <= 7);
            assert!(
                pool.draw(1, &[], &draws, counter).unwrap().tokens <= 6,
                "all are longer: a short one"
            );
        }
        assert!(pool.draw(6, &[0, 1], &draws, 0).is_none());
    }

    #[test]
    fn given_sentences_are_taken_as_they_are() {
        let text = "aa bb cc dd".to_owned();
        let given = Distractor {
            text,
            sentences: Some(vec![0..5, 6..11]),
        };
        let pool = DistractorPool::new(vec![given], 2, &mut words).unwrap();
        let texts: Vec<&str> = pool.runs.iter().map(|run| pool.text(run)).collect();
        assert_eq!(texts, ["aa bb", "cc dd"]);
    }
}
