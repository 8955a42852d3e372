//! The block-sparse arm beside arms that the registered run does not have: a sentence and a table of its report.

use super::registered::{interval, p_value};
use super::table::Table;
use crate::study::Against;

/// Against which arms it is ahead, behind, or neither; `None` where there is none.
pub(super) fn sentence(others: &[(String, Vec<Against>)]) -> Option<String> {
    let named = |is_wanted: fn(&Against) -> bool| -> String {
        let rows = others.iter().flat_map(|(_, rows)| rows);
        let mut names: Vec<String> = Vec::new();
        for row in rows.filter(|row| is_wanted(row)) {
            let name = format!("`{}`", row.arm);
            // Two studies may have one arm.
            if !names.contains(&name) {
                names.push(name);
            }
        }
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        }
    };
    let is_ahead = |row: &Against| row.difference.low > 0.0;
    let is_behind = |row: &Against| row.difference.high < 0.0;
    let count: usize = others.iter().map(|(_, rows)| rows.len()).sum();
    (count > 0).then(|| {
        format!(
            "Exploration, {count} comparisons with arms that the registered run does not have ([below](#other-arms)): the block-sparse arm is ahead \
             of {}; behind {}; not told apart from {}.",
            named(is_ahead),
            named(is_behind),
            named(|row| row.difference.low <= 0.0 && row.difference.high >= 0.0),
        )
    })
}

/// The table under its heading; `None` where there is no row.
pub fn section(block: &str, others: &[(String, Vec<Against>)]) -> Option<String> {
    let mut table = Table::new([
        "arm",
        "density",
        "FLOPs",
        "block-sparse minus it, area",
        "p",
        "study",
        "questions",
        "articles",
    ]);
    for (study, rows) in others {
        for row in rows {
            table.push([
                format!("`{}`", row.arm),
                format!("{:.3}", row.density),
                row.flops
                    .map_or("-".to_owned(), |flops| format!("{flops:.3}")),
                interval(&row.difference),
                p_value(row.difference.p),
                study.clone(),
                row.difference.query_count.to_string(),
                row.difference.cluster_count.to_string(),
            ]);
        }
    }
    (!table.is_empty()).then(|| {
        format!(
            "## Other arms\n\n`{block}` minus arms that only the exploring studies have: area over the levels of the study, cross-lingual\n\
             pairs, question by question, in points. Exploration questions, small corpora, p not adjusted: they show where the\n\
             answer would be another one, and decide nothing.\n\n{}",
            table.markdown()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::Estimate;

    fn row(arm: &str, low: f64, high: f64) -> Against {
        Against {
            arm: arm.to_owned(),
            density: 0.25,
            flops: None,
            difference: Estimate {
                mean: 0.5 * (low + high),
                low,
                high,
                lower_bound: low,
                standard_error: 0.1,
                p: 0.5,
                design_effect: 1.0,
                detectable: 0.1,
                query_count: 7,
                cluster_count: 3,
                pair_count: 1,
            },
        }
    }

    #[test]
    fn an_interval_decides_the_side() {
        let of_arms = vec![
            row("window:0.25", 0.01, 0.2),
            row("strided:0.25", -0.1, 0.1),
            row("chunked:0.25", -0.2, -0.1),
        ];
        let others = [
            ("arms".to_owned(), of_arms),
            ("twice".to_owned(), vec![row("chunked:0.25", -0.2, -0.1)]),
        ];
        let sentence = sentence(&others).expect("four rows");
        assert!(sentence.contains(
            "ahead of `window:0.25`; behind `chunked:0.25`; not told apart from `strided:0.25`."
        ));
        let section = section("bsfa", &others).expect("four rows");
        assert!(
            section.contains(
                "| `window:0.25` | 0.250 | - | +10.50 [+1.00, +20.00] | 0.500 | arms | 7 | 3 |"
            ),
            "{section}"
        );
    }

    #[test]
    fn nothing_is_said_of_no_arm() {
        let others = [("arms".to_owned(), Vec::new())];
        assert_eq!(sentence(&others), None);
        assert_eq!(section("bsfa", &others), None);
    }
}
