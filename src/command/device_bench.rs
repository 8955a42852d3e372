//! `flashproof bench device`: kernels and their peers on a card, sampled rows of every answer judged before it is timed,
//! and the checks that only a card can make. `--dry` does all of it that needs no card.

mod checks;
mod dry;
mod inputs;
mod list;
mod plans;
mod sample;
#[cfg(feature = "cuda")]
mod timed;

use super::machine::{today, version};
use super::{Failure, Status, note, write_file};
use crate::cli;
use crate::device::{self, DeviceError};
use crate::kernel;
use crate::report::device_timing::{Measurement, Run};
use crate::report::svg;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

pub(super) fn run(arguments: &cli::BenchDevice, out: &mut dyn Write) -> Result<Status, Failure> {
    if let Some(file) = &arguments.plot {
        let text = std::fs::read_to_string(file)
            .map_err(|error| Failure::Input(format!("{}: {error}", file.display())))?;
        let run = Run::from_json(&text)
            .map_err(|error| Failure::Input(format!("{}: {error}", file.display())))?;
        out.write_all(run.table().text().as_bytes())?;
        if let Some(folder) = &arguments.out {
            publish(&run, folder)?;
        }
        return Ok(Status::Agree);
    }
    let list = list::measurements(arguments.seqlen_max);
    if list.is_empty() {
        return Err(Failure::Input(format!(
            "--seqlen-max {} leaves nothing: the shortest sequence timed has 1024 tokens",
            arguments.seqlen_max
        )));
    }
    if let Some(name) = &arguments.kernel {
        kernel::by_name(name).map_err(Failure::input)?;
    }
    if arguments.dry {
        return dry::run(&list, arguments.seconds, out);
    }
    let hardware = match device::hardware() {
        Ok(hardware) => hardware,
        Err(error @ DeviceError::Absent(_)) => {
            writeln!(out, "unsupported: {error}")?;
            return Ok(Status::Unsupported);
        }
        Err(error) => return Err(Failure::Wrong(error.to_string())),
    };
    let mut run = Run {
        version: 1,
        is_fixture: false,
        date: today(),
        commit: version(),
        machine: machine(&hardware.to_string()),
        ceilings: Vec::new(),
        timed: Vec::new(),
        checks: Vec::new(),
    };
    let begin = Instant::now();
    let limit = Duration::from_secs(arguments.seconds);
    let request = Request {
        list: &list,
        kernel: arguments.kernel.as_deref(),
        begin,
        limit: limit.mul_f64(0.4),
    };
    // A kernel that never ends takes this process with it: what was timed before it stays.
    let mut keep = |run: &Run| match &arguments.out {
        Some(folder) => write_json(run, folder),
        None => Ok(()),
    };
    let mut status = match time(&request, &mut run, &mut keep, out) {
        Ok(status) => status,
        Err(failure) => {
            // The card's own checks and the peers have contexts of their own.
            note(&format!("our kernels: {failure}"));
            run.machine.push(format!("our kernels: {failure}"));
            failure.status()
        }
    };
    save(&run, arguments, out)?;
    peers(
        arguments,
        &list,
        &mut run,
        limit.mul_f64(0.75).saturating_sub(begin.elapsed()),
    );
    save(&run, arguments, out)?;
    let (documents, checked) = checks::run(&hardware, begin, limit, out)?;
    run.checks = documents;
    status = status.max(checked);
    run.machine.extend(machine("at the end"));
    save(&run, arguments, out)?;
    out.write_all(run.table().text().as_bytes())?;
    Ok(status)
}

/// The run as far as it is, so that what stops it later takes nothing away.
fn save(run: &Run, arguments: &cli::BenchDevice, out: &mut dyn Write) -> Result<(), Failure> {
    writeln!(
        out,
        "{} times, {} checks",
        run.timed.len(),
        run.checks.len()
    )?;
    out.flush()?;
    match &arguments.out {
        Some(folder) => publish(run, folder),
        None => Ok(()),
    }
}

/// JSON, table and figures, under the run's date.
fn publish(run: &Run, folder: &Path) -> Result<(), Failure> {
    let name = |end: &str| folder.join(format!("{}_device{end}", run.date));
    write_json(run, folder)?;
    write_file(&name(".csv"), run.table().csv())?;
    for (figure_name, figure) in run.figures() {
        write_file(&name(&format!("_{figure_name}.svg")), svg::draw(&figure))?;
    }
    Ok(())
}

fn write_json(run: &Run, folder: &Path) -> Result<(), Failure> {
    let json = serde_json::to_string_pretty(run).map_err(Failure::input)?;
    write_file(&folder.join(format!("{}_device.json", run.date)), json)
}

/// What of ours to time, and until when.
#[cfg_attr(
    not(feature = "cuda"),
    expect(dead_code, reason = "without the feature nothing is timed")
)]
struct Request<'a> {
    list: &'a [Measurement],
    kernel: Option<&'a str>,
    begin: Instant,
    limit: Duration,
}

/// Keeps a run as far as it is.
type Keep<'a> = &'a mut dyn FnMut(&Run) -> Result<(), Failure>;

/// Card, driver and clocks in the words of `nvidia-smi`.
fn machine(first: &str) -> Vec<String> {
    let query = "name,driver_version,clocks.sm,clocks.mem,clocks.max.sm,clocks.max.mem,temperature.gpu,power.draw,power.limit";
    let said = std::process::Command::new("nvidia-smi")
        .args([&format!("--query-gpu={query}"), "--format=csv,noheader"])
        .output();
    let said = match said {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        Ok(_) | Err(_) => "nvidia-smi did not answer".to_owned(),
    };
    vec![first.to_owned(), format!("{query}: {said}")]
}

#[cfg(feature = "cuda")]
fn time(
    request: &Request<'_>,
    run: &mut Run,
    keep: Keep<'_>,
    out: &mut dyn Write,
) -> Result<Status, Failure> {
    timed::run(request, run, keep, out)
}

#[cfg(not(feature = "cuda"))]
fn time(_: &Request<'_>, _: &mut Run, _: Keep<'_>, out: &mut dyn Write) -> Result<Status, Failure> {
    writeln!(out, "unsupported: built without the feature cuda")?;
    Ok(Status::Unsupported)
}

/// Lets the script time the peers on the same inputs, and takes in what it found. Whatever goes wrong there is a note.
fn peers(arguments: &cli::BenchDevice, list: &[Measurement], run: &mut Run, limit: Duration) {
    let folder = std::env::temp_dir().join(format!("flashproof-peers-{}", std::process::id()));
    let found = plans::ask_peers(&arguments.peers, &folder, list, limit);
    // A folder of ours among those for such: if it stays, nothing depends on it.
    let _ = std::fs::remove_dir_all(&folder);
    match found {
        Ok(found) => {
            run.machine.extend(found.machine);
            run.ceilings.extend(found.ceilings);
            run.timed.extend(found.timed);
        }
        Err(error) => {
            note(&format!("peers not timed: {error}"));
            run.machine.push(format!("peers not timed: {error}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(text: &[&str]) -> cli::BenchDevice {
        use clap::Parser;
        let parsed = cli::Cli::try_parse_from([&["flashproof", "bench", "device"], text].concat());
        let cli::Command::Bench(cli::Bench {
            elsewhere: Some(cli::Elsewhere::Device(arguments)),
            ..
        }) = parsed.unwrap().command
        else {
            panic!("{text:?} is not `bench device`");
        };
        arguments
    }

    #[test]
    fn a_dry_run_checks_every_launch() {
        let mut out = Vec::new();
        let status = run(&arguments(&["--dry", "--seqlen-max", "1024"]), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(status, Status::Agree, "{text}");
        for word in [
            "bf16 d128 16x16x1024 dense",
            "window_sm80",
            "seconds",
            "agree",
        ] {
            assert!(text.contains(word), "{word}: {text}");
        }
    }

    #[test]
    fn a_run_is_drawn_from_its_json_alone() {
        let folder = std::env::temp_dir().join(format!("flashproof-plot-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("run.json");
        // Made-up numbers, which the figures say.
        let timed = r#"{"measurement":{"bf16":true,"head_dim":128,"batch":1,"heads":16,"seqlen":16384,"causal":false,
            "pattern":"dense"},"by":"window_sm80","visible_pairs":1e9,"milliseconds":2.0,"range":[1.9,2.1],"runs":9,
            "check":"agree","note":""}"#;
        let text = format!(
            r#"{{"version":1,"is_fixture":true,"date":"2000-01-01","commit":"none","machine":["made up"],
            "ceilings":[],"timed":[{timed}],"checks":[]}}"#
        );
        std::fs::write(&file, text).unwrap();
        let (file, out) = (file.to_str().unwrap(), folder.to_str().unwrap());
        let mut words = Vec::new();
        let drawn = arguments(&["--plot", file, "--out", out]);
        assert_eq!(run(&drawn, &mut words).unwrap(), Status::Agree);
        assert!(String::from_utf8(words).unwrap().contains("256.0"));
        let svg = std::fs::read_to_string(folder.join("2000-01-01_device_dense.svg")).unwrap();
        assert!(svg.contains("TEST FIXTURE"));
        assert!(folder.join("2000-01-01_device.csv").is_file());
        std::fs::write(file, "{}").unwrap();
        assert!(matches!(
            run(&drawn, &mut Vec::new()),
            Err(Failure::Input(_))
        ));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn peers_that_are_not_there_are_a_note() {
        let folder =
            std::env::temp_dir().join(format!("flashproof-peers-{}-t", std::process::id()));
        let missing = Path::new("no/such/peers.py");
        let error = plans::ask_peers(missing, &folder, &[], Duration::from_secs(1)).unwrap_err();
        assert!(error.contains("peers"), "{error}");
        let _ = std::fs::remove_dir_all(&folder);
    }

    #[test]
    fn a_list_of_nothing_is_refused() {
        let error = run(
            &arguments(&["--dry", "--seqlen-max", "100"]),
            &mut Vec::new(),
        );
        assert!(matches!(error, Err(Failure::Input(_))));
    }
}
