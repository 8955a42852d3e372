//! What to run and how: the launch, the options, and the layout of a CTA's memories.

use super::memory::{Initial, Memory};
use super::target::Target;
use crate::convert::index;
use crate::ptx::{Function, Module, Space, Variable};

/// Most threads of a CTA.
pub const MAX_THREADS: u32 = 1024;
/// CTAs of a launch: what each of them wrote is kept until the grid ends, so more would take all memory and hours.
pub const MAX_CTAS: u32 = 1 << 20;
/// Most shared memory of a CTA: 227 KiB, what `sm_90` offers.
pub const MAX_SHARED_BYTES: u64 = 227 * 1024;

/// A kernel launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Name of the entry function.
    pub entry: String,
    /// CTAs in x, y, z.
    pub grid: [u32; 3],
    /// Threads of a CTA in x, y, z.
    pub cta: [u32; 3],
    /// Dynamic shared memory of a CTA.
    pub shared_bytes: u32,
    /// Parameter buffer, laid out as `Function::param_offsets` says.
    pub params: Vec<u8>,
}

/// Which checks watch a run. Accesses outside memory stop it in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detectors {
    /// Races between threads of a CTA on shared memory.
    pub races: bool,
    /// Undefined bits that reach a store, a branch or an address.
    pub uninitialised: bool,
    /// Divergent or miscounted barriers, exited threads, misused mbarriers.
    pub barriers: bool,
    /// Asynchronous work that has not been waited for: `cp.async`, bulk copies, `wgmma`, and missing proxy fences.
    pub async_copies: bool,
    /// CTAs that touch each other's global bytes.
    pub grid_overlap: bool,
}

impl Detectors {
    /// Every check.
    pub const ALL: Self = Self {
        races: true,
        uninitialised: true,
        barriers: true,
        async_copies: true,
        grid_overlap: true,
    };
    /// None.
    pub const NONE: Self = Self {
        races: false,
        uninitialised: false,
        barriers: false,
        async_copies: false,
        grid_overlap: false,
    };
}

/// When the data of a `cp.async` arrives, between its issue and the wait that covers it. PTX allows any moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AsyncOrder {
    /// At the wait.
    #[default]
    Late,
    /// At the issue.
    Early,
    /// Some at the issue, the others at the wait, those of a group in another order: chosen by the seed.
    Reordered,
}

/// Which value an `.approx` function of f32 gives, within the error that the PTX ISA allows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Approx {
    /// The exact value, rounded to nearest.
    #[default]
    Nearest,
    /// The least that is allowed.
    Low,
    /// The greatest that is allowed.
    High,
    /// One of those that are allowed, chosen by argument and seed.
    Seeded,
}

/// How to run a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whose tensor-core numerics.
    pub target: Target,
    /// Order of CTAs and of warps; 0 is ascending.
    pub seed: u64,
    /// Most warp instructions of one CTA; a run that needs more is stopped.
    pub instruction_budget: u64,
    /// When asynchronous copies arrive.
    pub async_order: AsyncOrder,
    /// Values of approximate functions.
    pub approx: Approx,
    /// Checks.
    pub detectors: Detectors,
    /// Count bank conflicts and uncoalesced accesses.
    pub notes: bool,
    /// Report which global bytes each CTA read and wrote.
    pub traffic: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            target: Target::default(),
            seed: 0,
            instruction_budget: 50_000_000,
            async_order: AsyncOrder::default(),
            approx: Approx::default(),
            detectors: Detectors::ALL,
            notes: false,
            traffic: false,
        }
    }
}

/// A launch that no GPU would start, or a module that does not have what it names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLaunch {
    /// The module has no such entry.
    #[error("module `{module}` has no entry `{entry}`; it has: {known}")]
    NoEntry {
        /// Name of the module.
        module: String,
        /// Asked for.
        entry: String,
        /// Entries there are.
        known: String,
    },
    /// A dimension is 0.
    #[error("{what} {size:?} has a dimension of 0")]
    Empty {
        /// `grid` or `cta`.
        what: &'static str,
        /// As given.
        size: [u32; 3],
    },
    /// The grid is larger than this machine runs.
    #[error(
        "a grid of {size:?} has more than {MAX_CTAS} ctas, the most that are run here; take shorter sequences, fewer heads or a smaller batch"
    )]
    TooManyCtas {
        /// As given.
        size: [u32; 3],
    },
    /// The CTA is larger than a GPU allows.
    #[error("a cta of {size:?} has more than {MAX_THREADS} threads")]
    TooManyThreads {
        /// As given.
        size: [u32; 3],
    },
    /// The CTA is not what `.reqntid` or `.maxntid` declares.
    #[error("a cta of {size:?} breaks the kernel's {directive} {bound:?}")]
    LaunchBound {
        /// As given.
        size: [u32; 3],
        /// `.reqntid` or `.maxntid`.
        directive: &'static str,
        /// As declared.
        bound: [u32; 3],
    },
    /// The parameter buffer has another size.
    #[error("{given} bytes of parameters, but `{entry}` takes {wanted}")]
    ParamBytes {
        /// Entry.
        entry: String,
        /// As given.
        given: u64,
        /// What the declaration needs.
        wanted: u64,
    },
    /// More shared memory than any target has.
    #[error("{bytes} bytes of shared memory; a cta has at most {MAX_SHARED_BYTES}")]
    TooMuchShared {
        /// Static and dynamic.
        bytes: u64,
    },
    /// A module variable that only a linker could place.
    #[error("variable `{0}` is external and has no definition in the module")]
    ExternalVariable(String),
}

/// Where things lie in the memories of a launch.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// Address in its space of each module variable.
    pub(crate) module_variables: Vec<u64>,
    /// Address in its space of each function variable.
    pub(crate) function_variables: Vec<u64>,
    /// Offset of each parameter.
    pub(crate) params: Vec<u64>,
    /// Static and dynamic shared memory.
    pub(crate) shared_bytes: usize,
    /// Local memory of a thread.
    pub(crate) local_bytes: usize,
    /// Allocations made for module variables, to be freed after the run.
    pub(crate) allocated: Vec<u64>,
}

/// Checks a launch and finds its function.
pub(crate) fn check<'m>(
    module: &'m Module,
    launch: &Launch,
) -> Result<&'m Function, InvalidLaunch> {
    let function = module
        .function(&launch.entry)
        .ok_or_else(|| InvalidLaunch::NoEntry {
            module: module.name.clone(),
            entry: launch.entry.clone(),
            known: module
                .functions
                .iter()
                .map(|f| f.name.as_str())
                .collect::<Vec<_>>()
                .join(", "),
        })?;
    for (what, size) in [("grid", launch.grid), ("cta", launch.cta)] {
        if size.contains(&0) {
            return Err(InvalidLaunch::Empty { what, size });
        }
    }
    let product = |size: [u32; 3]| {
        size.iter()
            .try_fold(1_u32, |product, &n| product.checked_mul(n))
    };
    if product(launch.grid).is_none_or(|ctas| ctas > MAX_CTAS) {
        return Err(InvalidLaunch::TooManyCtas { size: launch.grid });
    }
    let size = launch.cta;
    let threads = product(size);
    let Some(threads) = threads.filter(|&n| n <= MAX_THREADS) else {
        return Err(InvalidLaunch::TooManyThreads { size });
    };
    if let Some(bound) = function.directives.reqntid
        && bound != size
    {
        return Err(InvalidLaunch::LaunchBound {
            size,
            directive: ".reqntid",
            bound,
        });
    }
    if let Some(bound) = function.directives.maxntid
        && bound.iter().map(|&n| u64::from(n)).product::<u64>() < u64::from(threads)
    {
        return Err(InvalidLaunch::LaunchBound {
            size,
            directive: ".maxntid",
            bound,
        });
    }
    let given = u64::try_from(launch.params.len()).expect("a length fits 64 bits");
    let wanted = function.param_bytes();
    if given != wanted {
        return Err(InvalidLaunch::ParamBytes {
            entry: launch.entry.clone(),
            given,
            wanted,
        });
    }
    Ok(function)
}

/// Places every variable; module variables of global and const memory are allocated in `memory`.
pub(crate) fn lay_out(
    module: &Module,
    function: &Function,
    launch: &Launch,
    memory: &mut Memory,
) -> Result<Layout, InvalidLaunch> {
    let (mut shared, mut local) = (0_u64, 0_u64);
    let mut allocated = Vec::new();
    // Static shared memory first; unsized arrays all start where it ends.
    let mut dynamic_alignment = 16_u64;
    let mut place = |variable: &Variable, memory: &mut Memory| -> Result<u64, InvalidLaunch> {
        let alignment = u64::from(variable.alignment().max(1));
        match variable.space {
            Space::Shared if variable.bytes() == 0 => {
                dynamic_alignment = dynamic_alignment.max(alignment);
                Ok(u64::MAX)
            }
            Space::Shared => {
                let at = shared.next_multiple_of(alignment);
                shared = at.saturating_add(variable.bytes());
                Ok(at)
            }
            Space::Local => {
                let at = local.next_multiple_of(alignment);
                local = at.saturating_add(variable.bytes());
                Ok(at)
            }
            Space::Global | Space::Const | Space::Generic | Space::Param => {
                if variable.linkage == crate::ptx::Linkage::Extern {
                    return Err(InvalidLaunch::ExternalVariable(variable.name.clone()));
                }
                let writable = variable.space == Space::Global;
                let address = memory.allocate(&variable.name, initial(variable), writable);
                if variable.space == Space::Const {
                    memory.make_constant(address);
                }
                allocated.push(address);
                Ok(address)
            }
        }
    };
    let mut module_variables = Vec::with_capacity(module.variables.len());
    for variable in &module.variables {
        module_variables.push(place(variable, memory)?);
    }
    let mut function_variables = Vec::with_capacity(function.variables.len());
    for variable in &function.variables {
        function_variables.push(place(variable, memory)?);
    }
    let dynamic = shared.next_multiple_of(dynamic_alignment);
    for address in module_variables.iter_mut().chain(&mut function_variables) {
        if *address == u64::MAX {
            *address = dynamic;
        }
    }
    let bytes = if launch.shared_bytes == 0 {
        shared
    } else {
        dynamic + u64::from(launch.shared_bytes)
    };
    if bytes > MAX_SHARED_BYTES {
        return Err(InvalidLaunch::TooMuchShared { bytes });
    }
    Ok(Layout {
        module_variables,
        function_variables,
        params: function.param_offsets(),
        shared_bytes: usize::try_from(bytes).expect("checked above"),
        local_bytes: usize::try_from(local).expect("the parser bounds sizes"),
        allocated,
    })
}

/// Initial bytes of a module variable: CUDA zeroes what has no initialiser.
fn initial(variable: &Variable) -> Initial {
    let size = index(variable.ty.bytes());
    let mut bytes = vec![0; usize::try_from(variable.bytes()).expect("the parser bounds sizes")];
    for (element, value) in bytes.chunks_exact_mut(size).zip(&variable.initial) {
        element.copy_from_slice(&value.to_le_bytes()[..size]);
    }
    Initial::Bytes(bytes)
}
