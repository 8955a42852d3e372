//! The layout of a case as text: `blocks(500,64,64,7)+causal+window(128,-)+sinks(4)`.
//!
//! Terms are joined by `+`, at most one of each kind, in any order; printing puts them in the order of this list:
//!
//! | term | meaning |
//! |---|---|
//! | `dense` | every pair; alone |
//! | `blocks(PER_MILLE,BLOCK_Q,BLOCK_KV,SEED)` | random sparsity blocks, one pattern for all heads |
//! | `head_blocks(PER_MILLE,BLOCK_Q,BLOCK_KV,SEED)` | random sparsity blocks, each query head its own |
//! | `strided(BLOCK_Q,BLOCK_KV,LOCAL,STRIDE)` | `LOCAL` block columns on each side of the diagonal, and every `STRIDE`-th from it |
//! | `bigbird(BLOCK_Q,BLOCK_KV,LOCAL,RANDOM,GLOBAL,SEED)` | block columns beside the diagonal, random ones, leading ones |
//! | `causal` | no key after the diagonal |
//! | `window(LEFT,RIGHT)` | so many keys besides the diagonal; `-` (or `inf`) = unbounded |
//! | `sinks(COUNT)` | leading keys that every query sees |
//! | `global(I,J,...)` | tokens that see, and are seen by, everything |
//!
//! A longformer is `window(W,W)+global(0,1,...)`: it needs no term of its own.

use super::CaseError;
use super::error::nearest;
use super::text::number;
use crate::convert::usize_to_f64;
use flashproof_reference::{
    BigBird, BlockPattern, Extents, Layout, Shape, Strided, Window, random,
};
use std::fmt;

/// Which sparsity blocks are present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Blocks {
    /// All of them.
    #[default]
    All,
    /// A random share.
    Random {
        /// Present blocks of 1000.
        per_mille: usize,
        /// Queries of a block.
        block_q: usize,
        /// Keys of a block.
        block_kv: usize,
        /// Which random choice.
        seed: u64,
        /// Whether each query head has its own pattern.
        per_head: bool,
    },
    /// Local and strided columns (Sparse Transformer).
    Strided {
        /// Queries of a block.
        block_q: usize,
        /// Keys of a block.
        block_kv: usize,
        /// Block columns on each side of the diagonal.
        local: usize,
        /// Every so many block columns, one that all see.
        stride: usize,
    },
    /// Window, random and global blocks (BigBird).
    BigBird {
        /// Queries of a block.
        block_q: usize,
        /// Keys of a block.
        block_kv: usize,
        /// Block columns on each side of the diagonal.
        local: usize,
        /// Random block columns of each block row.
        random: usize,
        /// Leading block rows and columns that are whole.
        global: usize,
        /// Which random choice.
        seed: u64,
    },
}

/// What a layout is made of; extents and heads come from the case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LayoutSpec {
    /// Sparsity blocks.
    pub blocks: Blocks,
    /// No key after the diagonal.
    pub causal: bool,
    /// Keys besides the diagonal.
    pub window: Window,
    /// Leading keys that every query sees.
    pub sinks: usize,
    /// Tokens that see, and are seen by, everything; ascending, without repetition.
    pub global: Vec<usize>,
}

/// Every name a term can have.
const TERMS: [&str; 9] = [
    "dense",
    "blocks",
    "head_blocks",
    "strided",
    "bigbird",
    "causal",
    "window",
    "sinks",
    "global",
];

impl LayoutSpec {
    /// Reads the value of the key `layout`.
    pub(super) fn parse(text: &str) -> Result<Self, CaseError> {
        let mut spec = Self::default();
        if text == "dense" {
            return Ok(spec);
        }
        let mut seen: Vec<&'static str> = Vec::new();
        for term in text.split('+') {
            let (name, arguments) = match term.split_once('(') {
                Some((name, rest)) => {
                    let inner = rest.strip_suffix(')').ok_or_else(|| {
                        refuse(
                            term,
                            "a parenthesis is open; close it at the end of the term",
                        )
                    })?;
                    (name, inner.split(',').collect())
                }
                None => (term, Vec::new()),
            };
            let kind = match name {
                "blocks" | "head_blocks" | "strided" | "bigbird" => "blocks",
                "causal" => "causal",
                "window" => "window",
                "sinks" => "sinks",
                "global" => "global",
                "dense" => {
                    return Err(refuse(
                        term,
                        "dense stands alone; leave it out beside other terms",
                    ));
                }
                unknown => {
                    let hint = nearest(unknown, &TERMS)
                        .map_or_else(String::new, |name| format!(", did you mean {name}"));
                    return Err(refuse(
                        term,
                        &format!("must be one of {}{hint}", TERMS.join(" ")),
                    ));
                }
            };
            if seen.contains(&kind) {
                return Err(refuse(
                    term,
                    &format!("a term of kind {kind} is already there; give one"),
                ));
            }
            seen.push(kind);
            spec.add(term, name, &arguments)?;
        }
        Ok(spec)
    }

    fn add(&mut self, term: &str, name: &str, arguments: &[&str]) -> Result<(), CaseError> {
        match (name, arguments) {
            ("blocks" | "head_blocks", &[per_mille, block_q, block_kv, seed]) => {
                self.blocks = Blocks::Random {
                    per_mille: number("layout", per_mille)?,
                    block_q: number("layout", block_q)?,
                    block_kv: number("layout", block_kv)?,
                    seed: number("layout", seed)?,
                    per_head: name == "head_blocks",
                };
            }
            ("strided", &[block_q, block_kv, local, stride]) => {
                self.blocks = Blocks::Strided {
                    block_q: number("layout", block_q)?,
                    block_kv: number("layout", block_kv)?,
                    local: number("layout", local)?,
                    stride: number("layout", stride)?,
                };
            }
            ("bigbird", &[block_q, block_kv, local, random, global, seed]) => {
                self.blocks = Blocks::BigBird {
                    block_q: number("layout", block_q)?,
                    block_kv: number("layout", block_kv)?,
                    local: number("layout", local)?,
                    random: number("layout", random)?,
                    global: number("layout", global)?,
                    seed: number("layout", seed)?,
                };
            }
            ("causal", []) => self.causal = true,
            ("window", &[left, right]) => {
                self.window = Window {
                    left: reach(left)?,
                    right: reach(right)?,
                }
            }
            ("sinks", &[count]) => self.sinks = number("layout", count)?,
            ("global", tokens) if !tokens.is_empty() => {
                self.global = tokens
                    .iter()
                    .map(|token| number("layout", token))
                    .collect::<Result<_, _>>()?;
            }
            // Every name of TERMS with a wrong number of arguments ends here.
            _ => return Err(refuse(term, usage(name))),
        }
        Ok(())
    }

    /// Whether the parts fit each other and the extents.
    pub(super) fn validate(&self, shape: &Shape) -> Result<(), CaseError> {
        let at_least_one = |what: &str, value: usize| match value {
            0 => Err(refuse(
                &self.to_string(),
                &format!("{what} is 0, but must be at least 1"),
            )),
            _ => Ok(()),
        };
        match self.blocks {
            Blocks::All => {}
            Blocks::Random {
                per_mille,
                block_q,
                block_kv,
                ..
            } => {
                at_least_one("BLOCK_Q", block_q)?;
                at_least_one("BLOCK_KV", block_kv)?;
                if per_mille > 1000 {
                    return Err(refuse(
                        &self.to_string(),
                        &format!("PER_MILLE is {per_mille}, but at most 1000"),
                    ));
                }
            }
            Blocks::Strided {
                block_q,
                block_kv,
                stride,
                ..
            } => {
                at_least_one("BLOCK_Q", block_q)?;
                at_least_one("BLOCK_KV", block_kv)?;
                at_least_one("STRIDE", stride)?;
            }
            Blocks::BigBird {
                block_q, block_kv, ..
            } => {
                at_least_one("BLOCK_Q", block_q)?;
                at_least_one("BLOCK_KV", block_kv)?;
            }
        }
        if !self.global.windows(2).all(|two| two[0] < two[1]) {
            return Err(refuse(
                &self.to_string(),
                "global tokens must ascend without repetition",
            ));
        }
        let tokens = shape.seqlen_q.max(shape.seqlen_kv);
        if let Some(token) = self.global.iter().find(|&&token| token >= tokens) {
            return Err(refuse(
                &self.to_string(),
                &format!("global token {token} is not below the sequence's {tokens}"),
            ));
        }
        if self.sinks > shape.seqlen_kv {
            let limit = format!("{} sinks, but seqlen_kv is {}", self.sinks, shape.seqlen_kv);
            return Err(refuse(&self.to_string(), &limit));
        }
        Ok(())
    }
}

/// A reach of a window: a count, or `-` for unbounded.
fn reach(text: &str) -> Result<Option<usize>, CaseError> {
    match text {
        "-" | "inf" => Ok(None),
        count => number("layout", count).map(Some),
    }
}

/// How a term is written.
fn usage(name: &str) -> &'static str {
    match name {
        "blocks" => "write blocks(PER_MILLE,BLOCK_Q,BLOCK_KV,SEED)",
        "head_blocks" => "write head_blocks(PER_MILLE,BLOCK_Q,BLOCK_KV,SEED)",
        "strided" => "write strided(BLOCK_Q,BLOCK_KV,LOCAL,STRIDE)",
        "bigbird" => "write bigbird(BLOCK_Q,BLOCK_KV,LOCAL,RANDOM,GLOBAL,SEED)",
        "window" => "write window(LEFT,RIGHT), `-` for unbounded",
        "sinks" => "write sinks(COUNT)",
        "global" => "write global(TOKEN,TOKEN,...)",
        _ => "this term takes no arguments",
    }
}

fn refuse(term: &str, limit: &str) -> CaseError {
    CaseError::Layout {
        term: term.to_owned(),
        limit: limit.to_owned(),
    }
}

impl fmt::Display for LayoutSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut terms: Vec<String> = Vec::new();
        match self.blocks {
            Blocks::All => {}
            Blocks::Random {
                per_mille,
                block_q,
                block_kv,
                seed,
                per_head,
            } => {
                let name = if per_head { "head_blocks" } else { "blocks" };
                terms.push(format!("{name}({per_mille},{block_q},{block_kv},{seed})"));
            }
            Blocks::Strided {
                block_q,
                block_kv,
                local,
                stride,
            } => {
                terms.push(format!("strided({block_q},{block_kv},{local},{stride})"));
            }
            Blocks::BigBird {
                block_q,
                block_kv,
                local,
                random,
                global,
                seed,
            } => {
                terms.push(format!(
                    "bigbird({block_q},{block_kv},{local},{random},{global},{seed})"
                ));
            }
        }
        if self.causal {
            terms.push("causal".to_owned());
        }
        if self.window != Window::default() {
            let side = |reach: Option<usize>| {
                reach.map_or_else(|| "-".to_owned(), |count| count.to_string())
            };
            terms.push(format!(
                "window({},{})",
                side(self.window.left),
                side(self.window.right)
            ));
        }
        if self.sinks > 0 {
            terms.push(format!("sinks({})", self.sinks));
        }
        if !self.global.is_empty() {
            let tokens: Vec<String> = self.global.iter().map(usize::to_string).collect();
            terms.push(format!("global({})", tokens.join(",")));
        }
        f.write_str(if terms.is_empty() { "dense" } else { "" })?;
        f.write_str(&terms.join("+"))
    }
}

impl LayoutSpec {
    /// The layout for these extents.
    pub(super) fn build(&self, shape: &Shape) -> Result<Layout, CaseError> {
        let extents = |block_q, block_kv| Extents {
            seqlen_q: shape.seqlen_q,
            seqlen_kv: shape.seqlen_kv,
            block_q,
            block_kv,
        };
        let layout = match self.blocks {
            Blocks::All => Layout::dense(shape.seqlen_q, shape.seqlen_kv),
            Blocks::Random {
                per_mille,
                block_q,
                block_kv,
                seed,
                per_head,
            } => {
                let extents = extents(block_q, block_kv);
                let layout = Layout::from_extents(extents)?;
                let density = usize_to_f64(per_mille) / 1000.0;
                let heads = if per_head { shape.num_q_heads } else { 1 };
                let (rows, columns) = (extents.block_rows(), extents.block_columns());
                let patterns: Result<Vec<BlockPattern>, _> = (0..heads)
                    .map(|head| {
                        let head = u64::try_from(head).expect("usize has at most 64 bits");
                        let seed = if per_head {
                            random::bits(seed, head)
                        } else {
                            seed
                        };
                        BlockPattern::random(rows, columns, density, seed)
                    })
                    .collect();
                layout.with_heads(patterns?)?
            }
            Blocks::Strided {
                block_q,
                block_kv,
                local,
                stride,
            } => Layout::strided(extents(block_q, block_kv), Strided { local, stride })?,
            Blocks::BigBird {
                block_q,
                block_kv,
                local,
                random,
                global,
                seed,
            } => Layout::bigbird(
                extents(block_q, block_kv),
                BigBird {
                    local,
                    global,
                    random,
                },
                seed,
            )?,
        };
        Ok(layout
            .with_causal(self.causal)
            .with_window(self.window)
            .with_sinks(self.sinks)
            .with_global(self.global.iter().copied())?)
    }
}
