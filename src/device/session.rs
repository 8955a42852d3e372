//! An open device: kernels loaded once, launches on streams, results in its memory or in this machine's.

use super::driver::{Module, fill, launch, refused, stopped};
use super::{Attention, DeviceError, Hardware, Plan, View};
use crate::kernel::{Binding, Content};
use cudarc::driver::{
    CudaContext, CudaSlice, CudaStream, DevicePtr, DevicePtrMut, DeviceRepr, DriverError,
    ValidAsZeroBits, sys,
};
use flashproof_reference::{DType, Shape};
use half::{bf16, f16};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

/// Byte that fills what the kernel has to write: NaN in every format.
const UNWRITTEN: u8 = 0xff;

/// One launch at a time: the driver could do more, but a kernel that is stopped takes its whole context with it.
static OPEN: Mutex<Option<Session>> = Mutex::new(None);

/// A number format that kernels take.
pub trait Element: DeviceRepr + ValidAsZeroBits + Copy {
    /// Its name.
    const DTYPE: DType;
}

impl Element for f16 {
    const DTYPE: DType = DType::F16;
}

impl Element for bf16 {
    const DTYPE: DType = DType::Bf16;
}

/// A device that is open, with the kernels loaded on it so far.
#[derive(Debug)]
pub struct Session {
    context: Arc<CudaContext>,
    hardware: Hardware,
    modules: Mutex<HashMap<u64, Arc<Module>>>,
}

/// A plan whose kernel is loaded and whose lists are on the device.
#[derive(Debug)]
pub struct Prepared {
    module: Arc<Module>,
    function: sys::CUfunction,
    binding: Binding,
    shape: Shape,
    dtype: DType,
    /// Every buffer but q, k, v, o and lse.
    own: Vec<Option<CudaSlice<u8>>>,
}

/// Tensors of one launch, contiguous, (batch, heads, seqlen, `head_dim`); `lse` (batch, heads, seqlen).
#[derive(Debug)]
pub struct Tensors<'a, T> {
    /// Queries.
    pub q: &'a CudaSlice<T>,
    /// Keys.
    pub k: &'a CudaSlice<T>,
    /// Values.
    pub v: &'a CudaSlice<T>,
    /// Outputs.
    pub o: &'a mut CudaSlice<T>,
    /// Log-sum-exps, natural.
    pub lse: &'a mut CudaSlice<f32>,
}

/// Results in the device's memory.
#[derive(Debug)]
pub struct Attended<T> {
    /// Outputs (batch, `num_q_heads`, `seqlen_q`, `head_dim`).
    pub o: CudaSlice<T>,
    /// Log-sum-exps (batch, `num_q_heads`, `seqlen_q`).
    pub lse: CudaSlice<f32>,
    /// What was launched; [`Prepared::words`] reads the tiles that a kernel kept.
    pub prepared: Prepared,
}

impl Session {
    /// Opens a device.
    ///
    /// # Errors
    /// [`DeviceError::Absent`] where there is no driver or no such device; CUDA's own text otherwise.
    pub fn open(ordinal: usize) -> Result<Self, DeviceError> {
        if !super::driver::is_present() {
            return Err(DeviceError::Absent(
                "no CUDA driver on this machine".to_owned(),
            ));
        }
        let context = CudaContext::new(ordinal).map_err(|error| {
            DeviceError::Absent(format!(
                "no CUDA device {ordinal} on this machine: {}",
                super::driver::text(error)
            ))
        })?;
        let hardware = look(&context).map_err(refused("cuDeviceGetAttribute"))?;
        Ok(Self {
            context,
            hardware,
            modules: Mutex::default(),
        })
    }

    /// The device.
    pub fn hardware(&self) -> &Hardware {
        &self.hardware
    }

    /// Its context, for streams and memory of one's own.
    pub fn context(&self) -> &Arc<CudaContext> {
        &self.context
    }

    /// Bytes of its memory that are free, and in all.
    ///
    /// # Errors
    /// CUDA's own text.
    pub fn memory(&self) -> Result<(usize, usize), DeviceError> {
        self.context
            .bind_to_thread()
            .map_err(refused("cuCtxSetCurrent"))?;
        cudarc::driver::result::mem_get_info().map_err(refused("cuMemGetInfo"))
    }

    fn module(&self, ptx: &str) -> Result<Arc<Module>, DeviceError> {
        let mut hasher = DefaultHasher::new();
        ptx.hash(&mut hasher);
        let key = hasher.finish();
        let mut modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = modules.get(&key) {
            return Ok(Arc::clone(module));
        }
        let module = Arc::new(Module::load(&self.context, ptx)?);
        modules.insert(key, Arc::clone(&module));
        Ok(module)
    }

    /// Loads a plan's kernel and copies its lists to the device.
    ///
    /// # Errors
    /// CUDA's own text; the assembler's where it refuses the kernel.
    pub fn prepare(
        &self,
        plan: &Plan<'_>,
        stream: &Arc<CudaStream>,
    ) -> Result<Prepared, DeviceError> {
        let binding = plan.binding().clone();
        let module = self.module(plan.kernel().ptx())?;
        let function = module.function(&binding.entry, binding.shared_bytes)?;
        let own = binding
            .buffers
            .iter()
            .map(|buffer| {
                let is_tensor = ["q", "k", "v", "o", "lse"].contains(&buffer.name.as_str());
                (!is_tensor)
                    .then(|| upload(stream, &buffer.content))
                    .transpose()
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Prepared {
            module,
            function,
            binding,
            shape: plan.shape(),
            dtype: plan.dtype(),
            own,
        })
    }

    /// Runs any entry of any PTX with the binding's own contents, and gives what it wrote, by index of the buffer.
    ///
    /// # Errors
    /// CUDA's own text.
    pub fn execute(
        &self,
        ptx: &str,
        binding: &Binding,
    ) -> Result<Vec<(usize, Vec<u8>)>, DeviceError> {
        let stream = self.context.default_stream();
        let module = self.module(ptx)?;
        let function = module.function(&binding.entry, binding.shared_bytes)?;
        let buffers = binding
            .buffers
            .iter()
            .map(|buffer| upload(&stream, &buffer.content))
            .collect::<Result<Vec<_>, _>>()?;
        {
            let guarded: Vec<_> = buffers.iter().map(|b| b.device_ptr(&stream)).collect();
            let addresses: Vec<u64> = guarded.iter().map(|(address, _)| *address).collect();
            launch(&stream, function, binding, &addresses)?;
        }
        stream
            .synchronize()
            .map_err(stopped("cuStreamSynchronize"))?;
        let mut written = Vec::new();
        for (index, buffer) in binding.buffers.iter().enumerate() {
            if buffer.writable {
                let mut bytes = stream
                    .clone_dtoh(&buffers[index])
                    .map_err(stopped("cuMemcpyDtoH"))?;
                bytes.truncate(content_len(&buffer.content));
                written.push((index, bytes));
            }
        }
        Ok(written)
    }
}

/// What the device says of itself.
fn look(context: &CudaContext) -> Result<Hardware, DriverError> {
    use sys::CUdevice_attribute as Attribute;
    // The driver's numbers are never negative here.
    let count = |attribute| {
        context
            .attribute(attribute)
            .map(|value| u32::try_from(value).unwrap_or(0))
    };
    Ok(Hardware {
        name: context.name()?,
        capability: (
            count(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            count(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        ),
        multiprocessors: count(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        shared_bytes_max: count(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?,
        l2_bytes: u64::from(count(Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)?),
    })
}

fn content_len(content: &Content) -> usize {
    match content {
        Content::Bytes(bytes) => bytes.len(),
        Content::Uninitialised(count) => *count,
    }
}

/// A buffer of the device with this content; one byte where there is none, so that it has an address.
fn upload(stream: &Arc<CudaStream>, content: &Content) -> Result<CudaSlice<u8>, DeviceError> {
    let copied = match content {
        Content::Bytes(bytes) if !bytes.is_empty() => stream.clone_htod(bytes),
        Content::Bytes(_) => stream.clone_htod(&[UNWRITTEN]),
        Content::Uninitialised(count) => return fill(stream, (*count).max(1), UNWRITTEN),
    };
    copied.map_err(refused("cuMemAlloc and cuMemcpyHtoD"))
}

impl Prepared {
    /// The launch.
    pub fn binding(&self) -> &Binding {
        &self.binding
    }

    /// Bytes of machine code that are loaded for it stay loaded while this lives.
    fn function(&self) -> sys::CUfunction {
        let _ = &self.module;
        self.function
    }

    /// Checks the tensors, then launches on the stream; does not wait.
    ///
    /// # Errors
    /// [`DeviceError::Plan`] before the launch; CUDA's own text.
    pub fn launch<T: Element>(
        &self,
        stream: &Arc<CudaStream>,
        tensors: Tensors<'_, T>,
    ) -> Result<(), DeviceError> {
        let Tensors { q, k, v, o, lse } = tensors;
        let (q_extents, kv_extents) = (self.shape.q_extents(), self.shape.kv_extents());
        let [batch, heads, seqlen, _] = q_extents;
        let lens = [q.len(), k.len(), v.len(), o.len()];
        let lse_len = lse.len();
        let (q, _q) = q.device_ptr(stream);
        let (k, _k) = k.device_ptr(stream);
        let (v, _v) = v.device_ptr(stream);
        let (o, _o) = o.device_ptr_mut(stream);
        let (lse, _lse) = lse.device_ptr_mut(stream);
        let view =
            |name, extents, address, len| View::contiguous(name, T::DTYPE, extents, address, len);
        let inputs = [
            view("q", q_extents, q, lens[0]),
            view("k", kv_extents, k, lens[1]),
            view("v", kv_extents, v, lens[2]),
        ];
        let o_view = view("o", q_extents, o, lens[3]);
        let lse_view = View::contiguous("lse", DType::F32, [batch, heads, seqlen, 1], lse, lse_len);
        super::plan::check_views((self.shape, self.dtype), &inputs, &o_view, Some(&lse_view))?;
        let guards: Vec<_> = self
            .own
            .iter()
            .map(|own| own.as_ref().map(|own| own.device_ptr(stream)))
            .collect();
        let addresses: Vec<u64> = self
            .binding
            .buffers
            .iter()
            .zip(&guards)
            .map(|(buffer, guard)| match (buffer.name.as_str(), guard) {
                (_, Some((address, _))) => *address,
                ("q", None) => q,
                ("k", None) => k,
                ("v", None) => v,
                ("o", None) => o,
                // The only one left: `prepare` has made every other.
                (_, None) => lse,
            })
            .collect();
        launch(stream, self.function(), &self.binding, &addresses)
    }

    /// The 32-bit words of a buffer of its own, once all launches on the stream are done: `kept`.
    ///
    /// # Errors
    /// CUDA's own text. `None` where there is no such buffer.
    pub fn words(
        &self,
        stream: &Arc<CudaStream>,
        name: &str,
    ) -> Result<Option<Vec<u32>>, DeviceError> {
        let Some(own) = self
            .binding
            .buffer(name)
            .and_then(|(index, _)| self.own[index].as_ref())
        else {
            return Ok(None);
        };
        let bytes = stream.clone_dtoh(own).map_err(stopped("cuMemcpyDtoH"))?;
        stream
            .synchronize()
            .map_err(stopped("cuStreamSynchronize"))?;
        let word = |word: &[u8]| u32::from_le_bytes(word.try_into().expect("chunks of 4 bytes"));
        Ok(Some(bytes.chunks_exact(4).map(word).collect()))
    }
}

impl Attention {
    /// Attention of tensors in the device's memory, on a stream; does not wait.
    ///
    /// # Errors
    /// [`DeviceError::Plan`] before anything is launched; CUDA's own text.
    pub fn run<T: Element>(
        &self,
        session: &Session,
        stream: &Arc<CudaStream>,
        [q, k, v]: [&CudaSlice<T>; 3],
    ) -> Result<Attended<T>, DeviceError> {
        let plan = self.plan(session.hardware())?;
        let prepared = session.prepare(&plan, stream)?;
        let shape = self.shape();
        let rows = shape.batch * shape.num_q_heads * shape.seqlen_q;
        let allocated = refused("cuMemAlloc");
        let mut o = stream
            .alloc_zeros(rows * shape.head_dim)
            .map_err(&allocated)?;
        let mut lse = stream.alloc_zeros(rows).map_err(&allocated)?;
        let tensors = Tensors {
            q,
            k,
            v,
            o: &mut o,
            lse: &mut lse,
        };
        prepared.launch(stream, tensors)?;
        Ok(Attended { o, lse, prepared })
    }
}

/// The first device, opened once; after an error it is opened anew, for a stopped kernel leaves no context to use.
fn with_session<R>(
    work: impl FnOnce(&Session) -> Result<R, DeviceError>,
) -> Result<R, DeviceError> {
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    let session = match open.take() {
        Some(session) => session,
        None => Session::open(0)?,
    };
    let result = work(&session);
    if result.is_ok() {
        *open = Some(session);
    }
    result
}

pub(super) fn run(ptx: &str, binding: &Binding) -> Result<Vec<(usize, Vec<u8>)>, DeviceError> {
    with_session(|session| session.execute(ptx, binding))
}

pub(super) fn hardware() -> Result<Hardware, DeviceError> {
    with_session(|session| Ok(session.hardware().clone()))
}
