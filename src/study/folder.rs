//! Any folder of BEIR's shape as a study's one pair, `all`.

use crate::noise::Alphabet;
use crate::retrieval::document_id;

use super::StudyError;
use super::data::{DocumentSet, PairData, Source, StudyData};
use super::noisy::noise_error;
use super::plan::{Family, POOL, Plan};

pub(super) fn gather(plan: &Plan, source: &dyn Source) -> Result<StudyData, StudyError> {
    let folder = plan.folder.as_deref().unwrap_or_default();
    let graded = source.beir(folder, plan.qrels.as_deref().unwrap_or("test"))?;
    let mut data = StudyData::default();
    let documents = graded.collection.documents.clone();
    if plan.noise == Family::Characters {
        let texts = documents.iter().map(|document| document.text.as_str());
        data.alphabets
            .insert(None, Alphabet::of(texts).map_err(noise_error(None))?);
    }
    data.sets.insert(
        POOL.to_owned(),
        DocumentSet {
            languages: vec![None; documents.len()],
            answers: vec![Vec::new(); documents.len()],
            documents,
        },
    );
    let sampled = match plan.queries_per_pair {
        Some(count) => graded.with_queries(count, plan.sample_seed),
        None => graded,
    };
    let of_pair = PairData {
        name: POOL.to_owned(),
        share: None,
        // Nothing says which queries belong together: each is a cluster of its own, named by its text too, so that
        // another text under stored results shows.
        clusters: sampled
            .collection
            .queries
            .iter()
            .map(|query| document_id(&format!("{} {}", query.id, query.text)))
            .collect(),
        collection: sampled.collection,
        grades: sampled.grades,
    };
    of_pair.check(plan)?;
    data.pairs.push(of_pair);
    Ok(data)
}
