//! Smaller cases near a case, for whoever looks for the smallest one that still fails.

use super::{Blocks, Case, LayoutSpec, Values};
use flashproof_reference::{Shape, Window};

impl Case {
    /// Legal cases one step simpler, the boldest steps first. Repeating it ends: every step makes the case smaller.
    pub fn simpler(&self) -> Vec<Self> {
        let mut cases = Vec::new();
        let smallest = Self::smallest(&self.kernel);
        cases.push(smallest.clone());
        for layout in self.layout.simpler() {
            cases.push(Self {
                layout,
                ..self.clone()
            });
        }
        let extents: [fn(&mut Shape) -> &mut usize; 6] = [
            |shape| &mut shape.batch,
            |shape| &mut shape.num_q_heads,
            |shape| &mut shape.num_kv_heads,
            |shape| &mut shape.seqlen_q,
            |shape| &mut shape.seqlen_kv,
            |shape| &mut shape.head_dim,
        ];
        for extent in extents {
            for smaller in smaller(
                *extent(&mut self.shape.clone()),
                *extent(&mut smallest.shape.clone()),
            ) {
                let mut case = self.clone();
                *extent(&mut case.shape) = smaller;
                case.layout.sinks = case.layout.sinks.min(case.shape.seqlen_kv);
                cases.push(case);
            }
        }
        cases.push(Self {
            dtype: smallest.dtype,
            ..self.clone()
        });
        cases.push(Self {
            values: Values::default(),
            ..self.clone()
        });
        cases.push(Self {
            target: smallest.target,
            ..self.clone()
        });
        cases.push(Self {
            contract: smallest.contract,
            ..self.clone()
        });
        cases.push(Self {
            async_order: smallest.async_order,
            ..self.clone()
        });
        cases.push(Self {
            approx: smallest.approx,
            ..self.clone()
        });
        for seed in [0, self.seed / 2] {
            cases.push(Self {
                seed,
                ..self.clone()
            });
        }
        for schedule in [0, self.schedule / 2] {
            cases.push(Self {
                schedule,
                ..self.clone()
            });
        }
        cases.retain(|case| case != self && case.validate().is_ok());
        cases.dedup();
        cases
    }
}

impl LayoutSpec {
    fn simpler(&self) -> Vec<Self> {
        let mut specs = vec![
            Self {
                blocks: Blocks::All,
                ..self.clone()
            },
            Self {
                causal: false,
                ..self.clone()
            },
            Self {
                window: Window::default(),
                ..self.clone()
            },
            Self {
                global: Vec::new(),
                ..self.clone()
            },
        ];
        for sinks in smaller(self.sinks, 0) {
            specs.push(Self {
                sinks,
                ..self.clone()
            });
        }
        if let Some(left) = self.window.left {
            specs.push(Self {
                window: Window {
                    left: None,
                    ..self.window
                },
                ..self.clone()
            });
            for left in smaller(left, 0) {
                specs.push(Self {
                    window: Window {
                        left: Some(left),
                        ..self.window
                    },
                    ..self.clone()
                });
            }
        }
        if let Some(right) = self.window.right {
            specs.push(Self {
                window: Window {
                    right: None,
                    ..self.window
                },
                ..self.clone()
            });
            for right in smaller(right, 0) {
                specs.push(Self {
                    window: Window {
                        right: Some(right),
                        ..self.window
                    },
                    ..self.clone()
                });
            }
        }
        if let Blocks::Random {
            per_mille,
            block_q,
            block_kv,
            seed,
            per_head,
        } = self.blocks
        {
            if per_head {
                let blocks = Blocks::Random {
                    per_mille,
                    block_q,
                    block_kv,
                    seed,
                    per_head: false,
                };
                specs.push(Self {
                    blocks,
                    ..self.clone()
                });
            }
            for seed in [0, seed / 2] {
                let blocks = Blocks::Random {
                    per_mille,
                    block_q,
                    block_kv,
                    seed,
                    per_head,
                };
                specs.push(Self {
                    blocks,
                    ..self.clone()
                });
            }
        }
        specs.retain(|spec| spec != self);
        specs
    }
}

/// The least value, then half way to it, then one less.
fn smaller(value: usize, least: usize) -> Vec<usize> {
    let mut values = vec![
        least,
        least + value.saturating_sub(least) / 2,
        value.saturating_sub(1),
    ];
    values.retain(|&candidate| candidate >= least && candidate < value);
    values.dedup();
    values
}
