//! A PTX program: declarations, functions, and where each instruction came from.

use super::instruction::Op;
use super::operand::{InstructionId, Predicate, RegisterId};
use super::scalar::{ScalarType, Space};
use crate::diagnostic::{Place, Site};

/// Position in the PTX text, 1-based; 0 where a program was made rather than read.
///
/// Where a program stands in its text is no part of what it is: all spans compare equal, so that
/// `parse(print(m)) == m` is a statement about programs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Span {
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
}

impl PartialEq for Span {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Span {}

/// A translation unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Name of the text, as diagnostics print it.
    pub name: String,
    /// `.version major.minor`.
    pub version: (u32, u32),
    /// `.target`: architecture first (`sm_80`), then options (`debug`, ..).
    pub target: Vec<String>,
    /// `.address_size`: 32 or 64.
    pub address_size: u32,
    /// Variables of module scope, in order.
    pub variables: Vec<Variable>,
    /// Entry functions, in order.
    pub functions: Vec<Function>,
    /// Functions that others call (`.func`), in the order of their first declaration.
    pub callees: Vec<Callee>,
    /// `.file` table.
    pub files: Vec<SourceFile>,
    /// `.section` blocks (debug information), verbatim.
    pub sections: Vec<Section>,
}

/// A `.file` directive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Number that `.loc` uses.
    pub index: u32,
    /// Path as written.
    pub path: String,
}

/// A `.section` block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Name with its leading dot, e.g. `.debug_str`.
    pub name: String,
    /// Text between the braces, trimmed.
    pub body: String,
}

/// Linkage of a declaration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Linkage {
    /// None written.
    Internal,
    /// `.visible`.
    Visible,
    /// `.extern`.
    Extern,
    /// `.weak`.
    Weak,
    /// `.common`.
    Common,
}

/// How many elements a variable or parameter has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Extent {
    /// One.
    Scalar,
    /// `[n][m]..`.
    Array(Vec<u64>),
    /// `[]`: its size is given at launch (dynamic shared memory).
    Unsized,
}

impl Extent {
    /// Number of elements; 0 for an unsized array.
    pub fn elements(&self) -> u64 {
        match self {
            Self::Scalar => 1,
            Self::Array(sizes) => sizes.iter().product(),
            Self::Unsized => 0,
        }
    }
}

/// A variable in global, const, shared or local memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Name, unique in its scope.
    pub name: String,
    /// Memory.
    pub space: Space,
    /// Linkage.
    pub linkage: Linkage,
    /// `.align`, if written.
    pub align: Option<u32>,
    /// Element type.
    pub ty: ScalarType,
    /// Elements.
    pub extent: Extent,
    /// Initial elements as bits; missing ones are zero. Empty where none is written.
    pub initial: Vec<u64>,
    /// Place of the name.
    pub span: Span,
}

impl Variable {
    /// Alignment in bytes: as written, else the size of an element.
    pub fn alignment(&self) -> u32 {
        self.align.unwrap_or(self.ty.bytes())
    }

    /// Size in bytes; 0 for an unsized array. The parser has made sure that it fits.
    pub fn bytes(&self) -> u64 {
        self.extent.elements() * u64::from(self.ty.bytes())
    }
}

/// `.ptr` attribute of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pointer {
    /// Memory pointed to, if written.
    pub space: Option<Space>,
    /// Promised alignment, if written.
    pub align: Option<u32>,
}

/// A kernel parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    /// Name.
    pub name: String,
    /// Element type.
    pub ty: ScalarType,
    /// `.align`, if written.
    pub align: Option<u32>,
    /// Elements; never unsized.
    pub extent: Extent,
    /// `.ptr`, if written.
    pub pointer: Option<Pointer>,
}

impl Param {
    /// Alignment in bytes: as written, else the size of an element.
    pub fn alignment(&self) -> u32 {
        self.align.unwrap_or(self.ty.bytes())
    }

    /// Size in bytes. The parser has made sure that it fits.
    pub fn bytes(&self) -> u64 {
        self.extent.elements() * u64::from(self.ty.bytes())
    }
}

/// `.reg .TYPE name;` or `.reg .TYPE name<count>;` (which declares `name0` to `name{count-1}`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterBank {
    /// Name or prefix.
    pub name: String,
    /// Type of each register.
    pub ty: ScalarType,
    /// `None` for a single register.
    pub count: Option<u32>,
    /// Id of the first register of the bank.
    pub first: RegisterId,
}

impl RegisterBank {
    /// Number of registers.
    pub fn len(&self) -> u32 {
        self.count.unwrap_or(1)
    }

    /// True for `name<0>`.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Launch bounds an entry declares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directives {
    /// `.maxntid x, y, z` (missing ones are 1).
    pub maxntid: Option<[u32; 3]>,
    /// `.reqntid x, y, z`.
    pub reqntid: Option<[u32; 3]>,
    /// `.minnctapersm`.
    pub minnctapersm: Option<u32>,
    /// `.maxnreg`.
    pub maxnreg: Option<u32>,
}

/// A label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Name, unique in the function.
    pub name: String,
    /// Instruction it stands before; the number of instructions for the end.
    pub at: InstructionId,
}

/// A `.pragma` inside a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pragma {
    /// Text between the quotes.
    pub text: String,
    /// Instruction it stands before.
    pub at: InstructionId,
}

/// Index into `Function::locations`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LocationId(pub u32);

/// A `.loc`: a place in the CUDA source.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Location {
    /// Index of `Module::files` by number, as written.
    pub file: u32,
    /// Line; 0 where the compiler made the code up.
    pub line: u32,
    /// Column.
    pub column: u32,
    /// The call it was inlined at, if any.
    pub inlined: Option<Inlined>,
}

/// Where a `.loc` was inlined.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Inlined {
    /// Label in `.debug_str` of the function's mangled name.
    pub function: String,
    /// Bytes after that label.
    pub offset: i64,
    /// The call; always a smaller id than the location that names it.
    pub at: LocationId,
}

/// One instruction with its guard and places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Executed by threads for which this holds; by all where `None`.
    pub guard: Option<Predicate>,
    /// What it does.
    pub op: Op,
    /// Place in the PTX text.
    pub span: Span,
    /// Place in the CUDA source.
    pub location: Option<LocationId>,
}

/// A `.func`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callee {
    /// The function; without code where the text only declares it (`.extern`).
    pub function: Function,
    /// Result parameters. Its code addresses result `n` as [`Symbol::Param`](super::Symbol::Param) of the number of its
    /// parameters plus `n`.
    pub results: Vec<Param>,
    /// False where the text only declares it.
    pub defined: bool,
}

/// The labels of a `.branchtargets` list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BranchList {
    /// Name, unique among the labels of the function.
    pub name: String,
    /// Where each leads, in order.
    pub targets: Vec<InstructionId>,
}

/// A function, most often an entry. Nested `{ }` scopes are flattened; names that clash are made unique.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Name.
    pub name: String,
    /// Linkage.
    pub linkage: Linkage,
    /// Parameters, in order.
    pub params: Vec<Param>,
    /// Launch bounds.
    pub directives: Directives,
    /// Registers.
    pub registers: Vec<RegisterBank>,
    /// Shared and local variables declared inside.
    pub variables: Vec<Variable>,
    /// Code.
    pub instructions: Vec<Instruction>,
    /// Labels, by position.
    pub labels: Vec<Label>,
    /// Lists that `brx.idx` chooses from.
    pub branch_lists: Vec<BranchList>,
    /// Pragmas, by position.
    pub pragmas: Vec<Pragma>,
    /// Places in the CUDA source that instructions name, callers before callees.
    pub locations: Vec<Location>,
    /// Place of the name.
    pub span: Span,
}

impl Function {
    /// Number of registers.
    pub fn register_count(&self) -> u32 {
        self.registers
            .last()
            .map_or(0, |bank| bank.first.0 + bank.len())
    }

    /// The declaration of a register.
    fn bank(&self, register: RegisterId) -> Option<&RegisterBank> {
        let after = self
            .registers
            .partition_point(|bank| bank.first <= register);
        // Empty banks share their `first` with the next one; walking back finds the one that holds the register.
        self.registers[..after]
            .iter()
            .rev()
            .find(|bank| register.0 - bank.first.0 < bank.len())
    }

    /// Declared type of a register; `None` if the function has no such register.
    pub fn register_type(&self, register: RegisterId) -> Option<ScalarType> {
        self.bank(register).map(|bank| bank.ty)
    }

    /// Declared types of all registers, by id.
    pub fn register_types(&self) -> Vec<ScalarType> {
        self.registers
            .iter()
            .flat_map(|bank| (0..bank.len()).map(|_| bank.ty))
            .collect()
    }

    /// Name of a register; `?` if the function has no such register.
    pub fn register_name(&self, register: RegisterId) -> String {
        match self.bank(register) {
            None => "?".to_owned(),
            Some(bank) if bank.count.is_none() => bank.name.clone(),
            Some(bank) => format!("{}{}", bank.name, register.0 - bank.first.0),
        }
    }

    /// Byte offset of each parameter in the parameter buffer: in order, each at its alignment.
    pub fn param_offsets(&self) -> Vec<u64> {
        self.param_layout().0
    }

    /// Bytes of the parameter buffer.
    pub fn param_bytes(&self) -> u64 {
        self.param_layout().1
    }

    fn param_layout(&self) -> (Vec<u64>, u64) {
        let mut end = 0_u64;
        let mut offsets = Vec::with_capacity(self.params.len());
        for param in &self.params {
            let start = end.next_multiple_of(u64::from(param.alignment()));
            offsets.push(start);
            end = start + param.bytes();
        }
        (offsets, end)
    }

    /// First label that stands before an instruction.
    pub fn label_at(&self, at: InstructionId) -> Option<&Label> {
        let first = self.labels.partition_point(|label| label.at < at);
        self.labels.get(first).filter(|label| label.at == at)
    }
}

impl Module {
    /// The entry of that name.
    pub fn function(&self, name: &str) -> Option<&Function> {
        self.functions.iter().find(|function| function.name == name)
    }

    /// CUDA places of a `.loc`: the innermost first, then the calls it was inlined through. Places the compiler made
    /// up (line 0) are left out; paths are cut to base names.
    pub fn cuda_places(&self, function: &Function, location: Option<LocationId>) -> Vec<Place> {
        let mut places = Vec::new();
        let mut next = location;
        while let Some(id) = next {
            let Some(location) = usize::try_from(id.0)
                .ok()
                .and_then(|index| function.locations.get(index))
            else {
                break;
            };
            if location.line > 0 {
                let path = self
                    .files
                    .iter()
                    .find(|file| file.index == location.file)
                    .map(|file| file.path.as_str());
                let file = path.map_or("?", |path| path.rsplit(['/', '\\']).next().unwrap_or(path));
                places.push(Place {
                    file: file.to_owned(),
                    line: location.line,
                    column: location.column,
                });
            }
            // Ids fall towards the caller; a program made by hand that breaks this ends the walk.
            next = location
                .inlined
                .as_ref()
                .map(|inlined| inlined.at)
                .filter(|at| *at < id);
        }
        places
    }

    /// A numbered place of a finding: PTX line, CUDA line and statement of an instruction.
    pub fn site(&self, function: &Function, at: InstructionId, label: impl Into<String>) -> Site {
        let instruction = usize::try_from(at.0)
            .ok()
            .and_then(|index| function.instructions.get(index));
        let mut cuda = instruction
            .map_or_else(Vec::new, |found| self.cuda_places(function, found.location))
            .into_iter();
        Site {
            label: label.into(),
            ptx: instruction.map(|found| Place {
                file: self.name.clone(),
                line: found.span.line,
                column: found.span.column,
            }),
            cuda: cuda.next(),
            inlined: cuda.collect(),
            statement: instruction.map(|found| super::print::statement(self, function, found)),
        }
    }
}
