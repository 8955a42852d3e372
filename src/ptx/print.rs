//! Program to text, in one canonical spelling.

mod memory;
mod modifiers;
mod operands;
mod product;
mod sm90;
mod statement;
mod wmma;

use super::{
    Directives, Extent, Function, InstructionId, Linkage, Location, LocationId, Module, Param,
    Variable,
};
use operands::literal;
use std::fmt::Write;

pub use statement::statement;

/// A program as text that [`parse`](super::parse) reads back as the same program.
pub fn print(module: &Module) -> String {
    let mut out = String::new();
    write_module(&mut out, module).expect("writing to a string does not fail");
    out
}

fn write_module(out: &mut String, module: &Module) -> std::fmt::Result {
    writeln!(out, ".version {}.{}", module.version.0, module.version.1)?;
    writeln!(out, ".target {}", module.target.join(", "))?;
    writeln!(out, ".address_size {}", module.address_size)?;
    for variable in &module.variables {
        out.push('\n');
        write_variable(out, variable)?;
    }
    // Declarations first, in order: a call may stand before the function it calls.
    for callee in &module.callees {
        out.push('\n');
        write_head(out, ".func", Some(&callee.results), &callee.function)?;
        out.push_str(";\n");
    }
    for callee in module.callees.iter().filter(|callee| callee.defined) {
        out.push('\n');
        write_head(out, ".func", Some(&callee.results), &callee.function)?;
        write_body(out, module, &callee.function)?;
    }
    for function in &module.functions {
        out.push('\n');
        write_head(out, ".entry", None, function)?;
        write_body(out, module, function)?;
    }
    for file in &module.files {
        writeln!(out, "\t.file\t{} \"{}\"", file.index, file.path)?;
    }
    for section in &module.sections {
        writeln!(
            out,
            "\t.section\t{}\n\t{{\n{}\n\t}}",
            section.name, section.body
        )?;
    }
    Ok(())
}

fn linkage(linkage: Linkage) -> &'static str {
    match linkage {
        Linkage::Internal => "",
        Linkage::Visible => ".visible ",
        Linkage::Extern => ".extern ",
        Linkage::Weak => ".weak ",
        Linkage::Common => ".common ",
    }
}

fn write_align(out: &mut String, align: Option<u32>) -> std::fmt::Result {
    align.map_or(Ok(()), |align| write!(out, ".align {align} "))
}

fn write_extent(out: &mut String, extent: &Extent) -> std::fmt::Result {
    match extent {
        Extent::Scalar => Ok(()),
        Extent::Unsized => out.write_str("[]"),
        Extent::Array(sizes) => sizes.iter().try_for_each(|size| write!(out, "[{size}]")),
    }
}

fn write_variable(out: &mut String, variable: &Variable) -> std::fmt::Result {
    write!(out, "{}.{} ", linkage(variable.linkage), variable.space)?;
    write_align(out, variable.align)?;
    write!(out, ".{} {}", variable.ty, variable.name)?;
    write_extent(out, &variable.extent)?;
    if !variable.initial.is_empty() {
        let values: Vec<String> = variable
            .initial
            .iter()
            .map(|bits| literal(*bits, variable.ty))
            .collect();
        write!(out, " = {{{}}}", values.join(", "))?;
    }
    out.write_str(";\n")
}

fn write_param(out: &mut String, param: &Param) -> std::fmt::Result {
    out.write_str("\t.param ")?;
    write_align(out, param.align)?;
    write!(out, ".{} ", param.ty)?;
    if let Some(pointer) = param.pointer {
        out.write_str(".ptr ")?;
        if let Some(space) = pointer.space {
            write!(out, ".{space} ")?;
        }
        write_align(out, pointer.align)?;
    }
    out.write_str(&param.name)?;
    write_extent(out, &param.extent)
}

fn write_directives(out: &mut String, directives: &Directives) -> std::fmt::Result {
    for (name, extents) in [
        (".maxntid", directives.maxntid),
        (".reqntid", directives.reqntid),
    ] {
        if let Some([x, y, z]) = extents {
            writeln!(out, "{name} {x}, {y}, {z}")?;
        }
    }
    for (name, bound) in [
        (".minnctapersm", directives.minnctapersm),
        (".maxnreg", directives.maxnreg),
    ] {
        if let Some(bound) = bound {
            writeln!(out, "{name} {bound}")?;
        }
    }
    Ok(())
}

fn write_params(out: &mut String, params: &[Param]) -> std::fmt::Result {
    out.push('(');
    for (index, param) in params.iter().enumerate() {
        out.write_str(if index == 0 { "\n" } else { ",\n" })?;
        write_param(out, param)?;
    }
    out.write_str(if params.is_empty() { ")" } else { "\n)" })
}

fn write_head(
    out: &mut String,
    kind: &str,
    results: Option<&[Param]>,
    function: &Function,
) -> std::fmt::Result {
    write!(out, "{}{kind} ", linkage(function.linkage))?;
    if let Some(results) = results.filter(|results| !results.is_empty()) {
        write_params(out, results)?;
        out.push(' ');
    }
    out.push_str(&function.name);
    write_params(out, &function.params)?;
    out.push('\n');
    write_directives(out, &function.directives)
}

fn write_body(out: &mut String, module: &Module, function: &Function) -> std::fmt::Result {
    out.write_str("{\n")?;
    for bank in &function.registers {
        write!(out, "\t.reg .{} \t{}", bank.ty, bank.name)?;
        match bank.count {
            Some(count) => writeln!(out, "<{count}>;")?,
            None => out.write_str(";\n")?,
        }
    }
    for variable in &function.variables {
        out.push('\t');
        write_variable(out, variable)?;
    }
    for list in &function.branch_lists {
        let labels: Vec<&str> = list
            .targets
            .iter()
            .map(|at| function.label_at(*at).map_or("?", |label| &label.name))
            .collect();
        writeln!(out, "{}: .branchtargets {};", list.name, labels.join(", "))?;
    }
    write_code(out, module, function)?;
    out.write_str("}\n")
}

fn write_code(out: &mut String, module: &Module, function: &Function) -> std::fmt::Result {
    let mut labels = function.labels.iter().peekable();
    let mut pragmas = function.pragmas.iter().peekable();
    let mut location = None;
    for index in 0..=function.instructions.len() {
        let at = InstructionId(
            u32::try_from(index).expect("a function has fewer than 2^32 instructions"),
        );
        while let Some(label) = labels.next_if(|label| label.at == at) {
            writeln!(out, "\n{}:", label.name)?;
        }
        while let Some(pragma) = pragmas.next_if(|pragma| pragma.at == at) {
            writeln!(out, "\t.pragma \"{}\";", pragma.text)?;
        }
        let Some(instruction) = function.instructions.get(index) else {
            break;
        };
        if instruction.location != location {
            write_location(out, function, instruction.location)?;
            location = instruction.location;
        }
        writeln!(out, "\t{}", statement(module, function, instruction))?;
    }
    Ok(())
}

/// A `.loc` after those of the calls it was inlined at, so that each `inlined_at` refers to the one just before.
fn write_location(
    out: &mut String,
    function: &Function,
    id: Option<LocationId>,
) -> std::fmt::Result {
    let mut chain: Vec<&Location> = Vec::new();
    let mut next = id;
    while let Some(id) = next {
        let Some(location) = usize::try_from(id.0)
            .ok()
            .and_then(|index| function.locations.get(index))
        else {
            break;
        };
        chain.push(location);
        next = location
            .inlined
            .as_ref()
            .map(|inlined| inlined.at)
            .filter(|at| *at < id);
    }
    let mut caller: Option<&Location> = None;
    for location in chain.into_iter().rev() {
        write!(
            out,
            "\t.loc\t{} {} {}",
            location.file, location.line, location.column
        )?;
        if let (Some(inlined), Some(call)) = (&location.inlined, caller) {
            write!(out, ", function_name {}", inlined.function)?;
            if inlined.offset != 0 {
                write!(out, "+{}", inlined.offset)?;
            }
            write!(
                out,
                ", inlined_at {} {} {}",
                call.file, call.line, call.column
            )?;
        }
        out.push('\n');
        caller = Some(location);
    }
    Ok(())
}
