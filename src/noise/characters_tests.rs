//! Properties of N4 over made-up texts.

use std::ops::Range;

use proptest::prelude::*;

use super::*;

fn alphabet() -> Alphabet {
    Alphabet::of(["aab ab", "कि का"]).unwrap()
}

fn passage<'a>(text: &'a str, answers: &'a [Range<usize>]) -> Passage<'a> {
    Passage {
        id: "d",
        text,
        answers,
    }
}

/// The distance by the whole table.
fn plain_distance(a: &[&str], b: &[&str]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let value = (diagonal + usize::from(x != y))
                .min(row[j] + 1)
                .min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], value);
        }
    }
    row[b.len()]
}

#[test]
fn letters_come_as_often_as_the_corpus_has_them_and_never_the_present_one() {
    let alphabet = alphabet();
    // a 3, b 2, spaces 2, कि 1, का 1.
    assert_eq!((alphabet.len(), alphabet.total), (5, 9));
    let draws = Draws::new(1, "test", "d");
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for counter in 0..6000 {
        *counts
            .entry(alphabet.draw("a", &draws, counter))
            .or_default() += 1;
    }
    assert_eq!(
        counts.keys().copied().collect::<Vec<_>>(),
        [" ", "b", "का", "कि"]
    );
    for (letter, count) in counts {
        let share = if letter.is_ascii() { 2000 } else { 1000 };
        assert!(count.abs_diff(share) < 150, "{letter}: {count}");
    }
    let unknown: Vec<&str> = (0..200)
        .map(|counter| alphabet.draw("z", &draws, counter))
        .collect();
    assert!(unknown.contains(&"a") && unknown.contains(&"कि"));
    for texts in [vec![], vec!["aaa"]] {
        let found = Alphabet::of(texts.iter().copied()).unwrap_err();
        assert!(matches!(found, NoiseError::Alphabet { .. }));
    }
}

#[test]
fn the_rate_is_met_and_all_four_errors_happen() {
    let text = "ab ka bab कि का ab ".repeat(300);
    let alphabet = alphabet();
    let noise = CharacterNoise {
        seed: 5,
        is_protecting: false,
        alphabet: &alphabet,
    };
    for level in [0.02, 0.05, 0.1, 0.2, 0.3] {
        let report = noise.apply(&passage(&text, &[]), level).unwrap().report;
        let n = usize_to_f64(report.graphemes);
        let spread = 4.0 * (n * level * (1.0 - level)).sqrt();
        assert!(
            (usize_to_f64(report.edits()) - n * level).abs() < spread,
            "{report:?}"
        );
        for kind in [
            report.substitutions,
            report.insertions,
            report.deletions,
            report.exchanges,
        ] {
            let spread = 4.0 * (n * level / 4.0).sqrt();
            assert!(
                (usize_to_f64(kind) - n * level / 4.0).abs() < spread,
                "{report:?}"
            );
        }
        // Some errors undo or overlap each other; an exchange costs up to two.
        assert!(
            report.achieved() > 0.7 * level && report.achieved() < 1.4 * level,
            "{report:?}"
        );
    }
}

#[test]
fn wrong_rates_and_answers_are_refused() {
    let alphabet = alphabet();
    let noise = CharacterNoise {
        seed: 5,
        is_protecting: true,
        alphabet: &alphabet,
    };
    for level in [-0.1, 1.1, f64::NAN] {
        let found = noise.apply(&passage("ab", &[]), level);
        assert!(matches!(found, Err(NoiseError::Rate(_))));
    }
    let outside = [1..9, 0..1];
    assert!(matches!(
        noise.apply(&passage("ab", &outside[..1]), 0.1),
        Err(NoiseError::AnswerOutside { .. })
    ));
    let empty = noise.apply(&passage("", &[]), 1.0).unwrap();
    assert_eq!(empty, Garbled::default());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn errors_are_nested_counted_and_keep_off_answers(
        seed in any::<u64>(),
        words in proptest::collection::vec("[abk]{1,6}|कि|का", 3..40),
        low in 0.0_f64..0.5,
        more in 0.0_f64..0.5,
        at in 0_usize..40,
    ) {
        let at = at % words.len();
        let mut words = words;
        // A word that no error puts together elsewhere.
        words[at] = format!("zb{}z", words[at]);
        let text = words.join(" ");
        let start = words[..at].iter().map(|word| word.len() + 1).sum::<usize>();
        let answers: Vec<Range<usize>> = std::iter::once(start..start + words[at].len()).collect();
        let alphabet = alphabet();
        let passage = passage(&text, &answers);
        let noise = CharacterNoise { seed, is_protecting: false, alphabet: &alphabet };
        let clean = noise.apply(&passage, 0.0).unwrap();
        prop_assert_eq!((clean.text.as_str(), clean.report.distance), (text.as_str(), 0));
        let (few, many) = (noise.apply(&passage, low).unwrap(), noise.apply(&passage, low + more).unwrap());
        prop_assert_eq!(&few, &noise.apply(&passage, low).unwrap());
        // The errors of the lower rate are those of the higher, kind by kind.
        for (few, many) in [
            (few.report.substitutions, many.report.substitutions),
            (few.report.insertions, many.report.insertions),
            (few.report.deletions, many.report.deletions),
            (few.report.exchanges, many.report.exchanges),
        ] {
            prop_assert!(few <= many);
        }
        // What only the higher rate adds explains what differs: nothing that the lower one did is taken back.
        let units = |text: &str| text.graphemes(true).map(str::to_owned).collect::<Vec<_>>();
        let (a, b) = (units(&few.text), units(&many.text));
        let (a, b): (Vec<&str>, Vec<&str>) = (a.iter().map(String::as_str).collect(), b.iter().map(String::as_str).collect());
        let added = many.report.edits() - few.report.edits();
        prop_assert!(plain_distance(&a, &b) <= 4 * added);
        let guarded = CharacterNoise { is_protecting: true, ..noise };
        let kept = guarded.apply(&passage, low + more).unwrap();
        prop_assert!(kept.text.contains(&text[answers[0].clone()]));
        prop_assert!(kept.report.protected > 0 && kept.report.edits() <= many.report.edits());
    }

    #[test]
    fn the_banded_distance_is_the_distance(a in "[abc]{0,12}", b in "[abc]{0,12}", slack in 0_usize..4) {
        let (a, b): (Vec<&str>, Vec<&str>) = (a.graphemes(true).collect(), b.graphemes(true).collect());
        let want = plain_distance(&a, &b);
        prop_assert_eq!(distance(&a, &b, want + slack), want);
    }
}
