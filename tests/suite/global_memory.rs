//! Passes about global memory against runs of the same programs: an index that wraps is read by a pass and shown by a run; the
//! sectors that a pass counts are those that the machine counts.

use flashproof::analysis::{Answer, PassResult, analyze_under, index_overflow, sectors};
use flashproof::contract::{Contract, Promise, PromisedValue};
use flashproof::diagnostic::Diagnostic;
use flashproof::ptx::{Module, parse};
use flashproof::vm::{Initial, Launch, Memory, Options, Stop, run};

fn of<'r>(results: &'r [PassResult], pass: &str) -> &'r PassResult {
    results.iter().find(|result| result.pass == pass).unwrap()
}

fn contract(grid: u32, threads: u32, bytes: u64, numbers: &[u32]) -> Contract {
    let mut params = vec![Promise {
        offset: 0,
        bytes: 8,
        value: PromisedValue::Buffer {
            name: "x".to_owned(),
            bytes,
            align: 256,
            writable: true,
            entries: None,
        },
    }];
    params.extend(numbers.iter().zip(0_u32..).map(|(number, index)| Promise {
        offset: 8 + 4 * index,
        bytes: 4,
        value: PromisedValue::Bits(u64::from(*number)),
    }));
    Contract {
        grid: [grid, 1, 1],
        cta: [threads, 1, 1],
        params,
        ..Contract::default()
    }
}

/// Thread t of CTA c writes element (32 c + t) * stride, by instructions of `INDEX`; only the last of n.
fn rows(index: &str) -> Module {
    let text = format!(
        ".version 9.0\n.target sm_80\n.address_size 64\n.visible .entry rows(.param .u64 x, .param .u32 n, .param .u32 stride)\n\
         .reqntid 32\n{{\n.reg .pred %p<4>;\n.reg .b32 %r<9>;\n.reg .b64 %rd<9>;\nld.param.u64 %rd1, [x];\nld.param.u32 %r1, [n];\n\
         ld.param.u32 %r2, [stride];\nmov.u32 %r3, %ctaid.x;\nmov.u32 %r4, %tid.x;\nmad.lo.s32 %r5, %r3, 32, %r4;\nadd.s32 %r6, %r1, -1;\n\
         setp.ne.s32 %p1, %r5, %r6;\n@%p1 ret;\n{index}\nshl.b64 %rd3, %rd2, 2;\nadd.s64 %rd4, %rd1, %rd3;\n\
         st.global.u32 [%rd4], %r5;\nret;\n}}\n"
    );
    parse("rows.ptx", &text).unwrap_or_else(|error| panic!("{error}"))
}

/// What passes say of a program, and what a run of it found and noted.
pub(crate) struct Compared {
    pub(crate) name: String,
    pub(crate) results: Vec<PassResult>,
    pub(crate) found: Vec<Diagnostic>,
    pub(crate) notes: Vec<Diagnostic>,
    /// What the last element holds; nothing where the run ended before.
    last: Option<u32>,
}

/// Rows and the elements of each, of a matrix of 2^32 elements of which only the last row's first exists: where the product is
/// cut to 32 bits the store goes elsewhere.
const ROWS: (u32, u32) = (4096, 1 << 20);

/// The matrix by an index of 32 bits and by one of 64.
pub(crate) fn rows_by_width() -> [Compared; 2] {
    let (n, stride) = ROWS;
    let last = u64::from(n - 1) * u64::from(stride) * 4;
    let mut promised = contract(n / 32, 32, last + 4, &[n, stride]);
    promised.sizes = Some(format!("{n} rows of {stride}"));
    let narrow = "mul.lo.s32 %r7, %r5, %r2;\ncvt.s64.s32 %rd2, %r7;";
    let wide = "mul.wide.s32 %rd2, %r5, %r2;";
    [("rows, narrow index", narrow), ("rows, wide index", wide)].map(|(name, index)| {
        let module = rows(index);
        let mut memory = Memory::new();
        let x = memory.allocate("x", Initial::Uninitialised(4), true);
        let mut params = x.wrapping_sub(last).to_le_bytes().to_vec();
        params.extend(n.to_le_bytes());
        params.extend(stride.to_le_bytes());
        let launch = Launch {
            entry: "rows".to_owned(),
            grid: [n / 32, 1, 1],
            cta: [32, 1, 1],
            shared_bytes: 0,
            params,
        };
        let (found, notes, ended) = match run(&module, &launch, &mut memory, &Options::default()) {
            Ok(report) => (report.findings, report.notes, true),
            Err(Stop::Trap(found)) => (found, Vec::new(), false),
            Err(other) => panic!("{name}: {other}"),
        };
        let bytes = memory.bytes(x, 4).unwrap();
        Compared {
            name: name.to_owned(),
            results: analyze_under(&module, &|_| vec![promised.clone()]),
            found,
            notes,
            last: ended.then(|| u32::from_le_bytes(bytes.try_into().unwrap())),
        }
    })
}

#[test]
fn an_index_that_wraps_is_refuted_and_a_run_leaves_the_buffer() {
    let [narrow, wide] = rows_by_width();
    let result = of(&narrow.results, index_overflow::PASS);
    assert_eq!(result.answer, Answer::Refuted, "{:?}", result.findings);
    let message = &result.findings[0].message;
    assert!(message.contains("4096 rows of 1048576"), "{message}");
    assert_eq!(narrow.found[0].code.0, "out-of-bounds");
    assert_eq!(narrow.last, None);
    let result = of(&wide.results, index_overflow::PASS);
    assert_eq!(result.answer, Answer::Proved, "{:?}", result.findings);
    assert_eq!(wide.found, []);
    assert_eq!(wide.last, Some(ROWS.0 - 1));
}

/// How lanes of 64 threads place their accesses: instructions that leave an element of four bytes in r5 from the thread in r1,
/// elements a lane takes, sectors a warp moves and the least.
const DEGREES: [(&str, u32, u64, u64); 14] = [
    ("mov.u32 %r5, %r1;", 1, 4, 4),
    ("xor.b32 %r5, %r1, 21;", 1, 4, 4),
    ("mov.u32 %r5, 7;", 1, 1, 1),
    ("add.s32 %r5, %r1, 1;", 1, 5, 4),
    ("shl.b32 %r5, %r1, 1;", 1, 8, 4),
    ("mul.lo.s32 %r5, %r1, 3;", 1, 12, 4),
    ("shl.b32 %r5, %r1, 2;", 1, 16, 4),
    ("shl.b32 %r5, %r1, 3;", 1, 32, 4),
    ("shl.b32 %r5, %r1, 5;", 1, 32, 4),
    ("shl.b32 %r5, %r1, 2;", 4, 16, 16),
    ("shl.b32 %r5, %r1, 3;", 4, 32, 16),
    ("shl.b32 %r5, %r1, 1;", 2, 8, 8),
    ("shl.b32 %r5, %r1, 2;", 2, 16, 8),
    (
        "shr.u32 %r4, %r1, 2;\nshl.b32 %r4, %r4, 5;\nand.b32 %r5, %r1, 3;\nor.b32 %r5, %r5, %r4;",
        1,
        8,
        4,
    ),
];

/// One of `DEGREES`, read and run.
fn placement(index: &str, elements: u32) -> Compared {
    let vector = match elements {
        1 => ("u32", "%r6".to_owned()),
        2 => ("v2.u32", "{%r6, %r7}".to_owned()),
        _ => ("v4.u32", "{%r6, %r7, %r8, %r9}".to_owned()),
    };
    let text = format!(
        ".version 9.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 x)\n.reqntid 64\n{{\n\
         .reg .b32 %r<19>;\n.reg .b64 %rd<9>;\nld.param.u64 %rd1, [x];\nmov.u32 %r1, %tid.x;\n{index}\n\
         mul.wide.u32 %rd2, %r5, 4;\nadd.s64 %rd3, %rd1, %rd2;\nld.global.{} {}, [%rd3];\nret;\n}}\n",
        vector.0, vector.1
    );
    let module = parse("k.ptx", &text).unwrap_or_else(|error| panic!("{error}"));
    let promised = contract(1, 64, 1 << 14, &[]);
    let mut memory = Memory::new();
    let x = memory.allocate("x", Initial::Bytes(vec![1; 1 << 14]), false);
    let launch = Launch {
        entry: "k".to_owned(),
        grid: [1; 3],
        cta: [64, 1, 1],
        shared_bytes: 0,
        params: x.to_le_bytes().to_vec(),
    };
    let options = Options {
        notes: true,
        ..Options::default()
    };
    let report = run(&module, &launch, &mut memory, &options).unwrap();
    Compared {
        name: format!("{elements} elements by {index}"),
        results: analyze_under(&module, &|_| vec![promised.clone()]),
        found: report.findings,
        notes: report.notes,
        last: None,
    }
}

/// All of `DEGREES` but those that move one sector more than the least: that may be due to where a row begins, so the pass
/// does not ask for it.
pub(crate) fn placements() -> impl Iterator<Item = Compared> {
    let asked = DEGREES.iter().filter(|degree| degree.2 != degree.3 + 1);
    asked.map(|(index, elements, ..)| placement(index, *elements))
}

#[test]
fn sectors_are_those_that_a_run_counts() {
    for (index, elements, sectors, least) in DEGREES {
        let compared = placement(index, elements);
        let (result, notes) = (of(&compared.results, sectors::PASS), compared.notes);
        // Two warps.
        let counted = format!(
            "took {} sectors of global memory where {} suffice",
            2 * sectors,
            2 * least
        );
        let is_worse = sectors * 5 > least * 6;
        assert_eq!(notes.len(), usize::from(is_worse), "{index}: {notes:?}");
        assert!(
            notes.iter().all(|note| note.message.contains(&counted)),
            "{index}: {notes:?}"
        );
        let scattered = is_worse && sectors > least + 1;
        let (answer, said) = (result.answer, &result.findings);
        assert_eq!(answer == Answer::Refuted, scattered, "{index}: {said:?}");
        assert_ne!(answer, Answer::Unknown, "{index}: {said:?}");
        let predicted = format!("moves {sectors} sectors of 32 bytes where {least} would do");
        assert!(
            said.iter().all(|found| found.message.contains(&predicted)),
            "{index}: {said:?}"
        );
    }
}
