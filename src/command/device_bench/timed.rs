//! Our kernels on the card: sampled rows judged, then timed.

use super::inputs::{Role, sampled_rows, shape, value};
use super::plans::{attention, plans, visible_pairs};
use super::sample::{Rows, gather};
use super::{Failure, Keep, Request, Status};
use crate::backend::Backend;
use crate::convert::{f64_to_bf16, f64_to_f16, usize_to_f64};
use crate::device::{
    Attention, DeviceError, Element, Plan, Prepared, Runs, Session, Stopwatch, Tensors,
};
use crate::kernel::selection::Kept;
use crate::report::device_timing::{Measurement, Pattern, Run, Timed};
use crate::verdict::Verdict;
use crate::vm::Target;
use cudarc::driver::{CudaSlice, CudaStream};
use flashproof_reference::Tensor;
use half::{bf16, f16};
use rayon::prelude::*;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

/// Queries that are judged of each sampled head.
const ROWS: usize = 4;

const RUNS: Runs = Runs {
    least: 7,
    most: 30,
    span: Duration::from_millis(250),
};

/// A format that inputs are made in.
trait Made: Element + Send + Sync {
    fn of(x: f64) -> Self;
    fn tensor(numbers: Vec<Self>) -> Tensor;
}

impl Made for f16 {
    fn of(x: f64) -> Self {
        f64_to_f16(x)
    }
    fn tensor(numbers: Vec<Self>) -> Tensor {
        Tensor::F16(numbers)
    }
}

impl Made for bf16 {
    fn of(x: f64) -> Self {
        f64_to_bf16(x)
    }
    fn tensor(numbers: Vec<Self>) -> Tensor {
        Tensor::Bf16(numbers)
    }
}

/// Inputs of one shape, here and on the card, and room for results.
struct Loaded<T> {
    elements: usize,
    host: [Tensor; 3],
    q: CudaSlice<T>,
    k: CudaSlice<T>,
    v: CudaSlice<T>,
    o: CudaSlice<T>,
    lse: CudaSlice<f32>,
}

fn driver(error: DeviceError) -> Failure {
    Failure::Wrong(error.to_string())
}

fn cuda(error: cudarc::driver::DriverError) -> Failure {
    Failure::Wrong(error.to_string())
}

pub(super) fn run(
    request: &Request<'_>,
    run: &mut Run,
    keep: Keep<'_>,
    out: &mut dyn Write,
) -> Result<Status, Failure> {
    let session = Session::open(0).map_err(driver)?;
    // With one stream alone nothing records events of its own between those of the stopwatch.
    let stream = session.context().default_stream();
    let mut stopwatch = Stopwatch::new(&session, &stream).map_err(driver)?;
    let mut worst = Status::Agree;
    let (mut halves, mut brains) = (None, None);
    for of in request.list {
        if request.begin.elapsed() > request.limit {
            run.timed.push(Timed {
                measurement: *of,
                by: "ours".to_owned(),
                visible_pairs: 0.0,
                milliseconds: None,
                range: None,
                runs: 0,
                check: "not run".to_owned(),
                note: "out of time".to_owned(),
            });
            continue;
        }
        let card = Card {
            session: &session,
            stream: &stream,
            kernel: request.kernel,
        };
        let timed = if of.bf16 {
            card.measure::<bf16>(of, &mut brains, &mut stopwatch)?
        } else {
            card.measure::<f16>(of, &mut halves, &mut stopwatch)?
        };
        for timed in timed {
            if timed.check != "agree" {
                worst = worst.max(Status::Disagree);
                writeln!(out, "{} by {}: {}", of.name(), timed.by, timed.check)?;
            }
            run.timed.push(timed);
        }
        keep(run)?;
    }
    Ok(worst)
}

struct Card<'a> {
    session: &'a Session,
    stream: &'a Arc<CudaStream>,
    kernel: Option<&'a str>,
}

impl Card<'_> {
    /// Inputs are functions of their place alone: a tensor of as many elements is the same tensor whatever its shape.
    fn load<T: Made>(&self, of: &Measurement) -> Result<Loaded<T>, Failure> {
        let shape = shape(of);
        let elements = shape.q_extents().iter().product();
        let rows = elements / of.head_dim;
        let made = |role: Role| -> Vec<T> {
            (0..elements)
                .into_par_iter()
                .map(|i| T::of(value(role, u64::try_from(i).expect("64 bits"))))
                .collect()
        };
        let (q, k, v) = (made(Role::Q), made(Role::K), made(Role::V));
        let up = |host: &Vec<T>| self.stream.clone_htod(host).map_err(cuda);
        Ok(Loaded {
            elements,
            q: up(&q)?,
            k: up(&k)?,
            v: up(&v)?,
            o: self.stream.alloc_zeros(elements).map_err(cuda)?,
            lse: self.stream.alloc_zeros(rows).map_err(cuda)?,
            host: [T::tensor(q), T::tensor(k), T::tensor(v)],
        })
    }

    fn measure<T: Made>(
        &self,
        of: &Measurement,
        loaded: &mut Option<Loaded<T>>,
        stopwatch: &mut Stopwatch,
    ) -> Result<Vec<Timed>, Failure> {
        let attention = attention(of);
        let elements = shape(of).q_extents().iter().product::<usize>();
        let rows = elements / of.head_dim;
        let fits = |known: &Loaded<T>| known.elements == elements && known.lse.len() == rows;
        if !loaded.as_ref().is_some_and(fits) {
            *loaded = None;
            *loaded = Some(self.load(of)?);
        }
        let loaded = loaded.as_mut().expect("loaded above");
        let mut timed = Vec::new();
        for plan in plans(&attention, of, self.session.hardware()) {
            if self.kernel.is_some_and(|name| name != plan.kernel().name()) {
                continue;
            }
            timed.push(self.one(of, &attention, &plan, loaded, stopwatch)?);
        }
        Ok(timed)
    }

    /// One kernel: poisoned results, a launch, sampled rows, then times.
    fn one<T: Made>(
        &self,
        of: &Measurement,
        attention: &Attention,
        plan: &Plan<'static>,
        loaded: &mut Loaded<T>,
        stopwatch: &mut Stopwatch,
    ) -> Result<Timed, Failure> {
        let mut timed = Timed {
            measurement: *of,
            by: plan.kernel().name().to_owned(),
            visible_pairs: visible_pairs(attention),
            milliseconds: None,
            range: None,
            runs: 0,
            check: String::new(),
            note: String::new(),
        };
        let outcome = self.try_one(attention, plan, loaded, stopwatch, &mut timed);
        if let Err(failure) = outcome {
            timed.check = failure.to_string();
        }
        Ok(timed)
    }

    fn try_one<T: Made>(
        &self,
        attention: &Attention,
        plan: &Plan<'static>,
        loaded: &mut Loaded<T>,
        stopwatch: &mut Stopwatch,
        timed: &mut Timed,
    ) -> Result<(), Failure> {
        let prepared = self.session.prepare(plan, self.stream).map_err(driver)?;
        self.stream.memset_zeros(&mut loaded.o).map_err(cuda)?;
        self.stream.memset_zeros(&mut loaded.lse).map_err(cuda)?;
        self.launch(&prepared, loaded).map_err(driver)?;
        self.stream.synchronize().map_err(cuda)?;
        let kept = self.kept(&prepared, plan)?;
        if let (Some(kept), Pattern::Kept { .. }) = (&kept, timed.measurement.pattern) {
            let tiles: u32 = kept.words.iter().map(|word| word.count_ones()).sum();
            let pairs = kept.tile.tile_q * kept.tile.tile_kv;
            let dense = timed.visible_pairs;
            timed.visible_pairs = f64::from(tiles) * usize_to_f64(pairs);
            timed.note = format!("{:.4} of tiles kept", timed.visible_pairs / dense);
        }
        timed.check = self.judged(attention, plan, loaded, kept.as_ref())?;
        if timed.check != "agree" {
            return Ok(());
        }
        let mut times = stopwatch
            .measure(RUNS, || self.launch(&prepared, loaded))
            .map_err(driver)?;
        times.sort_by(f32::total_cmp);
        timed.runs = times.len();
        timed.milliseconds = Some(f64::from(times[times.len() / 2]));
        timed.range = Some([f64::from(times[0]), f64::from(times[times.len() - 1])]);
        Ok(())
    }

    fn launch<T: Made>(
        &self,
        prepared: &Prepared,
        loaded: &mut Loaded<T>,
    ) -> Result<(), DeviceError> {
        let Loaded {
            q, k, v, o, lse, ..
        } = loaded;
        prepared.launch(self.stream, Tensors { q, k, v, o, lse })
    }

    fn kept(&self, prepared: &Prepared, plan: &Plan<'static>) -> Result<Option<Kept>, Failure> {
        let words = prepared.words(self.stream, "kept").map_err(driver)?;
        Ok(words.map(|words| Kept {
            words,
            tile: plan.kernel().manifest().tile_shape(),
        }))
    }

    /// `agree`, or the verdict in full: rows of the first and of the last head.
    fn judged<T: Made>(
        &self,
        attention: &Attention,
        plan: &Plan<'static>,
        loaded: &Loaded<T>,
        kept: Option<&Kept>,
    ) -> Result<String, Failure> {
        let shape = attention.shape();
        let (d, seqlen) = (shape.head_dim, shape.seqlen_q);
        let o = T::tensor(self.stream.clone_dtoh(&loaded.o).map_err(cuda)?);
        let lse = self.stream.clone_dtoh(&loaded.lse).map_err(cuda)?;
        let rows = sampled_rows(seqlen, ROWS);
        let all: Vec<usize> = (0..shape.seqlen_kv).collect();
        let q_tiles = seqlen.div_ceil(plan.kernel().manifest().tile_shape().tile_q);
        let [q, k, v] = &loaded.host;
        for head in [0, shape.batch * shape.num_q_heads - 1] {
            let is_kept = |row: usize, key: usize| {
                kept.is_none_or(|kept| {
                    let tile = head * q_tiles + row / kept.tile.tile_q;
                    kept.contains(tile, key / kept.tile.tile_kv, &shape)
                })
            };
            let sampled = Rows {
                layout: attention.layout(),
                head: 0,
                rows: &rows,
                q: gather(q, head * seqlen, &rows, d),
                k: &gather(k, head * shape.seqlen_kv, &all, d),
                v: &gather(v, head * shape.seqlen_kv, &all, d),
                scale: attention.scale(),
                head_dim: d,
            };
            let outputs = (
                gather(&o, head * seqlen, &rows, d),
                rows.iter().map(|row| lse[head * seqlen + row]).collect(),
            );
            let verdict = sampled
                .judge(
                    plan.kernel(),
                    &is_kept,
                    outputs,
                    (&Backend::Device, Target::Sm90),
                )
                .map_err(Failure::Wrong)?;
            if !matches!(verdict, Verdict::Agree(_)) {
                return Ok(format!("head {head}: {verdict}"));
            }
        }
        Ok("agree".to_owned())
    }
}
