//! Vectors of a run: made once for each (text, arm), kept in memory and, where the caller gives a file, on disk.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use super::StudyError;
use super::embedder::{Embedder, Shift};
use super::store::{Key, Store, key};

/// Documents embedded by one call, of about the same length.
const BATCH: usize = 16;
/// Vectors of documents kept in memory; at 384 components 77 MB.
const CACHE_MAX: usize = 50_000;

/// A document to embed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) text: &'a str,
    pub(super) tokens: usize,
    pub(super) shift: Option<&'a Shift>,
}

#[derive(Debug)]
pub(super) struct Vectors {
    model: String,
    store: Option<Store>,
    documents: HashMap<Key, (Vec<f32>, f64)>,
    questions: HashMap<Key, (Vec<f32>, f64)>,
    /// What the embedder said each arm is.
    identities: HashMap<String, String>,
}

impl Vectors {
    pub(super) fn open(model: &str, path: Option<&Path>) -> Result<Self, StudyError> {
        Ok(Self {
            model: model.to_owned(),
            store: path.map(Store::open).transpose()?,
            documents: HashMap::new(),
            questions: HashMap::new(),
            identities: HashMap::new(),
        })
    }

    fn document_key(&self, text: &str, arm: &str, shift: Option<&Shift>) -> Key {
        let identity = self.identities.get(arm).map_or(arm, String::as_str);
        match shift {
            None => key([&self.model, "document", identity, text]),
            Some(shift) => {
                let identity = format!("{identity} {}", shift.identity());
                key([&self.model, "shifted document", &identity, text])
            }
        }
    }

    fn question_key(&self, text: &str) -> Key {
        key([&self.model, "question", "dense", text])
    }

    /// Makes sure that the vectors of these documents are there; `made` is told how many each batch made.
    pub(super) fn documents(
        &mut self,
        embedder: &mut dyn Embedder,
        documents: &[Wanted<'_>],
        arm: &str,
        mut made: impl FnMut(usize),
    ) -> Result<(), StudyError> {
        if !self.identities.contains_key(arm) {
            self.identities
                .insert(arm.to_owned(), embedder.identity(arm));
        }
        if self.documents.len() + documents.len() > CACHE_MAX {
            self.documents.clear();
        }
        // A store's vectors are all of one length.
        let mut unkept = None;
        let is_kept = !embedder.has_parts(arm);
        let mut seen = BTreeSet::new();
        let mut missing: Vec<(Wanted<'_>, Key)> = Vec::new();
        for &document in documents {
            let key = self.document_key(document.text, arm, document.shift);
            if self.documents.contains_key(&key) || !seen.insert(key) {
                continue;
            }
            let store = self.store.as_mut().filter(|_| is_kept);
            match store.and_then(|store| store.get(&key)) {
                Some(kept) => {
                    self.documents.insert(key, kept);
                }
                None => missing.push((document, key)),
            }
        }
        missing.sort_by_key(|(document, _)| std::cmp::Reverse(document.tokens));
        let fail = |cause: String| StudyError::Embedder {
            doing: format!("embedding documents under {arm}"),
            cause,
        };
        for batch in missing.chunks(BATCH) {
            let texts: Vec<String> = batch
                .iter()
                .map(|(document, _)| document.text.to_owned())
                .collect();
            let shifts: Vec<Shift> = batch
                .iter()
                .filter_map(|(document, _)| document.shift.cloned())
                .collect();
            // All documents of a call are at one level: all are shifted, or none.
            let embedded = if shifts.is_empty() {
                embedder.embed_documents(&texts, arm)
            } else {
                embedder.embed_shifted(&texts, &shifts, arm)
            };
            let embedded = embedded.map_err(fail)?;
            let (vectors, densities) = (embedded.vectors.len(), embedded.densities.len());
            if vectors != texts.len() || densities != texts.len() {
                let want = texts.len();
                return Err(fail(format!(
                    "{vectors} vectors and {densities} densities for {want} texts"
                )));
            }
            let added = batch
                .iter()
                .zip(embedded.vectors)
                .zip(embedded.densities)
                .map(|(((_, key), vector), density)| (*key, (vector, density)));
            let store = if is_kept {
                &mut self.store
            } else {
                &mut unkept
            };
            keep(store, &mut self.documents, added.collect())?;
            made(texts.len());
        }
        Ok(())
    }

    /// Makes sure that the vectors of these questions are there.
    pub(super) fn questions(
        &mut self,
        embedder: &mut dyn Embedder,
        questions: &[&str],
    ) -> Result<(), StudyError> {
        let mut missing: Vec<(&str, Key)> = Vec::new();
        for &text in questions {
            let key = self.question_key(text);
            if self.questions.contains_key(&key) {
                continue;
            }
            match self.store.as_mut().and_then(|store| store.get(&key)) {
                Some(kept) => {
                    self.questions.insert(key, kept);
                }
                None => missing.push((text, key)),
            }
        }
        let fail = |cause: String| StudyError::Embedder {
            doing: "embedding questions".to_owned(),
            cause,
        };
        for batch in missing.chunks(BATCH) {
            let texts: Vec<String> = batch.iter().map(|(text, _)| (*text).to_owned()).collect();
            let vectors = embedder.embed_queries(&texts).map_err(fail)?;
            if vectors.len() != texts.len() {
                let (found, want) = (vectors.len(), texts.len());
                return Err(fail(format!("{found} vectors for {want} texts")));
            }
            let added = batch.iter().zip(vectors);
            let added = added.map(|((_, key), vector)| (*key, (vector, 1.0)));
            keep(&mut self.store, &mut self.questions, added.collect())?;
        }
        Ok(())
    }

    /// Vector and density of a document that was made sure of.
    pub(super) fn of_document(
        &self,
        text: &str,
        arm: &str,
        shift: Option<&Shift>,
    ) -> &(Vec<f32>, f64) {
        &self.documents[&self.document_key(text, arm, shift)]
    }

    /// Vector of a question that was made sure of.
    pub(super) fn of_question(&self, text: &str) -> &[f32] {
        &self.questions[&self.question_key(text)].0
    }
}

fn keep(
    store: &mut Option<Store>,
    cache: &mut HashMap<Key, (Vec<f32>, f64)>,
    added: Vec<(Key, (Vec<f32>, f64))>,
) -> Result<(), StudyError> {
    if let Some(store) = store {
        let records: Vec<(Key, &[f32], f64)> = added
            .iter()
            .map(|(key, (vector, density))| (*key, vector.as_slice(), *density))
            .collect();
        store.append(&records)?;
    }
    cache.extend(added);
    Ok(())
}
