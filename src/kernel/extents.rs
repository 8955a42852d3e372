//! The integers a manifest's expressions may name, and their values for one problem.

use std::fmt;

/// A name of an expression. The text is the field's term for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Name {
    /// Independent sequences.
    Batch,
    /// Query heads.
    NumQHeads,
    /// Key and value heads.
    NumKvHeads,
    /// Queries of a sequence.
    SeqlenQ,
    /// Keys of a sequence.
    SeqlenKv,
    /// Channels of a head.
    HeadDim,
    /// Queries in a sparsity block.
    BlockQ,
    /// Keys in a sparsity block.
    BlockKv,
    /// Queries that a CTA computes at a time.
    TileQ,
    /// Keys that a CTA computes at a time.
    TileKv,
    /// `ceil_div(seqlen_q, tile_q)`.
    QTiles,
    /// `ceil_div(seqlen_kv, tile_kv)`.
    KvTiles,
    /// Entries of the tile list, all heads together.
    TileCount,
    /// Entries of `row_ptr` from one query head to the next; 0 where all heads share one list.
    RowPtrStride,
    /// 1 where keys after the diagonal are hidden, else 0.
    Causal,
    /// Keys before the diagonal that the window holds; `seqlen_q + seqlen_kv` where unbounded or more.
    WindowLeft,
    /// Keys after the diagonal that the window holds; `seqlen_q + seqlen_kv` where unbounded or more.
    WindowRight,
    /// Leading keys that every query sees, at most `seqlen_kv`.
    Sinks,
}

impl Name {
    /// Every name with its text.
    pub const ALL: [(Name, &'static str); 18] = [
        (Name::Batch, "batch"),
        (Name::NumQHeads, "num_q_heads"),
        (Name::NumKvHeads, "num_kv_heads"),
        (Name::SeqlenQ, "seqlen_q"),
        (Name::SeqlenKv, "seqlen_kv"),
        (Name::HeadDim, "head_dim"),
        (Name::BlockQ, "block_q"),
        (Name::BlockKv, "block_kv"),
        (Name::TileQ, "tile_q"),
        (Name::TileKv, "tile_kv"),
        (Name::QTiles, "q_tiles"),
        (Name::KvTiles, "kv_tiles"),
        (Name::TileCount, "tile_count"),
        (Name::RowPtrStride, "row_ptr_stride"),
        (Name::Causal, "causal"),
        (Name::WindowLeft, "window_left"),
        (Name::WindowRight, "window_right"),
        (Name::Sinks, "sinks"),
    ];

    /// The name spelt `text`.
    pub fn parse(text: &str) -> Option<Name> {
        Self::ALL
            .iter()
            .find(|(_, spelling)| *spelling == text)
            .map(|(name, _)| *name)
    }

    /// How it is spelt.
    pub fn text(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(name, _)| *name == self)
            .map_or("", |(_, spelling)| spelling)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// Values of all names for one problem, each as its [`Name`] says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "every field is the name of the same spelling")]
pub struct Extents {
    pub batch: i64,
    pub num_q_heads: i64,
    pub num_kv_heads: i64,
    pub seqlen_q: i64,
    pub seqlen_kv: i64,
    pub head_dim: i64,
    pub block_q: i64,
    pub block_kv: i64,
    pub tile_q: i64,
    pub tile_kv: i64,
    pub q_tiles: i64,
    pub kv_tiles: i64,
    pub tile_count: i64,
    pub row_ptr_stride: i64,
    pub causal: i64,
    pub window_left: i64,
    pub window_right: i64,
    pub sinks: i64,
}

impl Extents {
    /// Value of a name.
    pub fn value(&self, name: Name) -> i64 {
        match name {
            Name::Batch => self.batch,
            Name::NumQHeads => self.num_q_heads,
            Name::NumKvHeads => self.num_kv_heads,
            Name::SeqlenQ => self.seqlen_q,
            Name::SeqlenKv => self.seqlen_kv,
            Name::HeadDim => self.head_dim,
            Name::BlockQ => self.block_q,
            Name::BlockKv => self.block_kv,
            Name::TileQ => self.tile_q,
            Name::TileKv => self.tile_kv,
            Name::QTiles => self.q_tiles,
            Name::KvTiles => self.kv_tiles,
            Name::TileCount => self.tile_count,
            Name::RowPtrStride => self.row_ptr_stride,
            Name::Causal => self.causal,
            Name::WindowLeft => self.window_left,
            Name::WindowRight => self.window_right,
            Name::Sinks => self.sinks,
        }
    }
}

/// The candidate nearest to `word` in insertions, deletions and replacements, if it is near enough to be what was
/// meant: at most a third of the word.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    let word: Vec<char> = word.chars().take(64).collect();
    candidates
        .into_iter()
        .map(|candidate| (edits(&word, candidate), candidate))
        .min()
        .filter(|(edits, _)| *edits <= word.len().div_ceil(3))
        .map(|(_, candidate)| candidate.to_owned())
}

/// Levenshtein distance.
fn edits(word: &[char], candidate: &str) -> usize {
    let mut row: Vec<usize> = (0..=word.len()).collect();
    for (i, found) in candidate.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, wanted) in word.iter().enumerate() {
            let replaced = diagonal + usize::from(*wanted != found);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[word.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn spellings_are_distinct_and_round_trip() {
        let spellings: HashSet<&str> = Name::ALL.iter().map(|(_, spelling)| *spelling).collect();
        assert_eq!(spellings.len(), Name::ALL.len());
        for (name, spelling) in Name::ALL {
            assert_eq!(Name::parse(spelling), Some(name));
            assert_eq!(name.text(), spelling);
        }
        assert_eq!(Name::parse("seqlen"), None);
    }

    #[test]
    fn near_words_are_suggested_and_far_ones_are_not() {
        let known = ["seqlen_q", "seqlen_kv", "head_dim"];
        assert_eq!(nearest("seqlen_k", known).as_deref(), Some("seqlen_kv"));
        assert_eq!(nearest("headdim", known).as_deref(), Some("head_dim"));
        assert_eq!(nearest("zebra", known), None);
        assert_eq!(nearest("", known), None);
    }
}
