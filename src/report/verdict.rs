//! A verdict as JSON: which rule failed, where, by how many bounds, and what the bound is made of.

use crate::bound::Source;
use crate::verdict::{Agreement, Element, Elements, Fault, Suspicion, Verdict};
use serde_json::{Map, Value, json};

/// The verdict with everything that was counted.
///
/// `verdict` is its name; an agreement adds counts and what is suspicious, a disagreement its `faults`, the others a
/// `reason`. Ratios that are not finite are `null`.
pub fn json(verdict: &Verdict) -> Value {
    let mut value = match verdict {
        Verdict::Agree(agreement) => agreed(agreement),
        Verdict::Disagree(faults) => {
            json!({ "faults": faults.iter().map(fault).collect::<Vec<_>>() })
        }
        Verdict::Incomparable(reason) | Verdict::Unsupported(reason) => json!({ "reason": reason }),
    };
    value["verdict"] = json!(verdict.name());
    value
}

fn agreed(agreement: &Agreement) -> Value {
    let Agreement {
        compared,
        exact,
        replayed,
        skipped,
        o_worst,
        lse_worst,
        suspicion,
    } = agreement;
    let Suspicion {
        count,
        worst,
        rms,
        of,
    } = suspicion;
    json!({
        "elements_compared": compared,
        "elements_without_tolerance": exact,
        "elements_replayed": replayed,
        "elements_not_compared": skipped,
        "o_worst_in_bounds": rounded(*o_worst),
        "lse_worst_in_bounds": rounded(*lse_worst),
        "suspicious": suspicion.is_suspicious(),
        "elements_suspicious": count,
        "most_suspicious": worst.as_ref().map(element),
        "rms_in_deviations": rounded(*rms),
        "rms_of_elements": of,
    })
}

fn fault(fault: &Fault) -> Value {
    match fault {
        Fault::Elements(elements) => {
            let Elements {
                rule,
                count,
                of,
                worst,
            } = elements;
            json!({ "rule": rule.name(), "count": count, "of": of, "worst": element(worst) })
        }
        Fault::Finding(found) | Fault::Trap(found) => {
            json!({ "rule": found.code.0, "message": found.message })
        }
    }
}

fn element(element: &Element) -> Value {
    let parts = element
        .sources
        .iter()
        .map(|(source, part): &(Source, f64)| (source.name().to_owned(), json!(part)));
    json!({
        "place": element.place,
        "got": element.got_text,
        "expected": element.expected,
        "bound": element.bound,
        "in_bounds": rounded(element.bounds()),
        "bound_by_source": parts.collect::<Map<String, Value>>(),
    })
}

/// Four decimals: what a reader of a ratio needs, and no more than every machine gives.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}
