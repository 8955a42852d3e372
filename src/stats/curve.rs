//! Summaries of a curve of accuracy over noise.

use crate::convert::usize_to_f64;

/// Weights of the trapezoid rule over ascending levels, divided by their range: the area under a curve of these values
/// is their weighted sum, and of a constant the constant itself. One level has weight 1.
#[must_use]
pub fn area_weights(levels: &[f64]) -> Vec<f64> {
    let (Some(first), Some(last)) = (levels.first(), levels.last()) else {
        return Vec::new();
    };
    let range = last - first;
    if levels.len() == 1 || !(range > 0.0) {
        return vec![1.0 / usize_to_f64(levels.len()); levels.len()];
    }
    (0..levels.len())
        .map(|index| {
            let before = index.checked_sub(1).map_or(*first, |index| levels[index]);
            let after = levels.get(index + 1).unwrap_or(last);
            0.5 * (after - before) / range
        })
        .collect()
}

/// The smallest level, linear between the points, at which a curve has lost the share `lost` of its first value; `None`
/// where it never does. `points` are (level, value), ascending by level.
#[must_use]
pub fn critical_level(points: &[(f64, f64)], lost: f64) -> Option<f64> {
    let limit = (1.0 - lost) * points.first()?.1;
    points.windows(2).find_map(|pair| {
        let [(x0, y0), (x1, y1)] = pair else {
            return None;
        };
        (*y1 <= limit).then(|| {
            let drop = y0 - y1;
            // Flat at the limit: it is reached at once.
            if drop > 0.0 {
                x0 + (x1 - x0) * ((y0 - limit) / drop).clamp(0.0, 1.0)
            } else {
                *x0
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_are_trapezoids() {
        assert_eq!(
            area_weights(&[0.0, 0.25, 0.5, 0.75, 1.0]),
            [0.125, 0.25, 0.25, 0.25, 0.125]
        );
        assert_eq!(area_weights(&[0.0, 0.5, 2.0]), [0.125, 0.5, 0.375]);
        assert_eq!(area_weights(&[3.0]), [1.0]);
        assert!(area_weights(&[]).is_empty());
    }

    #[test]
    fn the_critical_level_is_between_points() {
        let curve = [(0.0, 0.8), (0.5, 0.6), (1.0, 0.2)];
        let close = |found: Option<f64>, want: f64| (found.unwrap() - want).abs() < 1e-12;
        assert!(close(critical_level(&curve, 0.25), 0.5));
        assert!(close(critical_level(&curve, 0.5), 0.75));
        assert_eq!(critical_level(&curve, 0.9), None);
        assert_eq!(critical_level(&[], 0.5), None);
    }
}
