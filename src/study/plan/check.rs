//! What a plan may ask for.

use std::collections::BTreeSet;

use super::{Family, POOL, Plan, PlanError, Split, Task};
use crate::noise::{Length, Level, check_rate, check_sigma};

impl Plan {
    /// Refuses a plan that asks for nothing, for something twice, or for what does not exist. (Whether an arm exists
    /// is the embedder's to say.)
    ///
    /// # Errors
    /// [`PlanError`] for the first thing wrong.
    pub fn check(&self) -> Result<(), PlanError> {
        let levels: Vec<String> = self.levels.iter().map(f64::to_string).collect();
        let seeds: Vec<String> = self.seeds.iter().map(u64::to_string).collect();
        for (field, values) in [
            ("pairs", &self.pairs),
            ("arms", &self.arms),
            ("levels", &levels),
            ("seeds", &seeds),
        ] {
            if values.is_empty() {
                return Err(PlanError::Empty { field });
            }
            let mut seen = BTreeSet::new();
            if let Some(value) = values.iter().find(|value| !seen.insert(*value)) {
                return Err(PlanError::Twice {
                    field,
                    value: value.clone(),
                });
            }
        }
        self.check_task()?;
        let wrong = |field: &'static str, reason: String| Err(PlanError::Value { field, reason });
        if let Some(arm) = self
            .arms
            .iter()
            .find(|arm| arm.trim().is_empty() || arm.contains(char::is_whitespace))
        {
            return wrong("arms", format!("'{arm}' is no arm: a word without spaces"));
        }
        for &level in &self.levels {
            if level.is_sign_negative() {
                return wrong("levels", format!("{level} is negative"));
            }
            let checked = match self.noise {
                Family::None => Ok(()),
                Family::Distractor | Family::HardDistractor => Level::new(level).map(drop),
                Family::Characters => check_rate(level),
                Family::Embedding => check_sigma(level),
            };
            if let Err(error) = checked {
                return wrong("levels", error.to_string());
            }
        }
        self.check_variants()?;
        self.check_shares()?;
        self.check_registration()?;
        let is_clean = self.noise == Family::None;
        if is_clean && (self.levels.iter().any(|&level| level > 0.0) || self.seeds.len() > 1) {
            return wrong(
                "noise",
                "\"none\" goes with levels = [0] and one seed".to_owned(),
            );
        }
        if self.split == Split::All
            && self.task.has_halves()
            && !(is_clean && self.arms == ["dense"])
        {
            let reason = "\"all\" is for the dense arm without noise, to compare with published scores; every other \
                          study before the registered run asks exploration questions only";
            return wrong("split", reason.to_owned());
        }
        if self.contexts_per_pair.is_some_and(|count| count < 2) {
            return wrong(
                "contexts_per_pair",
                "a corpus needs at least 2 contexts".to_owned(),
            );
        }
        if self.queries_per_pair == Some(0) {
            return wrong("queries_per_pair", "0 questions have no mean".to_owned());
        }
        if self.gold_tokens == 0 || self.total_tokens <= self.gold_tokens {
            let Self {
                total_tokens,
                gold_tokens,
                ..
            } = self;
            let reason = format!(
                "{total_tokens} with gold_tokens = {gold_tokens}: want total_tokens > gold_tokens > 0"
            );
            return wrong("total_tokens", reason);
        }
        Ok(())
    }

    /// Pairs and keys that belong to some tasks alone.
    fn check_task(&self) -> Result<(), PlanError> {
        let wrong = |field: &'static str, reason: String| Err(PlanError::Value { field, reason });
        let is_of_sentences = matches!(self.task, Task::MlqaR | Task::XquadR);
        match self.task {
            Task::MlqaRetrieval => {
                self.languages()?;
            }
            Task::MlqaR | Task::XquadR => {
                let named = self.pool_pairs()?;
                let pool = self.pool_languages()?;
                let named = named
                    .into_iter()
                    .flat_map(|(context, question)| [context, Some(question)]);
                let stranger = named
                    .flatten()
                    .chain(pool.iter().copied())
                    .find(|language| self.task == Task::MlqaR && !language.is_in_mlqa());
                if let Some(language) = stranger {
                    return wrong(
                        "pairs",
                        format!("MLQA-R has no {language}; it has en ar de es hi vi zh"),
                    );
                }
                if pool.is_empty() && self.pairs.iter().any(|pair| pair.starts_with(POOL)) {
                    return Err(PlanError::Empty { field: "pool" });
                }
                let mut seen = BTreeSet::new();
                if let Some(twice) = self.pool.iter().find(|language| !seen.insert(*language)) {
                    let value = twice.clone();
                    return Err(PlanError::Twice {
                        field: "pool",
                        value,
                    });
                }
            }
            Task::Beir => {
                if self.folder.as_ref().is_none_or(String::is_empty) {
                    return Err(PlanError::Empty { field: "folder" });
                }
                if self.pairs != [POOL] {
                    return wrong("pairs", format!("a folder has one pair, \"{POOL}\""));
                }
                if self.contexts_per_pair.is_some() {
                    return wrong(
                        "contexts_per_pair",
                        "a folder's corpus is searched whole".to_owned(),
                    );
                }
            }
        }
        if !is_of_sentences && !self.pool.is_empty() {
            return wrong(
                "pool",
                "goes with task = \"mlqa-r\" or \"xquad-r\"".to_owned(),
            );
        }
        if self.task != Task::Beir && (self.folder.is_some() || self.qrels.is_some()) {
            return wrong(
                "folder",
                "goes with task = \"beir\", and so does qrels".to_owned(),
            );
        }
        if self.task == Task::MlqaRetrieval {
            return Ok(());
        }
        if self.noise.is_of_distractors() || self.protect_answers {
            let reason = "distractors and protected answers are defined for task = \"mlqa-retrieval\"; this one goes with \
                          \"none\", \"characters\" or \"embedding\"";
            return wrong("noise", reason.to_owned());
        }
        if !self.corpus_shares.is_empty() || self.registered.is_some() {
            let reason = "goes with task = \"mlqa-retrieval\", and so does [registered]";
            return wrong("corpus_shares", reason.to_owned());
        }
        if self.split == Split::Confirmation {
            return wrong(
                "split",
                "\"confirmation\" is for the registered run of mlqa-retrieval".to_owned(),
            );
        }
        Ok(())
    }

    /// Keys that belong to some families of noise alone.
    fn check_variants(&self) -> Result<(), PlanError> {
        let wrong = |field: &'static str, reason: &str| {
            let reason = reason.to_owned();
            Err(PlanError::Value { field, reason })
        };
        if self.length == Length::Growing && !self.noise.is_of_distractors() {
            return wrong(
                "length",
                "\"growing\" goes with noise = \"distractor\" or \"hard-distractor\"",
            );
        }
        if self.protect_answers && !matches!(self.noise, Family::Characters | Family::Embedding) {
            return wrong(
                "protect_answers",
                "goes with noise = \"characters\" or \"embedding\"; distractors never touch an answer",
            );
        }
        Ok(())
    }

    fn check_shares(&self) -> Result<(), PlanError> {
        let field = "corpus_shares";
        let refuse = |reason: String| Err(PlanError::Value { field, reason });
        if let Some(share) = self
            .corpus_shares
            .iter()
            .find(|share| !(**share > 0.0 && **share <= 1.0))
        {
            return refuse(format!("{share} is not above 0 and at most 1"));
        }
        if let Some(pair) = self
            .corpus_shares
            .windows(2)
            .find(|pair| pair[0] >= pair[1])
        {
            return refuse(format!(
                "{} comes before {}: want them ascending",
                pair[0], pair[1]
            ));
        }
        if !self.corpus_shares.is_empty()
            && (self.contexts_per_pair.is_some() || self.queries_per_pair.is_some())
        {
            return refuse("goes without contexts_per_pair and queries_per_pair".to_owned());
        }
        Ok(())
    }

    fn check_registration(&self) -> Result<(), PlanError> {
        let Some(registered) = &self.registered else {
            return if self.split == Split::Confirmation {
                Err(PlanError::Value {
                    field: "split",
                    reason: "\"confirmation\" is for a plan with a [registered] table, committed before it runs; \
                             ask exploration questions until then"
                        .to_owned(),
                })
            } else {
                Ok(())
            };
        };
        let refuse = |reason: String| {
            Err(PlanError::Value {
                field: "registered",
                reason,
            })
        };
        for arm in [
            &registered.block,
            &registered.local,
            &registered.local_equal_density,
            &registered.dense,
        ] {
            if !self.arms.contains(arm) {
                return refuse(format!("'{arm}' is none of the plan's arms"));
            }
        }
        if !(registered.margin > 0.0 && registered.margin < 1.0) {
            return refuse(format!(
                "margin {} is not between 0 and 1",
                registered.margin
            ));
        }
        if registered.resamples < 40 {
            return refuse(format!(
                "{} resamples; want at least 40",
                registered.resamples
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        model = "m"
        pairs = ["de-en"]
        arms = ["dense", "window:0.25"]
        levels = [0, 0.25]
        seeds = [3]
    "#;

    #[track_caller]
    fn refused(from: &str, to: &str, message: &str) {
        assert!(TEXT.contains(from));
        let error = Plan::from_toml(&TEXT.replace(from, to))
            .expect_err("must be refused")
            .to_string();
        assert!(error.contains(message), "{error}");
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        refused("seeds = [3]", "seeds = []", "seeds is empty");
        refused("[0, 0.25]", "[0, 0.0]", "levels has 0 twice");
        refused("[0, 0.25]", "[0.3]", "noise level 0.3 is none of");
        refused("de-en", "de-xx", "unknown language 'xx'");
        refused("\"dense\"", "\"a b\"", "'a b' is no arm");
        refused("model", "modle", "unknown field `modle`");
        refused(
            "seeds = [3]",
            "seeds = [3]\nnoise = \"none\"",
            "\"none\" goes with levels = [0]",
        );
        for (noise, message) in [
            (
                "noise = \"characters\"\nlength = \"growing\"",
                "length: \"growing\" goes with",
            ),
            ("protect_answers = true", "protect_answers: goes with"),
            ("noise = \"typos\"", "unknown variant `typos`"),
        ] {
            refused("seeds = [3]", &format!("seeds = [3]\n{noise}"), message);
        }
        for (levels, noise, message) in [
            ("[0, 1.5]", "characters", "noise level 1.5 is no error rate"),
            (
                "[0, inf]",
                "embedding",
                "noise level inf is no relative standard deviation",
            ),
            ("[0, -0.5]", "embedding", "-0.5 is negative"),
            ("[0.3]", "hard-distractor", "noise level 0.3 is none of"),
        ] {
            let text = TEXT.replace("[0, 0.25]", levels);
            let error = Plan::from_toml(&format!("{text}\nnoise = \"{noise}\""));
            let error = error.expect_err("must be refused").to_string();
            assert!(error.contains(message), "{error}");
        }
        refused(
            "seeds = [3]",
            "seeds = [3]\nsplit = \"all\"",
            "\"all\" is for the dense arm",
        );
        refused(
            "seeds = [3]",
            "seeds = [3]\nsplit = \"confirmation\"",
            "\"confirmation\" is for a plan with a [registered] table",
        );
        refused(
            "seeds = [3]",
            "seeds = [3]\ncontexts_per_pair = 1",
            "at least 2",
        );
        refused(
            "seeds = [3]",
            "seeds = [3]\nqueries_per_pair = 0",
            "0 questions",
        );
        refused(
            "seeds = [3]",
            "seeds = [3]\ntotal_tokens = 128",
            "128 with gold_tokens = 128",
        );
        for (shares, message) in [
            ("[0.5, 0.5]", "0.5 comes before 0.5"),
            ("[0, 1]", "0 is not above 0"),
            (
                "[0.5, 1]\ncontexts_per_pair = 9",
                "goes without contexts_per_pair",
            ),
        ] {
            refused(
                "seeds = [3]",
                &format!("seeds = [3]\ncorpus_shares = {shares}"),
                message,
            );
        }
        let registered = "seeds = [3]\n[registered]\nblock = \"dense\"\nlocal = \"window:0.25\"\ndense = \"dense\"\n\
                          local_equal_density = \"bare\"\nmargin = 0.02\nresamples = 100\nchosen_on = \"x\"";
        refused(
            "seeds = [3]",
            registered,
            "'bare' is none of the plan's arms",
        );
    }
}
