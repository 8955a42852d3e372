//! Which branches threads take alike.
//!
//! A condition is *CTA-uniform* where all threads of a CTA have it the same whenever they come to it, *warp-uniform* where
//! the lanes of each warp do, else *varying*. Known conditions are compared thread by thread; unknown ones are uniform
//! where they are computed from parameters, CTA indices and loads at addresses that are the same in all threads. Of several
//! visits the worst counts. It is no verdict: a varying branch is wrong only around what [`super::divergence`] asks for.

use super::evaluate::Context;
use super::value::Value;
use super::walk::Walk;

/// How alike threads decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Uniformity {
    /// All threads of the CTA.
    Cta,
    /// All lanes of each warp.
    Warp,
    /// Each thread by itself.
    Varying,
}

/// Conditional branches and exits that were met, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Branches {
    /// CTA-uniform.
    pub cta: usize,
    /// Warp-uniform.
    pub warp: usize,
    /// Varying.
    pub varying: usize,
}

/// The kind of one condition.
pub(super) fn of(threads: usize, condition: &Value) -> Uniformity {
    if !condition.differs() {
        return Uniformity::Cta;
    }
    let lanes = |warp: usize| warp..(warp + 32).min(threads);
    let alike = |warp: usize| {
        let mut lanes = lanes(warp).map(|thread| condition.number(thread));
        let first = lanes.next().flatten();
        first.is_some() && lanes.all(|lane| lane == first)
    };
    if (0..threads).step_by(32).all(alike) {
        Uniformity::Warp
    } else {
        Uniformity::Varying
    }
}

/// Branches of a walk.
pub(super) fn branches(walk: &Walk) -> Branches {
    let mut counts = Branches::default();
    for kind in walk.branches.values() {
        match kind {
            Uniformity::Cta => counts.cta += 1,
            Uniformity::Warp => counts.warp += 1,
            Uniformity::Varying => counts.varying += 1,
        }
    }
    counts
}

/// Branches of a function under the walk of the other passes; `None` where its CTA's size is not declared.
pub fn run(module: &crate::ptx::Module, function: &crate::ptx::Function) -> Option<Branches> {
    let context = Context::new(module, function)?;
    let plan = super::walk::Plan::new(context.function, false);
    Some(branches(&super::walk::walk(&context, &plan)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ptx::parse;

    #[test]
    fn three_kinds_of_branches() {
        let text = ".version 9.0\n.target sm_80\n.address_size 64\n.entry k(.param .u32 n) .reqntid 64\n{\n\
            .reg .pred %p<4>;\n.reg .b32 %r<8>;\nmov.u32 %r1, %tid.x;\nld.param.u32 %r2, [n];\nshr.u32 %r3, %r1, 5;\n\
            setp.eq.u32 %p1, %r2, 3;\n@%p1 bra A;\nadd.u32 %r4, %r4, 1;\nA:\nsetp.eq.u32 %p2, %r3, 1;\n@%p2 bra B;\n\
            add.u32 %r4, %r4, 1;\nB:\nsetp.lt.u32 %p3, %r1, 5;\n@%p3 bra C;\nadd.u32 %r4, %r4, 1;\nC:\nret;\n}\n";
        let module = parse("k.ptx", text).unwrap();
        assert_eq!(
            run(&module, &module.functions[0]),
            Some(Branches {
                cta: 1,
                warp: 1,
                varying: 1
            })
        );
    }
}
