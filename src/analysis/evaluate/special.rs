//! Values of special registers, for all threads of a CTA at once.

use super::super::value::Value;
use super::Context;
use crate::ptx::SpecialRegister;

impl Context<'_> {
    /// Value of a special register; other threads of a launch, or other launches, are not known.
    pub(super) fn special(&self, special: SpecialRegister) -> Value {
        if let Some(known) = self.of_launch(special) {
            return known;
        }
        let [x, y, z] = self.cta;
        let each = |f: &dyn Fn(u64) -> u64| Value::each((0..x * y * z).map(f));
        let extent = |extent: u64| {
            if self.exact_cta {
                Value::exact(extent)
            } else {
                Value::unknown(false)
            }
        };
        match special {
            SpecialRegister::TidX => each(&|thread| thread % x),
            SpecialRegister::TidY => each(&|thread| thread / x % y),
            SpecialRegister::TidZ => each(&|thread| thread / (x * y)),
            SpecialRegister::Laneid => each(&|thread| thread % 32),
            SpecialRegister::NtidX => extent(x),
            SpecialRegister::NtidY => extent(y),
            SpecialRegister::NtidZ => extent(z),
            SpecialRegister::CtaidX
            | SpecialRegister::CtaidY
            | SpecialRegister::CtaidZ
            | SpecialRegister::NctaidX
            | SpecialRegister::NctaidY
            | SpecialRegister::NctaidZ
            | SpecialRegister::Gridid
            | SpecialRegister::Nwarpid
            | SpecialRegister::Nsmid
            | SpecialRegister::DynamicSmemSize
            | SpecialRegister::TotalSmemSize
            | SpecialRegister::ClusteridX
            | SpecialRegister::ClusteridY
            | SpecialRegister::ClusteridZ
            | SpecialRegister::NclusteridX
            | SpecialRegister::NclusteridY
            | SpecialRegister::NclusteridZ
            | SpecialRegister::ClusterCtaidX
            | SpecialRegister::ClusterCtaidY
            | SpecialRegister::ClusterCtaidZ
            | SpecialRegister::ClusterNctaidX
            | SpecialRegister::ClusterNctaidY
            | SpecialRegister::ClusterNctaidZ
            | SpecialRegister::ClusterCtarank
            | SpecialRegister::ClusterNctarank => Value::unknown(false),
            SpecialRegister::Warpid
            | SpecialRegister::Smid
            | SpecialRegister::LanemaskEq
            | SpecialRegister::LanemaskLe
            | SpecialRegister::LanemaskLt
            | SpecialRegister::LanemaskGe
            | SpecialRegister::LanemaskGt
            | SpecialRegister::Clock
            | SpecialRegister::ClockHi
            | SpecialRegister::Clock64
            | SpecialRegister::GlobaltimerLo
            | SpecialRegister::GlobaltimerHi
            | SpecialRegister::Globaltimer => Value::unknown(true),
        }
    }
}
