//! Verdicts, findings and runs as text, JSON, SARIF, CSV and SVG. Nothing here prints or writes a file.

pub mod accuracy;
pub mod against;
pub mod device_timing;
pub mod diagnostic;
pub mod explain;
pub mod families;
pub mod figure;
pub mod forest;
pub mod heat;
pub mod kernel_table;
pub mod layout;
pub mod mechanism;
pub mod mutants;
pub mod registered;
pub mod resources;
pub mod sarif;
pub mod svg;
pub mod sweep;
pub mod table;
pub mod timing;
pub mod verdict;
