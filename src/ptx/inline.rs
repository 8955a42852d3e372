//! A function in plain code: every `.func` that the module defines stands in place of its calls, a branch by a list is a
//! chain of compares and branches, and `wmma` is loads, stores and `mma`.
//!
//! What executes or analyses PTX then needs neither a stack nor indirect jumps, and the places of an inlined instruction
//! are still those of its own text. Parameters are `.param` variables of the caller: the callee addresses the caller's
//! own, in local memory. A function that calls itself, however indirectly, is not supported.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "only calls, branches, wmma and accesses to parameters change; every other instruction stays"
)]

mod wmma;

use super::{
    Address, AddressBase, Callee, Compare, Function, Instruction, InstructionId, Label, Location,
    LocationId, Module, Op, Operand, Predicate, RegisterBank, RegisterId, ScalarType, Space,
    Symbol, Variable,
};
use crate::convert::index;
use std::borrow::Cow;

/// Most instructions of a function with its callees in place.
const INSTRUCTIONS_MAX: usize = 1 << 20;

/// Why calls cannot be put in place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InlineError {
    /// A function calls itself.
    #[error("`{0}` calls itself, perhaps through others: recursion is not supported")]
    Recursive(String),
    /// The code would grow beyond a bound.
    #[error("`{0}` with its callees in place has more than {INSTRUCTIONS_MAX} instructions")]
    TooLong(String),
}

/// The function with calls, branches by a list and `wmma` replaced; itself where it has none of them.
///
/// Calls of functions that the module only declares stay.
///
/// # Errors
/// [`InlineError`]: recursion, or code beyond the bound.
pub fn inline<'m>(
    module: &'m Module,
    function: &'m Function,
) -> Result<Cow<'m, Function>, InlineError> {
    let plain = function.instructions.iter().all(|instruction| {
        !matches!(
            instruction.op,
            Op::Call(_) | Op::BranchIndexed { .. } | Op::Wmma(_)
        )
    });
    if plain {
        return Ok(Cow::Borrowed(function));
    }
    let mut whole = Whole {
        module,
        out: Function {
            registers: Vec::new(),
            variables: Vec::new(),
            instructions: Vec::new(),
            labels: Vec::new(),
            branch_lists: Vec::new(),
            pragmas: Vec::new(),
            locations: Vec::new(),
            ..function.clone()
        },
        register_count: 0,
        active: Vec::new(),
    };
    whole.append(function, None)?;
    whole.out.labels.sort_by_key(|label| label.at);
    Ok(Cow::Owned(whole.out))
}

struct Whole<'m> {
    module: &'m Module,
    out: Function,
    register_count: u32,
    /// Names of the functions that are being put in place, outermost first.
    active: Vec<&'m str>,
}

/// What the names of one copy of a function become.
struct Copy<'c> {
    first_register: u32,
    first_variable: u32,
    first_location: u32,
    /// Variables of the caller that stand for the parameters and results; `None` for an entry.
    arguments: Option<&'c [Symbol]>,
}

fn small(count: usize) -> u32 {
    u32::try_from(count).expect("programs have fewer than 2^32 things of a kind")
}

impl<'m> Whole<'m> {
    /// Appends the code of a function; with arguments, returns lead behind it.
    fn append(
        &mut self,
        function: &'m Function,
        arguments: Option<&[Symbol]>,
    ) -> Result<(), InlineError> {
        if self.active.contains(&function.name.as_str()) {
            return Err(InlineError::Recursive(function.name.clone()));
        }
        self.active.push(&function.name);
        let prefix = if self.active.len() == 1 {
            String::new()
        } else {
            format!("{}_{}_", function.name, self.out.instructions.len())
        };
        let copy = self.declare(function, &prefix, arguments);
        // Where each instruction of the function begins in the whole.
        let mut starts = Vec::with_capacity(function.instructions.len() + 1);
        let mut branches = Vec::new();
        let mut returns = Vec::new();
        for instruction in &function.instructions {
            starts.push(self.out.instructions.len());
            if self.out.instructions.len() > INSTRUCTIONS_MAX {
                return Err(InlineError::TooLong(self.out.name.clone()));
            }
            self.instruction(function, instruction, &copy, &mut branches, &mut returns)?;
        }
        starts.push(self.out.instructions.len());
        for (at, target) in branches {
            if let Op::Bra { target: to, .. } = &mut self.out.instructions[at].op {
                *to = InstructionId(small(starts[index(target.0).min(starts.len() - 1)]));
            }
        }
        let end = InstructionId(small(self.out.instructions.len()));
        for at in &returns {
            if let Op::Bra { target, .. } = &mut self.out.instructions[*at].op {
                *target = end;
            }
        }
        for label in &function.labels {
            self.out.labels.push(Label {
                name: format!("{prefix}{}", label.name),
                at: InstructionId(small(starts[index(label.at.0).min(starts.len() - 1)])),
            });
        }
        if !returns.is_empty() {
            self.out.labels.push(Label {
                name: format!("{prefix}$end"),
                at: end,
            });
        }
        self.active.pop();
        Ok(())
    }

    fn declare<'c>(
        &mut self,
        function: &Function,
        prefix: &str,
        arguments: Option<&'c [Symbol]>,
    ) -> Copy<'c> {
        let copy = Copy {
            first_register: self.register_count,
            first_variable: small(self.out.variables.len()),
            first_location: small(self.out.locations.len()),
            arguments,
        };
        for bank in &function.registers {
            self.out.registers.push(RegisterBank {
                name: format!("{}{prefix}", bank.name),
                first: RegisterId(copy.first_register + bank.first.0),
                ..bank.clone()
            });
        }
        self.register_count += function.register_count();
        for variable in &function.variables {
            let space = if variable.space == Space::Param {
                Space::Local
            } else {
                variable.space
            };
            self.out.variables.push(Variable {
                name: format!("{prefix}{}", variable.name),
                space,
                ..variable.clone()
            });
        }
        for location in &function.locations {
            let mut location: Location = location.clone();
            if let Some(inlined) = &mut location.inlined {
                inlined.at = LocationId(inlined.at.0 + copy.first_location);
            }
            self.out.locations.push(location);
        }
        copy
    }

    fn instruction(
        &mut self,
        function: &'m Function,
        instruction: &Instruction,
        copy: &Copy<'_>,
        branches: &mut Vec<(usize, InstructionId)>,
        returns: &mut Vec<usize>,
    ) -> Result<(), InlineError> {
        let mut instruction = instruction.clone();
        if let Some(guard) = &mut instruction.guard {
            guard.register.0 += copy.first_register;
        }
        if let Some(location) = &mut instruction.location {
            location.0 += copy.first_location;
        }
        self.rename(&mut instruction.op, copy);
        let at = self.out.instructions.len();
        match &instruction.op {
            Op::Bra { target, .. } => branches.push((at, *target)),
            Op::Ret if copy.arguments.is_some() => {
                instruction.op = Op::Bra {
                    uniform: false,
                    target: InstructionId(0),
                };
                returns.push(at);
            }
            Op::BranchIndexed {
                index: by, list, ..
            } => {
                let targets = function
                    .branch_lists
                    .get(index(*list))
                    .map_or(&[][..], |list| &list.targets);
                self.chain(*by, targets, &instruction, branches);
                return Ok(());
            }
            Op::Wmma(op) => {
                self.wmma(op, &instruction);
                return Ok(());
            }
            Op::Call(call) => {
                let module: &'m Module = self.module;
                let callee = module.callees.get(index(call.function));
                if let Some(callee) = callee.filter(|callee| callee.defined) {
                    let call = call.clone();
                    return self.call(callee, &call.arguments, &call.results, &instruction);
                }
            }
            _ => {}
        }
        self.out.instructions.push(instruction);
        Ok(())
    }

    /// `setp.eq p, by, n; @p bra target` for each target.
    fn chain(
        &mut self,
        by: Operand,
        targets: &[InstructionId],
        of: &Instruction,
        branches: &mut Vec<(usize, InstructionId)>,
    ) {
        for (number, target) in (0_u64..).zip(targets) {
            let p = self.register(ScalarType::Pred);
            self.push(
                of,
                None,
                Op::Setp {
                    compare: Compare::Eq,
                    combine: of.guard.map(|guard| (super::BoolOp::And, guard)),
                    flush: false,
                    ty: ScalarType::U32,
                    p: Some(p),
                    q: None,
                    a: by,
                    b: Operand::Immediate(number),
                },
            );
            branches.push((self.out.instructions.len(), *target));
            let guard = Predicate {
                register: p,
                negated: false,
            };
            self.push(
                of,
                Some(guard),
                Op::Bra {
                    uniform: false,
                    target: InstructionId(0),
                },
            );
        }
    }

    /// The code of a callee; a guard leads around it.
    fn call(
        &mut self,
        callee: &'m Callee,
        arguments: &[Operand],
        results: &[Operand],
        of: &Instruction,
    ) -> Result<(), InlineError> {
        let around = of.guard.map(|guard| {
            let at = self.out.instructions.len();
            let negated = Predicate {
                negated: !guard.negated,
                ..guard
            };
            let target = InstructionId(0);
            self.push(
                of,
                Some(negated),
                Op::Bra {
                    uniform: false,
                    target,
                },
            );
            at
        });
        let symbols: Vec<Symbol> = arguments
            .iter()
            .chain(results)
            .filter_map(|operand| match operand {
                Operand::Address(symbol, _) => Some(*symbol),
                Operand::Register(_) | Operand::Immediate(_) | Operand::Special(_) => None,
            })
            .collect();
        self.append(&callee.function, Some(&symbols))?;
        if let Some(at) = around {
            let end = InstructionId(small(self.out.instructions.len()));
            if let Op::Bra { target, .. } = &mut self.out.instructions[at].op {
                *target = end;
            }
            self.out.labels.push(Label {
                name: format!("{}_{at}$skip", callee.function.name),
                at: end,
            });
        }
        Ok(())
    }

    fn push(&mut self, of: &Instruction, guard: Option<Predicate>, op: Op) {
        self.out.instructions.push(Instruction {
            guard,
            op,
            span: of.span,
            location: of.location,
        });
    }

    /// A register that the text does not have.
    fn register(&mut self, ty: ScalarType) -> RegisterId {
        let first = RegisterId(self.register_count);
        self.out.registers.push(RegisterBank {
            name: format!("%plain{}", self.register_count),
            ty,
            count: None,
            first,
        });
        self.register_count += 1;
        first
    }

    fn symbol(&self, symbol: Symbol, copy: &Copy<'_>) -> Symbol {
        match (symbol, copy.arguments) {
            (Symbol::Function(at), _) => Symbol::Function(at + copy.first_variable),
            (Symbol::Param(at), Some(arguments)) => {
                arguments.get(index(at)).copied().unwrap_or(symbol)
            }
            (Symbol::Param(_), None) | (Symbol::Module(_), _) => symbol,
        }
    }

    fn rename(&self, op: &mut Op, copy: &Copy<'_>) {
        op.for_each_name(
            &mut |register| register.0 += copy.first_register,
            &mut |symbol| *symbol = self.symbol(*symbol, copy),
        );
        // `.param` of a variable, or of a callee, is local memory.
        let local = |address: &Address| match address.base {
            AddressBase::Symbol(Symbol::Function(_)) => true,
            AddressBase::Register(_) => copy.arguments.is_some(),
            AddressBase::Symbol(_) | AddressBase::Absolute => false,
        };
        match op {
            Op::Ld { space, address, .. } | Op::St { space, address, .. }
                if *space == Space::Param && local(address) =>
            {
                *space = Space::Local;
            }
            Op::Cvta { space, a, .. } if *space == Space::Param => {
                let moved = matches!(a, Operand::Address(Symbol::Function(_), _));
                if moved || copy.arguments.is_some() {
                    *space = Space::Local;
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ptx::{parse, print};

    const TEXT: &str = ".version 8.0\n.target sm_80\n.address_size 64\n\
        .func (.param .b32 out) twice(.param .b32 in);\n\
        .extern .func trapping(.param .b32 in);\n\
        .func (.param .b32 out) twice(.param .b32 in) {\n.reg .b32 %r<3>; .reg .pred %p<2>;\n\
        ld.param.b32 %r1, [in];\nsetp.eq.s32 %p1, %r1, 0;\nadd.s32 %r2, %r1, %r1;\nst.param.b32 [out], %r2;\n@%p1 ret;\nret;\n}\n\
        .entry k(.param .u64 d) {\n.reg .b32 %r<3>; .reg .pred %p<2>; .reg .b64 %d<2>;\nld.param.u64 %d1, [d];\nmov.u32 %r1, %tid.x;\n\
        setp.eq.s32 %p1, %r1, 3;\n\
        {\n.param .b32 a;\nst.param.b32 [a], %r1;\n.param .b32 b;\n@!%p1 call.uni (b), twice, (a);\nld.param.b32 %r2, [b];\n}\n\
        ts: .branchtargets L1, L2;\nbrx.idx %r1, ts;\nL1: st.global.u32 [%d1], %r2;\nL2: ret;\n}\n";

    #[test]
    fn calls_and_lists_become_plain_code() {
        let module = parse("t", TEXT).unwrap();
        assert_eq!(parse("t", &print(&module)).as_ref(), Ok(&module));
        let flat = inline(&module, &module.functions[0]).unwrap();
        assert!(
            flat.instructions
                .iter()
                .all(|one| !matches!(one.op, Op::Call(_) | Op::BranchIndexed { .. }))
        );
        let lone = Module {
            functions: vec![flat.into_owned()],
            ..module.clone()
        };
        let text = print(&lone);
        assert!(text.contains("ld.local.b32"), "{text}");
        assert!(parse("flat", &text).is_ok(), "{text}");
    }

    #[test]
    fn recursion_is_named() {
        let text = ".version 8.0\n.target sm_80\n.address_size 64\n.func f();\n.func g() { call.uni f; ret; }\n.func f() { call.uni g; ret; }\n\
            .entry k() { call.uni f; ret; }";
        let module = parse("t", text).unwrap();
        let error = inline(&module, &module.functions[0]).unwrap_err();
        assert_eq!(error, InlineError::Recursive("f".to_owned()));
    }

    #[test]
    fn a_plain_function_is_borrowed() {
        let text = ".version 8.0\n.target sm_80\n.address_size 64\n.entry k() { ret; }";
        let module = parse("t", text).unwrap();
        assert!(matches!(
            inline(&module, &module.functions[0]),
            Ok(Cow::Borrowed(_))
        ));
    }
}
