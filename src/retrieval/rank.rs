//! Scores, ranks and the measures over them.

use std::cmp::Ordering;

use rayon::prelude::*;

use super::collection::Judgement;
use crate::convert::{f64_to_f32, usize_to_f64};

/// Why embeddings cannot be ranked.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RetrievalError {
    /// Not one vector a text.
    #[error("{found} {what} vectors for {want} {what} texts")]
    Count {
        /// `query` or `document`.
        what: &'static str,
        /// Vectors given.
        found: usize,
        /// Texts there are.
        want: usize,
    },
    /// Vectors of different lengths.
    #[error(
        "{what} vector {index} has {found} components, want {want} (a document may have several such parts)"
    )]
    Width {
        /// `query` or `document`, `source` or `target`.
        what: &'static str,
        /// Which vector.
        index: usize,
        /// Its components.
        found: usize,
        /// Components of the first query's.
        want: usize,
    },
    /// A vector that is not of length 1 within 1e-3: then the dot product is no cosine. NaN is none either.
    #[error("{what} vector {index} has squared length {squared:e}, want 1 within 1e-3")]
    NotNormalised {
        /// `query` or `document`, `source` or `target`.
        what: &'static str,
        /// Which vector.
        index: usize,
        /// Its squared Euclidean length.
        squared: f64,
    },
    /// A judgement that points past the texts.
    #[error(
        "judgement (query {query}, document {document}) with {queries} queries and {documents} documents"
    )]
    Judgement {
        /// Query of the judgement.
        query: usize,
        /// Document of the judgement.
        document: usize,
        /// Queries there are.
        queries: usize,
        /// Documents there are.
        documents: usize,
    },
}

/// Rank from 1 of item `gold`: one more than the items that score higher, or score the same under a greater id
/// (descending byte order of ids, as `trec_eval` and MTEB break ties: "d9" before "d10").
///
/// Scores are compared as f64; `trec_eval` holds f32, so scores nearer than that tie there and not here.
#[must_use]
pub fn rank(scores: &[f64], ids: &[&str], gold: usize) -> u32 {
    let gold = (scores[gold], ids[gold]);
    let ahead = scores
        .iter()
        .zip(ids)
        .filter(|&(&score, &id)| order((score, id), gold).is_lt());
    u32::try_from(ahead.count() + 1).unwrap_or(u32::MAX)
}

/// Which of two scored ids comes first in a ranking: the higher score, of equal ones the greater id. Both zeros are
/// one score.
pub(super) fn order(a: (f64, &str), b: (f64, &str)) -> Ordering {
    // Adding 0 turns -0 into 0 and nothing else into anything.
    (b.0 + 0.0).total_cmp(&(a.0 + 0.0)).then(b.1.cmp(a.1))
}

/// Ranks of the judged documents among all documents, one a judgement, by the dot product of L2-normalised vectors
/// summed in f64 in component order (the same on every machine). A document whose vector is several of a query's length has
/// as many parts, and the best of them counts.
///
/// # Errors
/// [`RetrievalError`] for vectors that are missing, uneven, not normalised or NaN.
pub fn ranks(
    ids: &[&str],
    documents: &[impl AsRef<[f32]> + Sync],
    queries: &[impl AsRef<[f32]> + Sync],
    judgements: &[Judgement],
) -> Result<Vec<u32>, RetrievalError> {
    check_all(ids, documents, queries, judgements)?;
    let of_queries: Vec<&[Judgement]> = judgements.chunk_by(|a, b| a.query == b.query).collect();
    let ranked: Vec<Vec<u32>> = of_queries
        .par_iter()
        .map(|of_query| {
            let query = queries[of_query[0].query].as_ref();
            let scores: Vec<f64> = documents
                .iter()
                .map(|document| best_dot(query, document.as_ref()))
                .collect();
            of_query
                .iter()
                .map(|judgement| rank(&scores, ids, judgement.document))
                .collect()
        })
        .collect();
    Ok(ranked.into_iter().flatten().collect())
}

/// A ranking: places of documents with their scores, best first.
pub type Ranking = Vec<(usize, f32)>;

/// [`ranks`] with scores held in f32, as `trec_eval` holds them, so that what ties there ties here; and the first `depth`
/// documents of every query's ranking.
///
/// # Errors
/// Those of [`ranks`].
pub fn trec_ranks(
    ids: &[&str],
    documents: &[impl AsRef<[f32]> + Sync],
    queries: &[impl AsRef<[f32]> + Sync],
    judgements: &[Judgement],
    depth: usize,
) -> Result<(Vec<u32>, Vec<Ranking>), RetrievalError> {
    check_all(ids, documents, queries, judgements)?;
    let ranked: Vec<(Vec<u32>, Ranking)> = (0..queries.len())
        .into_par_iter()
        .map(|query| {
            let vector = queries[query].as_ref();
            let held: Vec<f32> = documents
                .iter()
                .map(|document| f64_to_f32(best_dot(vector, document.as_ref())))
                .collect();
            let scores: Vec<f64> = held.iter().copied().map(f64::from).collect();
            let mut places: Vec<usize> = (0..held.len()).collect();
            places.sort_unstable_by(|&a, &b| order((scores[a], ids[a]), (scores[b], ids[b])));
            places.truncate(depth);
            let of_query = judgements
                .iter()
                .filter(|judgement| judgement.query == query);
            (
                of_query
                    .map(|judgement| rank(&scores, ids, judgement.document))
                    .collect(),
                places
                    .into_iter()
                    .map(|place| (place, held[place]))
                    .collect(),
            )
        })
        .collect();
    let (ranks, rankings): (Vec<Vec<u32>>, Vec<Ranking>) = ranked.into_iter().unzip();
    Ok((ranks.into_iter().flatten().collect(), rankings))
}

fn check_all(
    ids: &[&str],
    documents: &[impl AsRef<[f32]> + Sync],
    queries: &[impl AsRef<[f32]> + Sync],
    judgements: &[Judgement],
) -> Result<(), RetrievalError> {
    let width = match queries.first() {
        Some(query) => query.as_ref().len(),
        None => documents.first().map_or(0, |vector| vector.as_ref().len()),
    };
    if documents.len() != ids.len() {
        return Err(RetrievalError::Count {
            what: "document",
            found: documents.len(),
            want: ids.len(),
        });
    }
    for (index, vector) in documents.iter().enumerate() {
        let parts = vector.as_ref();
        if width == 0 || parts.is_empty() || parts.len() % width != 0 {
            check("document", index, parts, width)?;
        }
        for part in parts.chunks_exact(width.max(1)) {
            check("document", index, part, width)?;
        }
    }
    for (index, vector) in queries.iter().enumerate() {
        check("query", index, vector.as_ref(), width)?;
    }
    if let Some(judgement) = judgements
        .iter()
        .find(|j| j.query >= queries.len() || j.document >= documents.len())
    {
        return Err(RetrievalError::Judgement {
            query: judgement.query,
            document: judgement.document,
            queries: queries.len(),
            documents: documents.len(),
        });
    }
    Ok(())
}

pub(super) fn check(
    what: &'static str,
    index: usize,
    vector: &[f32],
    width: usize,
) -> Result<(), RetrievalError> {
    if vector.len() != width {
        return Err(RetrievalError::Width {
            what,
            index,
            found: vector.len(),
            want: width,
        });
    }
    let squared = dot(vector, vector);
    // Accepts what is within, so that NaN is refused. 1e-3: f16 storage moves a squared length by 2^-10 at most.
    if (squared - 1.0).abs() <= 1e-3 {
        Ok(())
    } else {
        Err(RetrievalError::NotNormalised {
            what,
            index,
            squared,
        })
    }
}

/// The greatest dot product of a query with one of a document's parts, each as long as the query.
fn best_dot(query: &[f32], document: &[f32]) -> f64 {
    let parts = document.chunks_exact(query.len().max(1));
    parts
        .map(|part| dot(query, part))
        .fold(f64::NEG_INFINITY, f64::max)
}

pub(super) fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(&x, &y)| f64::from(x) * f64::from(y))
        .sum()
}

/// Measures of one query, each in [0, 1].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Scores {
    /// nDCG with relevance 1 and cut-off 10: sum over relevant documents at rank r <= 10 of 1 / log2(r + 1), divided by
    /// the same sum of the best order (`trec_eval` `ndcg_cut_10`).
    pub ndcg_at_10: f64,
    /// 1 / rank of the first relevant document if it is at 10 or better, else 0.
    pub mrr_at_10: f64,
    /// Share of the relevant documents at rank 1 (MTEB's `accuracy` where one document is relevant).
    pub recall_at_1: f64,
    /// Mean over relevant documents of the precision at their rank, over the whole ranking (`trec_eval` `map`).
    pub average_precision: f64,
    /// Share of the relevant documents at rank 100 or better (`trec_eval` `recall_100`).
    pub recall_at_100: f64,
}

/// 1 / log2(r + 1) for ranks 1 to 10, written out so that no platform's logarithm decides a last bit.
const DISCOUNT: [f64; 10] = [
    1.0,
    0.630_929_753_571_457_5,
    0.5,
    0.430_676_558_073_393_06,
    0.386_852_807_234_541_63,
    0.356_207_187_108_022_2,
    0.333_333_333_333_333_3,
    0.315_464_876_785_728_77,
    std::f64::consts::LOG10_2, // log10(2) = 1 / log2(10)
    0.289_064_826_317_887_9,
];

/// 1 / log2(r + 1) for the rank r = `at` + 1.
pub(super) fn discount(at: usize) -> f64 {
    match DISCOUNT.get(at) {
        Some(&discount) => discount,
        None => usize_to_f64(at + 2).log2().recip(),
    }
}

/// Measures of a query from the ranks (from 1) of all its relevant documents; 0 stands for one that was not retrieved.
#[must_use]
pub fn scores(relevant_ranks: &[u32]) -> Scores {
    graded_scores(relevant_ranks, &vec![1; relevant_ranks.len()])
}

/// Measures of a query from the ranks (from 1; 0 for one that was not retrieved) and grades of its judged documents. Those
/// of grade 1 or more are relevant; nDCG's gain is the grade.
#[must_use]
pub fn graded_scores(ranks: &[u32], grades: &[i32]) -> Scores {
    let count = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    let judged: Vec<(Option<usize>, i32)> = ranks
        .iter()
        .zip(grades)
        .filter(|(_, grade)| **grade > 0)
        .map(|(&rank, &grade)| {
            let at = usize::try_from(rank).unwrap_or(usize::MAX).checked_sub(1);
            (at, grade)
        })
        .collect();
    if judged.is_empty() {
        return Scores::default();
    }
    let relevant = count(judged.len());
    let gain: f64 = judged
        .iter()
        .filter_map(|&(at, grade)| Some(f64::from(grade) * DISCOUNT.get(at?)?))
        .sum();
    let mut best: Vec<i32> = judged.iter().map(|(_, grade)| *grade).collect();
    best.sort_unstable_by(|a, b| b.cmp(a));
    let ideal: f64 = DISCOUNT
        .iter()
        .zip(best)
        .map(|(discount, grade)| f64::from(grade) * discount)
        .sum();
    let mut places: Vec<usize> = judged.iter().filter_map(|(at, _)| *at).collect();
    places.sort_unstable();
    let first = places.first().filter(|&&at| at < 10);
    let precisions = places.iter().enumerate();
    let precisions = precisions.map(|(before, at)| count(before + 1) / count(at + 1));
    let within = |cut: usize| count(places.iter().filter(|&&at| at < cut).count()) / relevant;
    Scores {
        ndcg_at_10: gain / ideal,
        mrr_at_10: first.map_or(0.0, |at| 1.0 / count(at + 1)),
        recall_at_1: within(1),
        average_precision: precisions.sum::<f64>() / relevant,
        recall_at_100: within(100),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_the_greater_id() {
        let scores = [0.5, 0.5, 0.75, 0.5];
        let ids = ["d10", "d9", "d1", "d2"];
        assert_eq!(
            [0, 1, 2, 3].map(|gold| rank(&scores, &ids, gold)),
            [4, 2, 1, 3]
        );
        assert_eq!(rank(&[0.0, -0.0], &["d1", "d2"], 0), 2, "zeros tie");
    }

    #[test]
    fn measures_of_one_relevant_document() {
        assert_eq!(
            scores(&[1]),
            Scores {
                ndcg_at_10: 1.0,
                mrr_at_10: 1.0,
                recall_at_1: 1.0,
                average_precision: 1.0,
                recall_at_100: 1.0,
            }
        );
        assert_eq!(
            scores(&[3]),
            Scores {
                ndcg_at_10: 0.5,
                mrr_at_10: 1.0 / 3.0,
                recall_at_1: 0.0,
                average_precision: 1.0 / 3.0,
                recall_at_100: 1.0,
            }
        );
        assert_eq!(scores(&[10]).mrr_at_10.to_bits(), 0.1_f64.to_bits());
        for out in [[11], [0], [65_535]] {
            let Scores {
                ndcg_at_10,
                mrr_at_10,
                recall_at_1,
                ..
            } = scores(&out);
            assert!(
                [ndcg_at_10, mrr_at_10, recall_at_1]
                    .iter()
                    .all(|score| *score <= 0.0)
            );
        }
        assert_eq!(scores(&[0]), Scores::default());
        assert!(scores(&[100]).recall_at_100 > 0.99 && scores(&[101]).recall_at_100 < 0.01);
        // trec_eval's definitions, by hand: precisions 1/2 and 2/4, gains 3 and 1 of 3 and 1.
        let graded = graded_scores(&[2, 4, 1], &[3, 1, 0]);
        let (gain, ideal) = (3.0 * DISCOUNT[1] + DISCOUNT[3], 3.0 + DISCOUNT[1]);
        assert!((graded.average_precision - 0.5).abs() < 1e-12);
        assert!((graded.ndcg_at_10 - gain / ideal).abs() < 1e-12);
        assert_eq!(
            graded_scores(&[1], &[0]),
            Scores::default(),
            "nothing relevant"
        );
        assert_eq!(scores(&[]), Scores::default());
    }

    #[test]
    fn measures_of_several_relevant_documents() {
        // Ranks 1 and 4 of two: (1 + 0.430677) / (1 + 0.630930), by hand.
        let two = scores(&[4, 1]);
        assert!((two.ndcg_at_10 - 0.877_215_3).abs() < 1e-6, "{two:?}");
        assert_eq!((two.mrr_at_10, two.recall_at_1), (1.0, 0.5));
        // Twelve relevant, ten of them on top: the ideal stops at ten too.
        let many: Vec<u32> = (1..=12).collect();
        assert!((scores(&many).ndcg_at_10 - 1.0).abs() < 1e-15);
    }

    #[test]
    fn the_discounts_are_the_logarithms() {
        for at in 0..20 {
            let rank = f64::from(u32::try_from(at).unwrap());
            assert!(
                (discount(at) * (rank + 2.0).log2() - 1.0).abs() < 1e-15,
                "rank {}",
                at + 1
            );
        }
    }

    #[test]
    fn ranks_follow_the_dot_product() {
        let documents = [[1.0_f32, 0.0], [0.0, 1.0], [0.6, 0.8]];
        let queries = [[0.8_f32, 0.6], [0.0, 1.0]];
        let judgements =
            [(0, 0), (0, 2), (1, 0)].map(|(query, document)| Judgement { query, document });
        assert_eq!(
            ranks(&["a", "b", "c"], &documents, &queries, &judgements),
            Ok(vec![2, 1, 3])
        );
    }

    #[test]
    fn the_best_part_of_a_document_counts() {
        let documents = [vec![0.6_f32, 0.8], vec![0.0, 1.0, 1.0, 0.0]];
        let judgements = [
            Judgement {
                query: 0,
                document: 0,
            },
            Judgement {
                query: 0,
                document: 1,
            },
        ];
        let query = [vec![1.0_f32, 0.0]];
        assert_eq!(
            ranks(&["a", "b"], &documents, &query, &judgements),
            Ok(vec![2, 1])
        );
        let uneven = [vec![0.6_f32, 0.8], vec![0.0, 1.0, 1.0]];
        let refused = ranks(&["a", "b"], &uneven, &query, &judgements);
        assert!(matches!(
            refused,
            Err(RetrievalError::Width { index: 1, .. })
        ));
    }

    #[test]
    fn bad_vectors_are_refused() {
        let judgement = [Judgement {
            query: 0,
            document: 0,
        }];
        let good = [vec![1.0_f32, 0.0]];
        for (documents, queries) in [
            (vec![vec![f32::NAN, 0.0]], good.to_vec()),
            (good.to_vec(), vec![vec![0.0, 0.0]]),
            (good.to_vec(), vec![vec![1.0]]),
            (vec![], good.to_vec()),
        ] {
            assert!(
                ranks(&["a"], &documents, &queries, &judgement).is_err(),
                "{documents:?} {queries:?}"
            );
        }
        let past = [Judgement {
            query: 0,
            document: 1,
        }];
        assert!(matches!(
            ranks(&["a"], &good, &good, &past),
            Err(RetrievalError::Judgement { .. })
        ));
        assert_eq!(ranks(&["a"], &good, &good, &judgement), Ok(vec![1]));
    }
}
