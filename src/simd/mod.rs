//! Loops over f32 lanes, compiled once for each instruction set that this machine may have, behind safe functions.
//!
//! The loops work on arrays of [`LANES`] numbers. A lane is a key while scores are computed and a channel while values are
//! summed, so every sum runs in one lane, in one order, whatever the width of the machine's registers: **all levels that
//! fuse give the same bits**. A machine without fused multiply-add rounds twice where they round once.
//!
//! This is the one place outside `device` with `unsafe`: calling a function compiled for an instruction set needs the
//! knowledge that the machine has it, which [`Level`] is.

pub mod bf16;
mod exp;
mod lanes;
pub mod matmul;
mod products;
pub mod tensor_tile;
mod tile;
mod vector;

pub use exp::WEIGHT_ZERO_BELOW;
pub use tile::{Scores, TILE_Q, outputs, scores, weights};

use products::Products;
use std::sync::LazyLock;
#[cfg(target_arch = "x86_64")]
use vector::{Avx2, Avx512};
use vector::{Portable, Vector};

/// Numbers that are worked on side by side: one AVX-512 register, two AVX2 ones, four of 128 bits.
pub const LANES: usize = 16;
/// One group of numbers.
pub type Lanes = [f32; LANES];

/// An instruction set that this machine was seen to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Level {
    /// What the compiler was told that every machine has.
    pub const PORTABLE: Self = Self(Kind::Portable);

    /// Every level of this machine, the best last.
    pub fn available() -> Vec<Self> {
        #[cfg_attr(
            not(target_arch = "x86_64"),
            expect(unused_mut, reason = "one level only")
        )]
        let mut levels = vec![Self::PORTABLE];
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            if avx2 {
                levels.push(Self(Kind::Avx2));
            }
            if avx2 && is_x86_feature_detected!("avx512f") {
                levels.push(Self(Kind::Avx512));
            }
        }
        levels
    }

    /// The best level of this machine.
    pub fn best() -> Self {
        static BEST: LazyLock<Level> =
            LazyLock::new(|| Level::available().pop().unwrap_or(Level::PORTABLE));
        *BEST
    }

    /// Whether `a * b + c` is rounded once at this level (in the sums; nothing else is fused).
    pub fn fuses(self) -> bool {
        match self.0 {
            Kind::Portable => Portable::FUSED,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 | Kind::Avx512 => true,
        }
    }

    /// Name of the instruction set, for reports.
    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => "avx512",
        }
    }

    /// `e^x` for `x <= 0` as the loops compute it at this level; see the comment of `simd/exp.rs` for its error. For
    /// replaying a row and for tests.
    pub fn exp(self, x: f32) -> f32 {
        let mut lanes = [x; LANES];
        self.run(exp::ExpTask(&mut lanes));
        lanes[0]
    }

    /// Replaces every number by its exponential, as [`Level::exp`].
    pub fn exps(self, numbers: &mut [f32]) {
        self.run(exp::ExpsTask(numbers));
    }

    /// Runs a loop, compiled for this level.
    fn run<T: Task>(self, task: T) {
        match self.0 {
            Kind::Portable => task.run::<Portable, 2, 1>(),
            #[cfg(target_arch = "x86_64")]
            #[expect(unsafe_code, reason = "the instruction set is known to be there")]
            // SAFETY: a `Level` of this kind is only made by `available`, after it saw the instructions.
            Kind::Avx2 => unsafe { avx2(task) },
            #[cfg(target_arch = "x86_64")]
            #[expect(unsafe_code, reason = "the instruction set is known to be there")]
            // SAFETY: as above.
            Kind::Avx512 => unsafe { avx512(task) },
        }
    }
}

/// A loop. `ROWS` query rows are worked on at a time, and `CHUNKS` groups of channels, so that the sums in progress fill
/// the registers and no more. Neither changes a bit of the result.
trait Task {
    fn run<V: Products, const ROWS: usize, const CHUNKS: usize>(self);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2<T: Task>(task: T) {
    task.run::<Avx2, 4, 1>();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma")]
fn avx512<T: Task>(task: T) {
    task.run::<Avx512, 8, 2>();
}
