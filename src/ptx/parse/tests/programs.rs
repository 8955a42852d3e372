//! Generated programs come back as themselves.

use super::{CANONICAL, read};
use crate::ptx::{
    Extent, Inlined, InstructionId, Label, Linkage, Location, LocationId, Module, Op, Pragma,
    Predicate, RegisterId, ScalarType, Section, SourceFile, Space, Span, Variable, parse, print,
};
use proptest::prelude::*;

/// An instruction of a generated module: which statement, its guard, its location once all have been used, whether
/// a label stands before it, and where it goes if it is a branch.
type Choice = (
    prop::sample::Index,
    Option<(u32, bool)>,
    prop::sample::Index,
    bool,
    prop::sample::Index,
);

/// Statements in any order under any guard, with labels, pragmas, chains of inlined places, variables, files and
/// debug sections.
fn any_module() -> impl Strategy<Value = Module> {
    let choice = (
        any::<prop::sample::Index>(),
        proptest::option::of((0_u32..8, any::<bool>())),
        any::<prop::sample::Index>(),
        any::<bool>(),
        any::<prop::sample::Index>(),
    );
    let initial = proptest::collection::vec(any::<u32>(), 0..4);
    (
        proptest::collection::vec(choice, 1..40),
        proptest::collection::vec(any::<bool>(), 0..8),
        initial,
        any::<u32>(),
    )
        .prop_map(|(choices, inlined, initial, number)| {
            assemble(&choices, &inlined, &initial, number)
        })
}

fn assemble(choices: &[Choice], inlined: &[bool], initial: &[u32], number: u32) -> Module {
    let statements: String = CANONICAL.lines().map(|line| format!("{line}\n")).collect();
    let mut module = read(&statements);
    let function = &mut module.functions[0];
    let pool = std::mem::take(&mut function.instructions);
    let id = |index: usize| u32::try_from(index).unwrap();
    function.locations = inlined
        .iter()
        .enumerate()
        .map(|(index, inlined)| Location {
            file: number % 3,
            line: id(index) + 1,
            column: number % 100,
            inlined: (*inlined && index > 0).then(|| Inlined {
                function: format!("$L__info_string{index}"),
                offset: i64::from(number % 2),
                at: LocationId(id(index) - 1),
            }),
        })
        .collect();
    function.labels.clear();
    for (index, (_, _, _, is_label, _)) in choices.iter().enumerate() {
        if *is_label || index == 0 {
            function.labels.push(Label {
                name: format!("$L__BB0_{index}"),
                at: InstructionId(id(index)),
            });
        }
        if *is_label && index % 5 == 0 {
            function.pragmas.push(Pragma {
                text: "nounroll".to_owned(),
                at: InstructionId(id(index)),
            });
        }
    }
    for (index, (pick, guard, location, _, target)) in choices.iter().enumerate() {
        let mut instruction = pool[pick.index(pool.len())].clone();
        instruction.guard = guard.map(|(register, negated)| Predicate {
            register: RegisterId(register),
            negated,
        });
        if let Op::Bra { target: goal, .. } = &mut instruction.op {
            *goal = function.labels[target.index(function.labels.len())].at;
        }
        // Locations are numbered in the order of their first use.
        let count = function.locations.len();
        let any_location = || LocationId(id(location.index(count)));
        instruction.location = if index < count {
            Some(LocationId(id(index)))
        } else {
            (count > 0).then(any_location)
        };
        function.instructions.push(instruction);
    }
    function.locations.truncate(choices.len());
    module.variables.push(Variable {
        name: "table".to_owned(),
        space: Space::Const,
        linkage: Linkage::Visible,
        align: number.is_multiple_of(2).then_some(16),
        ty: [
            ScalarType::F32,
            ScalarType::S32,
            ScalarType::U32,
            ScalarType::B32,
        ][initial.len() % 4],
        extent: if number.is_multiple_of(3) {
            Extent::Array(vec![2, 3])
        } else {
            Extent::Array(vec![4])
        },
        initial: initial.iter().map(|bits| u64::from(*bits)).collect(),
        span: Span::default(),
    });
    module.files.push(SourceFile {
        index: number % 3,
        path: format!("dir/file{number}.cu"),
    });
    module.sections.push(Section {
        name: ".debug_str".to_owned(),
        body: format!("$L__info_string0:\n.b8 {},0", number % 256),
    });
    module
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    /// Any program comes back as itself.
    #[test]
    fn generated_programs_come_back(module in any_module()) {
        let text = print(&module);
        prop_assert_eq!(parse("test.ptx", &text), Ok(module), "{}", text);
    }
}
