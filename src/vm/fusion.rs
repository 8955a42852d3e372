//! Products fused into sums, as `ptxas` may: what `--fmad` does to PTX that does not say how it rounds.
//!
//! **Source.** PTX ISA 9.7.3 (`add`, `sub`, `mul`): without a rounding modifier they round to nearest, and sequences of
//! `mul` and `add` or `sub` without rounding modifiers may be optimised to a fused multiply-add.
//!
//! **What is fused.** Every `add` or `sub` without rounding modifier or `.sat`, one of whose operands was made by a `mul`
//! without them, of the same type and `.ftz`, in the same basic block, with no write between to the operands of the
//! product or to the product, neither of the two guarded. A `sub` only where nobody else reads the product, whose place
//! takes the negated operand. Where both operands are products, the first one that can be is fused.
//!
//! **Can miss.** `ptxas` chooses: it may fuse fewer, across basic blocks, or the second of two products. This is one of the
//! programs that it may make of the PTX: nearly the one that differs most from the text.

use crate::ptx::{
    FloatBinary, FloatUnary, Function, Instruction, Module, Op, Operand, RegisterId, Rounding,
    ScalarType, Use,
};
use std::collections::{BTreeMap, BTreeSet};

/// A product that may be fused.
#[derive(Clone, Copy, Debug)]
struct Product {
    /// Its instruction.
    at: usize,
    flush: bool,
    ty: ScalarType,
    a: Operand,
    b: Operand,
}

/// The module with every product fused that may be.
pub fn fused(module: &Module) -> Module {
    let mut module = module.clone();
    module.functions.iter_mut().for_each(fuse);
    module
}

fn fuse(function: &mut Function) {
    let mut starts: BTreeSet<usize> = function
        .labels
        .iter()
        .map(|label| position(label.at.0))
        .collect();
    let mut uses: BTreeMap<RegisterId, usize> = BTreeMap::new();
    for (at, instruction) in function.instructions.iter().enumerate() {
        instruction.op.for_each_use(|one| {
            let (Use::Read(register) | Use::Write(register)) = one;
            *uses.entry(register).or_default() += 1;
        });
        if let Op::Bra { target, .. } = instruction.op {
            starts.insert(position(target.0));
            starts.insert(at + 1);
        }
    }
    // Written once and read once.
    let private = |register: RegisterId| uses.get(&register) == Some(&2);
    let mut products: BTreeMap<RegisterId, Product> = BTreeMap::new();
    // Instruction that wrote a register last, in this block.
    let mut written: BTreeMap<RegisterId, usize> = BTreeMap::new();
    for at in 0..function.instructions.len() {
        if starts.contains(&at) {
            products.clear();
            written.clear();
        }
        let change = replacement(&function.instructions[at], &products, &written, private);
        if let Some((op, negation)) = change {
            function.instructions[at].op = op;
            if let Some((place, op)) = negation {
                function.instructions[place].op = op;
            }
        }
        let found = product(at, &function.instructions[at]);
        for register in function.instructions[at].op.writes() {
            let stays = |operand: Operand| operand != Operand::Register(register);
            products.retain(|d, product| *d != register && stays(product.a) && stays(product.b));
            written.insert(register, at);
        }
        if let Some((d, product)) = found
            && [product.a, product.b]
                .iter()
                .all(|&operand| operand != Operand::Register(d))
        {
            products.insert(d, product);
        }
    }
}

fn position(id: u32) -> usize {
    crate::convert::index(id)
}

fn product(at: usize, instruction: &Instruction) -> Option<(RegisterId, Product)> {
    let Op::FloatBinary {
        operation: FloatBinary::Mul,
        rounding: None,
        flush,
        saturate: false,
        ty,
        d,
        a,
        b,
        ..
    } = instruction.op
    else {
        return None;
    };
    let product = Product {
        at,
        flush,
        ty,
        a,
        b,
    };
    instruction.guard.is_none().then_some((d, product))
}

/// An operation, and one for another place.
type Change = (Op, Option<(usize, Op)>);

/// What a sum becomes.
fn replacement(
    instruction: &Instruction,
    products: &BTreeMap<RegisterId, Product>,
    written: &BTreeMap<RegisterId, usize>,
    private: impl Fn(RegisterId) -> bool,
) -> Option<Change> {
    let Op::FloatBinary {
        operation: operation @ (FloatBinary::Add | FloatBinary::Sub),
        rounding: None,
        flush,
        saturate: false,
        ty,
        d,
        a,
        b,
        ..
    } = instruction.op
    else {
        return None;
    };
    if instruction.guard.is_some() {
        return None;
    }
    let find = |operand: Operand| {
        let Operand::Register(register) = operand else {
            return None;
        };
        let product = products.get(&register)?;
        (product.ty == ty && product.flush == flush).then_some((register, *product))
    };
    let fma = |a: Operand, b: Operand, c: Operand| Op::Fma {
        rounding: Rounding::NearestEven,
        flush,
        saturate: false,
        relu: false,
        ty,
        d,
        a,
        b,
        c,
    };
    let negation = |d: RegisterId, a: Operand| Op::FloatUnary {
        operation: FloatUnary::Neg,
        flush: false,
        ty,
        d,
        a,
    };
    let sum = |own: Operand, other: Operand| {
        let (_, product) = find(own)?;
        Some((fma(product.a, product.b, other), None))
    };
    if operation == FloatBinary::Add {
        return sum(a, b).or_else(|| sum(b, a));
    }
    // a - b with a = x y: fma(x, y, -b), where b has its value already when the product is made.
    let minuend = || {
        let (register, product) = find(a)?;
        let early = match b {
            Operand::Register(b) => written.get(&b).is_none_or(|&at| at < product.at),
            Operand::Immediate(_) | Operand::Address(..) | Operand::Special(_) => true,
        };
        (early && a != b && private(register)).then(|| {
            let op = fma(product.a, product.b, Operand::Register(register));
            (op, Some((product.at, negation(register, b))))
        })
    };
    // a - b with b = x y: fma(-x, y, a).
    let subtrahend = || {
        let (register, product) = find(b)?;
        (a != b && private(register)).then(|| {
            let op = fma(Operand::Register(register), product.b, a);
            (op, Some((product.at, negation(register, product.a))))
        })
    };
    minuend().or_else(subtrahend)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ptx::{parse, print};

    /// The body of the kernel after fusion, as text.
    fn body(code: &str) -> Vec<String> {
        let text = format!(
            ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k()\n{{\n.reg .f32 %f<20>;\n.reg .pred %p<2>;\n{code}\nret;\n}}\n"
        );
        let module = fused(&parse("k", &text).unwrap());
        let text = print(&module);
        // What it prints is a program again.
        assert_eq!(print(&parse("k", &text).unwrap()), text);
        let lines = text
            .lines()
            .map(str::trim)
            .filter(|line| line.contains("f32") && !line.starts_with('.'));
        lines.map(str::to_owned).collect()
    }

    #[test]
    fn a_product_joins_the_sum_that_reads_it() {
        assert_eq!(
            body("mul.f32 %f1, %f2, %f3;\nadd.f32 %f4, %f1, %f5;"),
            ["mul.f32 %f1, %f2, %f3;", "fma.rn.f32 %f4, %f2, %f3, %f5;"]
        );
        assert_eq!(
            body("mul.ftz.f32 %f1, %f2, %f3;\nadd.ftz.f32 %f4, %f5, %f1;"),
            [
                "mul.ftz.f32 %f1, %f2, %f3;",
                "fma.rn.ftz.f32 %f4, %f2, %f3, %f5;"
            ]
        );
        assert_eq!(
            body("mul.f32 %f1, %f2, %f3;\nsub.f32 %f4, %f1, %f5;"),
            ["neg.f32 %f1, %f5;", "fma.rn.f32 %f4, %f2, %f3, %f1;"]
        );
        assert_eq!(
            body("mul.f32 %f1, %f2, %f3;\nsub.f32 %f4, %f5, %f1;"),
            ["neg.f32 %f1, %f2;", "fma.rn.f32 %f4, %f1, %f3, %f5;"]
        );
    }

    #[test]
    fn what_is_rounded_guarded_or_overwritten_stays() {
        for code in [
            "mul.rn.f32 %f1, %f2, %f3;\nadd.f32 %f4, %f1, %f5;",
            "mul.f32 %f1, %f2, %f3;\nadd.rn.f32 %f4, %f1, %f5;",
            "mul.f32 %f1, %f2, %f3;\n@%p1 add.f32 %f4, %f1, %f5;",
            "mul.f32 %f1, %f2, %f3;\nmov.f32 %f2, %f6;\nadd.f32 %f4, %f1, %f5;",
            "mul.f32 %f1, %f2, %f3;\nL:\nadd.f32 %f4, %f1, %f5;",
            "mul.f32 %f1, %f2, %f3;\nmul.f32 %f6, %f1, %f1;\nsub.f32 %f4, %f5, %f1;",
            "mul.ftz.f32 %f1, %f2, %f3;\nadd.f32 %f4, %f1, %f5;",
        ] {
            assert!(
                body(code).iter().all(|line| !line.contains("fma")),
                "{code}"
            );
        }
    }
}
