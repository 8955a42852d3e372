//! Loads, stores, atomics, asynchronous copies and matrix moves.

use super::function::Body;
use super::modifiers::Modifiers;
use super::operand::Width;
use crate::ptx::ScalarType::{
    B16, B32, B64, Bf16, Bf16x2, F16, F16x2, F32, F64, S32, S64, U32, U64,
};
use crate::ptx::error::Error;
use crate::ptx::{
    AtomicOp, AtomicOrdering, CacheHints, CacheOperator, Eviction, Op, Ordering, Prefetch,
    ScalarType, Scope, Space,
};

const STORED: &[ScalarType] = &[
    ScalarType::B8,
    ScalarType::U8,
    ScalarType::S8,
    B16,
    ScalarType::U16,
    ScalarType::S16,
    B32,
    U32,
    S32,
    B64,
    U64,
    S64,
    F32,
    F64,
];

/// A space as modifiers spell it, the windows of this CTA and this kernel included.
pub(super) fn named_space(text: &str) -> Option<Space> {
    match text {
        "shared::cta" => Some(Space::Shared),
        "param::entry" => Some(Space::Param),
        "generic" => None,
        _ => Space::from_text(text),
    }
}

pub(super) fn space_or_generic(m: &mut Modifiers<'_>) -> Space {
    m.take(named_space).unwrap_or(Space::Generic)
}

/// `.weak`, `.volatile`, or an order with its scope.
fn ordering(
    m: &mut Modifiers<'_>,
    ordered: &str,
    order: impl Fn(Scope) -> Ordering,
) -> Result<Ordering, Error> {
    if m.flag("weak") {
        Ok(Ordering::Weak)
    } else if m.flag("volatile") {
        Ok(Ordering::Volatile)
    } else if m.flag("relaxed") {
        m.need(Scope::from_text).map(Ordering::Relaxed)
    } else if m.flag(ordered) {
        m.need(Scope::from_text).map(order)
    } else {
        Ok(Ordering::Weak)
    }
}

/// Elements of a vector access: 1, 2, 4 or 8, of at most 32 bytes.
fn elements(m: &mut Modifiers<'_>, ty_bits: u32) -> Result<usize, Error> {
    let counts = [("v8", 8), ("v4", 4), ("v2", 2)];
    let found = counts.into_iter().find(|(text, _)| m.flag(text));
    let count = found.map_or(1, |(_, count)| count);
    m.check(u64::from(ty_bits) * count <= 256 && !(count == 8 && ty_bits == 8))?;
    usize::try_from(count).map_err(|_| m.unsupported())
}

impl Body<'_, '_> {
    /// Hints that stand among the modifiers; true if a policy operand follows the others.
    fn hints(m: &mut Modifiers<'_>) -> (CacheHints, bool) {
        let hints = CacheHints {
            operator: m.take(CacheOperator::from_text),
            eviction: m.take(Eviction::from_text),
            prefetch: m.take(Prefetch::from_text),
            policy: None,
        };
        (hints, m.flag("L2::cache_hint"))
    }

    pub(super) fn ld(&mut self, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        let ordering = ordering(m, "acquire", Ordering::Acquire)?;
        let space = space_or_generic(m);
        let non_coherent = m.flag("nc");
        let (mut hints, policy) = Self::hints(m);
        let ty = m.ty(STORED)?;
        let count = elements(m, ty.bits())?;
        m.check(!non_coherent || space == Space::Global)?;
        m.finish()?;
        let d = self.vector_of(count, |body| {
            body.destination_or_sink(Width::AtLeast(ty.bits()))
        })?;
        self.comma()?;
        let address = self.address()?;
        if policy {
            hints.policy = Some(self.then_source(B64)?);
        }
        Ok(Op::Ld {
            ordering,
            space,
            non_coherent,
            hints,
            ty,
            d,
            address,
        })
    }

    pub(super) fn st(&mut self, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        let ordering = ordering(m, "release", Ordering::Release)?;
        let space = space_or_generic(m);
        let (mut hints, policy) = Self::hints(m);
        let ty = m.ty(STORED)?;
        let count = elements(m, ty.bits())?;
        m.check(space != Space::Const)?;
        m.finish()?;
        let address = self.address()?;
        self.comma()?;
        let a = self.vector_of(count, |body| body.source_of(ty, Width::AtLeast(ty.bits())))?;
        if policy {
            hints.policy = Some(self.then_source(B64)?);
        }
        Ok(Op::St {
            ordering,
            space,
            hints,
            ty,
            address,
            a,
        })
    }

    pub(super) fn prefetch(&mut self, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        if let Some(op) = self.prefetch_tensor_map(m)? {
            return Ok(op);
        }
        let space = space_or_generic(m);
        let level = m.need(|part| match part {
            "L1" => Some(1),
            "L2" | "L2::evict_last" | "L2::evict_normal" => Some(2),
            _ => None,
        })?;
        m.check(matches!(
            space,
            Space::Generic | Space::Global | Space::Local
        ))?;
        m.finish()?;
        Ok(Op::PrefetchLine {
            space,
            level,
            address: self.address()?,
        })
    }

    /// `atom` (`returns`) and `red`.
    pub(super) fn atomic(&mut self, returns: bool, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        let ordering = m
            .take(AtomicOrdering::from_text)
            .unwrap_or(AtomicOrdering::Relaxed);
        let scope = m.take(Scope::from_text).unwrap_or(Scope::Gpu);
        let space = space_or_generic(m);
        let operation = m.need(AtomicOp::from_text)?;
        let half_flag = m.flag("noftz");
        let ty = m.need(ScalarType::from_text)?;
        let half = matches!(ty, F16 | F16x2 | Bf16 | Bf16x2);
        m.check(
            half_flag == half && matches!(space, Space::Generic | Space::Global | Space::Shared),
        )?;
        m.check(match operation {
            AtomicOp::And | AtomicOp::Or | AtomicOp::Xor => matches!(ty, B32 | B64),
            AtomicOp::Exch => returns && matches!(ty, B32 | B64),
            AtomicOp::Cas => returns && matches!(ty, B16 | B32 | B64),
            AtomicOp::Add => half || matches!(ty, U32 | U64 | S32 | F32 | F64),
            AtomicOp::Inc | AtomicOp::Dec => ty == U32,
            AtomicOp::Min | AtomicOp::Max => matches!(ty, U32 | U64 | S32 | S64),
        })?;
        m.finish()?;
        let d = if returns {
            let d = self.destination_or_sink(Width::Exactly(ty.bits()))?;
            self.comma()?;
            // An exchange without result is still no `red`.
            m.check(d.is_some() || !matches!(operation, AtomicOp::Exch | AtomicOp::Cas))?;
            d
        } else {
            None
        };
        let address = self.address()?;
        let b = self.then_source(ty)?;
        let c = if operation == AtomicOp::Cas {
            Some(self.then_source(ty)?)
        } else {
            None
        };
        Ok(Op::Atomic {
            ordering,
            scope,
            space,
            operation,
            ty,
            d,
            address,
            b,
            c,
        })
    }

    /// `cp.async` and its groups.
    pub(super) fn cp(&mut self, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        if let Some(op) = self.bulk(m)? {
            return Ok(op);
        }
        m.need_flag("async")?;
        if m.flag("commit_group") {
            m.finish()?;
            return Ok(Op::CpAsyncCommit);
        }
        if m.flag("wait_all") {
            m.finish()?;
            return Ok(Op::CpAsyncWaitAll);
        }
        if m.flag("wait_group") {
            m.finish()?;
            return Ok(Op::CpAsyncWait {
                groups: self.parser.number("a number of groups")?,
            });
        }
        let operator = m.need(CacheOperator::from_text)?;
        m.check(matches!(operator, CacheOperator::Ca | CacheOperator::Cg))?;
        let spaces = (m.take(named_space), m.take(named_space));
        m.check(spaces == (Some(Space::Shared), Some(Space::Global)))?;
        let prefetch = m.take(Prefetch::from_text);
        let hinted = m.flag("L2::cache_hint");
        m.finish()?;
        let d = self.address()?;
        self.comma()?;
        let s = self.address()?;
        self.comma()?;
        let size = self.parser.peek();
        let bytes = self.parser.number("a number of bytes")?;
        if !(bytes == 16 || (operator == CacheOperator::Ca && matches!(bytes, 4 | 8))) {
            return Err(self
                .parser
                .source
                .malformed(size, "16 bytes, or 4 or 8 with `.ca`"));
        }
        // `bytes{, source bytes | , predicate}{, policy}`
        let more = self.parser.look(0).text == "," && !(hinted && self.commas_ahead() == 1);
        let (mut source_bytes, mut ignore) = (None, None);
        if more && self.is_predicate(1) {
            self.comma()?;
            ignore = Some(self.predicate()?);
        } else if more {
            source_bytes = Some(self.then_source(U32)?);
        }
        let policy = if hinted {
            Some(self.then_source(B64)?)
        } else {
            None
        };
        Ok(Op::CpAsync {
            operator,
            prefetch,
            bytes,
            source_bytes,
            ignore,
            policy,
            d,
            s,
        })
    }

    /// Commas before the end of the statement, as far as three operands go.
    fn commas_ahead(&self) -> usize {
        (0..8)
            .map(|ahead| self.parser.look(ahead).text)
            .take_while(|text| *text != ";")
            .filter(|text| *text == ",")
            .count()
    }

    /// `ldmatrix` in both orders of its modifiers.
    pub(super) fn ldmatrix(&mut self, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        let (count, transposed, space) = matrix(m)?;
        let d = self.vector_of(count, |body| body.destination(B32))?;
        self.comma()?;
        Ok(Op::LdMatrix {
            transposed,
            space,
            d,
            address: self.address()?,
        })
    }

    pub(super) fn stmatrix(&mut self, m: &mut Modifiers<'_>) -> Result<Op, Error> {
        let (count, transposed, space) = matrix(m)?;
        let address = self.address()?;
        self.comma()?;
        Ok(Op::StMatrix {
            transposed,
            space,
            address,
            a: self.vector_of(count, |body| body.destination(B32))?,
        })
    }
}

/// Modifiers of `ldmatrix` and `stmatrix`: matrices, `.trans`, space.
fn matrix(m: &mut Modifiers<'_>) -> Result<(usize, bool, Space), Error> {
    for part in ["sync", "aligned", "m8n8", "b16"] {
        m.need_flag(part)?;
    }
    let count = m.need(|part| match part {
        "x1" => Some(1),
        "x2" => Some(2),
        "x4" => Some(4),
        _ => None,
    })?;
    let transposed = m.flag("trans");
    let space = space_or_generic(m);
    m.check(matches!(space, Space::Generic | Space::Shared))?;
    m.finish()?;
    Ok((count, transposed, space))
}
