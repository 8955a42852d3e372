//! Whether `attention` equals the definition, bit by bit, on as many outputs as one has time for.
//!
//! ```text
//! cargo run --release -p flashproof-reference --example soak -- 1000000 soak.csv
//! ```
//!
//! compares problems of every family in `tests/families` until that many outputs were compared, and appends a line for
//! every hundred problems to the file; started again, it goes on after the last line. A difference ends it, with the
//! problem's family and number.

#![expect(clippy::print_stdout, reason = "a program that reports")]

#[path = "../tests/families/mod.rs"]
mod families;

use families::{FAMILIES, Family};
use flashproof_reference::{Answer, attention, definition};
use std::error::Error;
use std::io::Write;

const HEADER: &str = "first_problem,problems,outputs,level_1,level_2,level_3,bits_max,different";
/// Problems of one line.
const STEP: u64 = 100;

fn different(found: &Answer, expected: &Answer) -> usize {
    let bits = |answer: &Answer| -> Vec<u64> {
        let values = answer.o.iter().chain(&answer.lse);
        values.map(|value| value.to_bits()).collect()
    };
    let (found, expected) = (bits(found), bits(expected));
    found.iter().zip(&expected).filter(|(a, b)| a != b).count()
        + found.len().abs_diff(expected.len())
}

/// Family and problem of a number: every family in turn, mostly short, now and then long.
fn problem(number: u64) -> (Family, flashproof_reference::Problem) {
    let family = usize::try_from(number).expect("64 bits") % FAMILIES.len();
    let most = [40, 90, 400][usize::from(number % 8 == 1) + usize::from(number % 64 == 1)];
    (FAMILIES[family], FAMILIES[family].problem(number, most))
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: soak OUTPUTS FILE.csv";
    let wanted: usize = arguments.next().ok_or(usage)?.parse()?;
    let path = arguments.next().ok_or(usage)?;
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)?;
    if known.is_empty() {
        writeln!(file, "{HEADER}")?;
    }
    let column =
        |line: &str, index: usize| -> Option<usize> { line.split(',').nth(index)?.parse().ok() };
    let lines: Vec<&str> = known.lines().skip(1).collect();
    let mut outputs: usize = lines.iter().filter_map(|line| column(line, 2)).sum();
    let mut number = STEP * u64::try_from(lines.len())?;
    while outputs < wanted {
        let (mut values, mut bits_max, mut wrong) = ([0; 3], 0, 0);
        for number in number..number + STEP {
            let (family, problem) = problem(number);
            let found = attention(&problem)?;
            let differences = different(&found, &definition::attention(&problem)?);
            if differences > 0 {
                println!(
                    "{}: problem {number} differs in {differences} outputs",
                    family.name
                );
            }
            for (total, count) in values.iter_mut().zip(found.stats.values) {
                *total += count;
            }
            bits_max = bits_max.max(found.stats.bits_max);
            wrong += differences;
        }
        let compared: usize = values.iter().sum();
        let [first, second, third] = values;
        writeln!(
            file,
            "{number},{STEP},{compared},{first},{second},{third},{bits_max},{wrong}"
        )?;
        if wrong > 0 {
            return Err(format!("{wrong} outputs are not the definition's").into());
        }
        number += STEP;
        outputs += compared;
    }
    println!("{outputs} outputs of {number} problems, every one the definition's");
    Ok(())
}
