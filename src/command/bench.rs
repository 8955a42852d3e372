//! `flashproof bench`: time against sequence length and density, every answer checked before it is timed.

use super::machine::{machine, today, version};
use super::{Failure, Status, device_bench, note, progress, write_file};
use crate::backend::native::{NativeInputs, attention};
use crate::backend::{Backend, Settings};
use crate::case::Case;
use crate::cli::{self, Format};
use crate::convert::{pixel, usize_to_f64};
use crate::device;
use crate::kernel;
use crate::oracle::check;
use crate::outcome::Outcome;
use crate::report::svg;
use crate::report::timing::{Timing, figure, table};
use crate::verdict::Verdict;
use serde_json::json;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// The kernel timed, and the heads and channels of the encoder it is for.
const KERNEL: &str = "block_sparse_sm80";
const HEAD_DIM: usize = 32;
const NATIVE_HEADS: usize = 12;
/// Queries, and keys, of a sparsity block: the multiple that the kernel takes.
const BLOCK: usize = 16;
/// Longest sequence the virtual machine is timed on.
const VM_SEQLEN_MAX: usize = 512;
/// A median is of at least this many runs, and of more while they take less than `SPAN`.
const RUNS_MIN: usize = 3;
const RUNS_MAX: usize = 25;
const SPAN: Duration = Duration::from_millis(300);

/// What to time.
#[derive(Clone, Debug)]
pub(super) struct Sweep {
    pub(super) lengths: Vec<usize>,
    pub(super) densities: Vec<f64>,
}

pub(super) fn run(arguments: &cli::Bench, out: &mut dyn Write) -> Result<Status, Failure> {
    if let Some(cli::Elsewhere::Device(arguments)) = &arguments.elsewhere {
        return device_bench::run(arguments, out);
    }
    let sweep = Sweep {
        lengths: arguments.lengths.clone(),
        densities: arguments.densities.clone(),
    };
    let timings = sweep.measure()?;
    match arguments.format {
        Format::Text => {
            writeln!(out, "{}", conditions().join("\n"))?;
            out.write_all(table(&timings).text().as_bytes())?;
        }
        Format::Json => {
            let rows: Vec<_> = timings.iter().map(timing_json).collect();
            let document = json!({ "conditions": conditions(), "timings": rows });
            writeln!(out, "{document:#}")?;
        }
    }
    if let Some(folder) = &arguments.out {
        publish(&timings, folder)?;
    }
    Ok(Status::Agree)
}

/// Writes table and figures under today's date.
pub(super) fn publish(timings: &[Timing], folder: &Path) -> Result<(), Failure> {
    let day = today();
    let head: String = conditions()
        .iter()
        .map(|line| format!("# {line}\n"))
        .collect();
    write_file(
        &folder.join(format!("{day}.csv")),
        &(head + &table(timings).csv()),
    )?;
    for backend in ["native", "vm"] {
        let drawn = svg::draw(&figure(timings, backend, conditions()));
        write_file(&folder.join(format!("{day}_{backend}.svg")), &drawn)?;
    }
    Ok(())
}

/// Sentences that every timing must be read with.
fn conditions() -> Vec<String> {
    vec![
        format!("{}, {}, {}.", today(), machine(), version()),
        format!(
            "head_dim {HEAD_DIM}, f16 values, sparsity blocks of {BLOCK} x {BLOCK}, median wall-clock time; processor \
             clocks left as the system sets them. native: {NATIVE_HEADS} heads on all cores. vm: one head, all \
             checkers on; its time says what verifying costs, nothing about a GPU."
        ),
        "Before it is timed, one head of every layout is judged against the f64 reference and must agree."
            .to_owned(),
    ]
}

fn timing_json(timing: &Timing) -> serde_json::Value {
    json!({
        "backend": timing.backend,
        "arm": timing.arm,
        "target": timing.target,
        "density": timing.density,
        "seqlen": timing.seqlen,
        "heads": timing.heads,
        "head_dim": timing.head_dim,
        "milliseconds": timing.milliseconds,
        "gflops": timing.gflops(),
        "runs": timing.runs,
    })
}

impl Sweep {
    /// Times every point; a point whose answer is wrong is a failure.
    pub(super) fn measure(&self) -> Result<Vec<Timing>, Failure> {
        self.check()?;
        let points = self.points();
        let bar = progress::count(u64::try_from(points.len()).unwrap_or(u64::MAX), "timings");
        let mut timings = Vec::new();
        for point in &points {
            timings.push(point.native()?);
            if point.seqlen <= VM_SEQLEN_MAX {
                timings.push(point.vm()?);
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        if let Err(error) = device::name() {
            note(&format!("device backend not timed: {error}"));
        }
        timings.sort_by(|a, b| a.backend.cmp(&b.backend));
        Ok(timings)
    }

    fn check(&self) -> Result<(), Failure> {
        let bad = self
            .densities
            .iter()
            .find(|&&density| !(density > 0.0 && density <= 1.0));
        if let Some(density) = bad {
            return Err(Failure::Input(format!(
                "density {density} is not above 0 and at most 1"
            )));
        }
        if self.lengths.contains(&0) {
            return Err(Failure::Input(
                "a sequence of length 0 cannot be timed".to_owned(),
            ));
        }
        Ok(())
    }

    /// Dense first at each length, so that everything else has something to be compared with.
    fn points(&self) -> Vec<Point> {
        let mut points = Vec::new();
        for &seqlen in &self.lengths {
            points.push(Point {
                seqlen,
                target: 1.0,
                arm: "dense",
                layout: "dense".to_owned(),
            });
            for &target in self.densities.iter().filter(|&&density| density < 1.0) {
                points.push(Point {
                    seqlen,
                    target,
                    arm: "random blocks",
                    layout: format!("blocks({},{BLOCK},{BLOCK},1)", pixel(1000.0 * target)),
                });
                let side = pixel(usize_to_f64(seqlen) * target / 2.0);
                points.push(Point {
                    seqlen,
                    target,
                    arm: "window",
                    layout: format!("window({side},{side})"),
                });
            }
        }
        points
    }
}

/// One length and layout.
struct Point {
    seqlen: usize,
    target: f64,
    arm: &'static str,
    layout: String,
}

impl Point {
    fn case(&self, heads: usize) -> Result<Case, Failure> {
        format!(
            "kernel={KERNEL} num_q_heads={heads} num_kv_heads={heads} seqlen_q={length} seqlen_kv={length} \
             head_dim={HEAD_DIM} layout={layout} seed=1",
            length = self.seqlen,
            layout = self.layout,
        )
        .parse()
        .map_err(Failure::input)
    }

    /// One head of the point must be right before the point is timed.
    fn checked(&self, backend: &Backend) -> Result<Case, Failure> {
        let case = self.case(1)?;
        let report = check(&case, backend).map_err(Failure::input)?;
        match report.verdict {
            Verdict::Agree(_) => Ok(case),
            Verdict::Disagree(_) | Verdict::Incomparable(_) | Verdict::Unsupported(_) => Err(
                Failure::Wrong(format!("not timed, for it is not right: {report}")),
            ),
        }
    }

    fn native(&self) -> Result<Timing, Failure> {
        self.checked(&Backend::Native)?;
        let problem = self.case(NATIVE_HEADS)?.problem().map_err(Failure::input)?;
        let [q, k, v] = [&problem.q, &problem.k, &problem.v].map(|tensor| tensor.to_f32());
        let inputs = NativeInputs {
            q: &q,
            k: &k,
            v: &v,
            shape: problem.shape,
            scale: problem.scale,
        };
        let mut o = vec![0.0; q.len()];
        let (milliseconds, runs) =
            median(|| attention(&inputs, &problem.layout, &mut o, None).map_err(Failure::input))?;
        Ok(self.timing(
            "native",
            NATIVE_HEADS,
            problem.layout.density(0),
            milliseconds,
            runs,
        ))
    }

    fn vm(&self) -> Result<Timing, Failure> {
        let backend = Backend::default();
        let case = self.checked(&backend)?;
        let kernel = kernel::by_name(KERNEL).map_err(Failure::input)?;
        let problem = case.problem().map_err(Failure::input)?;
        let settings = Settings::of(&case);
        let (milliseconds, runs) = median(|| match backend.run(kernel, &problem, &settings) {
            Outcome::Finished(_) => Ok(()),
            Outcome::Trapped(_) | Outcome::Unsupported(_) => {
                Err(Failure::Wrong(format!("{case} ran once and then no more")))
            }
        })?;
        Ok(self.timing("vm", 1, problem.layout.density(0), milliseconds, runs))
    }

    fn timing(
        &self,
        backend: &str,
        heads: usize,
        density: f64,
        milliseconds: f64,
        runs: usize,
    ) -> Timing {
        Timing {
            backend: backend.to_owned(),
            arm: self.arm.to_owned(),
            target: self.target,
            density,
            seqlen: self.seqlen,
            heads,
            head_dim: HEAD_DIM,
            milliseconds,
            runs,
        }
    }
}

/// Median time of a run in milliseconds, and of how many runs; the first, which warms caches, is left out.
fn median(mut run: impl FnMut() -> Result<(), Failure>) -> Result<(f64, usize), Failure> {
    run()?;
    let begin = Instant::now();
    let mut times = Vec::new();
    while times.len() < RUNS_MIN || (times.len() < RUNS_MAX && begin.elapsed() < SPAN) {
        let start = Instant::now();
        run()?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    Ok((times[times.len() / 2].as_secs_f64() * 1e3, times.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_is_a_case_with_about_its_density() {
        let sweep = Sweep {
            lengths: vec![128, 256],
            densities: vec![1.0, 0.25],
        };
        let points = sweep.points();
        assert_eq!(points.len(), 6);
        for point in points {
            let layout = point.case(1).unwrap().problem().unwrap().layout;
            let density = layout.density(0);
            assert!(
                (density - point.target).abs() < 0.08,
                "{}: {density}",
                point.layout
            );
        }
    }

    #[test]
    fn what_cannot_be_timed_is_refused() {
        for (lengths, densities) in [
            (vec![0], vec![1.0]),
            (vec![16], vec![0.0]),
            (vec![16], vec![f64::NAN]),
        ] {
            assert!(Sweep { lengths, densities }.measure().is_err());
        }
    }
}
