//! Atomics: lane by lane, lowest first.

use super::super::arithmetic::float::{self, Format, NAN_F32, NAN_HALF, extremum};
use super::super::event::AccessKind;
use super::super::memory::element;
use super::cta::Machine;
use super::dispatch::Site;
use super::memory::{Bytes, Place};
use super::warp::Warp;
use super::{Halt, lanes_of};
use crate::convert::{index, low_u32};
use crate::ptx::{AtomicOp, Op, Rounding, ScalarType, TypeKind};

impl Machine<'_> {
    /// `atom` and `red`: lane by lane, lowest first.
    pub(super) fn atomic(&mut self, warp: &mut Warp, site: &Site<'_>) -> Result<(), Halt> {
        let Op::Atomic {
            space,
            operation,
            ty,
            d,
            address,
            b,
            c,
            ..
        } = &site.instruction.op
        else {
            unreachable!("dispatch sends atomics only")
        };
        let size = index(ty.bytes());
        let addresses = self.addresses(warp, address);
        let b = self.read::<u64>(warp, *b);
        let c = c.map_or([0; 32], |c| self.read::<u64>(warp, c));
        let mut old = [0_u64; 32];
        for place in self.places(warp, site, *space, &addresses, ty.bytes(), true)? {
            self.check(warp, site, &place, ty.bytes(), AccessKind::Atomic)?;
            for lane in lanes_of(place.mask) {
                let one = Place {
                    mask: 1 << lane,
                    ..place
                };
                let mut raw: Bytes = [[0; 16]; 32];
                self.fetch(warp, &one, size, &mut raw);
                old[lane] = element(&raw[lane], 0, size);
                let Some(value) = combine(*operation, *ty, old[lane], b[lane], c[lane]) else {
                    return Err(site.unsupported(format!("atom.{operation}.{ty}")));
                };
                raw[lane][..size].copy_from_slice(&value.to_le_bytes()[..size]);
                self.put(warp, &one, size, &raw);
            }
        }
        if let Some(d) = d {
            self.write_extended(warp, *d, site.mask, &old, *ty);
        }
        Ok(())
    }
}

/// New value of an atomic; `None` for a combination PTX does not have.
pub(super) fn combine(
    operation: AtomicOp,
    ty: ScalarType,
    old: u64,
    b: u64,
    c: u64,
) -> Option<u64> {
    use super::super::arithmetic::integer::sign_extend;
    let keep = ty.mask();
    let (b, c) = (b & keep, c & keep);
    if ty.kind() == TypeKind::Float {
        return combine_floats(operation, ty, old, b);
    }
    let signed = ty.kind() == TypeKind::Signed;
    let less = |x: u64, y: u64| {
        if signed {
            sign_extend(x, ty.bits()).cast_signed() < sign_extend(y, ty.bits()).cast_signed()
        } else {
            x < y
        }
    };
    let value = match operation {
        AtomicOp::And => old & b,
        AtomicOp::Or => old | b,
        AtomicOp::Xor => old ^ b,
        AtomicOp::Exch => b,
        AtomicOp::Cas => {
            if old == b {
                c
            } else {
                old
            }
        }
        AtomicOp::Add => old.wrapping_add(b) & keep,
        AtomicOp::Inc => {
            if old >= b {
                0
            } else {
                old + 1
            }
        }
        AtomicOp::Dec => {
            if old == 0 || old > b {
                b
            } else {
                old - 1
            }
        }
        AtomicOp::Min => {
            if less(b, old) {
                b
            } else {
                old
            }
        }
        AtomicOp::Max => {
            if less(old, b) {
                b
            } else {
                old
            }
        }
    };
    Some(value)
}

fn combine_floats(operation: AtomicOp, ty: ScalarType, old: u64, b: u64) -> Option<u64> {
    let near = Rounding::NearestEven;
    let halves = |format: Format, operation: AtomicOp, x: u32, y: u32| -> Option<u32> {
        let values = (format.decode(x), format.decode(y));
        match operation {
            AtomicOp::Add => Some(float::add(format, values.0, values.1, near)),
            AtomicOp::Min => Some(extremum(values, (x, y), NAN_HALF, false, false)),
            AtomicOp::Max => Some(extremum(values, (x, y), NAN_HALF, true, false)),
            AtomicOp::And
            | AtomicOp::Or
            | AtomicOp::Xor
            | AtomicOp::Exch
            | AtomicOp::Cas
            | AtomicOp::Inc
            | AtomicOp::Dec => None,
        }
    };
    let (x, y) = (low_u32(old), low_u32(b));
    match (ty, operation) {
        // PTX: atom.add.f32 on global memory flushes nothing; on shared memory neither.
        (ScalarType::F32, AtomicOp::Add) => {
            let sum = f32::from_bits(x) + f32::from_bits(y);
            Some(u64::from(if sum.is_nan() {
                NAN_F32
            } else {
                sum.to_bits()
            }))
        }
        (ScalarType::F64, AtomicOp::Add) => {
            Some((f64::from_bits(old) + f64::from_bits(b)).to_bits())
        }
        (ScalarType::F16, _) => halves(Format::F16, operation, x, y).map(u64::from),
        (ScalarType::Bf16, _) => halves(Format::BF16, operation, x, y).map(u64::from),
        (ScalarType::F16x2 | ScalarType::Bf16x2, _) => {
            let format = if ty == ScalarType::F16x2 {
                Format::F16
            } else {
                Format::BF16
            };
            let low = halves(format, operation, x & 0xffff, y & 0xffff)?;
            let high = halves(format, operation, x >> 16, y >> 16)?;
            Some(u64::from(low | high << 16))
        }
        // The ISA has no other atomic on floats; exchange and compare are on bits.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn atomics() {
        let u = |operation, old, b| combine(operation, ScalarType::U32, old, b, 9);
        assert_eq!(u(AtomicOp::Add, 0xffff_ffff, 2), Some(1));
        assert_eq!(
            (u(AtomicOp::Inc, 5, 5), u(AtomicOp::Dec, 0, 7)),
            (Some(0), Some(7))
        );
        assert_eq!(
            (u(AtomicOp::Cas, 5, 5), u(AtomicOp::Cas, 5, 6)),
            (Some(9), Some(5))
        );
        assert_eq!(
            combine(AtomicOp::Min, ScalarType::S32, 1, 0xffff_ffff, 0),
            Some(0xffff_ffff)
        );
        let two = u64::from(2.0_f32.to_bits());
        assert_eq!(
            combine(AtomicOp::Add, ScalarType::F32, two, two, 0),
            Some(u64::from(4.0_f32.to_bits()))
        );
        assert_eq!(combine(AtomicOp::Xor, ScalarType::F32, two, two, 0), None);
    }
}
