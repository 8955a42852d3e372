//! Properties of N1 over made-up contexts.

use proptest::prelude::*;

use super::super::pool::Distractor;
use super::*;

fn words(text: &str) -> Result<usize, String> {
    Ok(text.split_whitespace().count())
}

/// `count` sentences of 3 to 9 words; words carry `name`, so that no two texts share one.
fn text(name: &str, count: usize) -> String {
    let sentence = |index: usize| {
        let words: Vec<String> = (0..3 + (index * 5 + name.len()) % 7)
            .map(|word| format!("{name}x{index}x{word}"))
            .collect();
        format!("{}.", words.join(" "))
    };
    (0..count).map(sentence).collect::<Vec<_>>().join(" ")
}

fn pool(size: usize) -> DistractorPool {
    let paragraphs = (0..size)
        .map(|index| Distractor {
            text: text(&format!("Noise{index}"), 3 + index % 6),
            sentences: None,
        })
        .collect();
    DistractorPool::new(paragraphs, 200, &mut words).unwrap()
}

struct Made {
    id: String,
    text: String,
    answers: Vec<Range<usize>>,
}

/// Contexts with the first word of some sentences as answers.
fn made(count: usize, asked: &[usize]) -> Vec<Made> {
    (0..count)
        .map(|index| {
            let text = text(&format!("Gold{index}"), 12);
            let sentences = super::super::sentences(&text);
            let answers = asked
                .iter()
                .map(|&at| {
                    let start = sentences[at % sentences.len()].start;
                    start..start + text[start..].find(' ').unwrap()
                })
                .collect();
            Made {
                id: format!("d{index}"),
                text,
                answers,
            }
        })
        .collect()
}

fn passages(made: &[Made]) -> Vec<Passage<'_>> {
    made.iter()
        .map(|made| Passage {
            id: &made.id,
            text: &made.text,
            answers: &made.answers,
        })
        .collect()
}

const SMALL: DistractorShare = DistractorShare {
    total_tokens: 120,
    gold_tokens: 32,
    seed: 0,
    choice: Choice::Any,
    length: Length::Fixed,
};

#[test]
fn levels_are_quarters() {
    for (share, quarters) in [
        (0.0, 0),
        (0.25, 1),
        (0.5, 2),
        (0.75, 3),
        (1.0, 4),
        (-0.0, 0),
    ] {
        assert_eq!(Level::new(share), Ok(Level(quarters)));
    }
    for share in [0.3, -0.25, 1.25, f64::NAN, f64::INFINITY] {
        assert!(
            matches!(Level::new(share), Err(NoiseError::Level(_))),
            "{share}"
        );
    }
}

#[test]
fn gold_places_are_balanced_and_turns_are_not_fixed() {
    let made = made(50, &[3]);
    let composed = SMALL
        .compose(&passages(&made), &pool(60), &mut words)
        .unwrap();
    let mut places = [0; 5];
    let mut first_turns = [0; SLOT_COUNT];
    for composition in &composed.compositions {
        places[composition.gold_position()] += 1;
        first_turns[composition
            .slots
            .iter()
            .position(|slot| slot.turns_at == 1)
            .unwrap()] += 1;
    }
    assert_eq!(places, [10; 5]);
    assert!(
        first_turns.iter().all(|&count| count >= 4),
        "each slot turns first now and then: {first_turns:?}"
    );
    let report = composed.report;
    assert_eq!(
        (report.documents, report.distractors, report.pool_paragraphs),
        (50, 200, 60)
    );
    assert!(
        report.paragraphs_used > 40 && report.paragraph_uses_max < 15,
        "{report:?}"
    );
    assert_eq!(
        (
            report.golds_grown,
            report.documents_without_room,
            report.distractors_cut
        ),
        (0, 0, 0)
    );
}

#[test]
fn wide_answers_grow_the_gold_and_are_counted() {
    let made = made(4, &[0, 11]);
    let composed = SMALL
        .compose(&passages(&made), &pool(60), &mut words)
        .unwrap();
    assert_eq!(composed.report.golds_grown, 4);
    assert!(composed.report.gold_tokens_max > 32);
    let tight = DistractorShare {
        total_tokens: 40,
        gold_tokens: 8,
        ..SMALL
    };
    let crowded = tight
        .compose(&passages(&made), &pool(60), &mut words)
        .unwrap();
    assert_eq!(crowded.report.documents_without_room, 4);
    let noisy = crowded.compositions[0].at(Level(4));
    assert_eq!(
        (noisy.text.as_str(), noisy.distractor_tokens),
        (made[0].text.as_str(), 0)
    );
}

#[test]
fn a_small_pool_serves_again_and_a_long_sentence_is_cut() {
    let made = made(3, &[2]);
    let composed = SMALL
        .compose(&passages(&made), &pool(2), &mut words)
        .unwrap();
    assert_eq!(
        (composed.report.distractors, composed.report.paragraphs_used),
        (12, 2)
    );
    let long = Distractor {
        text: text("Long", 1).replace('.', "") + &" word".repeat(300),
        sentences: None,
    };
    let pool = DistractorPool::new(vec![long], 200, &mut words).unwrap();
    let cut = SMALL.compose(&passages(&made), &pool, &mut words).unwrap();
    assert_eq!(cut.report.distractors_cut, 12);
    assert_eq!(cut.compositions[0].at(Level(4)).tokens, 120);
}

/// One answer; written out, an array of one range looks like a range of numbers.
fn vec_of(range: Range<usize>) -> Vec<Range<usize>> {
    std::iter::once(range).collect()
}

#[test]
fn unusable_passages_are_refused() {
    let pool = pool(20);
    let compose = |family: DistractorShare, passage: Passage<'_>| {
        family.compose(&[passage], &pool, &mut words)
    };
    let none = Passage {
        id: "d",
        text: "Aa bb.",
        answers: &[],
    };
    assert!(matches!(
        compose(SMALL, none),
        Err(NoiseError::NoAnswer { .. })
    ));
    let outside = vec_of(0..7);
    let past = Passage {
        id: "d",
        text: "Aa bb.",
        answers: &outside,
    };
    assert!(matches!(
        compose(SMALL, past),
        Err(NoiseError::AnswerOutside {
            end: 7,
            length: 6,
            ..
        })
    ));
    let inside = vec_of(0..1);
    let split = Passage {
        id: "d",
        text: "é.",
        answers: &inside,
    };
    assert!(matches!(
        compose(SMALL, split),
        Err(NoiseError::AnswerOutside { .. })
    ));
    let good = Passage {
        id: "d",
        text: "Aa bb.",
        answers: &inside,
    };
    let total = DistractorShare {
        total_tokens: 32,
        ..SMALL
    };
    assert!(matches!(
        compose(total, good),
        Err(NoiseError::Total { .. })
    ));
    assert!(compose(SMALL, good).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn levels_are_nested_answers_stay_and_length_holds(
        seed in any::<u64>(),
        asked in proptest::collection::vec(0_usize..12, 1..3),
        total in 80_usize..200,
    ) {
        let made = made(6, &asked);
        let pool = pool(60);
        let family = DistractorShare { total_tokens: total, seed, ..SMALL };
        let composed = family.compose(&passages(&made), &pool, &mut words).unwrap();
        let again = family.compose(&passages(&made), &pool, &mut words).unwrap();
        prop_assert_eq!(&composed.compositions, &again.compositions);
        // A document alone differs from the same one among others in its place only.
        let alone = family.compose(&passages(&made[..1]), &pool, &mut words).unwrap();
        prop_assert_eq!(&composed.compositions[0].slots, &alone.compositions[0].slots);

        for (made, composition) in made.iter().zip(&composed.compositions) {
            let mut before: Option<Noisy> = None;
            for level in Level::all() {
                let noisy = composition.at(level);
                prop_assert_eq!(words(&noisy.text).unwrap(), noisy.tokens);
                for answer in &made.answers {
                    prop_assert!(noisy.text[noisy.gold.clone()].contains(&made.text[answer.clone()]));
                }
                prop_assert!(made.text.contains(&noisy.text[noisy.gold.clone()]));
                let distractor_words = noisy.text.split(' ').filter(|word| word.contains("Noise")).count();
                prop_assert_eq!(distractor_words, noisy.distractor_tokens);
                let room = total.saturating_sub(composition.gold_tokens);
                if room >= 40 {
                    // Words are tokens here and the pool has runs of nearly every length: each of four slots may lack two.
                    prop_assert!(noisy.tokens <= total && noisy.tokens + 8 >= total, "{} of {total}", noisy.tokens);
                }
                if let Some(before) = before {
                    prop_assert!(noisy.achieved() >= before.achieved());
                    prop_assert_eq!(noisy.tokens, before.tokens, "length does not depend on the level");
                    let kept = before.text.split(' ').filter(|word| word.contains("Noise"));
                    for word in kept {
                        prop_assert!(noisy.text.contains(word), "{word} was there at the level before");
                    }
                }
                before = Some(noisy);
            }
        }
    }

    #[test]
    fn growing_texts_have_the_same_distractors_and_no_copies(seed in any::<u64>()) {
        let made = made(6, &[3]);
        let pool = pool(60);
        let fixed = DistractorShare { seed, ..SMALL };
        let growing = DistractorShare { length: Length::Growing, ..fixed };
        let fixed = fixed.compose(&passages(&made), &pool, &mut words).unwrap().compositions;
        let growing = growing.compose(&passages(&made), &pool, &mut words).unwrap().compositions;
        for (fixed, growing) in fixed.iter().zip(&growing) {
            prop_assert_eq!(&growing.at(Level::CLEAN).text, &growing.gold);
            prop_assert_eq!(fixed.at(Level(4)), growing.at(Level(4)), "at level 1 there are no copies");
            let mut before = 0;
            for level in Level::all() {
                let (short, long) = (growing.at(level), fixed.at(level));
                prop_assert_eq!(short.distractor_tokens, long.distractor_tokens);
                prop_assert_eq!(short.tokens, growing.gold_tokens + short.distractor_tokens);
                prop_assert!(level == Level::CLEAN || short.tokens > before, "grows");
                before = short.tokens;
            }
        }
    }

    #[test]
    fn hard_distractors_are_near_nested_and_hold_no_answer(seed in any::<u64>()) {
        // Paragraph i of the pool shares its topic with document i % 6, and its first sentence answers that one.
        let made = made(6, &[3]);
        let answer = |index: usize| made[index].text[made[index].answers[0].clone()].to_owned();
        let paragraph = |index: usize| {
            let of = index % 6;
            let topic: Vec<&str> = made[of].text.split(' ').take(8).collect();
            let topic = topic.join(" ").replace('.', "");
            Distractor {
                text: format!("Noise {} noise noise. {} {topic}.", answer(of), text(&format!("Noise{index}"), 4)),
                sentences: None,
            }
        };
        let pool = DistractorPool::new((0..60).map(paragraph).collect(), 200, &mut words).unwrap();
        let family = DistractorShare { choice: Choice::Hard, seed, ..SMALL };
        let composed = family.compose(&passages(&made), &pool, &mut words).unwrap();
        prop_assert_eq!(composed.report.paragraphs_with_answer, Some(0));
        // Ten paragraphs are near each document, so at most 16 - 10 others may serve.
        prop_assert!(composed.report.paragraphs_used <= 60);
        for (index, composition) in composed.compositions.iter().enumerate() {
            let mut before: Option<Noisy> = None;
            for slot in &composition.slots {
                prop_assert!(!slot.distractor.text.contains(&answer(index)), "{}", slot.distractor.text);
            }
            for level in Level::all() {
                let noisy = composition.at(level);
                prop_assert!(noisy.text[noisy.gold.clone()].contains(&answer(index)), "the answer stays");
                if let Some(before) = before {
                    prop_assert!(noisy.achieved() > before.achieved());
                }
                before = Some(noisy);
            }
        }
        // Where every sentence answers, nothing is left.
        let spoilt = Distractor { text: format!("Noise {} noise.", answer(0)), sentences: None };
        let pool = DistractorPool::new(vec![spoilt], 200, &mut words).unwrap();
        let refused = family.compose(&passages(&made[..1]), &pool, &mut words);
        let is_refused = matches!(refused, Err(NoiseError::AnswerEverywhere { .. }));
        prop_assert!(is_refused);
    }
}
