//! Entry functions: parameters, launch bounds, declarations, labels, source places.

use super::Parser;
use super::scope::{Entity, FunctionNames, ModuleNames};
use crate::ptx::error::Error;
use crate::ptx::lex::{Token, TokenKind};
use crate::ptx::{
    BranchList, Callee, Directives, Function, Inlined, Instruction, InstructionId, Label, Linkage,
    Location, LocationId, Op, Param, Pragma, Predicate, RegisterBank, RegisterId, ScalarType,
    Symbol,
};
use std::collections::HashMap;

/// Most registers a function may declare: whoever runs it will allocate them for every thread.
const REGISTERS_MAX: u32 = 1 << 20;

/// Most bytes of parameters (PTX ISA 7.1, the limit from version 8.1 on).
const PARAM_BYTES_MAX: u64 = 32_764;

/// A function while it is read.
pub(super) struct Body<'p, 't> {
    pub(super) parser: &'p mut Parser<'t>,
    pub(super) names: FunctionNames<'t, 'p>,
    function: Function,
    register_count: u32,
    branches: Vec<Branch<'t>>,
    places: Places,
}

/// A branch whose label may come later.
struct Branch<'t> {
    place: Target,
    label: Token<'t>,
    scope: usize,
}

/// What takes the label when it is known.
enum Target {
    /// The branch at that index.
    Instruction(usize),
    /// An element of a list.
    List(usize, usize),
    /// The list of the `brx.idx` at that index.
    Indexed(usize),
}

/// `.loc` directives seen so far.
#[derive(Default)]
struct Places {
    all: Vec<Location>,
    ids: HashMap<Location, LocationId>,
    /// The latest location at each (file, line, column): what `inlined_at` refers to.
    latest: HashMap<(u32, u32, u32), LocationId>,
    current: Option<LocationId>,
}

impl Places {
    fn enter(&mut self, location: Location) -> LocationId {
        let at = (location.file, location.line, location.column);
        let fresh = LocationId(u32::try_from(self.all.len()).unwrap_or(u32::MAX));
        let id = *self.ids.entry(location.clone()).or_insert(fresh);
        if id == fresh {
            self.all.push(location);
        }
        self.latest.insert(at, id);
        id
    }
}

fn empty(name: Token<'_>, linkage: Linkage) -> Function {
    Function {
        name: name.text.to_owned(),
        linkage,
        params: Vec::new(),
        directives: Directives::default(),
        registers: Vec::new(),
        variables: Vec::new(),
        instructions: Vec::new(),
        labels: Vec::new(),
        branch_lists: Vec::new(),
        pragmas: Vec::new(),
        locations: Vec::new(),
        span: name.span,
    }
}

impl<'t> Parser<'t> {
    fn body<'p>(&'p mut self, module: &'p ModuleNames, function: Function) -> Body<'p, 't> {
        Body {
            parser: self,
            names: FunctionNames::new(module),
            function,
            register_count: 0,
            branches: Vec::new(),
            places: Places::default(),
        }
    }

    /// `name(params) directives { body }`, after `.entry`.
    pub(super) fn function(
        &mut self,
        linkage: Linkage,
        module: &ModuleNames,
    ) -> Result<Function, Error> {
        let name = self.word("a function name")?;
        let mut body = self.body(module, empty(name, linkage));
        body.params()?;
        body.directives()?;
        body.code()?;
        Ok(body.function)
    }

    /// `(results) name(params) directives { body }` or `..;`, after `.func`; adds it to the callees, or to the declaration
    /// it completes.
    pub(super) fn callee(
        &mut self,
        linkage: Linkage,
        names: &mut ModuleNames,
        callees: &mut Vec<Callee>,
    ) -> Result<(), Error> {
        let mut results = Vec::new();
        if self.accept("(") && !self.accept(")") {
            loop {
                results.push(self.param()?);
                if !self.accept(",") {
                    break;
                }
            }
            self.expect(")")?;
        }
        let name = self.word("a function name")?;
        let index = names
            .declare_callee(name.text)
            .and_then(|index| usize::try_from(index).ok())
            .ok_or_else(|| self.source.malformed(name, "a new name"))?;
        let mut body = self.body(names, empty(name, linkage));
        body.params()?;
        let first = body.function.params.len();
        for (offset, (token, _)) in results.iter().enumerate() {
            let symbol = Entity::Symbol(Symbol::Param(body.count(first + offset)?));
            if body.names.declare(token.text, symbol).is_none() {
                return Err(body.parser.source.malformed(*token, "a new name"));
            }
        }
        body.directives()?;
        let defined = body.parser.peek().text == "{";
        if defined {
            body.code()?;
        } else {
            body.parser.expect(";")?;
        }
        let callee = Callee {
            function: body.function,
            results: results.into_iter().map(|(_, param)| param).collect(),
            defined,
        };
        match callees.get_mut(index) {
            None => callees.push(callee),
            Some(known) => {
                let same = |a: &[Param], b: &[Param]| {
                    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.bytes() == b.bytes())
                };
                if known.defined && defined
                    || !same(&known.function.params, &callee.function.params)
                    || !same(&known.results, &callee.results)
                {
                    return Err(self
                        .source
                        .malformed(name, "one definition that agrees with its declarations"));
                }
                if defined {
                    *known = callee;
                }
            }
        }
        Ok(())
    }
}

impl<'t> Body<'_, 't> {
    fn code(&mut self) -> Result<(), Error> {
        self.statements()?;
        self.resolve()?;
        self.renumber_locations();
        Ok(())
    }

    fn params(&mut self) -> Result<(), Error> {
        if !self.parser.accept("(") || self.parser.accept(")") {
            return Ok(());
        }
        let open = self.parser.peek();
        loop {
            let (name, param) = self.parser.param()?;
            let index = self.count(self.function.params.len())?;
            if self
                .names
                .declare(name.text, Entity::Symbol(Symbol::Param(index)))
                .is_none()
            {
                return Err(self.parser.source.malformed(name, "a new name"));
            }
            self.function.params.push(param);
            if self.function.param_bytes() > PARAM_BYTES_MAX {
                let expected = format!("at most {PARAM_BYTES_MAX} bytes of parameters");
                return Err(self.parser.source.malformed(open, expected));
            }
            if !self.parser.accept(",") {
                break;
            }
        }
        self.parser.expect(")").map(drop)
    }

    /// An index as PTX programs number things.
    fn count(&self, count: usize) -> Result<u32, Error> {
        u32::try_from(count).map_err(|_| {
            self.parser
                .malformed("fewer than 4294967296 things of a kind")
        })
    }

    fn directives(&mut self) -> Result<(), Error> {
        loop {
            let token = self.parser.peek();
            match token.text {
                ".maxntid" => self.function.directives.maxntid = Some(self.extents()?),
                ".reqntid" => self.function.directives.reqntid = Some(self.extents()?),
                ".minnctapersm" => self.function.directives.minnctapersm = Some(self.bound()?),
                ".maxnreg" => self.function.directives.maxnreg = Some(self.bound()?),
                "{" | ";" => return Ok(()),
                // It says nothing about what the function computes.
                ".noreturn" => drop(self.parser.next()),
                ".explicitcluster" => drop(self.parser.next()),
                ".reqnctapercluster" => {
                    // A cluster of one CTA is what every kernel has; the directive then says nothing.
                    if self.extents()? != [1, 1, 1] {
                        let what = ".reqnctapercluster of more than one cta";
                        return Err(self.parser.source.unsupported(token, what));
                    }
                }
                _ if token.kind == TokenKind::Dot => return Err(self.parser.unsupported()),
                _ => return Err(self.parser.malformed("`{`")),
            }
        }
    }

    fn bound(&mut self) -> Result<u32, Error> {
        self.parser.next();
        self.parser.number("a number")
    }

    fn extents(&mut self) -> Result<[u32; 3], Error> {
        let mut extents = [self.bound()?, 1, 1];
        for extent in &mut extents[1..] {
            if !self.parser.accept(",") {
                break;
            }
            *extent = self.parser.number("a number of threads")?;
        }
        Ok(extents)
    }

    fn statements(&mut self) -> Result<(), Error> {
        self.parser.expect("{")?;
        loop {
            let token = self.parser.peek();
            match token.text {
                "{" => {
                    self.parser.next();
                    self.names.enter();
                }
                "}" => {
                    self.parser.next();
                    if !self.names.leave() {
                        return Ok(());
                    }
                }
                ".reg" => self.registers()?,
                ".shared" | ".local" | ".param" => self.variables()?,
                ".loc" => self.location()?,
                ".pragma" => self.pragma()?,
                ";" => drop(self.parser.next()),
                _ if token.kind == TokenKind::Dot => return Err(self.parser.unsupported()),
                _ if token.kind == TokenKind::Word && self.parser.look(1).text == ":" => {
                    if self.parser.look(2).text == ".branchtargets" {
                        self.branch_list()?;
                    } else {
                        self.label()?;
                    }
                }
                _ => self.instruction()?,
            }
        }
    }

    /// `.reg .b32 %r<5>, %x;`
    fn registers(&mut self) -> Result<(), Error> {
        self.parser.expect(".reg")?;
        let token = self.parser.peek();
        let Some(ty) = token.text.strip_prefix('.').and_then(ScalarType::from_text) else {
            return Err(if token.kind == TokenKind::Dot {
                self.parser.unsupported()
            } else {
                self.parser.malformed("a type")
            });
        };
        self.parser.next();
        loop {
            let name = self.parser.word("a register name")?;
            let first = self.register_count;
            let count: Option<u32> = if self.parser.accept("<") {
                let count = self.parser.number("a number of registers")?;
                self.parser.expect(">")?;
                Some(count)
            } else {
                None
            };
            let end = first
                .checked_add(count.unwrap_or(1))
                .filter(|end| *end <= REGISTERS_MAX);
            self.register_count = end.ok_or_else(|| {
                self.parser.source.malformed(
                    name,
                    format!("at most {REGISTERS_MAX} registers in a function"),
                )
            })?;
            let flat = match count {
                Some(count) => self.names.declare_bank(name.text, first, count, ty),
                None => self
                    .names
                    .declare(name.text, Entity::Register(RegisterId(first), ty)),
            };
            let flat = flat.ok_or_else(|| self.parser.source.malformed(name, "a new name"))?;
            self.function.registers.push(RegisterBank {
                name: flat,
                ty,
                count,
                first: RegisterId(first),
            });
            if !self.parser.accept(",") {
                break;
            }
        }
        self.parser.expect(";").map(drop)
    }

    fn variables(&mut self) -> Result<(), Error> {
        for (name, mut variable) in self.parser.variables(Linkage::Internal)? {
            let index = self.count(self.function.variables.len())?;
            let flat = self
                .names
                .declare(name.text, Entity::Symbol(Symbol::Function(index)));
            variable.name = flat.ok_or_else(|| self.parser.source.malformed(name, "a new name"))?;
            self.function.variables.push(variable);
        }
        Ok(())
    }

    /// `.loc file line column{, function_name label{+n}, inlined_at file line column}`
    fn location(&mut self) -> Result<(), Error> {
        self.parser.expect(".loc")?;
        let (file, line, column) = self.position()?;
        let mut inlined = None;
        if self.parser.accept(",") {
            self.parser.expect("function_name")?;
            let function = self.parser.word("a label of `.debug_str`")?.text.to_owned();
            let offset = if self.parser.accept("+") {
                self.parser.number::<i64>("an offset")?
            } else {
                0
            };
            self.parser.expect(",")?;
            self.parser.expect("inlined_at")?;
            let call = self.position()?;
            let at = match self.places.latest.get(&call) {
                Some(at) => *at,
                None => self.places.enter(Location {
                    file: call.0,
                    line: call.1,
                    column: call.2,
                    inlined: None,
                }),
            };
            inlined = Some(Inlined {
                function,
                offset,
                at,
            });
        }
        self.places.current = Some(self.places.enter(Location {
            file,
            line,
            column,
            inlined,
        }));
        Ok(())
    }

    fn position(&mut self) -> Result<(u32, u32, u32), Error> {
        Ok((
            self.parser.number("a file number")?,
            self.parser.number("a line")?,
            self.parser.number("a column")?,
        ))
    }

    fn pragma(&mut self) -> Result<(), Error> {
        self.parser.expect(".pragma")?;
        let text = self.parser.quoted("a pragma in quotes")?.to_owned();
        self.parser.expect(";")?;
        let at = InstructionId(self.count(self.function.instructions.len())?);
        self.function.pragmas.push(Pragma { text, at });
        Ok(())
    }

    fn label(&mut self) -> Result<(), Error> {
        let name = self.parser.word("a label")?;
        self.parser.expect(":")?;
        let at = self.count(self.function.instructions.len())?;
        let flat = self.names.declare_label(name.text, at);
        let flat = flat.ok_or_else(|| self.parser.source.malformed(name, "a new name"))?;
        self.function.labels.push(Label {
            name: flat,
            at: InstructionId(at),
        });
        Ok(())
    }

    /// `name: .branchtargets a, b, c;`
    fn branch_list(&mut self) -> Result<(), Error> {
        let name = self.parser.word("a label")?;
        self.parser.expect(":")?;
        self.parser.expect(".branchtargets")?;
        let list = self.function.branch_lists.len();
        let flat = self.names.declare_list(name.text, self.count(list)?);
        let flat = flat.ok_or_else(|| self.parser.source.malformed(name, "a new name"))?;
        let mut targets = Vec::new();
        loop {
            let label = self.parser.word("a label")?;
            self.branches.push(Branch {
                place: Target::List(list, targets.len()),
                label,
                scope: self.names.scope(),
            });
            targets.push(InstructionId(0));
            if !self.parser.accept(",") {
                break;
            }
        }
        self.parser.expect(";")?;
        self.function.branch_lists.push(BranchList {
            name: flat,
            targets,
        });
        Ok(())
    }

    /// `{@{!}p} opcode operands;`
    fn instruction(&mut self) -> Result<(), Error> {
        let span = self.parser.peek().span;
        let guard: Option<Predicate> = if self.parser.accept("@") {
            Some(self.predicate()?)
        } else {
            None
        };
        let (opcode, mut modifiers) = self.parser.opcode()?;
        let op: Op = self.op(opcode, &mut modifiers)?;
        self.parser.expect(";")?;
        self.function.instructions.push(Instruction {
            guard,
            op,
            span,
            location: self.places.current,
        });
        Ok(())
    }

    fn refer(&mut self, place: Target, what: &str) -> Result<(), Error> {
        let label = self.parser.word(what)?;
        self.branches.push(Branch {
            place,
            label,
            scope: self.names.scope(),
        });
        Ok(())
    }

    /// A label to branch to; resolved when the function has been read.
    pub(super) fn branch_target(&mut self) -> Result<InstructionId, Error> {
        let place = Target::Instruction(self.function.instructions.len());
        self.refer(place, "a label")?;
        Ok(InstructionId(0))
    }

    /// The name of a `.branchtargets` list; resolved when the function has been read.
    pub(super) fn branch_list_name(&mut self) -> Result<u32, Error> {
        let place = Target::Indexed(self.function.instructions.len());
        self.refer(place, "the name of a list of labels")?;
        Ok(0)
    }

    fn resolve(&mut self) -> Result<(), Error> {
        for branch in &self.branches {
            let missing = |expected: &str| {
                self.parser
                    .source
                    .malformed(branch.label, expected.to_owned())
            };
            let label = || {
                self.names
                    .find_label(branch.label.text, branch.scope)
                    .map(InstructionId)
                    .ok_or_else(|| missing("a label of this function"))
            };
            match branch.place {
                Target::Instruction(at) => {
                    let found = label()?;
                    if let Op::Bra { target, .. } = &mut self.function.instructions[at].op {
                        *target = found;
                    }
                }
                Target::List(list, at) => {
                    self.function.branch_lists[list].targets[at] = label()?;
                }
                Target::Indexed(at) => {
                    let found = self
                        .names
                        .find_list(branch.label.text, branch.scope)
                        .ok_or_else(|| missing("a `.branchtargets` list of this function"))?;
                    if let Op::BranchIndexed { list, .. } = &mut self.function.instructions[at].op {
                        *list = found;
                    }
                }
            }
        }
        Ok(())
    }

    /// Keeps the locations that instructions use, callers first, in order of use.
    fn renumber_locations(&mut self) {
        let mut renumbered: HashMap<LocationId, LocationId> = HashMap::new();
        let index = |id: LocationId| usize::try_from(id.0).expect("ids are indices into a vector");
        for instruction in &mut self.function.instructions {
            let mut chain = Vec::new();
            let mut next = instruction.location;
            while let Some(id) = next
                && !renumbered.contains_key(&id)
            {
                chain.push(id);
                next = self.places.all[index(id)]
                    .inlined
                    .as_ref()
                    .map(|inlined| inlined.at);
            }
            for id in chain.into_iter().rev() {
                let mut location = self.places.all[index(id)].clone();
                if let Some(inlined) = &mut location.inlined {
                    inlined.at = renumbered[&inlined.at];
                }
                let fresh =
                    u32::try_from(self.function.locations.len()).expect("no more than were read");
                renumbered.insert(id, LocationId(fresh));
                self.function.locations.push(location);
            }
            instruction.location = instruction.location.map(|id| renumbered[&id]);
        }
    }
}
