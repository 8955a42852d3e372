//! Languages by their two-letter codes, and pairs of them.

use std::fmt;
use std::str::FromStr;

/// A language of MLQA or XQuAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Language {
    /// `en`, `eng`.
    English,
    /// `ar`, `ara`.
    Arabic,
    /// `de`, `deu`.
    German,
    /// `es`, `spa`.
    Spanish,
    /// `hi`, `hin`.
    Hindi,
    /// `vi`, `vie`.
    Vietnamese,
    /// `zh`, `zho`, simplified.
    Chinese,
    /// `el`, XQuAD alone.
    Greek,
    /// `ro`, XQuAD alone.
    Romanian,
    /// `ru`, XQuAD alone.
    Russian,
    /// `th`, XQuAD alone.
    Thai,
    /// `tr`, XQuAD alone.
    Turkish,
}

/// Text that names no language of [`Language::ALL`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown language '{0}'; known are en ar de es hi vi zh (MLQA) and el ro ru th tr (XQuAD)")]
pub struct UnknownLanguage(pub String);

impl Language {
    /// Every language, MLQA's seven first.
    pub const ALL: [Self; 12] = [
        Self::English,
        Self::Arabic,
        Self::German,
        Self::Spanish,
        Self::Hindi,
        Self::Vietnamese,
        Self::Chinese,
        Self::Greek,
        Self::Romanian,
        Self::Russian,
        Self::Thai,
        Self::Turkish,
    ];

    /// MLQA's seven, in the order of the published tables.
    pub const MLQA: [Self; 7] = [
        Self::English,
        Self::Arabic,
        Self::German,
        Self::Spanish,
        Self::Hindi,
        Self::Vietnamese,
        Self::Chinese,
    ];

    /// ISO 639-1 code, as in file names.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Arabic => "ar",
            Self::German => "de",
            Self::Spanish => "es",
            Self::Hindi => "hi",
            Self::Vietnamese => "vi",
            Self::Chinese => "zh",
            Self::Greek => "el",
            Self::Romanian => "ro",
            Self::Russian => "ru",
            Self::Thai => "th",
            Self::Turkish => "tr",
        }
    }

    /// Whether MLQA has contexts and questions in this language.
    #[must_use]
    pub fn is_in_mlqa(self) -> bool {
        Self::MLQA.contains(&self)
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl FromStr for Language {
    type Err = UnknownLanguage;

    fn from_str(text: &str) -> Result<Self, UnknownLanguage> {
        Self::ALL
            .into_iter()
            .find(|language| language.code() == text)
            .ok_or_else(|| UnknownLanguage(text.to_owned()))
    }
}

/// One of MLQA's 49 cells: contexts in one language, questions in another or the same; text `CONTEXT-QUESTION`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pair {
    context: Language,
    question: Language,
}

/// Text that is no pair of MLQA.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PairError {
    /// Not two codes with one hyphen between.
    #[error("pair '{0}' is not CONTEXT-QUESTION, such as de-en")]
    Shape(String),
    /// One of the two is no language.
    #[error("pair '{pair}': {unknown}")]
    Language {
        /// The whole text.
        pair: String,
        /// What is wrong with its half.
        unknown: UnknownLanguage,
    },
    /// A language of XQuAD that MLQA does not have.
    #[error("pair '{pair}': MLQA has no {language}; it has en ar de es hi vi zh")]
    NotInMlqa {
        /// The whole text.
        pair: String,
        /// The language it lacks.
        language: Language,
    },
}

impl Pair {
    /// The pair of two languages of MLQA.
    ///
    /// # Errors
    /// [`PairError::NotInMlqa`] for a language that only XQuAD has.
    pub fn new(context: Language, question: Language) -> Result<Self, PairError> {
        match [context, question]
            .into_iter()
            .find(|language| !language.is_in_mlqa())
        {
            Some(language) => Err(PairError::NotInMlqa {
                pair: format!("{context}-{question}"),
                language,
            }),
            None => Ok(Self { context, question }),
        }
    }

    /// All 49, context-major.
    #[must_use]
    pub fn all() -> Vec<Self> {
        Language::MLQA
            .into_iter()
            .flat_map(|context| {
                Language::MLQA
                    .into_iter()
                    .map(move |question| Self { context, question })
            })
            .collect()
    }

    /// Language of the contexts, hence of the corpus and the answers.
    #[must_use]
    pub fn context(self) -> Language {
        self.context
    }

    /// Language of the questions.
    #[must_use]
    pub fn question(self) -> Language {
        self.question
    }

    /// Name of its file in MLQA's `dev` or `test` folder.
    #[must_use]
    pub fn file_name(self, folder: &str) -> String {
        format!(
            "{folder}-context-{}-question-{}.json",
            self.context, self.question
        )
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.context, self.question)
    }
}

impl FromStr for Pair {
    type Err = PairError;

    fn from_str(text: &str) -> Result<Self, PairError> {
        let (context, question) = text
            .split_once('-')
            .ok_or_else(|| PairError::Shape(text.to_owned()))?;
        let language = |code: &str| {
            code.parse().map_err(|unknown| PairError::Language {
                pair: text.to_owned(),
                unknown,
            })
        };
        Self::new(language(context)?, language(question)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_names_its_file_and_reads_back() {
        let pair: Pair = "de-en".parse().unwrap();
        assert_eq!(
            (pair.context(), pair.question()),
            (Language::German, Language::English)
        );
        assert_eq!(pair.file_name("dev"), "dev-context-de-question-en.json");
        let all = Pair::all();
        assert_eq!(all.len(), 49);
        for pair in all {
            assert_eq!(pair.to_string().parse(), Ok(pair));
        }
    }

    #[test]
    fn what_is_no_pair_is_named() {
        assert!(matches!("deen".parse::<Pair>(), Err(PairError::Shape(_))));
        let unknown = "de-xx".parse::<Pair>().unwrap_err();
        assert!(
            unknown.to_string().contains("unknown language 'xx'"),
            "{unknown}"
        );
        assert!(matches!(
            "de-en-ar".parse::<Pair>(),
            Err(PairError::Language { .. })
        ));
        assert!(matches!(
            "de-ru".parse::<Pair>(),
            Err(PairError::NotInMlqa {
                language: Language::Russian,
                ..
            })
        ));
    }
}
