//! What a stack of equal layers can know.
//!
//! After one layer a token holds what it sees, and itself: the residual stream carries it. After `L` layers it holds what
//! the tokens it sees held after `L - 1`. Heads join, since the layer sums them. More than one layer needs queries and
//! keys to be the same tokens, that is equal lengths.

use flashproof_reference::Layout;

/// Tokens that can inform each token after a number of layers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Field {
    /// Layers.
    pub layers: usize,
    /// Fewest tokens that inform a query, itself included.
    pub tokens_min: usize,
    /// Sum over the queries.
    pub tokens_sum: usize,
    /// Most tokens.
    pub tokens_max: usize,
}

/// Tokens as bits.
type Set = Vec<u64>;

fn word(token: usize) -> (usize, u64) {
    (token / 64, 1 << (token % 64))
}

fn heads(layout: &Layout) -> usize {
    layout.pattern_count().max(1)
}

/// The receptive field after 1 to `layers` layers; stops where another layer adds nothing. Empty where the lengths differ.
pub fn fields(layout: &Layout, layers: usize) -> Vec<Field> {
    let tokens = layout.seqlen_q();
    if tokens != layout.seqlen_kv() || tokens == 0 {
        return Vec::new();
    }
    let words = tokens.div_ceil(64);
    let mut known: Vec<Set> = (0..tokens)
        .map(|token| {
            let mut set = vec![0; words];
            let (at, bit) = word(token);
            set[at] = bit;
            set
        })
        .collect();
    let mut fields = Vec::new();
    for layer in 1..=layers {
        let next: Vec<Set> = (0..tokens)
            .map(|token| step(layout, token, &known))
            .collect();
        let same = next == known;
        known = next;
        if same && layer > 1 {
            break;
        }
        let counts = known.iter().map(|set| {
            let bits: u32 = set.iter().map(|word| word.count_ones()).sum();
            usize::try_from(bits).expect("at most the tokens")
        });
        let (least, most, sum) = counts.fold((usize::MAX, 0, 0), |(least, most, sum), count| {
            (least.min(count), most.max(count), sum + count)
        });
        fields.push(Field {
            layers: layer,
            tokens_min: least,
            tokens_sum: sum,
            tokens_max: most,
        });
    }
    fields
}

/// What a token holds after one more layer.
fn step(layout: &Layout, token: usize, known: &[Set]) -> Set {
    let mut set = known[token].clone();
    let mut done = vec![0_u64; set.len()];
    for head in 0..heads(layout) {
        for key in layout.visible_keys(head, token).flatten() {
            let (at, bit) = word(key);
            // Several heads see many keys in common.
            if done[at] & bit == 0 {
                done[at] |= bit;
                set.iter_mut()
                    .zip(&known[key])
                    .for_each(|(mine, theirs)| *mine |= theirs);
            }
        }
    }
    set
}

/// A shortest way by which a token's content comes to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// From the query to the token: each sees the next.
    pub tokens: Vec<usize>,
}

impl Path {
    /// Layers that it takes.
    pub fn layers(&self) -> usize {
        self.tokens.len() - 1
    }
}

/// The fewest layers after which `query` can know of `token`, as a path; `None` where it never can. Where the lengths
/// differ, `query` is a row, `token` a key, and one layer is all there is.
pub fn path(layout: &Layout, query: usize, token: usize) -> Option<Path> {
    let square = layout.seqlen_q() == layout.seqlen_kv();
    if square && query == token {
        return Some(Path {
            tokens: vec![query],
        });
    }
    let mut before: Vec<Option<usize>> = vec![None; layout.seqlen_kv()];
    let mut edge = vec![query];
    while !edge.is_empty() {
        let mut next = Vec::new();
        for from in edge {
            for head in 0..heads(layout) {
                for key in layout.visible_keys(head, from).flatten() {
                    if before[key].is_none() && !(square && key == query) {
                        before[key] = Some(from);
                        next.push(key);
                    }
                }
            }
        }
        if before.get(token).copied().flatten().is_some() {
            let mut tokens = vec![token];
            let mut at = token;
            while let Some(from) = before[at].filter(|_| tokens.len() < 2 || at != query) {
                tokens.push(from);
                at = from;
                if from == query {
                    break;
                }
            }
            tokens.reverse();
            return Some(Path { tokens });
        }
        if !square {
            return None;
        }
        edge = next;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use flashproof_reference::{BlockPattern, Window};

    fn causal_window(tokens: usize, left: usize) -> Layout {
        let window = Window {
            left: Some(left),
            right: Some(0),
        };
        Layout::sliding_window(tokens, tokens, window)
    }

    #[test]
    fn a_window_reaches_its_width_a_layer() {
        let layout = causal_window(200, 4);
        for field in fields(&layout, 6) {
            assert_eq!(field.tokens_max, 4 * field.layers + 1);
            assert_eq!(field.tokens_min, 1);
        }
        let way = path(&layout, 150, 139).unwrap();
        assert_eq!(way.layers(), 3);
        assert!(
            way.tokens
                .windows(2)
                .all(|step| layout.is_visible(0, step[0], step[1]))
        );
        assert_eq!((way.tokens[0], way.tokens[3]), (150, 139));
        assert_eq!(path(&layout, 10, 11), None);
        assert_eq!(path(&layout, 10, 10).unwrap().layers(), 0);
    }

    #[test]
    fn fields_and_paths_say_the_same() {
        let layout = Layout::dense(96, 96)
            .with_blocks(16, 16)
            .unwrap()
            .with_heads(vec![BlockPattern::random(6, 6, 0.25, 7).unwrap()])
            .unwrap();
        let fields = fields(&layout, 50);
        for field in &fields {
            let within = |q: usize| {
                (0..96)
                    .filter(|token| {
                        path(&layout, q, *token).is_some_and(|path| path.layers() <= field.layers)
                    })
                    .count()
            };
            assert_eq!(field.tokens_sum, (0..96).map(within).sum::<usize>());
        }
        assert!(fields.len() > 1, "one layer must not be all: {fields:?}");
    }

    #[test]
    fn rectangles_have_one_layer() {
        let layout = Layout::dense_causal(4, 8);
        assert_eq!(fields(&layout, 2), []);
        assert_eq!(path(&layout, 0, 4).unwrap().layers(), 1);
        assert_eq!(path(&layout, 0, 5), None);
    }
}
