//! Times of launches by the device's own events, each with a cold L2 cache.

use super::driver::{refused, stopped};
use super::{DeviceError, Session};
use cudarc::driver::{CudaEvent, CudaSlice, CudaStream, sys};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Launches before the first that counts.
const WARM_UPS: usize = 3;

/// How many launches to time: at least `least`, then until `span` is over, at most `most`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Runs {
    /// At least so many.
    pub least: usize,
    /// At most so many.
    pub most: usize,
    /// No more once this has passed.
    pub span: Duration,
}

/// Two events and a buffer that is written between launches, so that nothing of a tensor is left in L2.
#[derive(Debug)]
pub struct Stopwatch {
    stream: Arc<CudaStream>,
    flush: CudaSlice<u8>,
    start: CudaEvent,
    stop: CudaEvent,
}

impl Stopwatch {
    /// A stopwatch on a stream; its buffer has twice the bytes of the L2 cache. Take the default stream and make no other:
    /// with several, cudarc records events of its own at every launch, which the times would hold.
    ///
    /// # Errors
    /// CUDA's own text.
    pub fn new(session: &Session, stream: &Arc<CudaStream>) -> Result<Self, DeviceError> {
        let bytes = usize::try_from(session.hardware().l2_bytes)
            .unwrap_or(1 << 28)
            .max(1 << 24);
        let event = || {
            session
                .context()
                .new_event(Some(sys::CUevent_flags::CU_EVENT_DEFAULT))
                .map_err(refused("cuEventCreate"))
        };
        Ok(Self {
            stream: Arc::clone(stream),
            flush: stream
                .alloc_zeros(2 * bytes)
                .map_err(refused("cuMemAlloc"))?,
            start: event()?,
            stop: event()?,
        })
    }

    /// Milliseconds of each launch, in order. The launch is queued while the cache is being written, so that the time
    /// between the events is the kernel's and not the queue's.
    ///
    /// # Errors
    /// CUDA's own text.
    pub fn measure(
        &mut self,
        runs: Runs,
        mut launch: impl FnMut() -> Result<(), DeviceError>,
    ) -> Result<Vec<f32>, DeviceError> {
        let mut times = Vec::new();
        for _ in 0..WARM_UPS {
            launch()?;
        }
        self.stream
            .synchronize()
            .map_err(stopped("cuStreamSynchronize"))?;
        let begin = Instant::now();
        while times.len() < runs.least || (times.len() < runs.most && begin.elapsed() < runs.span) {
            self.stream
                .memset_zeros(&mut self.flush)
                .map_err(refused("cuMemsetD8Async"))?;
            self.start
                .record(&self.stream)
                .map_err(refused("cuEventRecord"))?;
            launch()?;
            self.stop
                .record(&self.stream)
                .map_err(refused("cuEventRecord"))?;
            self.stop
                .synchronize()
                .map_err(stopped("cuEventSynchronize"))?;
            times.push(
                self.start
                    .elapsed_ms(&self.stop)
                    .map_err(refused("cuEventElapsedTime"))?,
            );
        }
        Ok(times)
    }
}
