//! Program to text.

use super::module::{Function, Instruction, Module};

/// One instruction as text, guard included, semicolon at the end.
pub fn statement(_module: &Module, _function: &Function, instruction: &Instruction) -> String {
    format!("{:?};", instruction.op)
}
