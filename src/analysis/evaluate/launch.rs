//! One CTA of one launch: what its parameters and indices are.

use super::super::value::{Bits, Value};
use super::Context;
use crate::contract::{Contract, Entries, PromisedValue};
use crate::ptx::{Address, Op, RegisterId, ScalarType, Space, SpecialRegister};

/// Buffers are taken to lie so far apart: no offset reaches from one into the next.
const APART: u32 = 40;

/// A CTA of a launch.
#[derive(Clone, Copy, Debug)]
pub(in crate::analysis) struct Launch<'c> {
    /// What the launch promises.
    pub(in crate::analysis) contract: &'c Contract,
    /// Index of the CTA in x, y, z.
    pub(in crate::analysis) cta: [u32; 3],
}

/// A place in a buffer.
#[derive(Clone, Copy, Debug)]
pub(in crate::analysis) struct Place<'c> {
    /// The buffer's name.
    pub(in crate::analysis) name: &'c str,
    /// Its size.
    pub(in crate::analysis) bytes: u64,
    /// What its numbers may be.
    pub(in crate::analysis) entries: Option<Entries>,
    /// Bytes from its start; negative before it.
    pub(in crate::analysis) offset: i64,
}

impl<'c> Launch<'c> {
    /// The place that an address means, if it is in or near a buffer.
    pub(in crate::analysis) fn place(&self, address: u64) -> Option<Place<'c>> {
        let half = 1_u64 << (APART - 1);
        let index = (address.checked_add(half)? >> APART).checked_sub(1)?;
        let promise = self.contract.params.get(usize::try_from(index).ok()?)?;
        let PromisedValue::Buffer {
            name,
            bytes,
            entries,
            ..
        } = &promise.value
        else {
            return None;
        };
        let start = (index + 1) << APART;
        Some(Place {
            name,
            bytes: *bytes,
            entries: *entries,
            offset: address.wrapping_sub(start).cast_signed(),
        })
    }

    /// The bits at an offset of the parameter space.
    fn param(&self, offset: u64, ty: ScalarType) -> Option<u64> {
        let params = self.contract.params.iter().zip(1_u64..);
        let mut of = params.filter(|(promise, _)| u64::from(promise.offset) == offset);
        let (promise, number) = of.next()?;
        match promise.value {
            PromisedValue::Buffer { .. } => (ty.bytes() == 8).then_some(number << APART),
            PromisedValue::Bits(bits) => Some(bits & ty.mask()),
            PromisedValue::Map { .. } => None,
        }
    }
}

impl Context<'_> {
    /// Where a parameter begins in its space.
    pub(super) fn param_address(&self, index: u32) -> Value {
        let offsets = self.function.param_offsets();
        let index = usize::try_from(index).ok();
        let offset = index.and_then(|index| offsets.get(index).copied());
        offset.map_or_else(|| Value::unknown(false), Value::exact)
    }

    /// Index of the CTA and extents of the grid, where they are known.
    pub(super) fn of_launch(&self, special: SpecialRegister) -> Option<Value> {
        let launch = self.launch?;
        let [x, y, z] = launch.cta;
        let [grid_x, grid_y, grid_z] = launch.contract.grid;
        let number = [
            (SpecialRegister::CtaidX, x),
            (SpecialRegister::CtaidY, y),
            (SpecialRegister::CtaidZ, z),
            (SpecialRegister::NctaidX, grid_x),
            (SpecialRegister::NctaidY, grid_y),
            (SpecialRegister::NctaidZ, grid_z),
        ];
        let found = number.iter().find(|(of, _)| *of == special)?;
        Some(Value::exact(u64::from(found.1)))
    }

    /// What a load of parameters gives.
    pub(super) fn load(
        &self,
        (space, ty, address): (Space, ScalarType, Address),
        d: &[Option<RegisterId>],
        read: &dyn Fn(RegisterId) -> Value,
    ) -> Vec<(RegisterId, Value)> {
        let Some(launch) = self.launch.filter(|_| space == Space::Param) else {
            return Vec::new();
        };
        let Some(start) = self.address(address, read).uniform() else {
            return Vec::new();
        };
        let elements = d.iter().zip(0_u64..);
        elements
            .filter_map(|(register, element)| {
                let bits = launch.param(start + element * u64::from(ty.bytes()), ty)?;
                Some(((*register)?, Value::exact(bits)))
            })
            .collect()
    }

    /// The numbers that a load may give, where a list of integers is read at one address by all threads.
    pub(in crate::analysis) fn listed(
        &self,
        op: &Op,
        read: &dyn Fn(RegisterId) -> Value,
    ) -> Option<Entries> {
        let Op::Ld {
            space: Space::Global,
            ty,
            address,
            ..
        } = op
        else {
            return None;
        };
        let address = self.address(*address, read).uniform()?;
        let place = self.launch?.place(address)?;
        place.entries.filter(|_| ty.bytes() == 4)
    }

    /// The context of one CTA of a launch.
    pub(in crate::analysis) fn of_cta<'c>(&self, launch: Launch<'c>) -> Context<'c>
    where
        Self: 'c,
    {
        Context {
            module: self.module,
            function: self.function,
            cta: launch.contract.cta.map(u64::from),
            exact_cta: true,
            shared: self.shared.clone(),
            launch: Some(launch),
            alike: std::sync::OnceLock::new(),
        }
    }
}

impl Bits {
    /// The one bit of an answer.
    pub(super) fn of(answer: bool) -> Self {
        Self::exact(u64::from(answer))
    }
}
