//! The definition: a plain forward pass in f64, one loop after the other.

use crate::tiny_model::{self as tiny, TinyModel};

/// A model and its position scheme.
pub(crate) struct Plain<'a> {
    pub(crate) model: &'a TinyModel,
    /// Added to a token's place to give its position row.
    pub(crate) first_position: usize,
}

type Rows = Vec<Vec<f64>>;

impl Plain<'_> {
    fn tensor(&self, name: &str) -> Vec<f64> {
        self.model.tensors[name]
            .values()
            .into_iter()
            .map(f64::from)
            .collect()
    }

    fn affine(&self, name: &str, x: &Rows) -> Rows {
        let (weight, bias) = (
            self.tensor(&format!("{name}.w")),
            self.tensor(&format!("{name}.b")),
        );
        let output = |row: &Vec<f64>, of: usize| {
            bias[of]
                + row
                    .iter()
                    .zip(&weight[of * row.len()..])
                    .map(|(x, w)| x * w)
                    .sum::<f64>()
        };
        x.iter()
            .map(|row| (0..bias.len()).map(|of| output(row, of)).collect())
            .collect()
    }

    fn norm(&self, name: &str, x: Rows) -> Rows {
        let (weight, bias) = (
            self.tensor(&format!("{name}.w")),
            self.tensor(&format!("{name}.b")),
        );
        let count = 64.0;
        x.into_iter()
            .map(|row| {
                let mean = row.iter().sum::<f64>() / count;
                let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count;
                let deviation = (variance + f64::from(tiny::LN_EPS)).sqrt();
                row.iter()
                    .zip(&weight)
                    .zip(&bias)
                    .map(|((v, w), b)| (v - mean) / deviation * w + b)
                    .collect()
            })
            .collect()
    }

    fn attention(&self, layer: usize, x: &Rows) -> Rows {
        let [q, k, v] = ["q", "k", "v"].map(|part| self.affine(&format!("l{layer}.{part}"), x));
        let head_dim = tiny::HIDDEN / tiny::HEADS;
        let mut out = vec![vec![0.0; tiny::HIDDEN]; x.len()];
        for head in 0..tiny::HEADS {
            let channels = head * head_dim..(head + 1) * head_dim;
            for (query, out) in q.iter().zip(&mut out) {
                // Scores below 100 in these models: no maximum needs to be taken off in f64.
                let weights: Vec<f64> = k
                    .iter()
                    .map(|key| {
                        (channels.clone().map(|c| query[c] * key[c]).sum::<f64>()
                            / f64::from(16).sqrt())
                        .exp()
                    })
                    .collect();
                let total: f64 = weights.iter().sum();
                for c in channels.clone() {
                    out[c] = weights
                        .iter()
                        .zip(&v)
                        .map(|(weight, value)| weight * value[c])
                        .sum::<f64>()
                        / total;
                }
            }
        }
        self.affine(&format!("l{layer}.ao"), &out)
    }

    /// The vector of a text, of Euclidean length 1.
    pub(crate) fn embed(&self, tokens: &[u32]) -> Vec<f64> {
        let tables = ["word", "pos", "type"].map(|name| self.tensor(&format!("emb.{name}")));
        let add = |x: Rows, y: Rows| -> Rows {
            x.into_iter()
                .zip(y)
                .map(|(x, y)| x.into_iter().zip(y).map(|(x, y)| x + y).collect())
                .collect()
        };
        let rows = tokens
            .iter()
            .enumerate()
            .map(|(place, token)| {
                let rows = [
                    usize::try_from(*token).unwrap(),
                    self.first_position + place,
                    0,
                ];
                (0..tiny::HIDDEN)
                    .map(|c| {
                        tables
                            .iter()
                            .zip(rows)
                            .map(|(table, row)| table[row * tiny::HIDDEN + c])
                            .sum()
                    })
                    .collect()
            })
            .collect();
        let mut x = self.norm("emb.ln", rows);
        for layer in 0..tiny::LAYERS {
            let y = self.norm(
                &format!("l{layer}.aln"),
                add(x.clone(), self.attention(layer, &x)),
            );
            let mut inner = self.affine(&format!("l{layer}.fi"), &y);
            for value in inner.iter_mut().flatten() {
                *value *= 0.5 * (1.0 + erf(*value / 2.0_f64.sqrt()));
            }
            x = self.norm(
                &format!("l{layer}.oln"),
                add(y, self.affine(&format!("l{layer}.fo"), &inner)),
            );
        }
        let sums: Vec<f64> = (0..tiny::HIDDEN)
            .map(|c| x.iter().map(|row| row[c]).sum())
            .collect();
        let length = sums.iter().map(|sum| sum * sum).sum::<f64>().sqrt();
        sums.into_iter().map(|sum| sum / length).collect()
    }
}

/// The error function by Simpson's rule over 400 intervals: 1e-10 for arguments below 8.
fn erf(z: f64) -> f64 {
    let z = z.clamp(-8.0, 8.0);
    let at = |step: i32| (-(z * f64::from(step) / 400.0).powi(2)).exp();
    let inside: f64 = (1..400)
        .map(|step| {
            if step % 2 == 1 {
                4.0 * at(step)
            } else {
                2.0 * at(step)
            }
        })
        .sum();
    (at(0) + inside + at(400)) * z / 1200.0 * 2.0 / std::f64::consts::PI.sqrt()
}
