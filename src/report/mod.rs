//! Verdicts, findings and runs as text, JSON, CSV and SVG. Nothing here prints or writes a file.

pub mod accuracy;
pub mod diagnostic;
pub mod explain;
pub mod figure;
pub mod layout;
pub mod svg;
pub mod sweep;
pub mod table;
pub mod timing;
