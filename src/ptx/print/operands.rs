//! Operands as text.

use crate::ptx::{
    Address, AddressBase, Callee, Function, Module, Operand, Param, Predicate, RegisterId,
    ScalarType, Symbol, TypeKind,
};

/// Bits of a type as a literal of that type: floats as bits, integers in decimal.
pub(super) fn literal(bits: u64, ty: ScalarType) -> String {
    match ty {
        ScalarType::F32 => format!("0f{bits:08X}"),
        ScalarType::F64 => format!("0d{bits:016X}"),
        ScalarType::F16
        | ScalarType::F16x2
        | ScalarType::Bf16
        | ScalarType::Bf16x2
        | ScalarType::E4m3
        | ScalarType::E5m2
        | ScalarType::E4m3x2
        | ScalarType::E5m2x2
        | ScalarType::Tf32 => {
            format!("0x{bits:X}")
        }
        ScalarType::Pred
        | ScalarType::B8
        | ScalarType::B16
        | ScalarType::B32
        | ScalarType::B64
        | ScalarType::U4
        | ScalarType::S4
        | ScalarType::U8
        | ScalarType::U16
        | ScalarType::U32
        | ScalarType::U64
        | ScalarType::S8
        | ScalarType::S16
        | ScalarType::S32
        | ScalarType::S64 => {
            let negative = ty.kind() == TypeKind::Signed && bits > ty.mask() / 2;
            if negative {
                format!("-{}", bits.wrapping_neg() & ty.mask())
            } else {
                bits.to_string()
            }
        }
    }
}

/// Names of a function's operands.
#[derive(Clone, Copy)]
pub(super) struct Names<'a> {
    pub(super) module: &'a Module,
    pub(super) function: &'a Function,
}

impl<'a> Names<'a> {
    pub(super) fn register(self, register: RegisterId) -> String {
        self.function.register_name(register)
    }

    /// A register, or `_`.
    pub(super) fn sink(self, register: Option<RegisterId>) -> String {
        register.map_or_else(|| "_".to_owned(), |register| self.register(register))
    }

    pub(super) fn predicate(self, predicate: Predicate) -> String {
        format!(
            "{}{}",
            if predicate.negated { "!" } else { "" },
            self.register(predicate.register)
        )
    }

    fn symbol(self, symbol: Symbol) -> String {
        let name = match symbol {
            Symbol::Module(index) => {
                named(&self.module.variables, index).map(|variable| &variable.name)
            }
            Symbol::Function(index) => {
                named(&self.function.variables, index).map(|variable| &variable.name)
            }
            Symbol::Param(index) => self.param(index).map(|param| &param.name),
        };
        name.map_or_else(|| "?".to_owned(), Clone::clone)
    }

    /// A parameter, or a result after the parameters.
    fn param(self, index: u32) -> Option<&'a Param> {
        named(&self.function.params, index).or_else(|| {
            let after = index.checked_sub(u32::try_from(self.function.params.len()).ok()?)?;
            let own = |callee: &&Callee| callee.function.name == self.function.name;
            named(&self.module.callees.iter().find(own)?.results, after)
        })
    }

    /// An operand that the instruction reads as `ty`.
    pub(super) fn operand(self, operand: Operand, ty: ScalarType) -> String {
        match operand {
            Operand::Register(register) => self.register(register),
            Operand::Immediate(bits) => literal(bits, ty),
            Operand::Address(symbol, bytes) => format!("{}{}", self.symbol(symbol), offset(bytes)),
            Operand::Special(special) => special.to_string(),
        }
    }

    pub(super) fn address(self, address: Address) -> String {
        match address.base {
            AddressBase::Register(register) => {
                format!("[{}{}]", self.register(register), offset(address.offset))
            }
            AddressBase::Symbol(symbol) => {
                format!("[{}{}]", self.symbol(symbol), offset(address.offset))
            }
            AddressBase::Absolute => format!("[{}]", address.offset.cast_unsigned()),
        }
    }

    /// `{a, b}`, or `a` alone.
    pub(super) fn vector<T: Copy>(self, elements: &[T], element: impl Fn(T) -> String) -> String {
        match elements {
            [one] => element(*one),
            _ => format!(
                "{{{}}}",
                elements
                    .iter()
                    .map(|one| element(*one))
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        }
    }
}

fn named<T>(list: &[T], index: u32) -> Option<&T> {
    list.get(usize::try_from(index).ok()?)
}

/// `+8`, `+-8`, or nothing for 0.
fn offset(bytes: i64) -> String {
    if bytes == 0 {
        String::new()
    } else {
        format!("+{bytes}")
    }
}
