//! Figures of a registered study besides accuracy over noise: by language, against cost, retention.

use super::figure::{Axis, Figure, Panel, Point, Scale, Series};
use super::table::Table;
use crate::study::{Answer, Curve, mean_density};

fn style(answer: &Answer, arm: &str) -> usize {
    let arms = &answer.plan.arms;
    arms.iter()
        .position(|name| name == arm)
        .unwrap_or(arms.len())
}

fn levels(answer: &Answer) -> Vec<(f64, String)> {
    let levels = answer.levels.iter();
    levels
        .map(|(level, ..)| (*level, level.to_string()))
        .collect()
}

fn noise_axis(answer: &Answer) -> Axis {
    Axis::at(
        "noise level nu (share of distractor slots)",
        Scale::Linear,
        &levels(answer),
    )
}

fn caption(answer: &Answer, more: &str) -> Vec<String> {
    let seeds: Vec<String> = answer.seeds.iter().map(u64::to_string).collect();
    vec![
        format!(
            "n = {} (question, pair) of the {} half on {} articles, {} cross-lingual pairs weighted alike, noise seeds {}, share {} of \
             the contexts; encoder {}.",
            answer.primary.query_count,
            answer.plan.split.name(),
            answer.primary.cluster_count,
            answer.primary.pair_count,
            seeds.join(" "),
            answer.share,
            answer.plan.encoder()
        ),
        more.to_owned(),
    ]
}

/// One panel a context language, with bands.
pub fn languages(answer: &Answer, languages: &[(String, Vec<Curve>)]) -> Figure {
    let panels = languages.iter().map(|(language, curves)| {
        let first = curves.first().and_then(|curve| curve.points.first());
        Panel {
            title: format!(
                "contexts in {language}: {} questions, {} articles",
                first.map_or(0, |point| point.query_count),
                first.map_or(0, |point| point.cluster_count)
            ),
            x: noise_axis(answer),
            y: Axis::from_zero("nDCG@10", 1.0),
            series: curves
                .iter()
                .map(|curve| Series {
                    name: curve.arm.clone(),
                    style: style(answer, &curve.arm),
                    points: curve
                        .points
                        .iter()
                        .map(|point| Point {
                            x: point.level,
                            y: point.mean,
                            band: Some((point.low, point.high)),
                        })
                        .collect(),
                })
                .collect(),
            reference: None,
        }
    });
    Figure {
        title: "Does the order of the arms depend on the language of the contexts?".to_owned(),
        panels: panels.collect(),
        columns: 3,
        caption: caption(
            answer,
            "Each panel: mean over the six other question languages. Bands: 95 %, bootstrap over articles and seeds.",
        ),
        watermark: None,
    }
}

/// Area under the curve against realised density and against attention FLOPs.
pub fn cost(answer: &Answer) -> Figure {
    let panel = |title: &str, words: &str, x: &dyn Fn(usize) -> Option<f64>| Panel {
        title: title.to_owned(),
        x: Axis::covering(words, 0.0, 1.0),
        y: Axis::from_zero("nDCG@10, mean over noise levels", 1.0),
        series: answer
            .arms
            .iter()
            .enumerate()
            .map(|(index, arm)| Series {
                name: arm.arm.clone(),
                style: style(answer, &arm.arm),
                points: x(index)
                    .map(|x| Point {
                        x,
                        y: arm.area.mean,
                        band: Some((arm.area.low, arm.area.high)),
                    })
                    .into_iter()
                    .collect(),
            })
            .collect(),
        reference: None,
    };
    Figure {
        title: "What does accuracy cost in pairs attended, and in attention FLOPs?".to_owned(),
        panels: vec![
            panel(
                "by density",
                "share of (query, key) pairs attended",
                &|index| Some(mean_density(&answer.arms[index].points)),
            ),
            panel(
                "by FLOPs",
                "share of dense attention's matrix products",
                &|index| answer.arms[index].flops,
            ),
        ],
        columns: 2,
        caption: caption(
            answer,
            "Choosing blocks by their scores computes every score: FLOPs are (1 + density) / 2 for it, the density for the others.",
        ),
        watermark: None,
    }
}

/// What is kept of the arm's own clean score, and of dense attention's at the same level.
pub fn retention(answer: &Answer) -> Figure {
    let dense = answer
        .arms
        .iter()
        .find(|arm| arm.arm == answer.registered.dense);
    let panel = |title: &str, of: &dyn Fn(usize, usize) -> Option<f64>| Panel {
        title: title.to_owned(),
        x: noise_axis(answer),
        y: Axis::from_zero("share kept", 1.2),
        series: answer
            .arms
            .iter()
            .enumerate()
            .map(|(index, arm)| Series {
                name: arm.arm.clone(),
                style: style(answer, &arm.arm),
                points: (0..arm.points.len())
                    .filter_map(|place| {
                        let y = of(index, place)?;
                        let x = arm.points[place].level;
                        Some(Point { x, y, band: None })
                    })
                    .collect(),
            })
            .collect(),
        reference: Some(1.0),
    };
    Figure {
        title: "How much is kept as noise grows?".to_owned(),
        panels: vec![
            panel("of its own score at the least noise", &|arm, place| {
                let points = &answer.arms[arm].points;
                Some(points[place].mean / points.first()?.mean)
            }),
            panel(
                "of dense attention's score at the same level",
                &|arm, place| {
                    Some(answer.arms[arm].points[place].mean / dense?.points.get(place)?.mean)
                },
            ),
        ],
        columns: 2,
        caption: caption(
            answer,
            "The first hides a bad clean score, the second does not.",
        ),
        watermark: None,
    }
}

/// The numbers behind [`cost`] and [`retention`].
pub fn arms_table(answer: &Answer) -> Table {
    let mut table = Table::new([
        "arm",
        "level",
        "ndcg_at_10",
        "low",
        "high",
        "density",
        "flops",
        "area",
        "area_low",
        "area_high",
    ]);
    for arm in &answer.arms {
        for point in &arm.points {
            let six = |value: f64| format!("{value:.6}");
            table.push([
                arm.arm.clone(),
                point.level.to_string(),
                six(point.mean),
                six(point.low),
                six(point.high),
                six(point.realised_density),
                arm.flops.map_or(String::new(), six),
                six(arm.area.mean),
                six(arm.area.low),
                six(arm.area.high),
            ]);
        }
    }
    table
}
