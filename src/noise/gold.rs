//! The part of a context that stays: whole sentences around every answer, and prefixes of it to fill room with.

use std::ops::Range;

use super::sentences::sentences;
use super::{NoiseError, TokenCounter};

/// A sentence-aligned crop of a context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gold {
    /// Bytes of the context.
    pub(super) bytes: Range<usize>,
    /// Its tokens.
    pub(super) tokens: usize,
    /// Whether the answers alone needed more than the limit.
    pub(super) is_grown: bool,
}

/// Crop of `context` to whole sentences that hold every answer, extended sentence by sentence, after and before in
/// turn, while it stays at or under `limit` tokens.
pub(super) fn crop(
    context: &str,
    answers: &[Range<usize>],
    limit: usize,
    count: &mut TokenCounter<'_>,
) -> Result<Gold, NoiseError> {
    let spans = sentences(context);
    let (start, end) = answers
        .iter()
        .fold((context.len(), 0), |(start, end), answer| {
            (start.min(answer.start), end.max(answer.end))
        });
    let mut first = spans.iter().position(|span| span.end > start).unwrap_or(0);
    let mut last = spans.iter().rposition(|span| span.start < end).unwrap_or(0);
    // An answer that is white space alone lies in no sentence; the loader refuses those, so this only orders the two.
    last = last.max(first);
    let bytes = |first: usize, last: usize| spans[first].start.min(start)..spans[last].end.max(end);
    let mut tokens = count(&context[bytes(first, last)]).map_err(NoiseError::Count)?;
    let is_grown = tokens > limit;
    let mut is_extending = !is_grown;
    while is_extending {
        is_extending = false;
        for (wider_first, wider_last) in [(first, last + 1), (first.wrapping_sub(1), last)] {
            // Only one of the two ends moved, so the other is compared with what it has become.
            let (wider_first, wider_last) = if wider_last > last {
                (first, wider_last)
            } else {
                (wider_first, last)
            };
            if wider_first >= spans.len() || wider_last >= spans.len() {
                continue;
            }
            let wider =
                count(&context[bytes(wider_first, wider_last)]).map_err(NoiseError::Count)?;
            if wider <= limit {
                (first, last, tokens) = (wider_first, wider_last, wider);
                is_extending = true;
            }
        }
    }
    Ok(Gold {
        bytes: bytes(first, last),
        tokens,
        is_grown,
    })
}

/// Copies of `text` until `tokens` are full: whole ones joined by spaces, then one cut between words. At most one
/// word short of `tokens` where words are short.
pub(super) fn copies(
    text: &str,
    tokens: usize,
    count: &mut TokenCounter<'_>,
) -> Result<String, NoiseError> {
    let whole = count(text).map_err(NoiseError::Count)?.max(1);
    let mut parts = vec![text; tokens / whole];
    let rest = prefix(text, tokens % whole, count)?;
    if !rest.is_empty() {
        parts.push(rest);
    }
    Ok(parts.join(" "))
}

/// Longest prefix of `text` of at most `tokens` tokens that ends between words, or between any two characters of a
/// script without spaces; found by bisection, since more text has no fewer tokens.
pub(super) fn prefix<'a>(
    text: &'a str,
    tokens: usize,
    count: &mut TokenCounter<'_>,
) -> Result<&'a str, NoiseError> {
    let mut cuts: Vec<usize> = Vec::new();
    let mut previous: Option<char> = None;
    for (byte, current) in text.char_indices() {
        if previous
            .is_some_and(|previous| !previous.is_whitespace() && is_cut_between(previous, current))
        {
            cuts.push(byte);
        }
        previous = Some(current);
    }
    cuts.push(text.len());
    let (mut fits, mut exceeds) = (0, cuts.len() + 1);
    // Invariant: the first `fits` cuts' last fits (0: the empty text), number `exceeds` does not.
    while fits + 1 < exceeds {
        let middle = fits.midpoint(exceeds);
        if count(&text[..cuts[middle - 1]]).map_err(NoiseError::Count)? <= tokens {
            fits = middle;
        } else {
            exceeds = middle;
        }
    }
    Ok(fits.checked_sub(1).map_or("", |last| &text[..cuts[last]]))
}

fn is_cut_between(left: char, right: char) -> bool {
    right.is_whitespace() || is_unspaced(left) || is_unspaced(right)
}

/// Scripts written without spaces between words: CJK ideographs, kana and punctuation, full-width forms. (Thai vowels
/// must stay with their consonants, so Thai is cut at its spaces alone.)
pub(super) fn is_unspaced(character: char) -> bool {
    matches!(character, '\u{3000}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{ff00}'..='\u{ffef}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Result<usize, String> {
        Ok(text.split_whitespace().count())
    }

    #[track_caller]
    fn check(context: &str, answers: &[&str], limit: usize, want: &str, is_grown: bool) {
        let ranges: Vec<Range<usize>> = answers
            .iter()
            .map(|answer| {
                let start = context.find(answer).unwrap();
                start..start + answer.len()
            })
            .collect();
        let gold = crop(context, &ranges, limit, &mut words).unwrap();
        assert_eq!(
            (&context[gold.bytes.clone()], gold.is_grown),
            (want, is_grown)
        );
        assert_eq!(gold.tokens, words(want).unwrap());
    }

    const TEXT: &str = "One two three. Four five six. Seven eight nine. Ten eleven twelve. End.";

    #[test]
    fn the_crop_is_whole_sentences_around_the_answers() {
        check(TEXT, &["Four"], 3, "Four five six.", false);
        check(TEXT, &["Four"], 5, "Four five six.", false);
        check(
            TEXT,
            &["Four"],
            6,
            "Four five six. Seven eight nine.",
            false,
        );
        check(
            TEXT,
            &["Four"],
            9,
            "One two three. Four five six. Seven eight nine.",
            false,
        );
        check(TEXT, &["Four"], 100, TEXT, false);
        check(TEXT, &["End."], 4, "Ten eleven twelve. End.", false);
        check(
            TEXT,
            &["two", "eight"],
            4,
            "One two three. Four five six. Seven eight nine.",
            true,
        );
        check(
            TEXT,
            &["six. Seven"],
            6,
            "Four five six. Seven eight nine.",
            false,
        );
    }

    #[test]
    fn copies_fill_to_the_token() {
        assert_eq!(copies("a b c", 8, &mut words).unwrap(), "a b c a b c a b");
        assert_eq!(copies("a b c", 2, &mut words).unwrap(), "a b");
        assert_eq!(copies("a b c", 0, &mut words).unwrap(), "");
        let characters = |text: &str| Ok(text.chars().filter(|c| !c.is_whitespace()).count());
        assert_eq!(
            copies("一二三", 5, &mut { characters }).unwrap(),
            "一二三 一二"
        );
        assert_eq!(
            prefix("abcdef gh", 4, &mut { characters }).unwrap(),
            "",
            "no cut inside a word"
        );
        assert_eq!(prefix("ab cd", 99, &mut words).unwrap(), "ab cd");
    }

    #[test]
    fn a_failing_counter_is_reported() {
        let mut fails = |_: &str| Err("no tokenizer".to_owned());
        assert_eq!(
            copies("a", 1, &mut fails),
            Err(NoiseError::Count("no tokenizer".to_owned()))
        );
    }
}
