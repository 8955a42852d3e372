//! Distractor paragraphs and the runs of whole sentences they offer, by length.

use std::ops::Range;

use super::draws::Draws;
use super::gold::is_unspaced;
use super::sentences::sentences;
use super::{NoiseError, TokenCounter};
use crate::retrieval::Bm25;

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
    /// Every paragraph's sentences, in lower case.
    lowered: Vec<Vec<String>>,
    index: Bm25,
}

/// What a draw may take.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Open<'a> {
    /// Paragraphs that are used already.
    pub(super) taken: &'a [usize],
    /// The paragraphs to draw from; all if absent.
    pub(super) nearest: Option<&'a [usize]>,
    /// Lower-case texts that no run may hold, where only some paragraphs are drawn from.
    pub(super) answers: &'a [String],
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
        let mut lowered = Vec::with_capacity(paragraphs.len());
        for (paragraph, distractor) in paragraphs.iter().enumerate() {
            let spans = distractor
                .sentences
                .clone()
                .unwrap_or_else(|| sentences(&distractor.text));
            let of_span = |span: &Range<usize>| distractor.text[span.clone()].to_lowercase();
            lowered.push(spans.iter().map(of_span).collect());
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
        let index = Bm25::new(paragraphs.iter().map(|paragraph| paragraph.text.as_str()));
        Ok(Self {
            paragraphs,
            runs,
            lowered,
            index,
        })
    }

    /// Paragraphs to draw from.
    #[must_use]
    pub fn paragraph_count(&self) -> usize {
        self.paragraphs.len()
    }

    pub(super) fn text(&self, run: &Run) -> &str {
        &self.paragraphs[run.paragraph].text[run.bytes.clone()]
    }

    /// The `count` paragraphs that BM25 puts first for a text, nearest first, without those whose every sentence holds
    /// one of the (lower-case) answers; and how many those are.
    pub(super) fn nearest(
        &self,
        text: &str,
        answers: &[String],
        count: usize,
    ) -> (Vec<usize>, usize) {
        let is_spoilt = |paragraph: usize| {
            let mut sentences = self.lowered[paragraph].iter();
            sentences.all(|sentence| answers.iter().any(|answer| holds(sentence, answer)))
        };
        let mut ranked = self.index.ranking(text);
        let all = ranked.len();
        ranked.retain(|&paragraph| !is_spoilt(paragraph));
        let left_out = all - ranked.len();
        ranked.truncate(count);
        (ranked, left_out)
    }

    fn is_open(&self, run: &Run, open: &Open<'_>) -> bool {
        !open.taken.contains(&run.paragraph)
            && open.nearest.is_none_or(|nearest| {
                let text = || self.text(run).to_lowercase();
                let holds_none =
                    |text: &str| !open.answers.iter().any(|answer| holds(text, answer));
                nearest.contains(&run.paragraph) && holds_none(&text())
            })
    }

    /// A run of at most `tokens` tokens and as near to it as leaves a choice, of those that are open: first a
    /// paragraph is drawn (draw `counter`), then one of its runs (draw `counter + 1`), so that long paragraphs come no
    /// oftener. Where every run is longer, one of the paragraphs' shortest. `None` where none is open.
    pub(super) fn draw(
        &self,
        tokens: usize,
        open: &Open<'_>,
        draws: &Draws,
        counter: u64,
    ) -> Option<&Run> {
        let longest = self.runs.partition_point(|run| run.tokens <= tokens);
        let mut shortfall = (tokens / 16).max(2);
        // A quarter of the few nearest is a choice too.
        let choice_min = open.nearest.map_or(CHOICE_MIN, |nearest| {
            nearest.len().div_ceil(4).min(CHOICE_MIN)
        });
        let of_window = |low: usize| -> Vec<&Run> {
            let first = self.runs.partition_point(|run| run.tokens < low);
            self.runs[first..longest.max(first)]
                .iter()
                .filter(|run| self.is_open(run, open))
                .collect()
        };
        loop {
            let low = tokens.saturating_sub(shortfall);
            let runs = of_window(low);
            if distinct(&runs) >= choice_min || (low == 0 && !runs.is_empty()) {
                return choose(&runs, draws, counter);
            }
            if low == 0 {
                let all: Vec<&Run> = self
                    .runs
                    .iter()
                    .filter(|run| self.is_open(run, open))
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

/// Whether a lower-case text holds a lower-case answer as whole words. Scripts without spaces have no word ends, so there
/// any occurrence counts.
fn holds(text: &str, answer: &str) -> bool {
    let is_inside = |c: Option<char>, edge: Option<char>| {
        let is_word = |c: char| c.is_alphanumeric() && !is_unspaced(c);
        c.is_some_and(is_word) && edge.is_some_and(is_word)
    };
    !answer.is_empty()
        && text.match_indices(answer).any(|(at, found)| {
            let (before, after) = (&text[..at], &text[at + found.len()..]);
            !is_inside(before.chars().next_back(), found.chars().next())
                && !is_inside(after.chars().next(), found.chars().next_back())
        })
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
            let first_taken = Open {
                taken: &[0],
                ..Open::default()
            };
            let run = pool.draw(6, &first_taken, &draws, counter).unwrap();
            assert_eq!(pool.text(run), "Kk ll mm nn oo pp.");
            assert!(
                pool.draw(7, &Open::default(), &draws, counter)
                    .unwrap()
                    .tokens
                    <= 7
            );
            assert!(
                pool.draw(1, &Open::default(), &draws, counter)
                    .unwrap()
                    .tokens
                    <= 6,
                "all are longer: a short one"
            );
        }
        let all_taken = Open {
            taken: &[0, 1],
            ..Open::default()
        };
        assert!(pool.draw(6, &all_taken, &draws, 0).is_none());
    }

    #[test]
    fn answers_are_whole_words() {
        for (text, answer, want) in [
            ("in 1969, it", "1969", true),
            ("in 19690 it", "1969", false),
            ("the cat", "at", false),
            ("他是国王。", "国", true),
            ("aa", "", false),
            ("(no one)", "no one", true),
        ] {
            assert_eq!(holds(text, answer), want, "{text}: {answer}");
        }
    }

    #[test]
    fn the_nearest_come_first_and_spoilt_ones_not_at_all() {
        let pool = pool(
            &[
                "Red fox runs. It eats.",
                "Blue whale swims. Krill.",
                "Red fox sleeps.",
                "Green tree.",
            ],
            8,
        )
        .unwrap();
        let (nearest, left_out) = pool.nearest("a red fox sleeps", &[], 2);
        assert_eq!((nearest, left_out), (vec![2, 0], 0));
        let answers = ["sleeps".to_owned()];
        let (nearest, left_out) = pool.nearest("a red fox sleeps", &answers, 2);
        assert_eq!((nearest[0], left_out), (0, 1));
        let answers = ["runs".to_owned()];
        let open = Open {
            taken: &[],
            nearest: Some(&[0]),
            answers: &answers,
        };
        let draws = Draws::new(0, "test", "d");
        for counter in 0..20 {
            let run = pool.draw(8, &open, &draws, counter).unwrap();
            assert_eq!(pool.text(run), "It eats.", "its other sentence answers");
        }
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
