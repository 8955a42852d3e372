//! Names and what they stand for.

use crate::ptx::{RegisterId, ScalarType, Symbol};
use std::collections::{HashMap, HashSet};

/// Names of module scope.
#[derive(Default)]
pub(super) struct ModuleNames {
    functions: HashSet<String>,
    callees: HashMap<String, u32>,
    variables: HashMap<String, u32>,
    variable_count: u32,
}

impl ModuleNames {
    /// Declares a function; fails if there is one of that name.
    pub(super) fn declare_function(&mut self, name: &str) -> Result<(), ()> {
        let free = !self.variables.contains_key(name)
            && !self.callees.contains_key(name)
            && self.functions.insert(name.to_owned());
        if free { Ok(()) } else { Err(()) }
    }

    /// Declares the next variable; fails if the name is taken.
    pub(super) fn declare_variable(&mut self, name: &str) -> Result<(), ()> {
        if self.functions.contains(name)
            || self.variables.contains_key(name)
            || self.callees.contains_key(name)
        {
            return Err(());
        }
        self.variables.insert(name.to_owned(), self.variable_count);
        self.variable_count += 1;
        Ok(())
    }

    /// Declares a `.func`, perhaps again; gives its index, `None` if the name means something else.
    pub(super) fn declare_callee(&mut self, name: &str) -> Option<u32> {
        if self.functions.contains(name) || self.variables.contains_key(name) {
            return None;
        }
        let fresh = u32::try_from(self.callees.len()).ok()?;
        Some(*self.callees.entry(name.to_owned()).or_insert(fresh))
    }

    fn callee(&self, name: &str) -> Option<u32> {
        self.callees.get(name).copied()
    }

    fn variable(&self, name: &str) -> Option<u32> {
        self.variables.get(name).copied()
    }
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entity {
    /// A register and its type.
    Register(RegisterId, ScalarType),
    /// Something with an address.
    Symbol(Symbol),
}

#[derive(Clone, Copy)]
struct Bank {
    first: u32,
    count: u32,
    ty: ScalarType,
}

struct Scope<'t> {
    names: HashMap<&'t str, Entity>,
    banks: HashMap<&'t str, Bank>,
    labels: HashMap<&'t str, u32>,
    lists: HashMap<&'t str, u32>,
    parent: Option<usize>,
}

/// Names of a function: a tree of `{ }` scopes, of which one is open.
///
/// The function keeps one flat list, so names of inner scopes get a suffix that ends in `_` (and so never reads as a
/// member of a bank) and that no other name of the function has.
pub(super) struct FunctionNames<'t, 'm> {
    module: &'m ModuleNames,
    scopes: Vec<Scope<'t>>,
    open: usize,
    flat: HashSet<String>,
}

impl<'t, 'm> FunctionNames<'t, 'm> {
    pub(super) fn new(module: &'m ModuleNames) -> Self {
        Self {
            module,
            scopes: vec![Scope::inside(None)],
            open: 0,
            flat: HashSet::new(),
        }
    }

    /// The open scope, for labels that are resolved later.
    pub(super) fn scope(&self) -> usize {
        self.open
    }

    /// Opens a scope inside the open one.
    pub(super) fn enter(&mut self) {
        self.scopes.push(Scope::inside(Some(self.open)));
        self.open = self.scopes.len() - 1;
    }

    /// Closes the open scope; false if it is the function's own.
    pub(super) fn leave(&mut self) -> bool {
        let parent = self.scopes[self.open].parent;
        self.open = parent.unwrap_or(self.open);
        parent.is_some()
    }

    /// A name for the flat list; `None` if taken.
    fn flatten(&mut self, name: &str) -> Option<String> {
        if self.open == 0 {
            return self.flat.insert(name.to_owned()).then(|| name.to_owned());
        }
        // The number of the scope makes the first try free, unless the text uses such names itself.
        let mut number = self.open;
        loop {
            let flat = format!("{name}_{number}_");
            if self.flat.insert(flat.clone()) {
                return Some(flat);
            }
            number = number.checked_add(self.scopes.len())?;
        }
    }

    /// Declares a register or symbol; gives its flat name, `None` if the scope has the name already.
    pub(super) fn declare(&mut self, name: &'t str, entity: Entity) -> Option<String> {
        if self.scopes[self.open].names.contains_key(name) {
            return None;
        }
        let flat = self.flatten(name)?;
        self.scopes[self.open].names.insert(name, entity);
        Some(flat)
    }

    /// Declares `prefix0 .. prefix{count-1}`; gives the flat prefix, `None` if the scope has the prefix already.
    pub(super) fn declare_bank(
        &mut self,
        prefix: &'t str,
        first: u32,
        count: u32,
        ty: ScalarType,
    ) -> Option<String> {
        if self.scopes[self.open].banks.contains_key(prefix) {
            return None;
        }
        // `<` keeps a bank apart from a register of the same name.
        let flat = if self.open == 0 {
            self.flat
                .insert(format!("{prefix}<"))
                .then(|| prefix.to_owned())?
        } else {
            self.flatten(prefix)?
        };
        self.scopes[self.open]
            .banks
            .insert(prefix, Bank { first, count, ty });
        Some(flat)
    }

    /// Declares a label before instruction `at`; gives its flat name, `None` if the scope has it already.
    pub(super) fn declare_label(&mut self, name: &'t str, at: u32) -> Option<String> {
        if self.scopes[self.open].labels.contains_key(name) {
            return None;
        }
        let flat = self.flatten(name)?;
        self.scopes[self.open].labels.insert(name, at);
        Some(flat)
    }

    /// Declares a list of labels; gives its flat name, `None` if the scope has the name already.
    pub(super) fn declare_list(&mut self, name: &'t str, list: u32) -> Option<String> {
        let scope = &self.scopes[self.open];
        if scope.labels.contains_key(name) || scope.lists.contains_key(name) {
            return None;
        }
        let flat = self.flatten(name)?;
        self.scopes[self.open].lists.insert(name, list);
        Some(flat)
    }

    /// The list of labels that a name means as seen from a scope.
    pub(super) fn find_list(&self, name: &str, scope: usize) -> Option<u32> {
        let mut next = Some(scope);
        while let Some(scope) = next {
            if let Some(list) = self.scopes[scope].lists.get(name) {
                return Some(*list);
            }
            next = self.scopes[scope].parent;
        }
        None
    }

    /// What a name means in the open scope.
    pub(super) fn find(&self, name: &str) -> Option<Entity> {
        let mut next = Some(self.open);
        while let Some(scope) = next {
            if let Some(entity) = self.scopes[scope].find(name) {
                return Some(entity);
            }
            next = self.scopes[scope].parent;
        }
        self.module
            .variable(name)
            .map(|index| Entity::Symbol(Symbol::Module(index)))
    }

    /// The `.func` of that name.
    pub(super) fn find_callee(&self, name: &str) -> Option<u32> {
        self.module.callee(name)
    }

    /// The instruction that a label names as seen from a scope.
    pub(super) fn find_label(&self, name: &str, scope: usize) -> Option<u32> {
        let mut next = Some(scope);
        while let Some(scope) = next {
            if let Some(at) = self.scopes[scope].labels.get(name) {
                return Some(*at);
            }
            next = self.scopes[scope].parent;
        }
        None
    }
}

impl Scope<'_> {
    fn inside(parent: Option<usize>) -> Self {
        Self {
            names: HashMap::new(),
            banks: HashMap::new(),
            labels: HashMap::new(),
            lists: HashMap::new(),
            parent,
        }
    }

    fn find(&self, name: &str) -> Option<Entity> {
        if let Some(entity) = self.names.get(name) {
            return Some(*entity);
        }
        if self.banks.is_empty() {
            return None;
        }
        // `%r12` is member 12 of `%r<..>`, or member 2 of `%r1<..>`. A member's number has no leading zero, and a
        // bank has fewer than ten digits' worth of members.
        let digits = name
            .bytes()
            .rev()
            .take_while(u8::is_ascii_digit)
            .count()
            .min(10);
        (1..=digits).rev().find_map(|count| {
            let (prefix, index) = name.split_at(name.len() - count);
            let bank = self.banks.get(prefix)?;
            let index: u32 = if count > 1 && index.starts_with('0') {
                None
            } else {
                index.parse().ok()
            }?;
            (index < bank.count).then(|| Entity::Register(RegisterId(bank.first + index), bank.ty))
        })
    }
}
