//! `eval PLAN.toml --stored` on a registered study: what a person is told, and that nothing but the results decides it.

use std::path::Path;
use std::process::Command;

use super::toy::{PLAN, Scratch, run_toy};
use flashproof::study::Plan;

const REGISTERED: &str = r#"
    split = "confirmation"

    [registered]
    block = "half"
    local = "dense"
    local_equal_density = "dense"
    dense = "dense"
    margin = 0.02
    resamples = 60
    chosen_on = "nothing"
"#;

fn stored(plan: &Path) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_flashproof"))
        .args(["eval", "--stored"])
        .arg(plan)
        .output()
        .unwrap();
    let told = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (output.status.code(), told)
}

#[test]
fn the_answer_is_told_and_written_from_the_results_alone() {
    let folder = std::env::temp_dir().join(format!("flashproof-{}-registered", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir(&folder).unwrap();
    let toml = folder.join("made.toml");
    let plan = format!("{PLAN}{REGISTERED}");
    std::fs::write(&toml, &plan).unwrap();
    let scratch = Scratch(folder.join("made.jsonl"));
    run_toy(&Plan::from_toml(&plan).unwrap(), &scratch).unwrap();

    let (code, told) = stored(&toml);
    assert_eq!(code, Some(0), "{told}");
    let report = folder.join("README.md");
    for words in [
        "\nThe registered run is complete.\n".to_owned(),
        "\nPrimary contrast. Over all noise levels `half` is".to_owned(),
        format!("\nreport: {}\n", report.display()),
        format!(
            "\ntables and plots: {} and beside it\n",
            folder.join("made.csv").display()
        ),
    ] {
        assert!(told.contains(&words), "{words:?} is not in\n{told}");
    }
    let first = std::fs::read(&report).unwrap();
    std::fs::remove_file(&report).unwrap();
    assert_eq!(stored(&toml).1, told);
    assert_eq!(std::fs::read(&report).unwrap(), first);

    // Without a cell that no contrast reads the run is not complete, and says so.
    let lines = std::fs::read_to_string(&scratch.0).unwrap();
    let mut lines: Vec<&str> = lines.lines().collect();
    let unread = |line: &&str| line.starts_with("{\"key\":\"pair=de-de ");
    lines.remove(lines.iter().rposition(unread).unwrap());
    std::fs::write(&scratch.0, lines.join("\n") + "\n").unwrap();
    let (_, told) = stored(&toml);
    assert!(
        told.contains("\nInterim: 35 of 36 cells are there"),
        "{told}"
    );
    std::fs::remove_dir_all(&folder).unwrap();
}
