//! What arms see of a made-up corpus, through a real (tiny) encoder.

use super::toy::{Made, Scratch, plan, run_toy};
use crate::tiny_model::TinyModel;
use flashproof::encoder::Encoder;
use flashproof::study::{
    ArmEncoder, Family, Mechanism, Plan, Results, StudyError, first_places, mechanism,
};

/// The rows, and what was told while they were made.
type Seen = (Vec<Mechanism>, Vec<(usize, usize)>);

fn see(plan: &Plan, count: usize) -> Result<Seen, StudyError> {
    let model = TinyModel::random(5).e5s1();
    let mut arms = ArmEncoder::new(Encoder::from_e5s1(&model, None).unwrap());
    let mut told = Vec::new();
    let rows = mechanism(plan, &Made, &mut arms, count, |done, total| {
        told.push((done, total));
    })?;
    Ok((rows, told))
}

#[test]
fn rows_say_what_arms_see() {
    let plan = Plan {
        arms: [
            "dense",
            "window:0.3",
            "block-topk:0.5:8",
            "chunked:0.6",
            "chunked-best:0.6",
            "truncated:0.6",
        ]
        .map(str::to_owned)
        .to_vec(),
        total_tokens: 48,
        gold_tokens: 16,
        ..plan()
    };
    let (rows, told) = see(&plan, 4).unwrap();
    // Three pairs' documents at three levels; a text cut short chooses no pairs, and many vectors have no one cosine.
    assert_eq!(rows.len(), 4 * 3);
    assert_eq!(told.last(), Some(&(3 * 4 * 3 * 4, 3 * 4 * 3 * 4)));
    let near = |a: f64, b: f64| (a - b).abs() < 1e-5;
    for row in &rows {
        assert_eq!(row.documents, 12);
        assert!(row.questions >= 6, "{row:?}");
        let changes = row.top1_changes.unwrap();
        let shares = [
            row.density,
            row.gold_recall,
            row.sentence_recall,
            row.mass.unwrap_or(0.0),
            changes,
        ];
        assert!(
            shares
                .iter()
                .all(|share| (0.0..=1.0 + 1e-6).contains(share)),
            "{row:?}"
        );
        assert_eq!(row.mass.is_none(), row.arm == "chunked:0.6", "{row:?}");
        if row.arm == "dense" {
            let mass = row.mass.unwrap();
            let ones = [row.density, row.gold_recall, row.sentence_recall, mass];
            assert!(ones.iter().all(|one| near(*one, 1.0)), "{row:?}");
            assert!(near(row.cosine, 1.0) && changes <= 0.0, "{row:?}");
        } else {
            assert!(
                row.density < 0.7 && row.mass.is_none_or(|mass| mass < 0.999),
                "{row:?}"
            );
            assert!(row.cosine < 0.999 && row.gold_recall < 0.9, "{row:?}");
        }
        let first = rows.iter().find(|first| first.arm == row.arm).unwrap();
        assert!(near(row.density_drift, row.density - first.density));
    }
    assert!(
        rows.iter()
            .any(|row| row.arm != "dense" && row.sentence_recall < 0.9)
    );
}

#[test]
fn a_crop_needs_distractors() {
    for noise in [Family::Characters, Family::Embedding, Family::None] {
        let plan = Plan { noise, ..plan() };
        assert!(matches!(see(&plan, 2), Err(StudyError::NoCrop)));
    }
}

#[test]
fn first_places_that_change_are_counted() {
    let scratch = Scratch::new("first-places");
    run_toy(&plan(), &scratch).unwrap();
    let results = Results::read(&scratch.0).unwrap();
    let rows = first_places(&results, "dense");
    assert_eq!(rows.len(), 3, "one a level of the other arm");
    let mut hits_before = f64::INFINITY;
    for (row, level) in rows.iter().zip([0.0, 0.5, 1.0]) {
        assert_eq!((row.arm.as_str(), row.level), ("half", level));
        // Counted again from the ranks themselves; each question has one right context here.
        let (mut hits, mut lost, mut gained, mut questions) = (0, 0, 0, 0);
        for cell in results.cells.values() {
            let Some(dense) = cell.key.strip_suffix("arm=half") else {
                continue;
            };
            if !dense.contains(&format!("level={level} ")) {
                continue;
            }
            let dense = &results.cells[&format!("{dense}arm=dense")];
            for (dense, half) in dense.ranks.iter().zip(&cell.ranks) {
                questions += 1;
                hits += usize::from(*dense == 1);
                lost += usize::from(*dense == 1 && *half != 1);
                gained += usize::from(*dense != 1 && *half == 1);
            }
        }
        assert_eq!(row.questions, questions);
        let share = |count: usize| {
            f64::from(u32::try_from(count).unwrap()) / f64::from(u32::try_from(questions).unwrap())
        };
        for (found, count) in [(row.right, hits), (row.lost, lost), (row.gained, gained)] {
            assert!((found - share(count)).abs() < 1e-12, "{row:?}");
        }
        assert!(row.lost > 0.0 && row.right <= hits_before, "{row:?}");
        hits_before = row.right + 0.05;
    }
}
