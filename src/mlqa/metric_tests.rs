//! Normal forms and scores derived by hand from the rules, one trap a case.

use super::super::load::load;
use super::*;
use sha2::{Digest, Sha256};

fn metric(code: &str) -> AnswerMetric {
    AnswerMetric::new(code.parse().unwrap()).unwrap()
}

#[test]
fn normal_forms_are_the_rules() {
    for (code, text, want, why) in [
        (
            "en",
            "state-of-the-art",
            "stateoftheart",
            "punctuation is deleted before articles are sought, and joins",
        ),
        (
            "en",
            "The cat, an owl & a dog",
            "cat owl dog",
            "three articles",
        ),
        (
            "en",
            "Theatre another",
            "theatre another",
            "articles inside words stay",
        ),
        (
            "en",
            "$5.00 + 3^2 = `x` | <y> ~",
            "500 32 x y",
            "nine ASCII symbols count as punctuation",
        ),
        (
            "en",
            "20 € 5 °C ₹7",
            "20 € 5 °c ₹7",
            "symbols beyond ASCII do not",
        ),
        (
            "en",
            "a_b the_x",
            "ab thex",
            "the underscore is punctuation, gone before the word boundaries",
        ),
        (
            "en",
            "A’s “Don’t” – he said…",
            "as dont he said",
            "apostrophes join, so no article is left alone",
        ),
        (
            "en",
            "a\u{301} the",
            "\u{301}",
            "a combining mark is no word character: a boundary follows the a",
        ),
        (
            "en",
            "a\u{200b}b",
            "\u{200b}b",
            "nor is a zero-width space, and it is no white space either",
        ),
        (
            "en",
            "one\u{1f}two\u{a0}three\u{3000}four",
            "one two three four",
            "Python splits at U+001F too",
        ),
        (
            "en",
            "\u{1c}\u{1d}\u{1e} ",
            "",
            "the other information separators",
        ),
        ("en", "The", "", "an article alone leaves nothing"),
        ("en", "ΟΔΟΣ", "οδο\u{3c2}", "final sigma"),
        (
            "en",
            "İstanbul",
            "i\u{307}stanbul",
            "dotted capital I is two characters in lower case",
        ),
        (
            "en",
            "Ⓐ Ⅷ",
            "ⓐ ⅷ",
            "circled capitals and number letters have a lower case",
        ),
        (
            "en",
            "ΑΣ\u{10d50}",
            "α\u{3c2}\u{10d50}",
            "a capital of Unicode 16 is no letter yet",
        ),
        (
            "en",
            "der Hund",
            "der hund",
            "articles of other languages stay",
        ),
        (
            "de",
            "der den dem des die das Hund",
            "hund",
            "every case of the article",
        ),
        (
            "de",
            "eines Tages: die Straße",
            "tages straße",
            "sharp s stays",
        ),
        ("de", "The a", "the a", "articles of other languages stay"),
        (
            "es",
            "El niño y la niña de los Andes",
            "niño y niña de andes",
            "four articles",
        ),
        ("es", "Uno de los", "uno de", "'uno' is not in the list"),
        (
            "vi",
            "Những cái là của tôi",
            "tôi",
            "composed classifiers go",
        ),
        (
            "vi",
            "la\u{300} tôi",
            "la\u{300} tôi",
            "decomposed ones stay: no normalisation form is applied",
        ),
        ("hi", "किताब।", "किताब", "the danda goes, vowel signs stay"),
        ("hi", "the a लड़का", "the a लड़का", "Hindi has no articles"),
        (
            "ar",
            "مقال عن الحال",
            "مق عن ح",
            "every ال goes, at the end and in the middle of words",
        ),
        ("ar", "المال", "م", "and splits them"),
        ("ar", "ال", "", "nothing is left"),
        (
            "zh",
            "中文abc 12，34",
            "中 文 abc 1234",
            "Latin and digit runs stay whole, the full-width comma joins",
        ),
        (
            "zh",
            "\u{9fa5}\u{9fa6}\u{3400}",
            "\u{9fa5} \u{9fa6}\u{3400}",
            "only U+4E00 to U+9FA5 are set apart",
        ),
        (
            "zh",
            "《红楼梦》",
            "红 楼 梦",
            "brackets go before the characters are set apart",
        ),
        ("zh", "the 一", "the 一", "Chinese has no articles"),
    ] {
        assert_eq!(
            metric(code).normal_form(text),
            want,
            "{code} {text:?}: {why}"
        );
    }
}

#[test]
fn scores_are_the_rules() {
    for (code, prediction, gold, exact, (shared, predicted, wanted), why) in [
        (
            "en",
            "The",
            "a",
            true,
            (0, 0, 0),
            "both empty: an exact match of F1 0",
        ),
        ("ar", "ال", "ال", true, (0, 0, 0), "even of equal texts"),
        (
            "en",
            "x x y",
            "x y y",
            false,
            (2, 3, 3),
            "multisets: one x and one y are shared",
        ),
        (
            "en",
            "cat",
            "the cat sat",
            false,
            (1, 1, 2),
            "the article is no token",
        ),
        (
            "en",
            "50%",
            "50",
            true,
            (1, 1, 1),
            "per cent is punctuation",
        ),
        ("en", "€50", "50", false, (0, 1, 1), "the euro is not"),
        (
            "en",
            "state of the art",
            "state-of-the-art",
            false,
            (0, 3, 1),
            "deleting joins",
        ),
        (
            "zh",
            "北京市",
            "北京",
            false,
            (2, 3, 2),
            "a character a token",
        ),
        ("ar", "المال", "مال", true, (1, 1, 1), "both come down to م"),
        (
            "vi",
            "là",
            "la\u{300}",
            false,
            (0, 0, 1),
            "composed against decomposed",
        ),
    ] {
        let metric = metric(code);
        assert_eq!(metric.is_exact_match(prediction, gold), exact, "{why}");
        // 2 p r / (p + r) with p = s / m and r = s / n is 2 s / (m + n).
        let want = if shared == 0 {
            0.0
        } else {
            f64::from(2 * shared) / f64::from(predicted + wanted)
        };
        let f1 = metric.f1(prediction, gold);
        assert!((f1 - want).abs() < 1e-15, "{f1} {want}: {why}");
    }
}

#[test]
fn lower_case_is_pythons_for_every_character() {
    let mut all = Sha256::new();
    for character in '\0'..=char::MAX {
        all.update(lower_case(character.encode_utf8(&mut [0; 4])));
    }
    let digest: String = all.finalize().iter().map(|b| format!("{b:02x}")).collect();
    // Python 3.13 (Unicode 15.1): sha256("".join(chr(i).lower() for every i but surrogates).encode()).
    let want = "958a7ea6410864d6bdee95e35373a838cd50f39ae4208f30d5fe14da0a0faff2";
    assert_eq!(digest, want);
}

#[test]
fn the_mean_is_over_all_questions() {
    let question = |id: &str, answers: &str| {
        format!(r#"{{"id": "{id}", "question": "?", "answers": [{answers}]}}"#)
    };
    let (cat, sat) = (
        r#"{"text": "The cat", "answer_start": 0}"#,
        r#"{"text": "cat sat", "answer_start": 4}"#,
    );
    let text = format!(
        r#"{{"data": [{{"title": "T", "paragraphs": [{{"context": "The cat sat.", "qas": [{}, {}, {}]}}]}}]}}"#,
        question("right", &format!("{cat}, {sat}")),
        question("half", cat),
        question("none", sat),
    );
    let corpus = load("made", &text).unwrap();
    let predictions = Predictions::parse(
        "p",
        r#"{"right": "cat  sat!", "half": "cat nap and nap", "unknown": "x"}"#,
    );
    let scores = metric("en").score(&corpus, &predictions.unwrap());
    // Exact 1, 0, 0. F1: the better of 2/3 and 1; one of four tokens against one: 2/5; unanswered 0.
    assert!(
        (scores.exact_match - 100.0 / 3.0).abs() < 1e-12,
        "{scores:?}"
    );
    assert!((scores.f1 - 140.0 / 3.0).abs() < 1e-12, "{scores:?}");
    assert_eq!(
        (scores.question_count, scores.unanswered),
        (3, vec!["none".to_owned()])
    );
}

#[test]
fn other_languages_have_no_metric() {
    let refused = AnswerMetric::new(Language::Greek).unwrap_err().to_string();
    assert_eq!(
        refused,
        "MLQA's answer metric does not know el; it knows en ar de es hi vi zh"
    );
}
